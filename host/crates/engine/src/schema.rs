//! `lifecycle.schema`: what an operator reads and writes, as it says when it is opened. And what outputs it has besides, as
//! `named-outputs.declared` says.

use std::sync::Arc;

use wasmtime::component::{ComponentType, Lift};

use crate::kind::Kind;
use crate::list::{Item, List};
use crate::text::Text;
use crate::validation::InvalidResult;
use dirigo_ground::fields::{FieldType, NamedOutput, OutputMode, Read, Schema, Written};
use dirigo_json::{FIELDS_MAX, Field};

/// The most fields that an operator reads.
const READS_MAX: usize = 128;
/// The most fields that an operator writes.
const WRITES_MAX: usize = FIELDS_MAX;
/// The most outputs with names that an operator has: far more than a person wires, and each has columns of its own.
pub(crate) const NAMED_OUTPUTS_MAX: usize = 32;
/// The longest name of one, as of an operator in a pipeline file.
const NAME_BYTES_MAX: usize = 64;
/// What stands in a pipeline file for the events that come too late for an operator.
const LATE: &str = "late";

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

/// `named-outputs.named-output`.
#[derive(Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawNamedOutput {
    name: Text,
    writes: Option<List<RawWritten>>,
}

impl Item for RawNamedOutput {
    fn check(length: usize, _: usize) -> wasmtime::Result<()> {
        wasmtime::ensure!(
            length <= NAMED_OUTPUTS_MAX,
            "there are {length} named outputs, and there may be {NAMED_OUTPUTS_MAX}"
        );
        Ok(())
    }
}

impl RawSchema {
    /// The schema of an operator of this kind.
    pub(crate) fn validate(self, kind: Kind) -> Result<Schema, InvalidResult> {
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
        let writes = written(self.writes)?;
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
            (_, OutputMode::Replace) => check_replaced(&writes)?,
            _ => {}
        }
        Ok(Schema {
            reads,
            raw: self.raw,
            writes,
            outputs,
            named: Vec::new(),
        })
    }
}

/// The outputs that an operator has besides its own.
pub(crate) fn named_outputs(declared: List<RawNamedOutput>) -> Result<Vec<NamedOutput>, InvalidResult> {
    let invalid = |problem: String| Err(InvalidResult::NamedOutputs { problem });
    let mut outputs: Vec<NamedOutput> = Vec::new();
    for RawNamedOutput { name, writes } in declared.into_items() {
        let name = String::from(name);
        if !is_name(&name) {
            return invalid(format!(
                "{name:?} is no name: a letter, then letters, digits, `-` and `_`, at most {NAME_BYTES_MAX} together"
            ));
        }
        if name == LATE {
            return invalid(format!(
                "`{LATE}` stands for the events that come too late for an operator"
            ));
        }
        if outputs.iter().any(|other| other.name == name) {
            return invalid(format!("two have the name `{name}`"));
        }
        let mode = if writes.is_some() {
            OutputMode::Replace
        } else {
            OutputMode::Raw
        };
        let writes = writes.map_or_else(|| Ok(Vec::new()), written)?;
        check_replaced(&writes)?;
        outputs.push(NamedOutput { name, writes, mode });
    }
    Ok(outputs)
}

fn is_name(text: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(is_of_name)
}

/// Fields that are written: none in another.
fn written(raw: List<RawWritten>) -> Result<Vec<Written>, InvalidResult> {
    let mut writes: Vec<Written> = Vec::new();
    for RawWritten { name, kind } in raw.into_items() {
        let field = field(name)?;
        if let Some(other) = writes.iter().find(|other| other.field.overlaps(&field)) {
            return Err(invalid(format!("it writes both `{}` and `{field}`", other.field)));
        }
        writes.push(Written {
            field: Arc::new(field),
            field_type: kind.into(),
        });
    }
    Ok(writes)
}

/// Refuses fields that no object has at its top.
fn check_replaced(writes: &[Written]) -> Result<(), InvalidResult> {
    match writes.iter().find(|written| !written.field.is_top_level()) {
        None => Ok(()),
        Some(nested) => Err(invalid(format!(
            "`{}` lies in a field, and outputs that replace have fields at the top",
            nested.field
        ))),
    }
}

fn field(name: Text) -> Result<Field, InvalidResult> {
    Field::new(String::from(name)).map_err(|error| invalid(error.message().to_owned()))
}

fn invalid(problem: String) -> InvalidResult {
    InvalidResult::Schema { problem }
}

/// Whether the same bytes of an event would be copied for both: so all that is read of it is no more than it has.
fn copy_the_same(one: &Read, other: &Read) -> bool {
    let is_copied = |read: &Read| matches!(read.field_type, FieldType::Text | FieldType::Bytes | FieldType::Json);
    is_copied(one) && is_copied(other) && one.field.overlaps(&other.field)
}
