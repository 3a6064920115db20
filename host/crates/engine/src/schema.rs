//! `lifecycle.schema`: what an operator reads and writes, as it says when it is opened.

use std::sync::Arc;

use wasmtime::component::{ComponentType, Lift};

use crate::kind::Kind;
use crate::list::{Item, List};
use crate::text::Text;
use crate::validation::InvalidResult;
use dirigo_ground::fields::{FieldType, OutputMode, Read, Schema, Written};
use dirigo_json::{FIELDS_MAX, Field};

/// The most fields that an operator reads.
const READS_MAX: usize = 128;
/// The most fields that an operator writes.
const WRITES_MAX: usize = FIELDS_MAX;

/// `types.field-type`.
#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "wasmtime makes them, from what a guest returned")]
pub(crate) enum RawType {
    #[component(name = "boolean")]
    Boolean,
    #[component(name = "s64")]
    S64,
    #[component(name = "f64")]
    F64,
    #[component(name = "text")]
    Text,
    #[component(name = "bytes")]
    Bytes,
    #[component(name = "json")]
    Json,
}

impl From<RawType> for FieldType {
    fn from(raw: RawType) -> Self {
        match raw {
            RawType::Boolean => Self::Boolean,
            RawType::S64 => Self::S64,
            RawType::F64 => Self::F64,
            RawType::Text => Self::Text,
            RawType::Bytes => Self::Bytes,
            RawType::Json => Self::Json,
        }
    }
}

/// `lifecycle.field`.
#[derive(Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawRead {
    name: Text,
    kind: RawType,
    optional: bool,
    exact: bool,
}

/// `lifecycle.written`.
#[derive(Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawWritten {
    name: Text,
    kind: RawType,
}

/// `lifecycle.output-mode`.
#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "wasmtime makes them, from what a guest returned")]
pub(crate) enum RawMode {
    #[component(name = "raw")]
    Raw,
    #[component(name = "extend")]
    Extend,
    #[component(name = "replace")]
    Replace,
}

/// `lifecycle.schema` as a guest returned it.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawSchema {
    reads: List<RawRead>,
    raw: bool,
    writes: List<RawWritten>,
    outputs: RawMode,
}

impl Item for RawRead {
    fn check(length: usize, _: usize) -> wasmtime::Result<()> {
        wasmtime::ensure!(
            length <= READS_MAX,
            "a schema reads {length} fields, and may read {READS_MAX}"
        );
        Ok(())
    }
}

impl Item for RawWritten {
    fn check(length: usize, _: usize) -> wasmtime::Result<()> {
        wasmtime::ensure!(
            length <= WRITES_MAX,
            "a schema writes {length} fields, and may write {WRITES_MAX}"
        );
        Ok(())
    }
}

impl RawSchema {
    /// The schema of an operator of this kind.
    pub(crate) fn validate(self, kind: Kind) -> Result<Schema, InvalidResult> {
        let invalid = |problem: String| InvalidResult::Schema { problem };
        let field = |name: Text| Field::new(String::from(name)).map_err(|error| invalid(error.message().to_owned()));
        let mut reads: Vec<Read> = Vec::new();
        for raw in self.reads.into_items() {
            let read = Read {
                field: Arc::new(field(raw.name)?),
                field_type: raw.kind.into(),
                is_optional: raw.optional,
                is_exact: raw.exact,
            };
            if read.is_exact && read.field_type != FieldType::F64 {
                return Err(invalid(format!(
                    "it reads `{}` as {} and `exact`, which is of f64 alone",
                    read.field, read.field_type
                )));
            }
            if let Some(other) = reads.iter().find(|other| copy_the_same(&read, other)) {
                return Err(invalid(format!(
                    "it reads `{}` as {} and `{}` as {}, one of which lies in the other",
                    other.field, other.field_type, read.field, read.field_type
                )));
            }
            reads.push(read);
        }
        let mut writes: Vec<Written> = Vec::new();
        for RawWritten { name, kind } in self.writes.into_items() {
            let field = field(name)?;
            if let Some(other) = writes.iter().find(|other| other.field.overlaps(&field)) {
                return Err(invalid(format!("it writes both `{}` and `{field}`", other.field)));
            }
            writes.push(Written {
                field: Arc::new(field),
                field_type: kind.into(),
            });
        }
        let outputs = match self.outputs {
            RawMode::Raw => OutputMode::Raw,
            RawMode::Extend => OutputMode::Extend,
            RawMode::Replace => OutputMode::Replace,
        };
        match (kind, outputs) {
            (Kind::Filter, _) if !writes.is_empty() => {
                return Err(invalid("a filter writes no fields".to_owned()));
            }
            (Kind::Reduce, OutputMode::Extend) => {
                return Err(invalid(
                    "a reduce has no event that its outputs could extend".to_owned(),
                ));
            }
            (Kind::Process, OutputMode::Extend) => {
                return Err(invalid(
                    "a process has timers, which have no event that outputs could extend".to_owned(),
                ));
            }
            (_, OutputMode::Raw) if !writes.is_empty() => {
                return Err(invalid("outputs that are raw have no fields".to_owned()));
            }
            (_, OutputMode::Replace) => {
                if let Some(nested) = writes.iter().find(|written| !written.field.is_top_level()) {
                    let message = format!(
                        "`{}` lies in a field, and outputs that replace have fields at the top",
                        nested.field
                    );
                    return Err(invalid(message));
                }
            }
            _ => {}
        }
        Ok(Schema {
            reads,
            raw: self.raw,
            writes,
            outputs,
        })
    }
}

/// Whether the same bytes of an event would be copied for both: so all that is read of it is no more than it has.
fn copy_the_same(one: &Read, other: &Read) -> bool {
    let is_copied = |read: &Read| matches!(read.field_type, FieldType::Text | FieldType::Bytes | FieldType::Json);
    is_copied(one) && is_copied(other) && one.field.overlaps(&other.field)
}
