//! A Nexmark event as a flat JSON object, `{"kind":"bid","auction":1000,"bidder":1001,…}`.
//!
//! Owns the members of each kind of event and their order. What it wrote last it also has value by value, so that no field needs to be
//! looked for. Knows nothing of which events there are.

use std::ops::Range;

use dirigo_fields::Cell;
use dirigo_json::Field;
use nexmark::event::Event;

const PERSON: [&str; 9] = [
    "kind",
    "id",
    "name",
    "email_address",
    "credit_card",
    "city",
    "state",
    "date_time",
    "extra",
];
const AUCTION: [&str; 11] = [
    "kind",
    "id",
    "item_name",
    "description",
    "initial_bid",
    "reserve",
    "date_time",
    "expires",
    "seller",
    "category",
    "extra",
];
const BID: [&str; 8] = [
    "kind",
    "auction",
    "bidder",
    "price",
    "channel",
    "url",
    "date_time",
    "extra",
];

/// An event as it was written last.
#[derive(Debug, Default)]
pub(super) struct Document {
    text: Vec<u8>,
    kind: Kind,
    /// Where the values of its members are in `text`, texts with their quotes.
    values: Vec<Range<usize>>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Kind {
    #[default]
    Person,
    Auction,
    Bid,
}

/// Where a field of events is: which member of a person, an auction and a bid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound([Option<usize>; 3]);

impl Bound {
    pub(super) fn of(field: &Field) -> Self {
        let (name, below) = field.split();
        let index = |members: &[&str]| members.iter().position(|member| *member == name && below.is_none());
        Self([index(&PERSON), index(&AUCTION), index(&BID)])
    }
}

enum Member<'a> {
    Number(i64),
    Text(&'a str),
}

impl Document {
    /// Writes an event that takes place at `date_time`, whenever its generator had it take place.
    pub(super) fn write(&mut self, event: &Event, date_time: i64) {
        use Member::{Number, Text};
        match event {
            Event::Person(person) => {
                let values = [
                    Text("person"),
                    number(person.id),
                    Text(&person.name),
                    Text(&person.email_address),
                    Text(&person.credit_card),
                    Text(&person.city),
                    Text(&person.state),
                    Number(date_time),
                    Text(&person.extra),
                ];
                self.write_members(Kind::Person, &PERSON, &values);
            }
            Event::Auction(auction) => {
                let lasts = auction.expires - auction.date_time;
                let values = [
                    Text("auction"),
                    number(auction.id),
                    Text(&auction.item_name),
                    Text(&auction.description),
                    number(auction.initial_bid),
                    number(auction.reserve),
                    Number(date_time),
                    Number(date_time.wrapping_add_unsigned(lasts)),
                    number(auction.seller),
                    number(auction.category),
                    Text(&auction.extra),
                ];
                self.write_members(Kind::Auction, &AUCTION, &values);
            }
            Event::Bid(bid) => {
                let values = [
                    Text("bid"),
                    number(bid.auction),
                    number(bid.bidder),
                    number(bid.price),
                    Text(&bid.channel),
                    Text(&bid.url),
                    Number(date_time),
                    Text(&bid.extra),
                ];
                self.write_members(Kind::Bid, &BID, &values);
            }
        }
    }

    fn write_members(&mut self, kind: Kind, names: &[&str], values: &[Member<'_>]) {
        self.kind = kind;
        self.text.clear();
        self.values.clear();
        let mut digits = itoa::Buffer::new();
        let mut before: &[u8] = b"{\"";
        for (name, value) in names.iter().zip(values) {
            self.text.extend_from_slice(before);
            self.text.extend_from_slice(name.as_bytes());
            self.text.extend_from_slice(b"\":");
            let start = self.text.len();
            match value {
                Member::Number(number) => self.text.extend_from_slice(digits.format(*number).as_bytes()),
                Member::Text(text) => {
                    debug_assert!(
                        text.bytes().all(is_plain),
                        "the generator's texts need no escapes: {text}"
                    );
                    self.text.push(b'"');
                    self.text.extend_from_slice(text.as_bytes());
                    self.text.push(b'"');
                }
            }
            self.values.push(start..self.text.len());
            before = b",\"";
        }
        self.text.push(b'}');
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// What a field of the event holds; `None` where it has no such field.
    #[inline]
    pub(super) fn cell(&self, Bound(members): Bound) -> Option<Cell<'_>> {
        let value = &self.text[self.values[members[self.kind as usize]?].clone()];
        Some(match value {
            [b'"', text @ .., b'"'] => Cell::Text(text.into()),
            number => Cell::Number(number.into()),
        })
    }
}

fn number(number: usize) -> Member<'static> {
    Member::Number(i64::try_from(number).expect("ids and prices are far below 2^63"))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\') || byte == b' '
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexmark::EventGenerator;
    use serde_json::{Value, json};

    #[test]
    fn a_document_says_what_the_event_says() {
        let mut document = Document::default();
        for event in EventGenerator::default().take(5_000) {
            let time = event.timestamp();
            document.write(&event, 7);
            let found: Value = serde_json::from_slice(document.as_bytes()).unwrap();
            let expected = match event {
                Event::Person(person) => json!({
                    "kind": "person", "id": person.id, "name": person.name, "email_address": person.email_address,
                    "credit_card": person.credit_card, "city": person.city, "state": person.state, "date_time": 7,
                    "extra": person.extra,
                }),
                Event::Auction(auction) => json!({
                    "kind": "auction", "id": auction.id, "item_name": auction.item_name,
                    "description": auction.description, "initial_bid": auction.initial_bid, "reserve": auction.reserve,
                    "date_time": 7, "expires": 7 + auction.expires - time, "seller": auction.seller,
                    "category": auction.category, "extra": auction.extra,
                }),
                Event::Bid(bid) => json!({
                    "kind": "bid", "auction": bid.auction, "bidder": bid.bidder, "price": bid.price,
                    "channel": bid.channel, "url": bid.url, "date_time": 7, "extra": bid.extra,
                }),
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_field_is_bound_to_its_member_of_each_kind() {
        let bound = |field: &str| Bound::of(&Field::new(field).unwrap()).0;
        assert_eq!(bound("kind"), [Some(0); 3]);
        assert_eq!(bound("/date_time"), [Some(7), Some(6), Some(6)]);
        assert_eq!(bound("price"), [None, None, Some(3)]);
        assert_eq!(bound("/price/0"), [None; 3]);
        assert_eq!(bound("nope"), [None; 3]);
    }
}
