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
use dirigo_ground::fields::{
    Bits, FieldColumn, FieldType, FieldValues, Fields, NamedColumn, OutputMode, Rounded, Schema, Written,
};
use dirigo_json::LongInteger;

/// `types.batch`; shares the columns of a [`Batch`], so that lowering is the only copy.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct BatchArg {
    times: Arc<Vec<i64>>,
    keys: Arc<Column>,
    fields: Vec<FieldArg>,
    integers: Vec<IntegerArg>,
    values: Option<Arc<Column>>,
}

impl BatchArg {
    /// What an operator of this schema is handed of a batch, of which the fields are known that it reads.
    pub(crate) fn of(batch: &Batch, schema: &Schema) -> Self {
        let (mut fields, mut integers) = (Vec::with_capacity(schema.reads.len()), Vec::new());
        for (field, read) in (0..).zip(&schema.reads) {
            let column = batch.fields.get(&read.field, read.field_type);
            let column = column.expect("fields that are read were extracted before the call");
            fields.push(FieldArg::from(&**column));
            if read.is_exact {
                integers.extend(column.rounded.iter().map(|rounded| IntegerArg::of(field, rounded)));
            }
        }
        Self {
            times: batch.times.clone(),
            keys: batch.keys.clone(),
            fields,
            integers,
            values: schema.raw.then(|| batch.values.to_column()),
        }
    }
}

/// `types.exact-integer`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct IntegerArg {
    field: u32,
    event: u32,
    value: i64,
}

impl IntegerArg {
    fn of(field: u32, rounded: &Rounded) -> Self {
        let LongInteger::S64(value) = rounded.integer else {
            panic!("an event with a longer one is not handed over");
        };
        Self {
            field,
            event: rounded.index,
            value,
        }
    }
}

/// `types.field-column`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct FieldArg {
    validity: Option<Vec<u8>>,
    values: ValuesArg,
}

/// `types.field-values`.
#[derive(ComponentType, Lower)]
#[component(variant)]
pub(crate) enum ValuesArg {
    #[component(name = "boolean")]
    Boolean(Vec<u8>),
    #[component(name = "s64")]
    S64(Vec<i64>),
    #[component(name = "f64")]
    F64(Vec<f64>),
    #[component(name = "text")]
    Text(Column),
    #[component(name = "bytes")]
    Bytes(Column),
    #[component(name = "json")]
    Json(Column),
}

impl From<&FieldColumn> for FieldArg {
    fn from(column: &FieldColumn) -> Self {
        Self {
            validity: column.validity.as_ref().map(|validity| validity.bytes().to_vec()),
            values: match &column.values {
                FieldValues::Boolean(values) => ValuesArg::Boolean(values.bytes().to_vec()),
                FieldValues::S64(values) => ValuesArg::S64(values.clone()),
                FieldValues::F64(values) => ValuesArg::F64(values.clone()),
                FieldValues::Text(values) => ValuesArg::Text(values.clone()),
                FieldValues::Bytes(values) => ValuesArg::Bytes(values.clone()),
                FieldValues::Json(values) => ValuesArg::Json(values.clone()),
            },
        }
    }
}

/// `types.field-column` as a guest returned it.
#[derive(Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawFieldColumn {
    validity: Option<List<u8>>,
    values: RawValues,
}

/// `types.field-values` as a guest returned them.
#[derive(Clone, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum RawValues {
    #[component(name = "boolean")]
    Boolean(List<u8>),
    #[component(name = "s64")]
    S64(List<i64>),
    #[component(name = "f64")]
    F64(List<f64>),
    #[component(name = "text")]
    Text(RawColumn),
    #[component(name = "bytes")]
    Bytes(RawColumn),
    #[component(name = "json")]
    Json(RawColumn),
}

impl Staged for RawFieldColumn {
    async fn unstage(&mut self, from: &mut Unstaging) {
        if let Some(validity) = &mut self.validity {
            validity.unstage(from).await;
        }
        match &mut self.values {
            RawValues::Boolean(bits) => bits.unstage(from).await,
            RawValues::S64(values) => values.unstage(from).await,
            RawValues::F64(values) => values.unstage(from).await,
            RawValues::Text(column) | RawValues::Bytes(column) | RawValues::Json(column) => {
                column.unstage(from).await;
            }
        }
    }
}

