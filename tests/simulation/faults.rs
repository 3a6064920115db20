//! Faults of the protocol, planted to see that they are found.

use dirigo::runtime::PreparedCheckpoint;

/// The mode of the operator that sums, if nothing of it is wrong: it panics over some events.
pub(crate) const SUMS: &str = "panic";

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The disk says that data is durable, and it is not.
    SkippedSync,
    /// Readers are shown an epoch before the store has it.
    PublishedEarly,
    /// An entry that changed is not in the checkpoint.
    ForgottenKey,
    /// Batches on their way are not in the checkpoint.
    OmittedMailboxes,
    /// The batch at the head of a mailbox, on which a suspended turn works, is not in the checkpoint.
    LostTurn,
    /// Batches go back upstream first.
    ReversedOrder,
    /// Sources go on where they were when the checkpoint was committed, and not at the cut.
    LatePositions,
    /// Sinks go on where they were at the checkpoint before.
    OldSinks,
    /// What a helper folded is lost when it is merged.
    LostPartial,
    /// What a helper folded is merged twice.
    DoubledPartial,
}

impl Fault {
    pub(crate) const ALL: [Fault; 10] = [
        Fault::SkippedSync,
        Fault::PublishedEarly,
        Fault::ForgottenKey,
        Fault::OmittedMailboxes,
        Fault::LostTurn,
        Fault::ReversedOrder,
        Fault::LatePositions,
        Fault::OldSinks,
        Fault::LostPartial,
        Fault::DoubledPartial,
    ];

    /// The mode of the operator that sums.
    pub(crate) fn sums(self) -> &'static str {
        match self {
            Fault::LostPartial => "lose",
            Fault::DoubledPartial => "double",
            _ => SUMS,
        }
    }

    /// Spoils what is about to be committed. `before` is what was committed last, `late` where the sources are by now.
    pub(crate) fn spoil(self, moment: &mut PreparedCheckpoint, before: &Sinks, late: Sources) {
        let snapshot = &mut moment.snapshot;
        match self {
            Fault::ForgottenKey => {
                for (_, records) in &mut snapshot.state {
                    records.pop();
                }
            }
            Fault::OmittedMailboxes => snapshot.in_flight.clear(),
            Fault::LostTurn => {
                if !snapshot.in_flight.is_empty() {
                    // The last operator of those that stand downstream first is the one that sources lead to.
                    let item = snapshot.in_flight[snapshot.in_flight.len() - 1].item.clone();
                    let head = snapshot.in_flight.iter().position(|batch| batch.item == item);
                    snapshot.in_flight.remove(head.unwrap());
                }
            }
            Fault::ReversedOrder => snapshot.in_flight.reverse(),
            Fault::LatePositions => snapshot.offsets.sources = late,
            Fault::OldSinks => snapshot.offsets.sinks.clone_from(before),
            Fault::SkippedSync | Fault::PublishedEarly | Fault::LostPartial | Fault::DoubledPartial => {}
        }
    }
}

/// Offsets by sink.
pub(crate) type Sinks = std::collections::BTreeMap<String, serde_json::Value>;
/// Offsets by source.
pub(crate) type Sources = std::collections::BTreeMap<String, serde_json::Value>;
