//! Nexmark, query 13: which row of the side input a bid has: the one whose key is the rest of its auction's number.

use dirigo_operator::prelude::*;

/// The `config` table of the operator in `q13.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    rows: i64,
}

/// What is read of a bid.
#[derive(Debug, Event)]
pub struct Bid {
    auction: i64,
}

/// What is added to it.
#[derive(Debug, Event)]
pub struct Side {
    side: i64,
}

/// Finds rows.
#[derive(Debug)]
pub struct Sided {
    rows: i64,
}

#[operator]
impl Map for Sided {
    type Config = Config;
    type Event = Bid;
    type Output = Extend<Side>;

    fn open(Config { rows }: Config) -> Result<Self> {
        if rows < 1 {
            reject!("`rows` is {rows}, and must be at least 1");
        }
        Ok(Sided { rows })
    }

    fn map(&mut self, bid: &Bid) -> Result<Extend<Side>> {
        Ok(Extend(Side {
            side: bid.auction % self.rows,
        }))
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::Tester;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_row_is_the_rest_of_the_auction() {
        let mut sided = Tester::<Sided>::open(&json!({"rows": 1_000})).unwrap();
        let outcome = sided.map([json!({"auction": 2_007})]);
        assert_eq!(outcome.json(), [json!({"auction": 2_007, "side": 7})]);
    }
}
