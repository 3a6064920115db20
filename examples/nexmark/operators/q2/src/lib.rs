//! Nexmark, query 2: the bids on every 123rd auction.

use dirigo_operator::prelude::*;

/// The `config` table of the operator in `q2.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    every: i64,
}

/// What is read of a bid, and what is written of one that is taken.
#[derive(Debug, Event)]
pub struct Bid {
    auction: i64,
    price: i64,
}

/// Takes the bids on some of the auctions.
#[derive(Debug)]
pub struct Sampled {
    every: i64,
}

#[operator]
impl FlatMap for Sampled {
    type Config = Config;
    type Event = Bid;
    type Output = Bid;

    fn open(Config { every }: Config) -> Result<Self> {
        if every < 1 {
            reject!("`every` is {every}, and must be at least 1");
        }
        Ok(Sampled { every })
    }

    fn flat_map(&mut self, bid: &Bid, out: &mut Outputs<'_, Bid>) -> Result<()> {
        if bid.auction % self.every == 0 {
            out.push(bid)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::Tester;
    use serde_json::json;

    use super::*;

    #[test]
    fn bids_on_other_auctions_are_dropped() {
        let bid = |auction: i64| json!({"auction": auction, "bidder": 1, "price": 100});
        let outcome = Tester::<Sampled>::open(&json!({"every": 123}))
            .unwrap()
            .flat_map([1_230, 1_231, 1_353].map(bid));
        let expected = [1_230, 1_353].map(|auction| json!({"auction": auction, "price": 100}));
        assert_eq!(outcome.json(), expected);
    }

    #[test]
    fn every_0th_auction_is_refused() {
        assert!(Tester::<Sampled>::open(&json!({"every": 0})).is_err());
    }
}
