//! What is checked of the results of guests: past a driver they are well formed.

use dirigo_ground::batch::{Column, Malformed, first_unordered};
use dirigo_ground::call::Rejection;
use dirigo_ground::fields::FieldType;

/// A result that breaks the contract. The turn counts as trapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum InvalidResult {
    /// A column breaks its own layout.
    #[error("`{what}`: {source}")]
    Column {
        /// Which field.
        what: &'static str,
        /// How.
        source: Malformed,
    },
    /// Two lists that go together differ in length.
    #[error("`{what}` has {found} items, {wanted} belong there")]
    Length {
        /// Which field.
        what: &'static str,
        /// Its items.
        found: usize,
        /// What would be right.
        wanted: usize,
    },
    /// An index points past what was handed over.
    #[error("`{what}` names item {index} of {items}")]
    OutOfRange {
        /// Which field.
        what: &'static str,
        /// The index.
        index: u32,
        /// How many items were handed over.
        items: usize,
    },
    /// Indexes are not in the order that the contract asks for.
    #[error("`{what}` is not in rising order at {at}")]
    Order {
        /// Which field.
        what: &'static str,
        /// Where in the list.
        at: usize,
    },
    /// An item was rejected, and led to something all the same.
    #[error("`failures` and `{what}` both name item {index}")]
    Both {
        /// The other field.
        what: &'static str,
        /// The item.
        index: u32,
    },
    /// A component migrates nothing that is newer than what it writes.
    #[error("`state-versions`: the oldest version, {oldest}, is newer than the written one, {written}")]
    Versions {
        /// The version that it writes.
        written: u32,
        /// The oldest that it reads.
        oldest: u32,
    },
    /// A text is not UTF-8.
    #[error("`fields.text`: item {index} is not UTF-8")]
    Text {
        /// Which item.
        index: usize,
    },
    /// A field is not of the type that the schema says.
    #[error("`fields` has a column of type `{found}` where the schema writes `{wanted}`")]
    FieldType {
        /// What it is.
        found: FieldType,
        /// What the schema says.
        wanted: FieldType,
    },
    /// The outputs are fields by the schema, and there are values.
    #[error("`values` are there, and the schema says that the outputs are fields")]
    UnwantedValues,
    /// The outputs are values by the schema, and there are none.
    #[error("`values` are not there, and the schema says that the outputs are raw")]
    NoValues,
    /// The schema makes no sense.
    #[error("`open` returns a schema that makes no sense: {problem}")]
    Schema {
        /// What is wrong with it.
        problem: String,
    },
    /// The named outputs make no sense.
    #[error("`declared` returns named outputs that make no sense: {problem}")]
    NamedOutputs {
        /// What is wrong with them.
        problem: String,
    },
    /// Timers of a key do not rise by time, or a name stands twice among them.
    #[error("`timers` of key {key} do not rise by their times, or have a name twice")]
    Timers {
        /// Which one.
        key: usize,
    },
    /// What is put out under names is not by rising number of the output, or a number stands twice.
    #[error("`named` is not by rising number of the output at {at}")]
    NamedOrder {
        /// Where in the list.
        at: usize,
    },
    /// A process puts out under names, and rejects steps.
    #[error("`named` puts something out, though steps are rejected")]
    NamedAndRejected,
    /// What is wrong with what is put out under a name.
    #[error("`named` output `{output}`: {source}")]
    Named {
        /// The name.
        output: String,
        /// What.
        source: Box<InvalidResult>,
    },
    /// A process says of an output that it failed, and not of a step.
    #[error("`outputs` has failures, and those of a process are in `rejected`")]
    FailedOutputs,
    /// An accumulator of a window with events is empty, or state that was migrated.
    #[error("`{what}`: item {index} is empty, and stands for something that is known")]
    Empty {
        /// Which field.
        what: &'static str,
        /// Which one.
        index: usize,
    },
}

/// Checks that all items are UTF-8.
pub(crate) fn text(column: Column) -> Result<Column, InvalidResult> {
    // Together, and each of them begins where a character does: then each is.
    let all = str::from_utf8(column.bytes()).ok();
    let ends_at = |&end: &u32| all.is_some_and(|all| all.is_char_boundary(end as usize));
    if column.ends().iter().all(ends_at) {
        return Ok(column);
    }
    let index = column.iter().position(|item| str::from_utf8(item).is_err());
    Err(InvalidResult::Text {
        index: index.unwrap_or_default(),
    })
}

/// Checks that rejected items are among so many, each once and in order.
pub(crate) fn failures(failures: &[Rejection], items: usize) -> Result<(), InvalidResult> {
    if failures.is_empty() {
        return Ok(());
    }
    let indexes: Vec<u32> = failures.iter().map(|failure| failure.index).collect();
    in_order("failures", &indexes, items, |before, after| before < after)
}

/// Checks that no item is both rejected and among `indexes`, which are in order as the failures are: it would be counted
/// twice.
pub(crate) fn disjoint(what: &'static str, indexes: &[u32], failures: &[Rejection]) -> Result<(), InvalidResult> {
    let both = failures
        .iter()
        .find(|failure| indexes.binary_search(&failure.index).is_ok());
    match both {
        Some(Rejection { index, .. }) => Err(InvalidResult::Both { what, index: *index }),
        None => Ok(()),
    }
}

/// Checks that indexes are in order, and among so many items.
pub(crate) fn in_order(
    what: &'static str,
    indexes: &[u32],
    items: usize,
    ordered: impl Fn(&u32, &u32) -> bool,
) -> Result<(), InvalidResult> {
    if let Some(before) = first_unordered(indexes, ordered) {
        return Err(InvalidResult::Order { what, at: before + 1 });
    }
    match indexes.last() {
        Some(&index) if index as usize >= items => Err(InvalidResult::OutOfRange { what, index, items }),
        _ => Ok(()),
    }
}

/// Checks that there are as many items as belong there.
pub(crate) fn same_length(what: &'static str, found: usize, wanted: usize) -> Result<(), InvalidResult> {
    if found == wanted {
        Ok(())
    } else {
        Err(InvalidResult::Length { what, found, wanted })
    }
}
