//! The outbox with its thread.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::Waker;
use std::time::Duration;

use dirigo_connect::sink::{self, Beginning, Keep, Offset, Opening, Resume, Sink};
use dirigo_disk::{Disk, Real};
use dirigo_ground::clock::{Clock, ManualClock};
use dirigo_ground::signal::Signal;

use super::{Batch, Deliver, Options, Outbox, Undelivered};

/// A receiver that gives what comes to a test, and answers what that says.
struct Asked {
    came: Sender<(String, Vec<String>)>,
    answers: tokio::sync::mpsc::UnboundedReceiver<Result<(), Undelivered>>,
}

impl Deliver for Asked {
    async fn deliver(&mut self, batch: &Batch) -> Result<(), Undelivered> {
        let records = batch
            .records()
            .map(|record| String::from_utf8(record.to_vec()).unwrap());
        self.came.send((batch.key().to_owned(), records.collect())).unwrap();
        // A receiver that gives no answer any more is waited for.
        match self.answers.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

/// An outbox, and the other end of it.
struct Stage {
    outbox: Outbox,
    came: Receiver<(String, Vec<String>)>,
    answers: tokio::sync::mpsc::UnboundedSender<Result<(), Undelivered>>,
    woken: Arc<Signal>,
    clock: Arc<ManualClock>,
}

const OPTIONS: Options = Options {
    batch_records: 2,
    batch_bytes: 100,
    retry_for: None,
    backlog_bytes: 60,
    delivery_capability: super::DELIVERY_CAPABILITY,
};

fn open(folder: Option<&Path>, from: Option<&Offset>, options: Options) -> Stage {
    let (came_sender, came) = mpsc::channel();
    let (answers, asked) = tokio::sync::mpsc::unbounded_channel();
    let manual = Arc::new(ManualClock::new(0));
    let (disk, clock): (Arc<dyn Disk>, Arc<dyn Clock>) = (Arc::new(Real), manual.clone());
    let fresh = Resume::Fresh(Beginning {
        pipeline: "p",
        keeps_state: folder.is_some(),
        discarded: None,
        goes_on: false,
    });
    let opening = Opening {
        id: "out",
        pipeline: "p",
        tenant: "t",
        from: from.map_or(fresh, Resume::At),
        disk: &disk,
        clock: &clock,
        keep: folder.map(|folder| Keep {
            disk: disk.clone(),
            folder: folder.to_owned(),
        }),
    };
    let receiver = Asked {
        came: came_sender,
        answers: asked,
    };
    let mut outbox = Outbox::open(opening, options, receiver).unwrap();
    let woken = Arc::<Signal>::default();
    outbox.start(Waker::from(woken.clone())).unwrap();
    Stage {
        outbox,
        came,
        answers,
        woken,
        clock: manual,
    }
}

impl Stage {
    fn write(&mut self, values: &[&str]) {
        crate::tests::write(&mut self.outbox, values).unwrap();
    }

    fn commit(&mut self) -> Offset {
        let offset = self.outbox.prepare().and_then(sink::Prepared::synced).unwrap().unwrap();
        self.outbox.publish().unwrap();
        offset
    }

    /// Waits for the next batch: its number and its records.
    fn next(&self) -> (String, Vec<String>) {
        let (key, records) = self.came.recv().unwrap();
        (key.rsplit('/').next().unwrap().to_owned(), records)
    }

    fn answer(&self, answer: Result<(), Undelivered>) {
        self.answers.send(answer).unwrap();
    }

    /// Waits until so many events are left.
    fn wait_for(&self, events: u64) {
        loop {
            let seen = self.woken.seen();
            if self.outbox.backlog().events == events {
                return;
            }
            self.woken.wait_past(seen, None);
        }
    }

    /// Waits until a delivery failed for good, and says why.
    fn failure(&mut self) -> String {
        loop {
            let seen = self.woken.seen();
            if let Err(error) = self.outbox.flush() {
                return error.to_string();
            }
            self.woken.wait_past(seen, None);
        }
    }
}

fn batch(number: &str, records: &[&str]) -> (String, Vec<String>) {
    (
        number.to_owned(),
        records.iter().map(|record| (*record).to_owned()).collect(),
    )
}

fn later() -> Result<(), Undelivered> {
    Err(Undelivered::Later {
        reason: "the receiver is away".to_owned(),
        after: None,
    })
}

#[test]
fn nothing_is_delivered_before_it_is_committed_and_a_batch_ends_with_its_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = open(Some(folder.path()), None, OPTIONS);
    stage.write(&["a", "b", "c"]);
    assert_eq!(stage.outbox.backlog().events, 0);
    stage.commit();
    stage.write(&["d"]);
    assert_eq!(stage.next(), batch("1", &["a", "b"]));
    stage.answer(Ok(()));
    assert_eq!(stage.next(), batch("2", &["c"]));
    stage.answer(Ok(()));
    stage.wait_for(0);
    stage.commit();
    assert_eq!(stage.next(), batch("3", &["d"]));
}

#[test]
fn the_next_run_delivers_what_is_left_and_drops_what_was_not_committed() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = open(Some(folder.path()), None, OPTIONS);
    stage.write(&["a", "b", "c", "d"]);
    let offset = stage.commit();
    stage.write(&["e", "f", "g"]);
    let (first, _) = stage.came.recv().unwrap();
    stage.answer(Ok(()));
    stage.wait_for(2);
    // It ends while the second batch is under way.
    drop(stage);
    let mut stage = open(Some(folder.path()), Some(&offset), OPTIONS);
    let (second, records) = stage.came.recv().unwrap();
    assert_eq!(records, ["c", "d"]);
    let (name, number) = first.rsplit_once('/').unwrap();
    assert_eq!((number, second), ("1", format!("{name}/2")));
    stage.answer(Ok(()));
    stage.write(&["E", "F"]);
    stage.commit();
    assert_eq!(stage.next(), batch("3", &["E", "F"]));
    drop(stage);
    // A state that is discarded takes its batches along.
    let mut stage = open(Some(folder.path()), None, OPTIONS);
    stage.write(&["a"]);
    stage.commit();
    let (key, records) = stage.came.recv().unwrap();
    assert_eq!(records, ["a"]);
    assert!(key.ends_with("/1") && key != first, "{key}");
}

