//! The answers of a guest that is handed the events of a batch one by one, as the one answer that they make.

use std::sync::Arc;

use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::{Answer, Filtered, Outputs, Rejection};
use dirigo_ground::fields::Fields;
use dirigo_ground::values::Values;

/// What an output takes in addition to its key and value: two ends and where it came from, as wasmtime lifts them.
const OUTPUT_OVERHEAD_BYTES: usize = 24;

/// What a guest answered so far.
pub(crate) struct Answers {
    /// The keys of the events: what outputs inherit that have none of their own, once others have.
    inherited: Arc<Column>,
    all: Option<Answer>,
    /// Of each event that led to outputs, those: joined at once, so that none is copied for each that follows.
    outputs: Vec<(Values, Fields)>,
    bytes: usize,
}

impl Answers {
    /// For the events of `batch`.
    pub(crate) fn of(batch: &Batch) -> Self {
        Self {
            inherited: batch.keys.clone(),
            all: None,
            outputs: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds what it answered to event `event` alone.
    pub(crate) fn add(&mut self, event: usize, answer: Answer) {
        let place = u32::try_from(event).expect("batches are small");
        let at = |failure: Rejection| Rejection {
            index: place,
            ..failure
        };
        match answer {
            Answer::Mapped(one) => {
                let Answer::Mapped(all) = self.all.get_or_insert_with(|| Answer::Mapped(Outputs::default())) else {
                    return;
                };
                let outputs = one.origins.len();
                match (&mut all.keys, one.keys) {
                    (Some(keys), Some(own)) => keys.extend(&own),
                    (Some(keys), None) => (0..outputs).for_each(|_| keys.push(self.inherited.get(event))),
                    (None, Some(own)) => {
                        let mut keys = self.inherited.gather(&all.origins);
                        keys.extend(&own);
                        all.keys = Some(keys);
                    }
                    (None, None) => {}
                }
                all.origins.extend(std::iter::repeat_n(place, outputs));
                if outputs > 0 {
                    self.bytes += one.values.slice_bytes(0..outputs);
                    self.outputs.push((one.values, one.fields));
                }
                all.failures.extend(one.failures.into_iter().map(at));
            }
            Answer::Filtered(one) => {
                let Answer::Filtered(all) = self.all.get_or_insert_with(|| Answer::Filtered(Filtered::default()))
                else {
                    return;
                };
                all.kept.extend(one.kept.iter().map(|_| place));
                all.failures.extend(one.failures.into_iter().map(at));
            }
            whole @ (Answer::Folded(_) | Answer::Finished(_) | Answer::Processed(_) | Answer::Unread(_)) => {
                self.all = Some(whole);
            }
        }
    }

    /// Bytes of keys and values so far, with the overhead of each output.
    pub(crate) fn bytes(&self) -> usize {
        match &self.all {
            Some(Answer::Mapped(all)) => {
                let keys = all.keys.as_ref().map_or(0, |keys| keys.bytes().len());
                self.bytes + keys + all.origins.len() * OUTPUT_OVERHEAD_BYTES
            }
            _ => 0,
        }
    }

    /// All of it.
    ///
    /// # Panics
    /// When there was no event.
    pub(crate) fn into_answer(self) -> Answer {
        let mut answer = self.all.expect("a batch has events");
        if let Answer::Mapped(all) = &mut answer {
            all.values = Values::concat(self.outputs.iter().map(|(values, _)| values));
            all.fields = Fields::concat(self.outputs.iter().map(|(_, fields)| fields));
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_ground::lineage::Ticket;

    fn column(items: &[&str]) -> Column {
        let mut column = Column::default();
        items.iter().for_each(|item| column.push(item.as_bytes()));
        column
    }

    fn batch() -> Batch {
        Batch {
            times: Arc::new(vec![0; 4]),
            keys: Arc::new(column(&["a", "b", "c", "d"])),
            values: Column::of_empty(4).into(),
            fields: Fields::default(),
            positions: Arc::new((0..4).collect()),
            origin: Ticket::detached().into(),
        }
    }

    fn mapped(values: &[&str], keys: Option<&[&str]>) -> Answer {
        Answer::Mapped(Outputs {
            origins: vec![0; values.len()],
            keys: keys.map(column),
            values: column(values).into(),
            ..Outputs::default()
        })
    }

    fn rejected() -> Vec<Rejection> {
        vec![Rejection {
            index: 0,
            message: "no".into(),
        }]
    }

    #[test]
    fn outputs_come_of_their_events_and_inherit_keys_where_others_have_their_own() {
        let mut all = Answers::of(&batch());
        all.add(0, mapped(&["1", "2"], None));
        all.add(1, mapped(&["3"], Some(&["x"])));
        let failures = rejected();
        all.add(
            2,
            Answer::Mapped(Outputs {
                failures,
                ..Outputs::default()
            }),
        );
        all.add(3, mapped(&["4"], None));
        let Answer::Mapped(outputs) = all.into_answer() else {
            panic!("it was a map")
        };
        assert_eq!(outputs.origins, [0, 0, 1, 3]);
        assert_eq!(*outputs.values.to_column(), column(&["1", "2", "3", "4"]));
        assert_eq!(outputs.keys, Some(column(&["a", "a", "x", "d"])));
        assert_eq!(outputs.failures[0].index, 2);
    }

    #[test]
    fn kept_events_are_those_that_were_kept_alone() {
        let mut all = Answers::of(&batch());
        for (event, kept) in [(0, vec![0]), (1, vec![]), (3, vec![0])] {
            let failures = if event == 1 { rejected() } else { Vec::new() };
            all.add(event, Answer::Filtered(Filtered { kept, failures }));
        }
        let Answer::Filtered(filtered) = all.into_answer() else {
            panic!("it was a filter")
        };
        assert_eq!((filtered.kept, filtered.failures[0].index), (vec![0, 3], 1));
    }
}
