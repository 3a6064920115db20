//! The kind that decides which events go on.

use std::borrow::Borrow;

use serde::de::DeserializeOwned;

use crate::{
    Result,
    codec::{Decode, for_each_event},
    columns::{Batch, Failure, Filtered},
    fields::Schema,
    progress,
};

/// An operator that keeps some events, as they are, and drops the others.
///
/// ```
/// use dirigo_operator::prelude::*;
///
/// #[derive(Deserialize)]
/// struct Config { threshold: f64 }
///
/// #[derive(Deserialize)]
/// struct Reading { value: f64 }
///
/// struct Threshold(f64);
///
/// #[operator]
/// impl Filter for Threshold {
///     type Config = Config;
///     type Event = Reading;
///
///     fn open(config: Config) -> Result<Self> {
///         Ok(Threshold(config.threshold))
///     }
///
///     fn keep(&mut self, event: &Reading) -> Result<bool> {
///         Ok(event.value > self.0)
///     }
/// }
/// # fn main() {}
/// ```
pub trait Filter: Sized {
    /// The operator's `config` table in the pipeline file.
    type Config: DeserializeOwned;
    /// What an event is.
    type Event: Decode + ?Sized;

    /// Prepares the operator, once per activation.
    ///
    /// # Errors
    /// When the configuration makes no sense; the pipeline doesn't start.
    fn open(config: Self::Config) -> Result<Self>;

    /// What it reads: the fields of its event type. An operator whose configuration names fields says so here.
    fn schema(&self) -> Schema {
        Schema::of_events::<Self::Event>()
    }

    /// Whether the event goes on.
    ///
    /// # Errors
    /// Rejects the event.
    fn keep(&mut self, event: &Self::Event) -> Result<bool>;
}

/// Runs a [`Filter`] over a batch. Public for the generated glue, for tests, and to measure against.
#[doc(hidden)]
pub fn filter_batch<O: Filter>(operator: &mut O, batch: &Batch) -> Filtered {
    let mut filtered = Filtered {
        kept: Vec::with_capacity(batch.len()),
        failures: Vec::new(),
    };
    for_each_event::<O::Event>(batch, |place, event| {
        progress::at_event(place);
        let kept = O::Event::decode(event).and_then(|event| operator.keep(event.borrow()));
        match kept {
            Ok(true) => filtered.kept.push(place),
            Ok(false) => {}
            Err(error) => filtered.failures.push(Failure {
                index: place,
                message: error.into_message(),
            }),
        }
    });
    progress::at_no_event();
    filtered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NoConfig, Stamped, reject, testing};

    struct Late;

    impl Filter for Late {
        type Config = NoConfig;
        type Event = Stamped<i64>;

        fn open(_: NoConfig) -> Result<Self> {
            Ok(Late)
        }

        fn keep(&mut self, stamped: &Stamped<i64>) -> Result<bool> {
            if stamped.key != b"clock" {
                reject!("no clock");
            }
            Ok(stamped.time > stamped.event)
        }
    }

    #[test]
    fn an_event_can_bring_its_key_and_time() {
        let event = |value: &str| testing::Event::from(value).key("clock").at(10);
        let filtered = filter_batch(
            &mut Late,
            &testing::batch([event("9"), event("10"), "9".into(), event("-1")]),
        );
        assert_eq!(filtered.kept, [0, 3]);
        assert_eq!(
            filtered.failures,
            [Failure {
                index: 2,
                message: "no clock".to_owned()
            }]
        );
    }
}
