//! Nexmark, queries 15 and 16: what is to be counted once of a bid: its bidder and its auction, among all and among those of its rank.
//!
//! Each comes out as a *fact* with a name of its own for each day, and for each channel where that is asked for. Without those that were there before,
//! which a `builtin:dedup` drops, facts are as many as different bidders and auctions.

use dirigo_operator::prelude::*;

const DAY_MS: i64 = 86_400_000;

/// The `config` table of the operator in `q15.toml` and `q16.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether bidders and auctions are counted for each channel.
    by_channel: bool,
}

/// What is read of a bid.
#[derive(Debug, Event)]
pub struct Bid {
    kind: String,
    channel: String,
    auction: i64,
    bidder: i64,
    price: i64,
    date_time: i64,
}

/// A bidder or an auction to be counted.
#[derive(Debug, Event)]
pub struct Fact {
    kind: String,
    channel: String,
    /// Where it is counted, such as `rank1_bidders`.
    column: String,
    /// Its name.
    name: String,
}

/// Finds facts.
#[derive(Debug)]
pub struct Facts {
    by_channel: bool,
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
impl FlatMap for Facts {
    type Config = Config;
    type Event = Bid;
    type Output = Fact;

    fn open(Config { by_channel }: Config) -> Result<Self> {
        Ok(Facts { by_channel })
    }

    fn flat_map(&mut self, bid: &Bid, out: &mut Outputs<'_, Fact>) -> Result<()> {
        let day = bid.date_time.div_euclid(DAY_MS);
        let rank = rank(bid.price);
        let channel = if self.by_channel { &bid.channel } else { "" };
        for (what, number) in [("bidders", bid.bidder), ("auctions", bid.auction)] {
            for column in [format!("total_{what}"), format!("rank{rank}_{what}")] {
                out.push(&Fact {
                    kind: bid.kind.clone(),
                    channel: bid.channel.clone(),
                    name: format!("{day} {column} {number} {channel}"),
                    column,
                })?;
            }
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
    fn a_bid_has_four_facts() {
        let bid = json!({"kind": "bid", "channel": "Google", "auction": 7, "bidder": 8, "price": 10_000, "date_time": DAY_MS + 1});
        let facts = |by_channel: bool| {
            let mut facts = Tester::<Facts>::open(&json!({"by_channel": by_channel})).unwrap();
            let found = facts.flat_map([bid.clone()]).json();
            let texts = found.iter().map(|fact| fact["name"].as_str().unwrap().to_owned());
            texts.collect::<Vec<_>>()
        };
        let expected = [
            "total_bidders 8",
            "rank2_bidders 8",
            "total_auctions 7",
            "rank2_auctions 7",
        ];
        assert_eq!(facts(false), expected.map(|fact| format!("1 {fact} ")));
        assert_eq!(facts(true), expected.map(|fact| format!("1 {fact} Google")));
    }

    #[test]
    fn ranks_are_by_price() {
        let prices = [100, 9_999, 10_000, 999_999, 1_000_000];
        assert_eq!(prices.map(rank), [1, 1, 2, 2, 3]);
    }
}
