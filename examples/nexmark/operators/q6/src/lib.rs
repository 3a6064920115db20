//! Nexmark, query 6: the average price of the last ten auctions of a seller that were won.

use std::collections::VecDeque;

use dirigo_operator::prelude::*;

/// How many auctions the average is of.
const AUCTIONS: usize = 10;

/// What is read of an auction with its winning bid, as query 9 puts it out.
#[derive(Debug, Event)]
pub struct Winner {
    auction: i64,
    seller: i64,
    price: i64,
}

/// A seller's average behind an auction.
#[derive(Debug, Event)]
pub struct Sold {
    seller: i64,
    auction: i64,
    average: f64,
}

/// The prices of the last auctions, the newest last.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Prices(VecDeque<i64>);

/// Averages prices.
#[derive(Debug)]
pub struct Averaged;

#[operator]
impl Process for Averaged {
    type Config = NoConfig;
    type Event = Winner;
    type State = Prices;
    type Output = Sold;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Averaged)
    }

    fn event(&mut self, winner: &Winner, key: &mut Context<'_, Self>) -> Result<()> {
        let Prices(prices) = key.state();
        if prices.len() == AUCTIONS {
            prices.pop_front();
        }
        prices.push_back(winner.price);
        #[expect(clippy::cast_precision_loss, reason = "the sum of ten prices of up to 10^8 is exact")]
        let average = prices.iter().sum::<i64>() as f64 / prices.len() as f64;
        key.push(&Sold {
            seller: winner.seller,
            auction: winner.auction,
            average,
        })
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::{Event, ProcessTester};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_average_is_of_the_last_ten() {
        let mut averaged = ProcessTester::<Averaged>::open(&json!({})).unwrap();
        let winner = |auction: i64| {
            Event::from(json!({"auction": auction, "seller": 7, "price": 100 * auction}))
                .key("7")
                .at(auction)
        };
        let found = averaged.events((1..=12).map(winner)).json();
        let average = |place: usize| found[place]["average"].as_f64().unwrap();
        assert_eq!((found.len(), average(0), average(1)), (12, 100.0, 150.0));
        assert_eq!((average(9), average(11)), (550.0, 750.0));
    }
}