impl RawFieldColumn {
    /// A column of this type with so many items.
    fn validate(self, field_type: FieldType, items: usize) -> Result<FieldColumn, InvalidResult> {
        let bits = |bytes: List<u8>, what| {
            let bytes = bytes.into_items();
            let found = bytes.len();
            Bits::from_bytes(bytes, items).ok_or(InvalidResult::Length {
                what,
                found,
                wanted: items.div_ceil(8),
            })
        };
        let validity = match self.validity {
            Some(validity) => Some(bits(validity, "fields.validity")?),
            None => None,
        };
        let values = match self.values {
            RawValues::Boolean(values) => FieldValues::Boolean(bits(values, "fields.boolean")?),
            RawValues::S64(values) => FieldValues::S64(values.into_items()),
            RawValues::F64(values) => FieldValues::F64(values.into_items()),
            RawValues::Text(column) => FieldValues::Text(validation::text(column.validate("fields.text", items)?)?),
            RawValues::Bytes(column) => FieldValues::Bytes(column.validate("fields.bytes", items)?),
            RawValues::Json(column) => FieldValues::Json(column.validate("fields.json", items)?),
        };
        if values.field_type() != field_type {
            return Err(InvalidResult::FieldType {
                found: values.field_type(),
                wanted: field_type,
            });
        }
        validation::same_length("fields.values", values.len(), items)?;
        Ok(FieldColumn {
            validity,
            ..FieldColumn::of(values)
        })
    }
}

/// `types.column` as a guest returned it.
#[derive(Clone, ComponentType, Lift)]
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

    /// So many accumulators of windows with events, or states of keys, none of which is empty; `what` is the name of their list.
    pub(crate) fn validate_states(self, what: &'static str, items: usize) -> Result<Column, InvalidResult> {
        let accumulators = self.validate(what, items)?;
        if let Some(index) = accumulators.iter().position(<[u8]>::is_empty) {
            return Err(InvalidResult::Empty { what, index });
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
#[derive(Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct RawOutputs {
    origins: List<u32>,
    keys: Option<RawColumn>,
    fields: Vec<RawFieldColumn>,
    values: Option<RawColumn>,
    failures: List<RawFailure>,
}

impl Staged for RawOutputs {
    async fn unstage(&mut self, from: &mut Unstaging) {
        self.origins.unstage(from).await;
        if let Some(values) = &mut self.values {
            values.unstage(from).await;
        }
        for field in &mut self.fields {
            field.unstage(from).await;
        }
        if let Some(keys) = &mut self.keys {
            keys.unstage(from).await;
        }
    }
}

impl RawOutputs {
    /// Outputs of so many items, from an operator of this schema. Those of fields have no values yet.
    pub(crate) fn validate(self, items: usize, schema: &Schema) -> Result<Outputs, InvalidResult> {
        self.validate_as(items, &schema.writes, schema.outputs)
    }

    /// Outputs of so many items that are this, of these fields.
    pub(crate) fn validate_as(
        self,
        items: usize,
        writes: &[Written],
        mode: OutputMode,
    ) -> Result<Outputs, InvalidResult> {
        let origins = self.origins.into_items();
        let failures = rejections(self.failures);
        validation::in_order("origins", &origins, items, |before, after| before <= after)?;
        let is_raw = mode == OutputMode::Raw;
        let values = match self.values {
            Some(values) if is_raw => values.validate("values", origins.len())?,
            None if !is_raw => Column::default(),
            Some(_) => return Err(InvalidResult::UnwantedValues),
            // A guest that puts nothing out has no values either.
            None if origins.is_empty() => Column::default(),
            None => return Err(InvalidResult::NoValues),
        };
        // Nor does it have to hand over columns, which would be empty.
        if !(origins.is_empty() && self.fields.is_empty()) {
            validation::same_length("fields", self.fields.len(), writes.len())?;
        }
        let fields = self.fields.into_iter().zip(writes);
        let fields = fields.map(|(field, written)| {
            let column = field.validate(written.field_type, origins.len())?;
            Ok(NamedColumn {
                field: written.field.clone(),
                column: Arc::new(column),
            })
        });
        let fields = Fields::new(fields.collect::<Result<_, InvalidResult>>()?);
        let keys = match self.keys {
            Some(keys) => Some(keys.validate("keys", origins.len())?),
            None => None,
        };
        validation::failures(&failures, items)?;
        validation::disjoint("origins", &origins, &failures)?;
        Ok(Outputs {
            origins,
            keys,
            times: None,
            fields,
            values: values.into(),
            failures,
        })
    }
}
