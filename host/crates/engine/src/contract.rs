//! Is this component an operator, and of which kind?
//!
//! Reads the types of a component against `wit/`: exports give the kind, every import must be granted. Nothing is run.

use std::fmt;

use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::{abi, wasi};

/// What kind of operator a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Any number of values from each event.
    Map,
    /// Which events go on.
    Filter,
    /// A fold over keys and windows.
    Reduce,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Map, Kind::Filter, Kind::Reduce];

    /// As it is written in files and in WIT.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Map => "map",
            Kind::Filter => "filter",
            Kind::Reduce => "reduce",
        }
    }

    /// Whether it needs state that lasts from one event to the next.
    #[must_use]
    pub fn is_stateful(self) -> bool {
        self == Kind::Reduce
    }

    pub(super) fn interface(self) -> String {
        interface(self.name())
    }

    pub(super) fn functions(self) -> &'static [&'static str] {
        match self {
            Kind::Map => &["map"],
            Kind::Filter => &["filter"],
            Kind::Reduce => &["accumulate", "merge", "finish", "state-versions", "migrate"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The full name of an interface of the contract.
pub(super) fn interface(name: &str) -> String {
    format!("dirigo:operator/{name}@0.1.0")
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
    /// It exports no kind.
    #[error("exports none of `dirigo:operator/map`, `dirigo:operator/filter` and `dirigo:operator/reduce`{}", .found)]
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
    #[error("does not fit the contract of `dirigo:operator@0.1.0`: {message}")]
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

/// The kind of `component` and the names of its imports.
pub(super) fn check(component: &Component) -> Result<(Kind, Vec<String>), Violation> {
    let ty = component.component_type();
    let engine = component.engine();
    let imports: Vec<String> = ty.imports(engine).map(|(name, _)| name.to_owned()).collect();
    let denied: Vec<String> = imports.iter().filter(|name| !is_granted(name)).cloned().collect();
    if !denied.is_empty() {
        return Err(Violation::Imports { names: denied });
    }
    let exports = |name: &str| ty.get_export(engine, name).is_some();
    let kinds: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|kind| exports(&kind.interface()))
        .collect();
    let kind = match kinds[..] {
        [kind] => kind,
        [] => {
            return Err(Violation::NoKind {
                found: found(ty.exports(engine).map(|(name, _)| name)),
            });
        }
        _ => return Err(Violation::SeveralKinds { kinds }),
    };
    require(component, &interface("lifecycle"), &["open"])?;
    require(component, &kind.interface(), kind.functions())?;
    Ok((kind, imports))
}

fn is_granted(import: &str) -> bool {
    let name = import.split_once('@').map_or(import, |(name, _)| name);
    import == interface("host") || import == interface("types") || wasi::GRANTED.contains(&name)
}

fn found<'a>(exports: impl Iterator<Item = &'a str>) -> String {
    let exports: Vec<&str> = exports.collect();
    if exports.is_empty() {
        "; it exports nothing".into()
    } else {
        format!("; it exports `{}`", exports.join("`, `"))
    }
}

fn require(component: &Component, interface: &str, functions: &[&str]) -> Result<(), Violation> {
    let ty = component.component_type();
    let engine = component.engine();
    let missing = |name: String| Violation::Missing { name };
    let Some(ComponentItem::ComponentInstance(instance)) = ty.get_export(engine, interface).map(|export| export.ty)
    else {
        return Err(missing(interface.into()));
    };
    for function in functions {
        let name = format!("{interface}#{function}");
        match instance.get_export(engine, function).map(|export| export.ty) {
            Some(ComponentItem::ComponentFunc(found)) => {
                let fits = abi::typecheck(function, &found, &ty.instance_type());
                fits.map_err(|error| Violation::Types {
                    message: format!("`{name}`: {error:#}"),
                })?;
            }
            _ => return Err(missing(name)),
        }
    }
    Ok(())
}
