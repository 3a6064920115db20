//! A source (`kind = "countdown"`) and a sink (`kind = "notebook"`) in a crate of their own: all that a connector has to
//! say.

use std::path::Path;
use std::sync::{Arc, Mutex};

use dirigo::connect::sink::{self, DeliveryCapability, Events, Prepared};
use dirigo::connect::source::{Intake, Read, ReadLimit, ReadProgress};
use dirigo::connect::{Error, Facets, Format, Offset, Opening, Sink, SinkSpec, Source, SourceSpec, facets};
use dirigo::disk::Disk;
use dirigo::pipeline::keys::{NoKeys, Validation, Whole};
use dirigo::pipeline::{SinkConnector, SourceConnector, section};
use serde_json::json;

section! {
    /// The keys of a countdown.
    pub struct CountdownKeys = "[[source]]" {
        /// For a countdown: the first number; the last one is 1.
        from: Whole<1, 1_000_000>,
    }
}

/// `kind = "countdown"`.
#[derive(Clone, Debug, Default)]
pub struct Countdown {
    /// The offsets of the epochs that became durable.
    pub committed: Arc<Mutex<Vec<Offset>>>,
}

impl SourceConnector for Countdown {
    type Keys = CountdownKeys;

    fn kind(&self) -> &'static str {
        "countdown"
    }

    fn format(&self, _: &CountdownKeys) -> Option<Format> {
        Some(Format::Jsonl)
    }

    fn validate(
        &self,
        keys: &CountdownKeys,
        who: &str,
        validation: &mut Validation<'_>,
    ) -> Option<Arc<dyn SourceSpec>> {
        let from = keys
            .from
            .required("from", "10", keys.place, who, &mut validation.problems)?;
        Some(Arc::new(CountdownSpec {
            from: from.value.to_u64(),
            connector: self.clone(),
        }))
    }
}

#[derive(Debug)]
struct CountdownSpec {
    from: u64,
    connector: Countdown,
}

impl SourceSpec for CountdownSpec {
    fn format(&self) -> Format {
        Format::Jsonl
    }

    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Source>, Error> {
        let taken = match opening.from {
            Some(offset) => offset
                .as_u64()
                .ok_or_else(|| Error::fatal("the bookmark is no number"))?,
            None => 0,
        };
        Ok(Box::new(Counting {
            from: self.from,
            taken,
            connector: self.connector.clone(),
        }))
    }

    fn can_be_read_again(&self, _: &dyn Disk) -> bool {
        true
    }

    fn facets(&self, _: &Path) -> Facets {
        facets([("kind", json!("countdown"))])
    }
}

struct Counting {
    from: u64,
    taken: u64,
    connector: Countdown,
}

impl Source for Counting {
    fn read(&mut self, intake: &mut Intake, limit: ReadLimit) -> Result<Read, Error> {
        for _ in 0..limit.events {
            if self.taken >= self.from {
                return Ok(Read::End);
            }
            let number = self.from - self.taken;
            self.taken += 1;
            intake
                .times
                .push(i64::try_from(self.taken).expect("`from` is at most a million"));
            intake
                .keys
                .push(if number.is_multiple_of(2) { b"even" } else { b"odd" });
            intake.values.push(number.to_string().as_bytes());
            intake.positions.push(self.taken);
        }
        Ok(Read::More)
    }

    fn offset(&self) -> Option<Offset> {
        Some(json!(self.taken))
    }

    fn committed(&mut self, offset: &Offset) -> Result<(), Error> {
        let mut committed = self
            .connector
            .committed
            .lock()
            .map_err(|_| Error::fatal("a test panicked"))?;
        committed.push(offset.clone());
        Ok(())
    }

    fn progress(&self) -> Option<ReadProgress> {
        None
    }
}

/// `kind = "notebook"`: keeps time, key and value of every event.
#[derive(Clone, Debug, Default)]
pub struct Notebook(pub Arc<Mutex<Vec<(i64, String, String)>>>);

impl SinkConnector for Notebook {
    type Keys = NoKeys;

    fn kind(&self) -> &'static str {
        "notebook"
    }

    fn validate(&self, _: &NoKeys, _: &str, _: &mut Validation<'_>) -> Option<Arc<dyn SinkSpec>> {
        Some(Arc::new(self.clone()))
    }
}

const DELIVERY_CAPABILITY: DeliveryCapability = DeliveryCapability::AtLeastOnce {
    why: "what is noted stays",
};

impl SinkSpec for Notebook {
    fn open(&self, _: sink::Opening<'_>) -> Result<Box<dyn Sink>, Error> {
        Ok(Box::new(self.clone()))
    }

    fn delivery_capability(&self, _: &dyn Disk) -> DeliveryCapability {
        DELIVERY_CAPABILITY
    }

    fn facets(&self, _: &Path) -> Option<Facets> {
        None
    }
}

impl Sink for Notebook {
    fn write(&mut self, events: Events<'_>) -> Result<(), Error> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let events = events.times.iter().zip(events.keys.iter().zip(events.values.iter()));
        let mut notes = self.0.lock().map_err(|_| Error::fatal("a test panicked"))?;
        notes.extend(events.map(|(&time, (key, value))| (time, text(key), text(value))));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn prepare(&mut self) -> Result<Prepared, Error> {
        Ok(Prepared::default())
    }

    fn publish(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn delivery_capability(&self) -> DeliveryCapability {
        DELIVERY_CAPABILITY
    }
}
