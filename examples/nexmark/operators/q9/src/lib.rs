//! Nexmark, query 9: the winning bid of an auction.
//!
//! The first input has auctions, by their ids; the second has bids, by their auctions. The winner is known when the auction expires.

use dirigo_operator::prelude::*;

/// What is read of an auction or of a bid.
#[derive(Debug, Event)]
pub struct Item {
    seller: Option<i64>,
    category: Option<i64>,
    expires: Option<i64>,
    bidder: Option<i64>,
    price: Option<i64>,
    date_time: i64,
}

/// What is known of an auction.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Auction {
    opened: Option<Opened>,
    best: Option<Bid>,
}

/// An auction.
#[derive(Debug, Serialize, Deserialize)]
pub struct Opened {
    seller: i64,
    category: i64,
    date_time: i64,
    expires: i64,
}

/// The best bid so far.
#[derive(Debug, Serialize, Deserialize)]
pub struct Bid {
    bidder: i64,
    price: i64,
    date_time: i64,
}

/// An auction with its winning bid.
#[derive(Debug, Event)]
pub struct Winner {
    auction: i64,
    seller: i64,
    category: i64,
    bidder: i64,
    price: i64,
    date_time: i64,
}

/// Finds winning bids.
#[derive(Debug)]
pub struct Winning;

#[operator]
impl Process for Winning {
    type Config = NoConfig;
    type Event = Item;
    type State = Auction;
    type Output = Winner;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Winning)
    }

    fn event(&mut self, item: &Item, key: &mut Context<'_, Self>) -> Result<()> {
        if let (0, Some(seller), Some(category), Some(expires)) =
            (key.input(), item.seller, item.category, item.expires)
        {
            let date_time = item.date_time;
            key.state().opened = Some(Opened {
                seller,
                category,
                date_time,
                expires,
            });
            key.set_timer("expires", expires);
            return Ok(());
        }
        let (1, Some(bidder), Some(price)) = (key.input(), item.bidder, item.price) else {
            reject!("neither an auction at the first input nor a bid at the second");
        };
        // A bid on an auction that is not open counts for nothing.
        let auction = match key.known() {
            Some(auction) if auction.opened.is_some() => key.state(),
            _ => return Ok(()),
        };
        if auction.best.as_ref().is_none_or(|best| price > best.price) {
            let date_time = item.date_time;
            auction.best = Some(Bid {
                bidder,
                price,
                date_time,
            });
        }
        Ok(())
    }

    fn timer(&mut self, _: &Timer, key: &mut Context<'_, Self>) -> Result<()> {
        let id = key
            .key_str()
            .parse()
            .map_err(|_| Error::new("the key is no id of an auction"))?;
        let auction = std::mem::take(key.state());
        key.forget();
        let (Some(opened), Some(best)) = (auction.opened, auction.best) else {
            return Ok(());
        };
        key.push(&Winner {
            auction: id,
            seller: opened.seller,
            category: opened.category,
            bidder: best.bidder,
            price: best.price,
            date_time: best.date_time,
        })
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::{Event, ProcessTester};
    use serde_json::json;

    use super::*;

    fn bid(time: i64, bidder: i64, price: i64) -> Event {
        Event::from(json!({"bidder": bidder, "price": price, "date_time": time}))
            .key("7")
            .at(time)
    }

    #[test]
    fn the_first_of_the_highest_bids_wins_when_the_auction_expires() {
        let mut winning = ProcessTester::<Winning>::open(&json!({})).unwrap();
        let auction = json!({"seller": 1, "category": 10, "date_time": 100, "expires": 200});
        winning.events_of(1, [bid(90, 9, 1_000)]);
        winning.events([Event::from(auction).key("7").at(100)]);
        winning.events_of(1, [bid(110, 2, 50), bid(120, 3, 70), bid(200, 4, 70)]);
        let winner = json!({"auction": 7, "seller": 1, "category": 10, "bidder": 3, "price": 70, "date_time": 120});
        assert_eq!(winning.advance(200).json(), [winner]);
        winning.events_of(1, [bid(201, 5, 900)]);
        assert!(winning.end().outputs.is_empty());
        assert_eq!(winning.keys_kept(), 0);
    }
}
