//! Nexmark, query 21: the number of each bid's channel.

use dirigo_operator::prelude::*;

/// What is read of a bid.
#[derive(Debug, Event)]
pub struct Bid {
    auction: i64,
    bidder: i64,
    price: i64,
    channel: String,
    url: String,
}

/// What is written of one.
#[derive(Debug, Event)]
pub struct Numbered {
    auction: i64,
    bidder: i64,
    price: i64,
    channel: String,
    channel_id: String,
}

/// Finds the numbers of channels; bids whose channel has none are dropped.
#[derive(Debug)]
pub struct Numbering;

fn channel_id<'b>(channel: &str, url: &'b str) -> Option<&'b str> {
    match &*channel.to_lowercase() {
        "apple" => Some("0"),
        "google" => Some("1"),
        "facebook" => Some("2"),
        "baidu" => Some("3"),
        _ => url.split('&').find_map(|part| part.strip_prefix("channel_id=")),
    }
}

#[operator]
impl FlatMap for Numbering {
    type Config = NoConfig;
    type Event = Bid;
    type Output = Numbered;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Numbering)
    }

    fn flat_map(&mut self, bid: &Bid, out: &mut Outputs<'_, Numbered>) -> Result<()> {
        let Some(channel_id) = channel_id(&bid.channel, &bid.url) else {
            return Ok(());
        };
        out.push(&Numbered {
            auction: bid.auction,
            bidder: bid.bidder,
            price: bid.price,
            channel: bid.channel.clone(),
            channel_id: channel_id.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::Tester;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_channel_has_a_known_number_or_that_of_the_url() {
        assert_eq!(channel_id("Apple", "https://a/?query=1&channel_id=9"), Some("0"));
        assert_eq!(
            channel_id("channel-1", "https://a/?query=1&channel_id=9&x=2"),
            Some("9")
        );
        assert_eq!(channel_id("channel-1", "channel_id=9"), Some("9"));
        assert_eq!(channel_id("channel-1", "https://a/?query=1&no_channel_id=9"), None);
    }

    #[test]
    fn a_bid_without_a_number_is_dropped() {
        let bid =
            |channel: &str| json!({"auction": 1, "bidder": 2, "price": 3, "channel": channel, "url": "https://a"});
        let outcome = Tester::<Numbering>::open(&json!({}))
            .unwrap()
            .flat_map([bid("Google"), bid("channel-7")]);
        let expected = json!({"auction": 1, "bidder": 2, "price": 3, "channel": "Google", "channel_id": "1"});
        assert_eq!(outcome.json(), [expected]);
    }
}
