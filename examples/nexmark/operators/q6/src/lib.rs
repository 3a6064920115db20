//! Nexmark, query 6: the average price of the last ten auctions of a seller that were won.

use std::collections::VecDeque;

use dirigo_operator::prelude::*;

/// How many auctions the average is of.
const AUCTIONS: usize = 10;

/// What is read of an auction with its winning bid, as query 9 puts it out.
#[derive(Debug, Event)]
pub struct Winner {
    auction: i64,
    seller: i64,
    price: i64,
}

/// A seller's average behind an auction.
#[derive(Debug, Event)]
pub struct Sold {
    seller: i64,
    auction: i64,
    average: f64,
}

/// What is known of a seller.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Seller {
    number: i64,
    /// The prices of the last auctions, the newest last.
    prices: VecDeque<i64>,
    /// Auctions that were won now, and their prices: some expire in the same millisecond, and come in any order.
    now: Vec<(i64, i64)>,
}

impl Seller {
    /// The average behind an auction that was won at this price.
    fn average_behind(&mut self, price: i64) -> f64 {
        if self.prices.len() == AUCTIONS {
            self.prices.pop_front();
        }
        self.prices.push_back(price);
        #[expect(clippy::cast_precision_loss, reason = "the sum of ten prices of up to 10^8 is exact")]
        let average = self.prices.iter().sum::<i64>() as f64 / self.prices.len() as f64;
        average
    }
}

/// Averages prices.
#[derive(Debug)]
pub struct Averaged;

#[operator]
impl Process for Averaged {
    type Config = NoConfig;
    type Event = Winner;
    type State = Seller;
    type Output = Sold;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Averaged)
    }

    fn event(&mut self, winner: &Winner, key: &mut Context<'_, Self>) -> Result<()> {
        // The timer fires behind all events of this time.
        let now = key.time();
        key.set_timer("now", now);
        let seller = key.state();
        seller.number = winner.seller;
        seller.now.push((winner.auction, winner.price));
        Ok(())
    }

    fn timer(&mut self, _: &Timer, key: &mut Context<'_, Self>) -> Result<()> {
        let mut won = std::mem::take(&mut key.state().now);
        won.sort_unstable();
        for (auction, price) in won {
            let seller = key.state();
            let sold = Sold {
                seller: seller.number,
                auction,
                average: seller.average_behind(price),
            };
            key.push(&sold)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::{Event, ProcessTester};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_average_is_of_the_last_ten() {
        let mut averaged = ProcessTester::<Averaged>::open(&json!({})).unwrap();
        let winner = |auction: i64| {
            Event::from(json!({"auction": auction, "seller": 7, "price": 100 * auction}))
                .key("7")
                .at(auction)
        };
        averaged.events((1..=12).map(winner));
        let found = averaged.advance(12).json();
        let average = |place: usize| found[place]["average"].as_f64().unwrap();
        assert_eq!((found.len(), average(0), average(1)), (12, 100.0, 150.0));
        assert_eq!((average(9), average(11)), (550.0, 750.0));
    }

    #[test]
    fn auctions_of_the_same_time_are_taken_by_their_numbers() {
        let mut averaged = ProcessTester::<Averaged>::open(&json!({})).unwrap();
        let winner = |auction: i64| {
            Event::from(json!({"auction": auction, "seller": 7, "price": 100 * auction}))
                .key("7")
                .at(5)
        };
        averaged.events([3, 1, 2].map(winner));
        let found = averaged.advance(5).json();
        let expected = [(1, 100.0), (2, 150.0), (3, 200.0)]
            .map(|(auction, average)| json!({"seller": 7, "auction": auction, "average": average}));
        assert_eq!(found, expected);
    }
}
