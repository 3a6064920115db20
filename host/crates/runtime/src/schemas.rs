//! Whether operators find what they read: each edge of a pipeline is looked at with what both of its ends say of fields.
//!
//! What a source brings is not known here; what an operator writes is. So an error is what no event can have: a field that the operator
//! in front, whose outputs are nothing else, does not write, or one that it writes as another type.

use std::sync::Arc;

use dirigo_engine::{Component, Kind, Setup};
use dirigo_ground::fields::{FieldType, OutputMode, Read, Schema, Written};
use dirigo_json::Field;
use dirigo_pipeline::{Diagnostics, Input, Loaded, Operator, suggestion};

/// What is known of the events that leave a source or an operator by one of its outputs.
#[derive(Clone, Default)]
struct Known<'a> {
    /// The fields that were written, each with its type and who wrote it.
    written: Vec<(&'a Field, FieldType, Arc<str>)>,
    /// Who replaced the events, so that they have no other fields.
    replaced_by: Option<Arc<str>>,
}

/// What is known of the events that leave an operator.
#[derive(Default)]
struct Leaving<'a> {
    own: Known<'a>,
    /// By the place of the output among those that are read.
    named: Vec<Known<'a>>,
}

/// What no event can have that operators read.
pub(super) fn problems(loaded: &Loaded, components: &[(Component, Setup)]) -> Diagnostics {
    let mut problems = Diagnostics::default();
    let mut leaving: Vec<Leaving<'_>> = Vec::new();
    for (operator, (component, setup)) in loaded.pipeline.operators.iter().zip(components) {
        let arriving = operator.inputs.iter().map(|input| match input {
            Input::Source(_) | Input::Late(_) => Known::default(),
            Input::Operator(index) => leaving[*index].own.clone(),
            Input::Named { operator, output } => leaving[*operator].named.get(*output).cloned().unwrap_or_default(),
        });
        let arriving: Vec<Known<'_>> = arriving.collect();
        let Some(schema) = setup.schema.as_deref() else {
            leaving.push(Leaving::default());
            continue;
        };
        for known in &arriving {
            if let Some(found) = schema
                .reads
                .iter()
                .find_map(|read| problem(loaded, operator, read, known))
            {
                problems.append(found);
                break;
            }
        }
        leaving.push(Leaving {
            own: after(operator, component.kind(), schema, arriving),
            named: operator
                .read_outputs
                .iter()
                .map(|name| put_out(operator, schema, name))
                .collect(),
        });
    }
    problems
}

/// What is known of the events that leave an operator under a name.
fn put_out<'a>(operator: &Operator, schema: &'a Schema, name: &str) -> Known<'a> {
    let found = schema.named.iter().find(|named| named.name == name);
    let replacing = found.filter(|named| named.mode == OutputMode::Replace);
    replacing.map_or_else(Known::default, |named| {
        replaced(&named.writes, format!("{}.{name}", operator.id).into())
    })
}

/// Events that have nothing but these fields.
fn replaced(fields: &[Written], writer: Arc<str>) -> Known<'_> {
    Known {
        written: written(fields, &writer).collect(),
        replaced_by: Some(writer),
    }
}

fn written<'a>(fields: &'a [Written], writer: &Arc<str>) -> impl Iterator<Item = (&'a Field, FieldType, Arc<str>)> {
    fields
        .iter()
        .map(|written| (&*written.field, written.field_type, writer.clone()))
}

/// What is known of the events that leave an operator.
fn after<'a>(operator: &Operator, kind: Kind, schema: &'a Schema, arriving: Vec<Known<'a>>) -> Known<'a> {
    let writer = Arc::from(operator.id.as_str());
    // Of events that come from several places nothing is known that holds for all.
    let one = || {
        <[Known<'_>; 1]>::try_from(arriving)
            .map(|[known]| known)
            .unwrap_or_default()
    };
    match (kind, schema.outputs) {
        (Kind::Filter, _) => one(),
        (_, OutputMode::Raw) => Known::default(),
        (_, OutputMode::Replace) => replaced(&schema.writes, writer),
        (_, OutputMode::Extend) => {
            let mut known = one();
            let is_untouched = |(field, _, _): &(&Field, FieldType, Arc<str>)| {
                !schema.writes.iter().any(|written| written.field.overlaps(field))
            };
            known.written.retain(is_untouched);
            known.written.extend(written(&schema.writes, &writer));
            known
        }
    }
}

fn problem(loaded: &Loaded, operator: &Operator, read: &Read, known: &Known<'_>) -> Option<Diagnostics> {
    let (id, name) = (&operator.id, read.field.to_string());
    let found = known.written.iter().find(|(field, _, _)| **field == *read.field);
    let (label, help) = match (found, &known.replaced_by) {
        (Some((_, written, writer)), _) if !can_read(*written, read.field_type) => {
            let label = format!(
                "`{writer}` writes `{name}` as {written}, and `{id}` reads {}",
                read.field_type
            );
            (label, None)
        }
        (None, Some(writer))
            if !read.is_optional && !known.written.iter().any(|(field, _, _)| field.overlaps(&read.field)) =>
        {
            let written: Vec<String> = known.written.iter().map(|(field, _, _)| field.to_string()).collect();
            let written: Vec<&str> = written.iter().map(String::as_str).collect();
            let label = format!("`{writer}` writes no field `{name}`, and its outputs have no others");
            (label, Some(suggestion(&name, &written, "it writes")))
        }
        _ => return None,
    };
    let message = format!("operator `{id}` reads what no event has");
    Some(loaded.error_at(id, &place(operator, &name), &message, &label, help.as_deref()))
}

/// The setting that names the field, if there is one.
fn place(operator: &Operator, field: &str) -> String {
    let settings = operator.config.as_object().into_iter().flatten();
    let names_it = |(_, value): &(&String, &serde_json::Value)| value.as_str() == Some(field);
    let setting = settings.clone().find(names_it);
    setting.map_or_else(|| "component".to_owned(), |(setting, _)| format!("config.{setting}"))
}

/// Whether what was written as one type can be read as another.
fn can_read(written: FieldType, read: FieldType) -> bool {
    use FieldType::{Bytes, F64, Json, S64, Text};
    match (written, read) {
        (Json, _) | (_, Json) | (S64 | F64, S64 | F64) | (Text | Bytes, Text | Bytes) => true,
        (written, read) => written == read,
    }
}
