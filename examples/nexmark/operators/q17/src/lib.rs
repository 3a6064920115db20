//! Nexmark, query 17: how many bids an auction has, by the rank of their prices, and their prices.

use dirigo_operator::prelude::*;

/// What is read of a bid.
#[derive(Debug, Event)]
pub struct Bid {
    auction: i64,
    price: i64,
}

/// What is known of an auction's bids.
#[derive(Debug, Serialize, Deserialize)]
pub struct Prices {
    auction: i64,
    rank1: i64,
    rank2: i64,
    rank3: i64,
    min: i64,
    max: i64,
    sum: i64,
}

/// The bids of an auction in a window.
#[derive(Debug, Event)]
pub struct Statistics {
    auction: i64,
    total_bids: i64,
    rank1_bids: i64,
    rank2_bids: i64,
    rank3_bids: i64,
    min_price: i64,
    max_price: i64,
    avg_price: f64,
    sum_price: i64,
    start: i64,
    end: i64,
}

/// Sums bids up.
#[derive(Debug)]
pub struct Summed;

#[operator]
impl Reduce for Summed {
    type Config = NoConfig;
    type Event = Bid;
    type Accumulator = Option<Prices>;
    type Output = Statistics;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Summed)
    }

    fn zero(&self) -> Option<Prices> {
        None
    }

    fn add(&mut self, prices: &mut Option<Prices>, &Bid { auction, price }: &Bid) -> Result<()> {
        let of_one = Prices {
            auction,
            rank1: i64::from(price < 10_000),
            rank2: i64::from((10_000..1_000_000).contains(&price)),
            rank3: i64::from(price >= 1_000_000),
            min: price,
            max: price,
            sum: price,
        };
        *prices = self.merge(prices.take(), Some(of_one));
        Ok(())
    }

    fn merge(&mut self, left: Option<Prices>, right: Option<Prices>) -> Option<Prices> {
        let (left, right) = match (left, right) {
            (Some(left), Some(right)) => (left, right),
            (left, right) => return left.or(right),
        };
        Some(Prices {
            auction: left.auction,
            rank1: left.rank1 + right.rank1,
            rank2: left.rank2 + right.rank2,
            rank3: left.rank3 + right.rank3,
            min: left.min.min(right.min),
            max: left.max.max(right.max),
            sum: left.sum + right.sum,
        })
    }

    fn finish(&mut self, window: &Window<'_>, prices: Option<Prices>) -> Result<Statistics> {
        let Some(prices) = prices else {
            reject!("a window without bids has no prices");
        };
        let total_bids = prices.rank1 + prices.rank2 + prices.rank3;
        #[expect(
            clippy::cast_precision_loss,
            reason = "prices of up to 10^8 add up to less than 2^53"
        )]
        let avg_price = prices.sum as f64 / total_bids as f64;
        Ok(Statistics {
            auction: prices.auction,
            total_bids,
            rank1_bids: prices.rank1,
            rank2_bids: prices.rank2,
            rank3_bids: prices.rank3,
            min_price: prices.min,
            max_price: prices.max,
            avg_price,
            sum_price: prices.sum,
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
        [9_999, 10_000, 1_000_000, 5].map(|price| Event::from(json!({"auction": 7, "price": price})).key("7").at(1))
    }

    #[test]
    fn bids_are_summed_up() {
        let outcome = Tester::<Summed>::open(&json!({})).unwrap().reduce(bids());
        let [found] = &outcome.json()[..] else {
            panic!("one window")
        };
        let columns = [
            "auction",
            "total_bids",
            "rank1_bids",
            "rank2_bids",
            "rank3_bids",
            "min_price",
            "max_price",
            "sum_price",
        ];
        let expected = [7, 4, 2, 1, 1, 5, 1_000_000, 1_020_004];
        assert_eq!(columns.map(|column| found[column].as_i64().unwrap()), expected);
        assert_eq!(found["avg_price"], json!(255_001.0));
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let mut summed = Tester::<Summed>::open(&json!({})).unwrap();
        let whole = summed.reduce(bids());
        for cut in 0..=4 {
            let (left, right) = (bids()[..cut].to_vec(), bids()[cut..].to_vec());
            assert_eq!(summed.reduce_parts([left, right]), whole);
        }
    }
}
