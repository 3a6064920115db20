//! The contract of `wit/` as Rust types that cross into a guest and back.
//!
//! Owns the shapes and the validation of what a guest returns: past this file a batch is well formed. Knows nothing of
//! stores, fuel or windows.

use std::sync::Arc;

use wasmtime::component::__internal::InstanceType;
use wasmtime::component::types::ComponentFunc;
use wasmtime::component::{ComponentType, Lift, Lower};

use super::landing::{Item, Landed, List};
use dirigo_ground::batch::{Batch, Column, Malformed, first_unordered};
use dirigo_ground::call::{Filtered, Folded, Outputs, Rejection, StateVersions, Windows};

/// `types.batch`; shares the columns of a [`Batch`], so that lowering is the only copy.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct BatchArg {
    times: Arc<Vec<i64>>,
    keys: Arc<Column>,
    values: Arc<Column>,
}

impl From<&Batch> for BatchArg {
    fn from(batch: &Batch) -> Self {
        Self {
            times: batch.times.clone(),
            keys: batch.keys.clone(),
            values: batch.values.clone(),
        }
    }
}

/// `types.column` as a guest returned it.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct RawColumn {
    bytes: List<u8>,
    ends: List<u32>,
}

impl RawColumn {
    async fn validate(self, what: &'static str, items: usize, landed: &mut Landed) -> Result<Column, Broken> {
        let (bytes, ends) = (landed.fetch(self.bytes).await, landed.fetch(self.ends).await);
        let column = Column::from_parts(bytes, ends).map_err(|source| Broken::Column { what, source })?;
        same_length(what, column.len(), items)?;
        Ok(column)
    }

    /// Of accumulators of windows with events.
    async fn validate_full(self, items: usize, landed: &mut Landed) -> Result<Column, Broken> {
        let accumulators = self.validate("accumulators", items, landed).await?;
        if let Some(index) = accumulators.iter().position(<[u8]>::is_empty) {
            return Err(Broken::EmptyAccumulator { index });
        }
        Ok(accumulators)
    }
}

