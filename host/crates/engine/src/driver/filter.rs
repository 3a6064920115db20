//! `wit/filter.wit`: which events go on.

use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, ComponentType, Instance, Lift, TypedFunc};

use crate::abi::{BatchArg, RawFailure, rejections};
use crate::call::call;
use crate::contract::{Interface, Violation};
use crate::failure::Failure;
use crate::guest::Guest;
use crate::list::List;
use crate::staging::{Staged, Unstaging};
use crate::validation::{self, InvalidResult};
use dirigo_ground::batch::Batch;
use dirigo_ground::call::Filtered;
use dirigo_ground::fields::Schema;

type Args = (BatchArg,);

/// `filter.filtered` as a guest returned it.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawFiltered {
    kept: List<u32>,
    failures: List<RawFailure>,
}

impl Staged for RawFiltered {
    async fn unstage(&mut self, from: &mut Unstaging) {
        self.kept.unstage(from).await;
    }
}

impl RawFiltered {
    fn validate(self, items: usize) -> Result<Filtered, InvalidResult> {
        let kept = self.kept.into_items();
        let failures = rejections(self.failures);
        validation::in_order("kept", &kept, items, |before, after| before < after)?;
        validation::failures(&failures, items)?;
        validation::disjoint("kept", &kept, &failures)?;
        Ok(Filtered { kept, failures })
    }
}

/// Where the functions of a filter are.
pub(crate) struct Exports {
    filter: ComponentExportIndex,
}

impl Exports {
    pub(super) fn of(interface: &Interface<'_>) -> Result<Self, Violation> {
        Ok(Self {
            filter: interface.function::<Args, (RawFiltered,)>("filter")?,
        })
    }
}

/// The functions of an instance of a filter.
pub(crate) struct Filter {
    filter: TypedFunc<Args, (RawFiltered,)>,
}

impl Filter {
    pub(super) fn new(exports: &Exports, instance: Instance, store: &mut Store<Guest>) -> wasmtime::Result<Self> {
        Ok(Self {
            filter: instance.get_typed_func(store, exports.filter)?,
        })
    }

    pub(super) async fn run(
        &self,
        store: &mut Store<Guest>,
        batch: &Batch,
        schema: &Schema,
    ) -> Result<Filtered, Failure> {
        let filtered = call(store, &self.filter, (BatchArg::of(batch, schema),), batch.len()).await?;
        Ok(filtered.validate(batch.len())?)
    }
}
