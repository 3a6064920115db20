//! Nexmark, query 5: the auctions with the most bids.
//!
//! Reads how many bids each auction had in a window, as `builtin:reduce` counts them; all that it gets in one window of its own are counts of the
//! same one.

use dirigo_operator::prelude::*;

/// How many bids an auction had in a window.
#[derive(Debug, Event)]
pub struct Bids {
    #[event(name = "key")]
    auction: String,
    count: i64,
    start: i64,
    end: i64,
}

/// The auctions that had the most so far.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Hottest {
    auctions: Vec<i64>,
    count: i64,
    start: i64,
    end: i64,
}

/// The auctions that had the most bids in a window, in the order of their numbers.
#[derive(Debug, Event)]
pub struct HotItems {
    auctions: Vec<i64>,
    count: i64,
    start: i64,
    end: i64,
}

/// Finds the auctions with the most bids.
#[derive(Debug)]
pub struct Ranking;

#[operator]
impl Reduce for Ranking {
    type Config = NoConfig;
    type Event = Bids;
    type Accumulator = Hottest;
    type Output = HotItems;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Ranking)
    }

    fn zero(&self) -> Hottest {
        Hottest::default()
    }

    fn add(&mut self, hottest: &mut Hottest, bids: &Bids) -> Result<()> {
        if bids.count < hottest.count {
            return Ok(());
        }
        let Ok(auction) = bids.auction.parse() else {
            reject!("`{}` is not the number of an auction", bids.auction);
        };
        if bids.count > hottest.count {
            hottest.auctions.clear();
        }
        hottest.auctions.push(auction);
        hottest.count = bids.count;
        (hottest.start, hottest.end) = (bids.start, bids.end);
        Ok(())
    }

    fn merge(&mut self, mut left: Hottest, mut right: Hottest) -> Hottest {
        if left.count == right.count {
            left.auctions.append(&mut right.auctions);
        }
        if left.count < right.count { right } else { left }
    }

    fn finish(&mut self, _: &Window<'_>, mut hottest: Hottest) -> Result<HotItems> {
        hottest.auctions.sort_unstable();
        Ok(HotItems {
            auctions: hottest.auctions,
            count: hottest.count,
            start: hottest.start,
            end: hottest.end,
        })
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::{Event, Tester};
    use serde_json::json;

    use super::*;

    fn counts() -> [Event; 4] {
        [("1003", 4), ("1001", 9), ("1004", 2), ("1000", 9)]
            .map(|(key, count)| Event::from(json!({"key": key, "count": count, "start": 0, "end": 10_000})))
    }

    #[test]
    fn auctions_with_as_many_bids_share_the_rank() {
        let outcome = Tester::<Ranking>::open(&json!({})).unwrap().reduce(counts());
        let expected = json!({"auctions": [1000, 1001], "count": 9, "start": 0, "end": 10_000});
        assert_eq!(outcome.json(), [expected]);
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let mut ranking = Tester::<Ranking>::open(&json!({})).unwrap();
        let whole = ranking.reduce(counts());
        for cut in 0..=4 {
            let (left, right) = (counts()[..cut].to_vec(), counts()[cut..].to_vec());
            assert_eq!(ranking.reduce_parts([left, right]), whole);
        }
    }
}
