//! Nexmark, query 18: a bid's bidder and auction as one field, to be the key of the bid.

use dirigo_operator::prelude::*;

/// What is read of a bid.
#[derive(Debug, Event)]
pub struct Bid {
    bidder: i64,
    auction: i64,
}

/// What is added to it.
#[derive(Debug, Event)]
pub struct Pair {
    pair: String,
}

/// Pairs bidders with auctions.
#[derive(Debug)]
pub struct Paired;

#[operator]
impl Map for Paired {
    type Config = NoConfig;
    type Event = Bid;
    type Output = Extend<Pair>;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Paired)
    }

    fn map(&mut self, bid: &Bid) -> Result<Extend<Pair>> {
        Ok(Extend(Pair {
            pair: format!("{}-{}", bid.bidder, bid.auction),
        }))
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::Tester;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_pair_says_both() {
        let outcome = Tester::<Paired>::open(&json!({}))
            .unwrap()
            .map([json!({"bidder": 7, "auction": 8})]);
        assert_eq!(outcome.json(), [json!({"bidder": 7, "auction": 8, "pair": "7-8"})]);
    }
}
