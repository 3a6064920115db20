//! Nexmark, queries 15 and 16: counts of bids, bidders and auctions, of all and by the rank of the price.
//!
//! Bids are counted as they are; bidders and auctions come as the facts of `q15-facts`, each once.

use dirigo_operator::prelude::*;

const MINUTE_MS: i64 = 60_000;

/// What is read of a bid or of a fact.
#[derive(Debug, Event)]
pub struct Counted {
    /// Of a fact: where it is counted.
    column: Option<String>,
    price: Option<i64>,
    date_time: Option<i64>,
}

/// Of all, and of the ranks 1 to 3.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub struct ByRank {
    total: i64,
    rank1: i64,
    rank2: i64,
    rank3: i64,
}

/// What was counted.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    last: i64,
    bids: ByRank,
    bidders: ByRank,
    auctions: ByRank,
}

/// The counts of a window.
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
    fn merged(self, other: Self) -> Self {
        ByRank {
            total: self.total + other.total,
            rank1: self.rank1 + other.rank1,
            rank2: self.rank2 + other.rank2,
            rank3: self.rank3 + other.rank3,
        }
    }
}

#[operator]
impl Reduce for Counting {
    type Config = NoConfig;
    type Event = Counted;
    type Accumulator = Counts;
    type Output = Statistics;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Counting)
    }

    fn zero(&self) -> Counts {
        Counts::default()
    }

    fn add(&mut self, counts: &mut Counts, counted: &Counted) -> Result<()> {
        let Some(column) = &counted.column else {
            let (Some(price), Some(date_time)) = (counted.price, counted.date_time) else {
                reject!("neither a bid nor a fact");
            };
            counts.last = counts.last.max(date_time);
            counts.bids.total += 1;
            match price {
                ..10_000 => counts.bids.rank1 += 1,
                10_000..1_000_000 => counts.bids.rank2 += 1,
                _ => counts.bids.rank3 += 1,
            }
            return Ok(());
        };
        let (rank, of) = match column.split_once('_') {
            Some((rank, "bidders")) => (rank, &mut counts.bidders),
            Some((rank, "auctions")) => (rank, &mut counts.auctions),
            _ => reject!("there is no column `{column}`"),
        };
        match rank {
            "total" => of.total += 1,
            "rank1" => of.rank1 += 1,
            "rank2" => of.rank2 += 1,
            "rank3" => of.rank3 += 1,
            _ => reject!("there is no column `{column}`"),
        }
        Ok(())
    }

    fn merge(&mut self, left: Counts, right: Counts) -> Counts {
        Counts {
            last: left.last.max(right.last),
            bids: left.bids.merged(right.bids),
            bidders: left.bidders.merged(right.bidders),
            auctions: left.auctions.merged(right.auctions),
        }
    }

    fn finish(&mut self, window: &Window<'_>, counts: Counts) -> Result<Statistics> {
        let Counts {
            last,
            bids,
            bidders,
            auctions,
        } = counts;
        Ok(Statistics {
            key: window.key_str().into_owned(),
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

    fn counted() -> [Event; 5] {
        [
            json!({"price": 9_999, "date_time": 60_000}),
            json!({"column": "total_bidders"}),
            json!({"price": 1_000_000, "date_time": 185_000}),
            json!({"column": "rank3_auctions"}),
            json!({"column": "total_bidders"}),
        ]
        .map(|value| Event::from(value).key("bid").at(1))
    }

    #[test]
    fn bids_and_facts_are_counted_where_they_belong() {
        let outcome = Tester::<Counting>::open(&json!({})).unwrap().reduce(counted());
        let [found] = &outcome.json()[..] else {
            panic!("one window")
        };
        let columns = ["total_bids", "rank1_bids", "rank2_bids", "rank3_bids"];
        assert_eq!(columns.map(|column| found[column].as_i64().unwrap()), [2, 1, 0, 1]);
        let columns = ["total_bidders", "rank3_auctions", "total_auctions", "minute"];
        assert_eq!(
            columns.map(|column| found[column].as_i64().unwrap()),
            [2, 1, 0, 180_000]
        );
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let mut counting = Tester::<Counting>::open(&json!({})).unwrap();
        let whole = counting.reduce(counted());
        for cut in 0..=5 {
            let (left, right) = (counted()[..cut].to_vec(), counted()[cut..].to_vec());
            assert_eq!(counting.reduce_parts([left, right]), whole);
        }
    }

    #[test]
    fn what_is_neither_is_rejected() {
        let mut counting = Tester::<Counting>::open(&json!({})).unwrap();
        for value in [
            json!({"price": 1}),
            json!({"column": "rank4_bidders"}),
            json!({"column": "bidders"}),
        ] {
            let outcome = counting.reduce([Event::from(value).key("bid").at(1)]);
            assert_eq!(outcome.rejected.len(), 1);
        }
    }
}