#[test]
fn a_batch_is_tried_again_until_it_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = open(Some(folder.path()), None, OPTIONS);
    stage.write(&["a", "b", "c"]);
    stage.commit();
    for answer in [later(), later(), Ok(())] {
        assert_eq!(stage.next(), batch("1", &["a", "b"]));
        stage.answer(answer);
    }
    assert_eq!(stage.next(), batch("2", &["c"]));
}

#[test]
fn a_batch_that_is_refused_or_not_taken_in_time_fails_the_sink_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = open(Some(folder.path()), None, OPTIONS);
    stage.write(&["a"]);
    let offset = stage.commit();
    stage.next();
    stage.answer(Err(Undelivered::Never {
        reason: "it has no such member".to_owned(),
    }));
    let failure = stage.failure();
    assert_eq!(
        failure,
        "batch 1 cannot be delivered: it has no such member; it stays in the outbox, and the next run with this state \
         sends it again"
    );
    drop(stage);
    let options = Options {
        retry_for: Some(Duration::from_mins(1)),
        ..OPTIONS
    };
    let mut stage = open(Some(folder.path()), Some(&offset), options);
    assert_eq!(stage.next(), batch("1", &["a"]));
    stage.answer(later());
    assert_eq!(stage.next(), batch("1", &["a"]));
    stage.clock.advance(Duration::from_secs(61));
    stage.answer(later());
    let failure = stage.failure();
    assert!(
        failure.starts_with("batch 1 was not delivered within 1m: the receiver is away"),
        "{failure}"
    );
}

#[test]
fn a_backlog_is_full_until_some_of_it_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = open(Some(folder.path()), None, OPTIONS);
    // What is not committed yet never holds up the end of its epoch.
    stage.write(&["a", "b", "c", "d", "e", "f"]);
    assert!(!stage.outbox.backlog().is_full);
    stage.commit();
    assert!(stage.outbox.backlog().is_full);
    for left in [4, 2] {
        stage.next();
        stage.answer(Ok(()));
        stage.wait_for(left);
    }
    assert!(!stage.outbox.backlog().is_full);
}

#[test]
fn without_state_batches_are_delivered_as_they_are_written() {
    let mut stage = open(None, None, OPTIONS);
    stage.write(&["a", "b", "c"]);
    assert_eq!(stage.next(), batch("1", &["a", "b"]));
    // The receiver has something to do: the second batch grows.
    stage.outbox.flush().unwrap();
    stage.write(&["d"]);
    stage.answer(Ok(()));
    assert_eq!(stage.next(), batch("2", &["c", "d"]));
    stage.answer(Ok(()));
    stage.wait_for(0);
    stage.write(&["e"]);
    stage.outbox.flush().unwrap();
    assert_eq!(stage.next(), batch("3", &["e"]));
}

#[test]
fn a_receiver_that_panics_fails_the_sink() {
    struct Panics;
    impl Deliver for Panics {
        async fn deliver(&mut self, _: &Batch) -> Result<(), Undelivered> {
            panic!("out of range")
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut stage = open(Some(folder.path()), None, OPTIONS);
    let (disk, clock): (Arc<dyn Disk>, Arc<dyn Clock>) = (Arc::new(Real), stage.clock.clone());
    let offset = stage.commit();
    let opening = Opening {
        id: "out",
        pipeline: "p",
        tenant: "t",
        from: Resume::At(&offset),
        disk: &disk,
        clock: &clock,
        keep: None,
    };
    stage.outbox = Outbox::open(opening, OPTIONS, Panics).unwrap();
    stage.outbox.start(Waker::from(stage.woken.clone())).unwrap();
    stage.write(&["a", "b"]);
    let failure = stage.failure();
    assert!(failure.contains("the delivery panicked: out of range"), "{failure}");
}

#[test]
fn a_state_that_is_older_than_what_was_delivered_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = open(Some(folder.path()), None, OPTIONS);
    let older = stage.commit();
    stage.write(&["a"]);
    stage.commit();
    stage.next();
    stage.answer(Ok(()));
    stage.wait_for(0);
    drop(stage);
    let (disk, clock): (Arc<dyn Disk>, Arc<dyn Clock>) = (Arc::new(Real), Arc::new(ManualClock::new(0)));
    let opening = Opening {
        id: "out",
        pipeline: "p",
        tenant: "t",
        from: Resume::At(&older),
        disk: &disk,
        clock: &clock,
        keep: Some(Keep {
            disk: disk.clone(),
            folder: folder.path().to_owned(),
        }),
    };
    let refused = Outbox::parts(opening, OPTIONS).err().unwrap().to_string();
    assert!(refused.contains("1 batches of the outbox were delivered"), "{refused}");
}
