//! Nexmark, query 14: bids of a certain price in euros, by the time of the day.

use dirigo_operator::prelude::*;

const MS_PER_HOUR: i64 = 3_600_000;

/// What is read of a bid.
#[derive(Debug, Event)]
pub struct Bid {
    auction: i64,
    bidder: i64,
    price: f64,
    date_time: i64,
    extra: String,
}

/// What is written of one.
#[derive(Debug, Event)]
pub struct Priced {
    auction: i64,
    bidder: i64,
    price: f64,
    bid_time_type: String,
    date_time: i64,
    extra: String,
    c_counts: i64,
}

/// Calculates prices, and takes those within the range of the query.
#[derive(Debug)]
pub struct Calculation;

fn bid_time_type(date_time: i64) -> &'static str {
    match date_time.div_euclid(MS_PER_HOUR).rem_euclid(24) {
        8..=18 => "dayTime",
        ..=6 | 20.. => "nightTime",
        _ => "otherTime",
    }
}

#[operator]
impl FlatMap for Calculation {
    type Config = NoConfig;
    type Event = Bid;
    type Output = Priced;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Calculation)
    }

    fn flat_map(&mut self, bid: &Bid, out: &mut Outputs<'_, Priced>) -> Result<()> {
        let price = 0.908 * bid.price;
        if price <= 1_000_000.0 || price >= 50_000_000.0 {
            return Ok(());
        }
        let c_counts = bid.extra.bytes().filter(|byte| *byte == b'c').count();
        out.push(&Priced {
            auction: bid.auction,
            bidder: bid.bidder,
            price,
            bid_time_type: bid_time_type(bid.date_time).to_owned(),
            date_time: bid.date_time,
            extra: bid.extra.clone(),
            c_counts: i64::try_from(c_counts)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::Tester;
    use serde_json::json;

    use super::*;

    fn bid(price: i64) -> serde_json::Value {
        json!({"auction": 1000, "bidder": 1001, "price": price, "date_time": 8 * MS_PER_HOUR, "extra": "cabcc"})
    }

    #[test]
    fn prices_are_in_euros_and_within_the_range() {
        let mut calculation = Tester::<Calculation>::open(&json!({})).unwrap();
        let outcome = calculation.flat_map([1_000_000, 2_000_000, 56_000_000].map(bid));
        let expected = json!({
            "auction": 1000, "bidder": 1001, "price": 1_816_000.0, "bid_time_type": "dayTime",
            "date_time": 8 * MS_PER_HOUR, "extra": "cabcc", "c_counts": 3,
        });
        assert_eq!(outcome.json(), [expected]);
    }

    #[test]
    fn a_day_has_three_kinds_of_hours() {
        let kinds = [0, 6, 7, 8, 18, 19, 20, 23].map(|hour| bid_time_type(hour * MS_PER_HOUR));
        let (day, night, other) = ("dayTime", "nightTime", "otherTime");
        assert_eq!(kinds, [night, night, other, day, day, other, night, night]);
        assert_eq!(bid_time_type(-1), night, "the last hour of 1969");
    }
}
