//! Which interfaces of `wit/` a component exports.
//!
//! Reads the types of a component. Nothing is run. What a kind exports, its driver says.

use wasmtime::component::types::{self, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, ComponentNamedList, Lift, Lower};

use crate::kind::Kind;

/// The full name of an interface of the contract.
pub(crate) fn interface(name: &str) -> String {
    format!("dirigo:operator/{name}@0.2.0")
}

/// Why a component is not an operator that this host runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// It imports what it was not granted.
    #[error("imports `{}`, which operators are not granted", .names.join("`, `"))]
    Imports {
        /// The imports, as they are named.
        names: Vec<String>,
    },
    /// It was built for another version of the contract.
    #[error(
        "was built for `dirigo:operator@{version}`, and this host runs `dirigo:operator@0.2.0`: build it anew with this version of the \
         SDK; state on disk stays valid"
    )]
    Version {
        /// Which version.
        version: String,
    },
    /// It exports no kind.
    #[error("exports none of `dirigo:operator/map`, `dirigo:operator/filter`, `dirigo:operator/reduce` and `dirigo:operator/process`{}; the SDK exports one by `#[operator]` before its `impl`", .found)]
    NoKind {
        /// What it exports instead.
        found: String,
    },
    /// It exports several kinds.
    #[error("exports more than one kind of operator: {}", .kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    SeveralKinds {
        /// Which.
        kinds: Vec<Kind>,
    },
    /// A function of its kind has other types than the contract gives it.
    #[error(
        "does not fit the contract of `dirigo:operator@0.2.0`: {message}; build it anew with this version of the SDK"
    )]
    Types {
        /// Which, and how.
        message: String,
    },
    /// A part of its kind is missing.
    #[error("does not export `{name}`, which every operator of its kind does")]
    Missing {
        /// What is missing.
        name: String,
    },
}

/// Refuses a component that was built for another version of the contract.
pub(crate) fn check_version(component: &Component) -> Result<(), Violation> {
    let exports = component.component_type();
    for (name, _) in exports.exports(component.engine()) {
        if let Some(version) = name.strip_prefix("dirigo:operator/lifecycle@")
            && name != interface("lifecycle")
        {
            return Err(Violation::Version {
                version: version.to_owned(),
            });
        }
    }
    Ok(())
}

/// The kind of operator that `component` exports.
///
/// # Errors
/// When it exports none, or several.
pub(crate) fn kind(component: &Component) -> Result<Kind, Violation> {
    let exports = component.component_type();
    let engine = component.engine();
    let exported = |kind: &Kind| exports.get_export(engine, &interface(kind.name())).is_some();
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(exported).collect();
    match kinds[..] {
        [kind] => Ok(kind),
        [] => Err(Violation::NoKind {
            found: found(exports.exports(engine).map(|(name, _)| name)),
        }),
        _ => Err(Violation::SeveralKinds { kinds }),
    }
}

fn found<'a>(exports: impl Iterator<Item = &'a str>) -> String {
    let exports: Vec<&str> = exports.collect();
    if exports.is_empty() {
        "; it exports nothing".into()
    } else {
        format!("; it exports `{}`", exports.join("`, `"))
    }
}

/// An interface that a component exports.
pub(crate) struct Interface<'a> {
    component: &'a Component,
    name: String,
    index: ComponentExportIndex,
    exports: types::ComponentInstance,
}

impl<'a> Interface<'a> {
    /// The interface `name` of the contract.
    ///
    /// # Errors
    /// When the component does not export it.
    pub(crate) fn of(component: &'a Component, name: &str) -> Result<Self, Violation> {
        let name = interface(name);
        match component.get_export(None, &name) {
            Some((ComponentItem::ComponentInstance(exports), index)) => Ok(Self {
                component,
                name,
                index,
                exports,
            }),
            _ => Err(Violation::Missing { name }),
        }
    }

    /// Where its function `name` is.
    ///
    /// # Errors
    /// When there is none, or it has other types than these.
    pub(crate) fn function<Params, Return>(&self, name: &str) -> Result<ComponentExportIndex, Violation>
    where
        Params: ComponentNamedList + Lower,
        Return: ComponentNamedList + Lift,
    {
        let full_name = || format!("{}#{name}", self.name);
        let export = self.exports.get_export(self.component.engine(), name);
        let (Some(ComponentItem::ComponentFunc(function)), Some(index)) = (
            export.map(|export| export.ty),
            self.component.get_export_index(Some(&self.index), name),
        ) else {
            return Err(Violation::Missing { name: full_name() });
        };
        let types = self.component.component_type();
        let fits = function.typecheck::<Params, Return>(&types.instance_type());
        fits.map_err(|error| Violation::Types {
            message: format!("`{}`: {error:#}", full_name()),
        })?;
        Ok(index)
    }
}
