//! The second version of an operator that evolves: its accumulator is another type, and it migrates that of the first, as
//! its configuration says: as it should, not at all, or with a panic over some.

use dirigo_operator::prelude::*;

/// The `config` of the guest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    migration: Migration,
}

/// How it migrates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Migration {
    /// As it should.
    Honest,
    /// Refuses odd sums.
    RefuseOdd,
    /// Panics over odd sums.
    PanicOdd,
    /// Never comes to an end.
    Spin,
}

/// An event, as far as it matters here.
#[derive(Debug, Deserialize)]
pub struct Numbered {
    n: u64,
}

/// What is known of a window so far.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Known {
    sum: u64,
    /// Of the events that this version has seen.
    greatest: Option<u64>,
    /// Whether the window began in the first version.
    migrated: bool,
}

/// What a window becomes.
#[derive(Debug, Serialize)]
pub struct Total {
    key: String,
    #[serde(flatten)]
    known: Known,
}

/// Sums, and more.
#[derive(Debug)]
pub struct Sum(Migration);

#[operator]
impl Reduce for Sum {
    type Config = Config;
    type Event = Numbered;
    type Accumulator = Known;
    type Output = Total;

    const STATE_VERSION: u32 = 2;
    const OLDEST_STATE_VERSION: u32 = 1;

    fn open(config: Config) -> Result<Self> {
        Ok(Sum(config.migration))
    }

    fn zero(&self) -> Known {
        Known::default()
    }

    fn migrate(&mut self, from: u32, stored: Stored<'_>) -> Result<Known> {
        if from != 1 {
            return Err(stored.unknown());
        }
        let sum: u64 = stored.read()?;
        let is_odd = !sum.is_multiple_of(2);
        match self.0 {
            Migration::RefuseOdd if is_odd => reject!("{sum} is odd"),
            Migration::PanicOdd if is_odd => panic!("{sum} is more than odd"),
            Migration::Spin => loop {
                std::hint::spin_loop();
            },
            _ => Ok(Known {
                sum,
                greatest: None,
                migrated: true,
            }),
        }
    }

    fn add(&mut self, known: &mut Known, event: &Numbered) -> Result<()> {
        known.sum += event.n;
        known.greatest = known.greatest.max(Some(event.n));
        Ok(())
    }

    fn merge(&mut self, left: Known, right: Known) -> Known {
        Known {
            sum: left.sum + right.sum,
            greatest: left.greatest.max(right.greatest),
            migrated: left.migrated || right.migrated,
        }
    }

    fn finish(&mut self, window: &Window<'_>, known: Known) -> Result<Total> {
        Ok(Total {
            key: window.key_str().into_owned(),
            known,
        })
    }
}
