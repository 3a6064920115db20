//! What is read of the events of a source: the fields that an operator behind it reads, and no operator between them writes, and whether
//! some operator reads the payloads.

use std::sync::Arc;

use dirigo_engine::{Component, Kind, Setup};
use dirigo_fields::Wanted;
use dirigo_flow::Projection;
use dirigo_ground::fields::{FieldType, OutputMode, Schema};
use dirigo_json::Field;
use dirigo_pipeline::{Input, Pipeline, Pointer, Source};

/// By source, what is read of its events. What an operator reads of which that is not known, it takes out itself.
pub(super) fn of_sources(pipeline: &Pipeline, components: &[(Component, Setup)]) -> Vec<Projection> {
    let stages: Vec<Stage<'_>> = components
        .iter()
        .zip(&pipeline.operators)
        .map(|((component, setup), operator)| Stage {
            kind: component.kind(),
            schema: setup.schema.as_deref(),
            has_key: operator.key.is_some(),
        })
        .collect();
    let inputs: Vec<&[Input]> = pipeline.operators.iter().map(|operator| &operator.inputs[..]).collect();
    let behind = behind_operators(&inputs, &stages);
    let projection = |(source, options): (usize, &Source)| {
        let mut wanted = wanted_behind(Input::Source(source), &inputs, &stages, &behind);
        if let Some(pointer) = &options.watermark {
            wanted.add(&(watermark_field(pointer), FieldType::Json));
        }
        wanted.into_projection()
    };
    pipeline.sources.iter().enumerate().map(projection).collect()
}

/// The field in which the events of a source say how far event time has come.
pub(super) fn watermark_field(pointer: &Pointer) -> Arc<Field> {
    Arc::new(Field::from_names(&pointer.tokens))
}

/// What is to be known of an operator.
struct Stage<'a> {
    kind: Kind,
    schema: Option<&'a Schema>,
    /// Whether it takes a new key out of the payloads.
    has_key: bool,
}

/// What is wanted of events.
#[derive(Clone, Default)]
struct Behind {
    fields: Vec<Wanted>,
    raw: bool,
}

impl Behind {
    fn add(&mut self, field: &Wanted) {
        if !self.fields.contains(field) {
            self.fields.push(field.clone());
        }
    }

    fn into_projection(self) -> Projection {
        Projection {
            fields: self.fields.into(),
            raw: self.raw,
        }
    }
}

/// By operator, what is wanted of its outputs. Operators stand in topological order.
fn behind_operators(inputs: &[&[Input]], stages: &[Stage<'_>]) -> Vec<Behind> {
    let mut behind = vec![Behind::default(); stages.len()];
    for operator in (0..stages.len()).rev() {
        behind[operator] = wanted_behind(Input::Operator(operator), inputs, stages, &behind);
    }
    behind
}

/// What is wanted of what leaves `from`, as far as that is known.
fn wanted_behind(from: Input, inputs: &[&[Input]], stages: &[Stage<'_>], behind: &[Behind]) -> Behind {
    let mut wanted = Behind::default();
    for (operator, stage) in stages
        .iter()
        .enumerate()
        .filter(|(operator, _)| inputs[*operator].contains(&from))
    {
        wanted.raw |= stage.has_key;
        let Some(schema) = stage.schema else { continue };
        wanted.raw |= schema.raw;
        let reads = schema.reads.iter();
        reads.for_each(|read| wanted.add(&(read.field.clone(), read.field_type)));
        let passes_on = stage.kind == Kind::Filter || schema.outputs == OutputMode::Extend;
        if passes_on {
            let is_written = |(field, _): &&Wanted| schema.writes.iter().any(|written| written.field.overlaps(field));
            let passed = behind[operator].fields.iter().filter(|field| !is_written(field));
            passed.for_each(|field| wanted.add(field));
            wanted.raw |= behind[operator].raw && schema.writes.is_empty();
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_ground::fields::{Read, Written};

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
            named: Vec::new(),
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
        .map(|(kind, schema)| Stage {
            kind,
            schema,
            has_key: false,
        });
        let inputs: [&[Input]; 5] = [
            &[Input::Source(0)],
            &[Input::Operator(0)],
            &[Input::Operator(1), Input::Source(1)],
            &[Input::Operator(2)],
            &[Input::Source(1)],
        ];
        let behind = behind_operators(&inputs, &stages);
        let wanted = |source| {
            let Behind { fields, raw } = wanted_behind(Input::Source(source), &inputs, &stages, &behind);
            assert!(!raw, "no operator reads payloads");
            fields.iter().map(|(field, _)| field.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(wanted(0), ["celsius", "/humidity"]);
        assert_eq!(wanted(1), ["/humidity", "fahrenheit"]);
    }

    #[test]
    fn payloads_are_wanted_where_they_are_read_as_the_source_gave_them() {
        let filter = schema(&["v"], &[], OutputMode::Raw);
        let map = schema(&["v"], &["w"], OutputMode::Extend);
        let raw = Schema {
            raw: true,
            ..schema(&[], &[], OutputMode::Raw)
        };
        let inputs: [&[Input]; 2] = [&[Input::Source(0)], &[Input::Operator(0)]];
        let is_wanted = |first: (Kind, &Schema), last: &Schema, has_key: bool| {
            let stages = [(first, false), ((Kind::Map, last), has_key)].map(|((kind, schema), has_key)| Stage {
                kind,
                schema: Some(schema),
                has_key,
            });
            let behind = behind_operators(&inputs, &stages);
            wanted_behind(Input::Source(0), &inputs, &stages, &behind).raw
        };
        assert!(is_wanted((Kind::Filter, &filter), &raw, false));
        assert!(is_wanted((Kind::Filter, &filter), &filter, true));
        assert!(!is_wanted((Kind::Filter, &filter), &filter, false));
        assert!(
            !is_wanted((Kind::Map, &map), &raw, false),
            "the map writes into them anyway"
        );
    }
}
