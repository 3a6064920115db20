//! Random numbers that follow from what an operator works on.
//!
//! An operator is a function of its events, so its random numbers are too: those that it draws at an event follow from the names of
//! pipeline and operator and from where the event came from. A retry draws the same, another event others, whichever instance and
//! worker runs it. They are not secret: any party that knows the names can compute them.

use std::sync::Arc;

use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::StepOrigin;

use crate::digest;

/// What all random numbers of an operator follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed([u8; 32]);

/// Which events a request is about: the part that its batch does not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventOrigins {
    /// The source that they entered by.
    pub source: Arc<str>,
    /// Of each, which one it is of those with its key that the operators before made of the same event of that source, from 0.
    pub twins: Vec<u32>,
}

/// Which event a call is about.
#[derive(Clone, Debug)]
pub(crate) struct EventIdentity {
    source: Arc<str>,
    twin: u32,
    position: u64,
    path: u32,
    /// The keys of its batch, and which of them is its own.
    keys: Arc<Column>,
    index: usize,
}

impl EventIdentity {
    /// That of event `index` of `batch`.
    pub(crate) fn new(origins: &EventOrigins, batch: &Batch, index: usize) -> Self {
        Self {
            source: origins.source.clone(),
            twin: origins.twins[index],
            position: batch.positions[index],
            path: batch.origin.path,
            keys: batch.keys.clone(),
            index,
        }
    }
}

impl EventIdentity {
    /// That of the only step of a request, which waited for event time.
    pub(crate) fn of_step(step: &StepOrigin, steps: &Batch) -> Self {
        Self {
            source: step.source.clone(),
            twin: step.twin,
            position: step.position,
            path: step.path,
            keys: steps.keys.clone(),
            index: 0,
        }
    }
}

impl Seed {
    /// That of operator `operator` of pipeline `pipeline`.
    #[must_use]
    pub fn new(pipeline: &str, operator: &str) -> Self {
        Self(digest_of(&[
            b"dirigo operator",
            pipeline.as_bytes(),
            operator.as_bytes(),
        ]))
    }

    /// What a guest seeds its hash tables with, the same in every instance: so each of them walks a table in the same order.
    pub(crate) fn of_hashes(&self) -> (u64, u64) {
        let [first, second, ..] = words(digest_of(&[&self.0, b"hashes"]));
        (first, second)
    }

    /// The numbers of a call that is about this event, or about none.
    pub(crate) fn numbers(&self, event: Option<&EventIdentity>) -> Numbers {
        let Some(event) = event else {
            return Numbers(words(digest_of(&[&self.0, b"open"])));
        };
        Numbers(words(digest_of(&[
            &self.0,
            b"event",
            event.source.as_bytes(),
            &event.path.to_le_bytes(),
            &event.position.to_le_bytes(),
            event.keys.get(event.index),
            &event.twin.to_le_bytes(),
        ])))
    }
}

/// A hash of these parts, however their bytes are spread over them.
fn digest_of(parts: &[&[u8]]) -> [u8; 32] {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    digest::sha256(&bytes)
}

fn words(digest: [u8; 32]) -> [u64; 4] {
    let (words, _) = digest.as_chunks::<8>();
    std::array::from_fn(|word| u64::from_le_bytes(words[word]))
}

/// A stream of random numbers: xoshiro256++ (Blackman and Vigna, 2019), whose whole state is a hash.
#[derive(Clone, Debug)]
pub(crate) struct Numbers([u64; 4]);

impl Numbers {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let number = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        number
    }

    /// Fills `bytes` with the next numbers.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            piece.copy_from_slice(&self.next().to_le_bytes()[..piece.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use dirigo_ground::fields::Fields;
    use dirigo_ground::lineage::Ticket;

    fn event(source: &str, position: u64, key: &str, twin: u32) -> EventIdentity {
        let mut keys = Column::default();
        keys.push(key.as_bytes());
        let batch = Batch {
            times: Arc::new(vec![0]),
            keys: Arc::new(keys),
            values: Column::of_empty(1).into(),
            fields: Fields::default(),
            positions: Arc::new(vec![position]),
            origin: Ticket::detached().into(),
        };
        let origins = EventOrigins {
            source: source.into(),
            twins: vec![twin],
        };
        EventIdentity::new(&origins, &batch, 0)
    }

    #[test]
    fn the_numbers_are_those_of_the_published_generator() {
        let mut numbers = Numbers([1, 2, 3, 4]);
        let drawn: Vec<u64> = (0..5).map(|_| numbers.next()).collect();
        assert_eq!(
            drawn,
            [
                41_943_041,
                58_720_359,
                3_588_806_011_781_223,
                3_591_011_842_654_386,
                9_228_616_714_210_784_205
            ]
        );
    }

    #[test]
    fn each_event_has_numbers_of_its_own_and_the_same_ones_again() {
        let seeds = [Seed::new("p", "o"), Seed::new("p", "p"), Seed::new("po", "")];
        let events = [
            None,
            Some(event("s", 1, "k", 0)),
            Some(event("s", 2, "k", 0)),
            Some(event("sk", 1, "", 0)),
            Some(event("s", 1, "k", 1)),
        ];
        let first = |seed: &Seed, event: &Option<EventIdentity>| seed.numbers(event.as_ref()).next();
        let all = seeds
            .iter()
            .flat_map(|seed| events.iter().map(move |event| (seed, event)));
        let drawn: BTreeSet<u64> = all.clone().map(|(seed, event)| first(seed, event)).collect();
        assert_eq!(drawn.len(), seeds.len() * events.len());
        assert!(all.clone().all(|(seed, event)| drawn.contains(&first(seed, event))));
    }

    #[test]
    fn bytes_are_the_numbers_in_order() {
        let mut bytes = [0; 20];
        Numbers([1, 2, 3, 4]).fill(&mut bytes);
        assert_eq!(bytes[..8], 41_943_041_u64.to_le_bytes());
        assert_eq!(bytes[16..], 3_588_806_011_781_223_u64.to_le_bytes()[..4]);
    }
}
