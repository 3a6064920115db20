//! Drivers of guests, one per kind of operator.
//!
//! A driver owns what is particular to its kind: the functions that a component exports ([`Exports`]), what they are handed
//! and return, what is checked of that, and how a request becomes calls. A new kind is a file here, and a variant in each of
//! the enums below. Fuel, traps and the life of an instance are none of their business.

mod filter;
mod map;
mod migration;
mod named_outputs;
mod process;
mod reduce;
mod state_functions;

use wasmtime::Store;
use wasmtime::component::{Component, Instance};

use crate::contract::{Interface, Violation};
use crate::failure::Failure;
use crate::guest::Guest;
use crate::kind::Kind;
use dirigo_ground::batch::Column;
use dirigo_ground::call::{Answer, Rejection, Request, StaleGroups};
use dirigo_ground::fields::{NamedOutput, Schema};

use filter::Filter;
use map::Map;
use process::Process;
use reduce::Reduce;
pub(crate) use state_functions::StateFunctions;

/// What a component of some kind exports.
pub(crate) enum Exports {
    Map(map::Exports),
    Filter(filter::Exports),
    Reduce(reduce::Exports),
    Process(process::Exports),
}

impl Exports {
    /// Those of a component of this kind.
    ///
    /// # Errors
    /// When one is missing, or has other types than the contract gives it.
    pub(crate) fn of(component: &Component, kind: Kind) -> Result<Self, Violation> {
        let interface = Interface::of(component, kind.name())?;
        Ok(match kind {
            Kind::Map => Self::Map(map::Exports::of(&interface)?),
            Kind::Filter => Self::Filter(filter::Exports::of(&interface)?),
            Kind::Reduce => Self::Reduce(reduce::Exports::of(&interface, component)?),
            Kind::Process => Self::Process(process::Exports::of(&interface, component)?),
        })
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Map(_) => Kind::Map,
            Self::Filter(_) => Kind::Filter,
            Self::Reduce(_) => Kind::Reduce,
            Self::Process(_) => Kind::Process,
        }
    }

    /// Asks an instance that is open for the outputs that it has besides its own.
    pub(crate) async fn ask_named_outputs(
        &self,
        instance: Instance,
        store: &mut Store<Guest>,
    ) -> Result<Vec<NamedOutput>, Failure> {
        match self {
            Self::Process(exports) => exports.ask_named_outputs(instance, store).await,
            Self::Map(_) | Self::Filter(_) | Self::Reduce(_) => Ok(Vec::new()),
        }
    }

    /// Those of a kind that keeps state.
    pub(crate) fn state(&self) -> Option<&StateFunctions> {
        match self {
            Self::Reduce(exports) => Some(&exports.state),
            Self::Process(exports) => Some(&exports.state),
            Self::Map(_) | Self::Filter(_) => None,
        }
    }
}

/// Calls the functions of one instance.
pub(crate) enum Driver {
    Map(Map),
    Filter(Filter),
    Reduce(Reduce),
    Process(Process),
}

impl Driver {
    /// For an instance of the component that exports these, which has said what it reads and writes.
    pub(crate) fn new(
        exports: &Exports,
        instance: Instance,
        store: &mut Store<Guest>,
        schema: &Schema,
    ) -> wasmtime::Result<Self> {
        Ok(match exports {
            Exports::Map(exports) => Self::Map(Map::new(exports, instance, store)?),
            Exports::Filter(exports) => Self::Filter(Filter::new(exports, instance, store)?),
            Exports::Reduce(exports) => Self::Reduce(Reduce::new(exports, instance, store)?),
            Exports::Process(exports) => Self::Process(Process::new(exports, instance, store, schema)?),
        })
    }

    /// Runs a request.
    ///
    /// # Panics
    /// When a kind with state is asked for something else.
    pub(crate) async fn run(
        &self,
        store: &mut Store<Guest>,
        request: &Request,
        schema: &Schema,
    ) -> Result<Answer, Failure> {
        match self {
            Self::Map(map) => map.run(store, request.batch(), schema).await.map(Answer::Mapped),
            Self::Filter(filter) => filter.run(store, request.batch(), schema).await.map(Answer::Filtered),
            Self::Reduce(reduce) => match request {
                Request::Fold(fold) => reduce.fold(store, fold, schema).await.map(Answer::Folded),
                Request::Finish(finish) => reduce.finish(store, finish, schema).await.map(Answer::Finished),
                Request::Batch(_) | Request::Process(_) => panic!("a reduce folds and finishes"),
            },
            Self::Process(process) => match request {
                Request::Process(request) => process.run(store, request, schema).await.map(Answer::Processed),
                _ => panic!("a process is asked to process"),
            },
        }
    }

    /// Brings these groups' state to the component's version by itself, without a call that touches it. Gives it, or which of it the component
    /// cannot read.
    ///
    /// # Panics
    /// When the kind keeps no state.
    pub(crate) async fn migrate(
        &self,
        store: &mut Store<Guest>,
        states: &Column,
        stale: &StaleGroups,
    ) -> Result<Result<Column, Vec<Rejection>>, Failure> {
        match self {
            Self::Reduce(reduce) => reduce.migration().migrate(store, states, stale).await,
            Self::Process(process) => process.migration().migrate(store, states, stale).await,
            Self::Map(_) | Self::Filter(_) => panic!("it keeps no state"),
        }
    }
}
