//! The types of `wit/types.wit`, which several kinds of operators share, as they cross into a guest and back.
//!
//! Knows nothing of stores, fuel or windows.

use std::sync::Arc;

use wasmtime::component::{ComponentType, Lift, Lower};

use crate::list::{Item, List};
use crate::staging::{Staged, Unstaging};
use crate::text::Text;
use crate::validation::{self, InvalidResult};
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::{Outputs, Rejection};

/// `types.batch`; shares the columns of a [`Batch`], so that lowering is the only copy.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct BatchArg {
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
pub(crate) struct RawColumn {
    bytes: List<u8>,
    ends: List<u32>,
}

impl Staged for RawColumn {
    async fn unstage(&mut self, from: &mut Unstaging) {
        self.bytes.unstage(from).await;
        self.ends.unstage(from).await;
    }
}

impl RawColumn {
    /// A column of so many items.
    pub(crate) fn validate(self, what: &'static str, items: usize) -> Result<Column, InvalidResult> {
        let (bytes, ends) = (self.bytes.into_items(), self.ends.into_items());
        let column = Column::from_parts(bytes, ends).map_err(|source| InvalidResult::Column { what, source })?;
        validation::same_length(what, column.len(), items)?;
        Ok(column)
    }

    /// The accumulators of so many windows with events.
    pub(crate) fn validate_accumulators(self, items: usize) -> Result<Column, InvalidResult> {
        let accumulators = self.validate("accumulators", items)?;
        if let Some(index) = accumulators.iter().position(<[u8]>::is_empty) {
            return Err(InvalidResult::EmptyAccumulator { index });
        }
        Ok(accumulators)
    }
}

/// `types.failure` as a guest returned it.
#[derive(ComponentType, Lift, Clone, Debug)]
#[component(record)]
pub(crate) struct RawFailure {
    index: u32,
    message: Text,
}

impl From<RawFailure> for Rejection {
    fn from(failure: RawFailure) -> Self {
        Self {
            index: failure.index,
            message: failure.message.into(),
        }
    }
}

/// What a guest rejected.
pub(crate) fn rejections(failures: List<RawFailure>) -> Vec<Rejection> {
    failures.into_items().into_iter().map(Rejection::from).collect()
}

impl Item for RawFailure {
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

/// `types.outputs` as a guest returned them.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawOutputs {
    origins: List<u32>,
    keys: Option<RawColumn>,
    values: RawColumn,
    failures: List<RawFailure>,
}

impl Staged for RawOutputs {
    async fn unstage(&mut self, from: &mut Unstaging) {
        self.origins.unstage(from).await;
        self.values.unstage(from).await;
        if let Some(keys) = &mut self.keys {
            keys.unstage(from).await;
        }
    }
}

impl RawOutputs {
    /// Outputs of so many items.
    pub(crate) fn validate(self, items: usize) -> Result<Outputs, InvalidResult> {
        let origins = self.origins.into_items();
        let failures = rejections(self.failures);
        validation::in_order("origins", &origins, items, |before, after| before <= after)?;
        let values = self.values.validate("values", origins.len())?;
        let keys = match self.keys {
            Some(keys) => Some(keys.validate("keys", origins.len())?),
            None => None,
        };
        validation::failures(&failures, items)?;
        validation::disjoint("origins", &origins, &failures)?;
        Ok(Outputs {
            origins,
            keys,
            values,
            failures,
        })
    }
}
