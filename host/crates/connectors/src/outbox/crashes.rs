//! Random epochs, deliveries and crashes: the receiver sees what was committed, all of it, in order, and the same number means the same
//! bytes.

use std::future::ready;
use std::path::PathBuf;
use std::sync::Arc;

use dirigo_connect::sink::{Beginning, Keep, Offset, Opening, Resume, Sink};
use dirigo_disk::{Disk, Simulated};
use dirigo_ground::clock::{Clock, ManualClock};

use super::{Batch, Deliver, Options, Outbox, Undelivered};

const SEEDS: u64 = 500;
/// Records of a run to its end.
const RECORDS: u64 = 80;
/// Crashes after which a run is let go to its end.
const CRASHES: usize = 6;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What the state would hold.
#[derive(Default)]
struct Committed {
    offset: Option<Offset>,
    records: u64,
}

/// What came to the receiver, and outlasts each crash.
#[derive(Default)]
struct Receiver {
    /// The batches that came, without those that came again.
    batches: Vec<Batch>,
    /// How many records were committed, as far as the receiver may know.
    committed: u64,
    violation: Option<String>,
}

impl Deliver for Receiver {
    fn deliver(&mut self, batch: &Batch) -> impl Future<Output = Result<(), Undelivered>> + Send {
        let index = usize::try_from(batch.number()).unwrap() - 1;
        if let Some(first) = self.batches.get(index) {
            if first != batch {
                self.violation = Some(format!("{} is another one as it comes again", batch.key()));
            }
        } else if index > self.batches.len() {
            self.violation = Some(format!("{} comes before those in front of it", batch.key()));
        } else {
            self.batches.push(batch.clone());
        }
        if batch.behind().records > self.committed {
            self.violation = Some(format!("{} was never committed", batch.key()));
        }
        ready(Ok(()))
    }
}

/// A record that says its number; some are longer than a sector.
fn record(number: u64) -> String {
    format!("{number} {}", "x".repeat(usize::try_from(number * 97 % 700).unwrap()))
}

/// Runs from where the last commit was to the end, or until the machine stops.
fn run(
    disk: &Simulated,
    committed: &mut Committed,
    receiver: &mut Receiver,
    random: &mut Random,
) -> Result<(), Box<dyn std::error::Error>> {
    let (disk, clock): (Arc<dyn Disk>, Arc<dyn Clock>) = (Arc::new(disk.clone()), Arc::new(ManualClock::new(0)));
    let fresh = Resume::Fresh(Beginning {
        pipeline: "p",
        keeps_state: true,
        discarded: None,
        goes_on: false,
    });
    let opening = Opening {
        id: "out",
        pipeline: "p",
        tenant: "t",
        from: committed.offset.as_ref().map_or(fresh, Resume::At),
        disk: &disk,
        clock: &clock,
        keep: Some(Keep {
            disk: disk.clone(),
            folder: PathBuf::from("/state/p/sinks/out"),
        }),
    };
    let options = Options {
        batch_records: 5,
        batch_bytes: 1_500,
        retry_for: None,
        backlog_bytes: u64::MAX,
        delivery_capability: super::DELIVERY_CAPABILITY,
    };
    let (mut outbox, mut delivering) = Outbox::parts(opening, options)?;
    if committed.offset.is_none() {
        committed.offset = outbox.prepare()?.synced()?;
        outbox.publish()?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut written = committed.records;
    loop {
        for _ in 0..random.below(12) {
            if written < RECORDS {
                crate::tests::write(&mut outbox, &[&record(written)])?;
                written += 1;
            }
        }
        outbox.flush()?;
        if random.below(3) == 0 || written == RECORDS {
            let prepared = outbox.prepare()?;
            let records = written;
            // The pipeline goes on while the disk is waited for.
            if written < RECORDS {
                crate::tests::write(&mut outbox, &[&record(written)])?;
                written += 1;
            }
            *committed = Committed {
                offset: prepared.synced()?,
                records,
            };
            receiver.committed = records;
            outbox.publish()?;
        }
        let is_last = committed.records == RECORDS;
        let deliveries = if is_last { u64::MAX } else { random.below(4) };
        for _ in 0..deliveries.min(outbox.delivery.backlog().batches) {
            runtime.block_on(delivering.deliver_next(receiver))?;
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Runs, crashes and restarts; says what was found that must not be.
fn violation(seed: u64, lies: bool) -> Option<String> {
    let mut random = Random(seed);
    let mut disk = Simulated::new(seed);
    disk.lie_on_sync(lies);
    let (mut committed, mut receiver) = (Committed::default(), Receiver::default());
    for crash in 0.. {
        if crash < CRASHES {
            disk.crash_at(disk.operations() + 1 + random.below(40));
        }
        let ended = run(&disk, &mut committed, &mut receiver, &mut random);
        if let Some(violation) = receiver.violation.take() {
            return Some(violation);
        }
        match ended {
            Ok(()) => break,
            Err(_) if disk.is_crashed() => {}
            Err(error) => return Some(error.to_string()),
        }
        disk = disk.restart();
    }
    let delivered: Vec<&[u8]> = receiver.batches.iter().flat_map(Batch::records).collect();
    let expected = (0..RECORDS).map(|number| record(number).into_bytes());
    (!expected.eq(delivered)).then(|| "in the end something else was delivered than was written".to_owned())
}

#[test]
fn whatever_a_crash_leaves_is_delivered_in_order_and_only_what_was_committed() {
    for seed in 0..SEEDS {
        assert_eq!(violation(seed, false), None, "seed {seed}");
    }
}

#[test]
fn a_disk_that_lies_is_found_out() {
    assert!(
        (0..SEEDS).any(|seed| violation(seed, true).is_some()),
        "no seed shows it"
    );
}
