//! Nexmark, query 7: the highest bid of each window.

use std::cmp::Reverse;

use dirigo_operator::prelude::*;

/// What is read of a bid.
#[derive(Debug, Event)]
pub struct Bid {
    auction: i64,
    bidder: i64,
    price: i64,
    date_time: i64,
}

/// The highest bid so far.
#[derive(Debug, Serialize, Deserialize)]
pub struct Leader {
    auction: i64,
    bidder: i64,
    price: i64,
    date_time: i64,
}

/// The highest bid of a window.
#[derive(Debug, Event)]
pub struct HighestBid {
    auction: i64,
    bidder: i64,
    price: i64,
    date_time: i64,
    start: i64,
    end: i64,
}

/// Finds the highest bid.
#[derive(Debug)]
pub struct Highest;

impl Leader {
    /// Whether it stays ahead of another one: by its price, then by its time; where both are equal, by numbers, so that one always is.
    fn is_ahead_of(&self, other: &Leader) -> bool {
        let rank = |bid: &Leader| (Reverse(bid.price), bid.date_time, bid.auction, bid.bidder);
        rank(self) <= rank(other)
    }
}

#[operator]
impl Reduce for Highest {
    type Config = NoConfig;
    type Event = Bid;
    type Accumulator = Option<Leader>;
    type Output = HighestBid;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Highest)
    }

    fn zero(&self) -> Option<Leader> {
        None
    }

    fn add(&mut self, highest: &mut Option<Leader>, bid: &Bid) -> Result<()> {
        let bid = Leader {
            auction: bid.auction,
            bidder: bid.bidder,
            price: bid.price,
            date_time: bid.date_time,
        };
        *highest = self.merge(highest.take(), Some(bid));
        Ok(())
    }

    fn merge(&mut self, left: Option<Leader>, right: Option<Leader>) -> Option<Leader> {
        match (left, right) {
            (Some(left), Some(right)) => Some(if left.is_ahead_of(&right) { left } else { right }),
            (left, right) => left.or(right),
        }
    }

    fn finish(&mut self, window: &Window<'_>, highest: Option<Leader>) -> Result<HighestBid> {
        let Some(bid) = highest else {
            reject!("a window without bids has no highest one");
        };
        Ok(HighestBid {
            auction: bid.auction,
            bidder: bid.bidder,
            price: bid.price,
            date_time: bid.date_time,
            start: window.start,
            end: window.end,
        })
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::{Event, Tester};
    use serde_json::json;

    use super::*;

    fn bids() -> [Event; 4] {
        [(100, 5), (300, 7), (300, 6), (200, 8)].map(|(price, time)| {
            Event::from(json!({"auction": 1000, "bidder": 1001, "price": price, "date_time": time})).at(time)
        })
    }

    #[test]
    fn the_first_of_the_highest_bids_wins() {
        let outcome = Tester::<Highest>::open(&json!({})).unwrap().reduce(bids());
        let [found] = &outcome.json()[..] else {
            panic!("one window")
        };
        assert_eq!((&found["price"], &found["date_time"]), (&json!(300), &json!(6)));
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let mut highest = Tester::<Highest>::open(&json!({})).unwrap();
        let whole = highest.reduce(bids());
        for cut in 0..=4 {
            let (left, right) = (bids()[..cut].to_vec(), bids()[cut..].to_vec());
            assert_eq!(highest.reduce_parts([left, right]), whole);
        }
    }
}
