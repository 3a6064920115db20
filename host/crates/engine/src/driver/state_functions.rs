//! What the kinds that keep state have in common: functions that say which state a component reads and writes, and how it is laid out.

use std::sync::OnceLock;

use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, Instance};

use super::migration::{self, RawMigrated};
use crate::contract::{Interface, Violation};
use crate::failure::Failure;
use crate::guest::Guest;
use crate::validation::InvalidResult;
use dirigo_ground::call::StateVersions;

/// Where these functions are, and what they answered.
pub(crate) struct StateFunctions {
    pub(super) migrate: ComponentExportIndex,
    state_versions: ComponentExportIndex,
    /// `state.layout`, if it has that.
    layout: Option<ComponentExportIndex>,
    /// `merging.is-associative`, if it has that.
    is_associative: Option<ComponentExportIndex>,
    /// What `state-versions` answered, once it was asked.
    versions: OnceLock<StateVersions>,
    /// Whether accumulators may be merged in any order, once it was asked.
    may_merge_in_any_order: OnceLock<bool>,
    /// How it lays out the state that it writes, once it was asked; nothing where it does not say so.
    learned_layout: OnceLock<Option<Box<str>>>,
}

impl StateFunctions {
    /// Those of a component that exports `interface`, the one of its kind.
    pub(super) fn of<R: RawMigrated>(interface: &Interface<'_>, component: &Component) -> Result<Self, Violation> {
        let layout = match Interface::of(component, "state") {
            Ok(state) => Some(state.function::<(), (String,)>("layout")?),
            Err(_) => None,
        };
        let is_associative = match Interface::of(component, "merging") {
            Ok(merging) => Some(merging.function::<(), (bool,)>("is-associative")?),
            Err(_) => None,
        };
        Ok(Self {
            migrate: interface.function::<migration::Args, (R,)>("migrate")?,
            state_versions: interface.function::<(), (StateVersions,)>("state-versions")?,
            layout,
            is_associative,
            versions: OnceLock::new(),
            may_merge_in_any_order: OnceLock::new(),
            learned_layout: OnceLock::new(),
        })
    }

    /// Which state the component reads and writes, if it was asked.
    pub(crate) fn versions(&self) -> Option<StateVersions> {
        self.versions.get().copied()
    }

    /// Whether the component says that accumulators may be merged in any order, if it was asked.
    pub(crate) fn is_associative(&self) -> bool {
        self.may_merge_in_any_order.get().copied().unwrap_or(false)
    }

    /// How the component lays out the state that it writes, if it was asked and says so.
    pub(crate) fn state_layout(&self) -> Option<&str> {
        self.learned_layout.get()?.as_deref()
    }

    /// What says how it lays that out, unless it was asked.
    pub(crate) fn layout_to_ask(&self) -> Option<&ComponentExportIndex> {
        self.layout.as_ref().filter(|_| self.learned_layout.get().is_none())
    }

    /// Notes how it lays out the state that it writes: nothing where it does not say so.
    pub(crate) fn note_layout(&self, layout: Option<String>) {
        // A component answers always the same, or breaks its contract: the first answer counts.
        let _ = self.learned_layout.set(layout.map(String::into_boxed_str));
    }

    /// Asks an instance which state it reads and writes, and whether the order of merging matters, if none was asked before.
    pub(crate) async fn learn_versions(&self, instance: Instance, store: &mut Store<Guest>) -> Result<(), Failure> {
        if self.versions.get().is_some() {
            return Ok(());
        }
        let ask = instance.get_typed_func::<(), (StateVersions,)>(&mut *store, self.state_versions)?;
        let (versions,) = ask.call_async(&mut *store, ()).await?;
        let StateVersions { written, oldest } = versions;
        if oldest > written {
            return Err(InvalidResult::Versions { written, oldest }.into());
        }
        if let Some(is_associative) = self.is_associative {
            let ask = instance.get_typed_func::<(), (bool,)>(&mut *store, is_associative)?;
            let (is_associative,) = ask.call_async(store, ()).await?;
            let _ = self.may_merge_in_any_order.set(is_associative);
        }
        // A caller that asks at the same time gets the same answer, or the component breaks its contract: the first one
        // counts.
        let _ = self.versions.set(versions);
        Ok(())
    }
}
