//! Which fields a source takes out of what it reads: those that an operator behind it reads, and no operator between them writes.

use std::sync::Arc;

use dirigo_engine::{Component, Kind, Setup};
use dirigo_fields::Wanted;
use dirigo_ground::fields::{OutputMode, Schema};
use dirigo_pipeline::{Input, Pipeline};

/// By source, what it takes out. What an operator reads of which that is not known, it takes out itself.
pub(super) fn of_sources(pipeline: &Pipeline, components: &[(Component, Setup)]) -> Vec<Arc<[Wanted]>> {
    let stages: Vec<Stage<'_>> = components
        .iter()
        .map(|(component, setup)| Stage {
            kind: component.kind(),
            schema: setup.schema.as_deref(),
        })
        .collect();
    let inputs: Vec<&[Input]> = pipeline.operators.iter().map(|operator| &operator.inputs[..]).collect();
    let behind = behind_operators(&inputs, &stages);
    let sources = 0..pipeline.sources.len();
    sources
        .map(|source| wanted_behind(Input::Source(source), &inputs, &stages, &behind).into())
        .collect()
}

/// What is to be known of an operator.
struct Stage<'a> {
    kind: Kind,
    schema: Option<&'a Schema>,
}

/// By operator, what is wanted of its outputs. Operators stand in topological order.
fn behind_operators(inputs: &[&[Input]], stages: &[Stage<'_>]) -> Vec<Vec<Wanted>> {
    let mut behind = vec![Vec::new(); stages.len()];
    for operator in (0..stages.len()).rev() {
        behind[operator] = wanted_behind(Input::Operator(operator), inputs, stages, &behind);
    }
    behind
}

/// What is wanted of what leaves `from`, where that is known for every operator behind it.
fn wanted_behind(from: Input, inputs: &[&[Input]], stages: &[Stage<'_>], behind: &[Vec<Wanted>]) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut add = |field: &Wanted| {
        if !wanted.contains(field) {
            wanted.push(field.clone());
        }
    };
    for (operator, stage) in stages.iter().enumerate() {
        let Some(schema) = stage.schema.filter(|_| inputs[operator].contains(&from)) else {
            continue;
        };
        schema
            .reads
            .iter()
            .for_each(|read| add(&(read.field.clone(), read.field_type)));
        let passes_on = stage.kind == Kind::Filter || schema.outputs == OutputMode::Extend;
        if passes_on {
            let is_written = |(field, _): &&Wanted| schema.writes.iter().any(|written| written.field.overlaps(field));
            behind[operator]
                .iter()
                .filter(|field| !is_written(field))
                .for_each(&mut add);
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_ground::fields::{FieldType, Read, Written};
    use dirigo_json::Field;

    fn schema(reads: &[&str], writes: &[&str], outputs: OutputMode) -> Schema {
        let field = |name: &&str| Arc::new(Field::new(*name).unwrap());
        Schema {
            reads: reads
                .iter()
                .map(|name| Read {
                    field: field(name),
                    field_type: FieldType::F64,
                    is_optional: false,
                    is_exact: false,
                })
                .collect(),
            raw: false,
            writes: writes
                .iter()
                .map(|name| Written {
                    field: field(name),
                    field_type: FieldType::F64,
                })
                .collect(),
            outputs,
        }
    }

    #[test]
    fn what_is_written_on_the_way_is_not_taken_out() {
        let map = schema(&["celsius"], &["fahrenheit"], OutputMode::Extend);
        let filter = schema(&["fahrenheit"], &[], OutputMode::Raw);
        let reduce = schema(&["/humidity", "fahrenheit"], &[], OutputMode::Raw);
        let after = schema(&["avg"], &[], OutputMode::Raw);
        let stages = [
            (Kind::Map, Some(&map)),
            (Kind::Filter, Some(&filter)),
            (Kind::Reduce, Some(&reduce)),
            (Kind::Filter, Some(&after)),
            (Kind::Map, None),
        ]
        .map(|(kind, schema)| Stage { kind, schema });
        let inputs: [&[Input]; 5] = [
            &[Input::Source(0)],
            &[Input::Operator(0)],
            &[Input::Operator(1), Input::Source(1)],
            &[Input::Operator(2)],
            &[Input::Source(1)],
        ];
        let behind = behind_operators(&inputs, &stages);
        let wanted = |source| {
            let wanted = wanted_behind(Input::Source(source), &inputs, &stages, &behind);
            wanted.iter().map(|(field, _)| field.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(wanted(0), ["celsius", "/humidity"]);
        assert_eq!(wanted(1), ["/humidity", "fahrenheit"]);
    }
}