impl Item for Rejection {
    /// Each takes a piece of memory of its own. A few too many are cheap, and it is told later what is wrong with them.
    fn check(length: usize, handed: usize) -> wasmtime::Result<()> {
        const FEW: usize = 1024;
        wasmtime::ensure!(
            length <= handed.max(FEW),
            "a list of failures has {length} items, {handed} were handed over"
        );
        Ok(())
    }
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct RawOutputs {
    origins: List<u32>,
    keys: Option<RawColumn>,
    values: RawColumn,
    failures: List<Rejection>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct RawFiltered {
    kept: List<u32>,
    failures: List<Rejection>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct RawFolded {
    accumulators: RawColumn,
    outputs: RawOutputs,
    rejected: List<Rejection>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct RawMigrated {
    accumulators: RawColumn,
    failures: List<Rejection>,
}

/// A result that breaks the contract. The turn counts as trapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Broken {
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
    /// An accumulator of a window with events is empty.
    #[error("accumulator {index} is empty, but its window has events")]
    EmptyAccumulator {
        /// Which one.
        index: usize,
    },
}

/// The arguments of `reduce.accumulate`.
pub(super) type FoldArgs = (BatchArg, Arc<Vec<u32>>, Arc<Column>, Option<Arc<Windows>>);

/// The arguments of `reduce.migrate`.
pub(super) type MigrateArgs = (u32, Column);

/// Whether an exported function has the types that the contract gives it.
pub(super) fn typecheck(function: &str, found: &ComponentFunc, types: &InstanceType<'_>) -> wasmtime::Result<()> {
    match function {
        "open" => found.typecheck::<(&str,), (Result<(), String>,)>(types),
        "map" => found.typecheck::<(BatchArg,), (RawOutputs,)>(types),
        "filter" => found.typecheck::<(BatchArg,), (RawFiltered,)>(types),
        "accumulate" => found.typecheck::<FoldArgs, (RawFolded,)>(types),
        "merge" => found.typecheck::<(Column, Column), (RawColumn,)>(types),
        "state-versions" => found.typecheck::<(), (StateVersions,)>(types),
        "migrate" => found.typecheck::<MigrateArgs, (RawMigrated,)>(types),
        "finish" => found.typecheck::<(Windows, Column), (RawOutputs,)>(types),
        _ => unreachable!("the contract has no other functions"),
    }
}

/// The versions that a component answered, if they make sense.
pub(super) fn validate_versions(versions: StateVersions) -> Result<StateVersions, Broken> {
    let StateVersions { written, oldest } = versions;
    if oldest > written {
        return Err(Broken::Versions { written, oldest });
    }
    Ok(versions)
}

impl RawOutputs {
    pub(super) async fn validate(self, items: usize, landed: &mut Landed) -> Result<Outputs, Broken> {
        let origins = landed.fetch(self.origins).await;
        let failures = landed.fetch(self.failures).await;
        in_order("origins", &origins, items, |before, after| before <= after)?;
        let values = self.values.validate("values", origins.len(), landed).await?;
        let keys = match self.keys {
            Some(keys) => Some(keys.validate("keys", origins.len(), landed).await?),
            None => None,
        };
        validate_failures(&failures, items)?;
        disjoint("origins", &origins, &failures)?;
        Ok(Outputs {
            origins,
            keys,
            values,
            failures,
        })
    }
}

impl RawFiltered {
    pub(super) async fn validate(self, items: usize, landed: &mut Landed) -> Result<Filtered, Broken> {
        let kept = landed.fetch(self.kept).await;
        let failures = landed.fetch(self.failures).await;
        in_order("kept", &kept, items, |before, after| before < after)?;
        validate_failures(&failures, items)?;
        disjoint("kept", &kept, &failures)?;
        Ok(Filtered { kept, failures })
    }
}

impl RawFolded {
    /// `events` were handed over, in `groups` groups of which the first `closing` close.
    pub(super) async fn validate(
        self,
        events: usize,
        groups: usize,
        closing: usize,
        landed: &mut Landed,
    ) -> Result<Folded, Broken> {
        let rejected = landed.fetch(self.rejected).await;
        validate_failures(&rejected, events)?;
        if !rejected.is_empty() {
            return Ok(Folded::Rejected(rejected));
        }
        Ok(Folded::Done {
            accumulators: self.accumulators.validate_full(groups - closing, landed).await?,
            outputs: self.outputs.validate(closing, landed).await?,
        })
    }
}

impl RawMigrated {
    /// The migrated ones of so many accumulators, or those among them that the component cannot read.
    pub(super) async fn validate(
        self,
        items: usize,
        landed: &mut Landed,
    ) -> Result<Result<Column, Vec<Rejection>>, Broken> {
        let failures = landed.fetch(self.failures).await;
        validate_failures(&failures, items)?;
        if !failures.is_empty() {
            return Ok(Err(failures));
        }
        self.accumulators.validate_full(items, landed).await.map(Ok)
    }
}

fn validate_failures(failures: &[Rejection], items: usize) -> Result<(), Broken> {
    if failures.is_empty() {
        return Ok(());
    }
    let indexes: Vec<u32> = failures.iter().map(|failure| failure.index).collect();
    in_order("failures", &indexes, items, |before, after| before < after)
}

/// Checks that no item is both rejected and among `indexes`, which are in order as the failures are: it would be counted
/// twice.
fn disjoint(what: &'static str, indexes: &[u32], failures: &[Rejection]) -> Result<(), Broken> {
    let both = failures
        .iter()
        .find(|failure| indexes.binary_search(&failure.index).is_ok());
    match both {
        Some(Rejection { index, .. }) => Err(Broken::Both { what, index: *index }),
        None => Ok(()),
    }
}

fn in_order(
    what: &'static str,
    indexes: &[u32],
    items: usize,
    ordered: impl Fn(&u32, &u32) -> bool,
) -> Result<(), Broken> {
    if let Some(before) = first_unordered(indexes, ordered) {
        return Err(Broken::Order { what, at: before + 1 });
    }
    match indexes.last() {
        Some(&index) if index as usize >= items => Err(Broken::OutOfRange { what, index, items }),
        _ => Ok(()),
    }
}

fn same_length(what: &'static str, found: usize, wanted: usize) -> Result<(), Broken> {
    if found == wanted {
        Ok(())
    } else {
        Err(Broken::Length { what, found, wanted })
    }
}
