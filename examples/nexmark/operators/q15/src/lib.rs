//! Nexmark, queries 15 and 16: counts of bids, bidders and auctions of each day, of all and by the rank of the price.

use dirigo_operator::prelude::*;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// What is read of a bid.
#[derive(Debug, Event)]
pub struct Bid {
    auction: i64,
    bidder: i64,
    price: i64,
    date_time: i64,
}

/// Of all, and of the ranks 1 to 3.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub struct ByRank {
    total: i64,
    rank1: i64,
    rank2: i64,
    rank3: i64,
}

/// What was counted of a day.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    last: i64,
    bids: ByRank,
    bidders: ByRank,
    auctions: ByRank,
}

/// The bidders and auctions that were counted: of all bids (rank 0), and of those of a rank.
const SEEN_BIDDERS: MapState<(u8, i64), ()> = MapState::new("bidders");
const SEEN_AUCTIONS: MapState<(u8, i64), ()> = MapState::new("auctions");

/// The counts of a day.
#[derive(Debug, Event)]
pub struct Statistics {
    key: String,
    minute: i64,
    total_bids: i64,
    rank1_bids: i64,
    rank2_bids: i64,
    rank3_bids: i64,
    total_bidders: i64,
    rank1_bidders: i64,
    rank2_bidders: i64,
    rank3_bidders: i64,
    total_auctions: i64,
    rank1_auctions: i64,
    rank2_auctions: i64,
    rank3_auctions: i64,
    start: i64,
    end: i64,
}

/// Counts.
#[derive(Debug)]
pub struct Counting;

impl ByRank {
    fn of(&mut self, rank: u8) -> &mut i64 {
        match rank {
            0 => &mut self.total,
            1 => &mut self.rank1,
            2 => &mut self.rank2,
            _ => &mut self.rank3,
        }
    }
}

/// The rank of a bid of this price, in cents.
fn rank(price: i64) -> u8 {
    match price {
        ..10_000 => 1,
        10_000..1_000_000 => 2,
        _ => 3,
    }
}

#[operator]
impl Process for Counting {
    const ITEMS: &'static [&'static dyn ItemState] = &[&SEEN_BIDDERS, &SEEN_AUCTIONS];
    type Config = NoConfig;
    type Event = Bid;
    type State = Counts;
    type Output = Statistics;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Counting)
    }

    fn event(&mut self, bid: &Bid, key: &mut Context<'_, Self>) -> Result<()> {
        if key.known().is_none() {
            let day = key.time().div_euclid(DAY_MS);
            key.set_timer("end of the day", (day + 1) * DAY_MS - 1);
        }
        let rank = rank(bid.price);
        for rank in [0, rank] {
            *key.state().bids.of(rank) += 1;
            if key.map(SEEN_BIDDERS).insert(&(rank, bid.bidder), &()) {
                *key.state().bidders.of(rank) += 1;
            }
            if key.map(SEEN_AUCTIONS).insert(&(rank, bid.auction), &()) {
                *key.state().auctions.of(rank) += 1;
            }
        }
        let counts = key.state();
        counts.last = counts.last.max(bid.date_time);
        Ok(())
    }

    fn timer(&mut self, timer: &Timer, key: &mut Context<'_, Self>) -> Result<()> {
        let Counts {
            last,
            bids,
            bidders,
            auctions,
        } = std::mem::take(key.state());
        let end = timer.time() + 1;
        let statistics = Statistics {
            key: key.key_str().into_owned(),
            minute: last - last.rem_euclid(MINUTE_MS),
            total_bids: bids.total,
            rank1_bids: bids.rank1,
            rank2_bids: bids.rank2,
            rank3_bids: bids.rank3,
            total_bidders: bidders.total,
            rank1_bidders: bidders.rank1,
            rank2_bidders: bidders.rank2,
            rank3_bidders: bidders.rank3,
            total_auctions: auctions.total,
            rank1_auctions: auctions.rank1,
            rank2_auctions: auctions.rank2,
            rank3_auctions: auctions.rank3,
            start: end - DAY_MS,
            end,
        };
        key.forget();
        key.push(&statistics)
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::{Event, ProcessTester};
    use serde_json::json;

    use super::*;

    fn bid(time: i64, bidder: i64, auction: i64, price: i64) -> Event {
        let bid = json!({"bidder": bidder, "auction": auction, "price": price, "date_time": time});
        Event::from(bid).key("bid").at(time)
    }

    #[test]
    fn bidders_and_auctions_count_once_a_day_and_once_in_each_rank() {
        let mut counting = ProcessTester::<Counting>::open(&json!({})).unwrap();
        counting.events([
            bid(DAY_MS, 1, 7, 9_999),
            bid(DAY_MS + 185_000, 1, 8, 1_000_000),
            bid(DAY_MS + 2, 2, 8, 1_000_000),
        ]);
        assert!(counting.advance(2 * DAY_MS - 2).outputs.is_empty());
        let outcome = counting.advance(2 * DAY_MS - 1).json();
        let [found] = &outcome[..] else { panic!("one day") };
        let counts = |columns: [&str; 4]| columns.map(|column| found[column].as_i64().unwrap());
        assert_eq!(
            counts(["total_bids", "rank1_bids", "rank2_bids", "rank3_bids"]),
            [3, 1, 0, 2]
        );
        assert_eq!(
            counts(["total_bidders", "rank1_bidders", "rank2_bidders", "rank3_bidders"]),
            [2, 1, 0, 2]
        );
        assert_eq!(
            counts(["total_auctions", "rank1_auctions", "rank2_auctions", "rank3_auctions"]),
            [2, 1, 0, 1]
        );
        assert_eq!(
            counts(["minute", "start", "end", "total_bids"]),
            [DAY_MS + 180_000, DAY_MS, 2 * DAY_MS, 3]
        );
        assert_eq!(counting.keys_kept(), 0);
        counting.events([bid(2 * DAY_MS, 1, 7, 1)]);
        assert_eq!(counting.end().json()[0]["total_bidders"], 1, "another day");
    }

    #[test]
    fn ranks_are_by_price() {
        let prices = [100, 9_999, 10_000, 999_999, 1_000_000];
        assert_eq!(prices.map(rank), [1, 1, 2, 2, 3]);
    }
}
