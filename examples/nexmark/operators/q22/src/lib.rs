//! Nexmark, query 22: the folders of each bid's URL.

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
pub struct Split {
    auction: i64,
    bidder: i64,
    price: i64,
    channel: String,
    dir1: Option<String>,
    dir2: Option<String>,
    dir3: Option<String>,
}

/// Splits URLs.
#[derive(Debug)]
pub struct Folders;

#[operator]
impl Map for Folders {
    type Config = NoConfig;
    type Event = Bid;
    type Output = Split;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Folders)
    }

    fn map(&mut self, bid: &Bid) -> Result<Split> {
        // Of `https://host/a/b/c/…`, the host is the third part.
        let mut folders = bid.url.split('/').skip(3).map(str::to_owned);
        Ok(Split {
            auction: bid.auction,
            bidder: bid.bidder,
            price: bid.price,
            channel: bid.channel.clone(),
            dir1: folders.next(),
            dir2: folders.next(),
            dir3: folders.next(),
        })
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::Tester;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_url_has_three_folders_or_fewer() {
        let bid = |url: &str| json!({"auction": 1, "bidder": 2, "price": 3, "channel": "Apple", "url": url});
        let outcome = Tester::<Folders>::open(&json!({}))
            .unwrap()
            .map([bid("https://host/a/_b/c/item.htm"), bid("https://host/a")]);
        let folders = |index: usize| ["dir1", "dir2", "dir3"].map(|name| outcome.json()[index][name].clone());
        assert_eq!(folders(0), [json!("a"), json!("_b"), json!("c")]);
        assert_eq!(folders(1), [json!("a"), json!(null), json!(null)]);
    }
}
