//! `wit/named-outputs.wit`: what a process puts out besides its own outputs.

use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, ComponentType, Instance, Lift, TypedFunc};

use super::process::{Args, RawProcessed};
use crate::abi::RawOutputs;
use crate::contract::{Interface, Violation};
use crate::failure::Failure;
use crate::guest::Guest;
use crate::list::{Item, List};
use crate::schema::{self, NAMED_OUTPUTS_MAX, RawNamedOutput};
use crate::staging::{Staged, Unstaging};
use crate::validation::{self, InvalidResult};
use dirigo_ground::call::{NamedOutputs, Processed};
use dirigo_ground::fields::{NamedOutput, Schema};

/// `named-outputs.put-out` as a guest returned it.
#[derive(Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawPutOut {
    output: u32,
    outputs: RawOutputs,
    times: List<i64>,
}

impl Item for RawPutOut {
    fn check(length: usize, _: usize) -> wasmtime::Result<()> {
        wasmtime::ensure!(
            length <= NAMED_OUTPUTS_MAX,
            "something is put out under {length} names, and there may be {NAMED_OUTPUTS_MAX}"
        );
        Ok(())
    }
}

impl RawPutOut {
    /// So many steps were handed over, to an operator with these named outputs.
    fn validate(self, steps: usize, declared: &[NamedOutput]) -> Result<NamedOutputs, InvalidResult> {
        let output = self.output as usize;
        let named = declared.get(output).ok_or(InvalidResult::OutOfRange {
            what: "named",
            index: self.output,
            items: declared.len(),
        })?;
        let validate = || {
            let mut outputs = self.outputs.validate_as(steps, &named.writes, named.mode)?;
            if !outputs.failures.is_empty() {
                return Err(InvalidResult::FailedOutputs);
            }
            let times = self.times.into_items();
            validation::same_length("times", times.len(), outputs.origins.len())?;
            outputs.times = Some(times);
            Ok(outputs)
        };
        let outputs = validate().map_err(|source| InvalidResult::Named {
            output: named.name.clone(),
            source: Box::new(source),
        })?;
        Ok(NamedOutputs { output, outputs })
    }
}

/// `named-outputs.processed-under-names` as a guest returned it.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawProcessedUnderNames {
    processed: RawProcessed,
    named: List<RawPutOut>,
}

impl From<RawProcessed> for RawProcessedUnderNames {
    fn from(processed: RawProcessed) -> Self {
        let named = List::Here(Vec::new());
        Self { processed, named }
    }
}

impl Staged for RawProcessedUnderNames {
    async fn unstage(&mut self, from: &mut Unstaging) {
        self.processed.unstage(from).await;
        if let List::Here(named) = &mut self.named {
            for put_out in named {
                put_out.outputs.unstage(from).await;
                put_out.times.unstage(from).await;
            }
        }
    }
}

impl RawProcessedUnderNames {
    /// So many steps were handed over, of so many keys.
    pub(super) fn validate(self, steps: usize, keys: usize, schema: &Schema) -> Result<Processed, InvalidResult> {
        let mut processed = self.processed.validate(steps, keys, schema)?;
        let named = self.named.into_items();
        let rises = |pair: &[RawPutOut]| pair[0].output < pair[1].output;
        if let Some(before) = named.windows(2).position(|pair| !rises(pair)) {
            return Err(InvalidResult::NamedOrder { at: before + 1 });
        }
        let named = named.into_iter().map(|put_out| put_out.validate(steps, &schema.named));
        let named: Vec<NamedOutputs> = named.collect::<Result<_, _>>()?;
        match &mut processed {
            Processed::Done(after) => after.named = named,
            Processed::Rejected(_) | Processed::Unmigrated(_) => {
                if named.iter().any(|named| !named.outputs.origins.is_empty()) {
                    return Err(InvalidResult::NamedAndRejected);
                }
            }
        }
        Ok(processed)
    }
}

/// Where the functions of a process with named outputs are.
pub(super) struct Exports {
    declared: ComponentExportIndex,
    process: ComponentExportIndex,
}

impl Exports {
    /// Those of a component, if it may have named outputs.
    pub(super) fn of(component: &Component) -> Result<Option<Self>, Violation> {
        let Ok(interface) = Interface::of(component, "named-outputs") else {
            return Ok(None);
        };
        Ok(Some(Self {
            declared: interface.function::<(), (List<RawNamedOutput>,)>("declared")?,
            process: interface.function::<Args, (RawProcessedUnderNames,)>("process")?,
        }))
    }

    /// Asks an instance that is open for its named outputs.
    pub(super) async fn ask(&self, instance: Instance, store: &mut Store<Guest>) -> Result<Vec<NamedOutput>, Failure> {
        let ask = instance.get_typed_func::<(), (List<RawNamedOutput>,)>(&mut *store, self.declared)?;
        let (declared,) = ask.call_async(store, ()).await?;
        Ok(schema::named_outputs(declared)?)
    }

    /// What processes a batch in an instance.
    pub(super) fn process(
        &self,
        instance: Instance,
        store: &mut Store<Guest>,
    ) -> wasmtime::Result<TypedFunc<Args, (RawProcessedUnderNames,)>> {
        instance.get_typed_func(store, self.process)
    }
}
