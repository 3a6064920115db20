//! `wit/map.wit`: any number of values from each event.

use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, Instance, TypedFunc};

use crate::abi::{BatchArg, RawOutputs};
use crate::call::call;
use crate::contract::{Interface, Violation};
use crate::failure::Failure;
use crate::guest::Guest;
use dirigo_ground::batch::Batch;
use dirigo_ground::call::Outputs;
use dirigo_ground::fields::Schema;

type Args = (BatchArg,);

/// Where the functions of a map are.
pub(crate) struct Exports {
    map: ComponentExportIndex,
}

impl Exports {
    pub(super) fn of(interface: &Interface<'_>) -> Result<Self, Violation> {
        Ok(Self {
            map: interface.function::<Args, (RawOutputs,)>("map")?,
        })
    }
}

/// The functions of an instance of a map.
pub(crate) struct Map {
    map: TypedFunc<Args, (RawOutputs,)>,
}

impl Map {
    pub(super) fn new(exports: &Exports, instance: Instance, store: &mut Store<Guest>) -> wasmtime::Result<Self> {
        Ok(Self {
            map: instance.get_typed_func(store, exports.map)?,
        })
    }

    pub(super) async fn run(
        &self,
        store: &mut Store<Guest>,
        batch: &Batch,
        schema: &Schema,
    ) -> Result<Outputs, Failure> {
        let outputs = call(store, &self.map, (BatchArg::of(batch, schema),), batch.len()).await?;
        Ok(outputs.validate(batch.len(), schema)?)
    }
}
