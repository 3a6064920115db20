//! A look at the first records of the files that sources read, before anything runs.
//!
//! Owns noticing that a key, a time, or a field that an operator reads is in none of them: a spelling mistake that would
//! else be found after as many dead letters as there are events. It changes nothing, and reads nothing that cannot be read again.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::prepare::Prepared;
use super::projection;
use super::wiring::Lines;
use dirigo_connect::Format;
use dirigo_connect::source::{Error, Intake, Opening, Read, ReadLimit};
use dirigo_connectors::records::Extract;
use dirigo_disk::{Disk, Usage};
use dirigo_engine::{Component, Kind, Setup};
use dirigo_fields::Wanted;
use dirigo_ground::batch::Column;
use dirigo_ground::clock::Clock;
use dirigo_ground::fields::OutputMode;
use dirigo_pipeline::{ComponentRef, Diagnostics, Input, Operator, Pipeline, Pointer, Severity, Source, suggestion};

/// How much is looked at of each source: a screenful or two, read in a few ms.
const LIMIT: ReadLimit = ReadLimit {
    events: 100,
    bytes: 1 << 20,
};

/// Ms since the epoch that are of this year or so if they are seconds in truth: those from 2001 to 2286.
const SECONDS: std::ops::Range<i64> = 1_000_000_000..10_000_000_000;

/// Clocks are not as far apart as this: a later time is a mistake, or one of a generator.
const AHEAD_MS: i64 = 24 * 60 * 60 * 1_000;

/// What the first events of something look like; `None` where nothing is known of them.
type Sample = Option<Arc<[Value]>>;

/// What is said of a pipeline whose first records do not have what it looks for. What makes a run fail for certain is said to be
/// as bad as `certain`, the rest is a warning.
#[must_use]
pub fn preview(prepared: &Prepared, clock: &Arc<dyn Clock>, certain: Severity) -> Diagnostics {
    let mut preview = Preview {
        prepared,
        certain,
        found: Diagnostics::default(),
    };
    let sources = &prepared.pipeline.sources;
    let disk = prepared.pipeline.access.disk(Usage::Read);
    let projections = projection::of_sources(&prepared.pipeline, &prepared.components);
    let of_sources: Vec<Sample> = sources
        .iter()
        .zip(&projections)
        .map(|(source, projection)| preview.source(source, &projection.fields, clock, &disk))
        .collect();
    preview.expect_time_where_operators_go_by_it();
    let mut of_operators: Vec<Sample> = Vec::new();
    for (operator, component) in prepared.pipeline.operators.iter().zip(&prepared.components) {
        let inputs = operator.inputs.iter().map(|input| match *input {
            Input::Source(index) => of_sources[index].clone(),
            Input::Operator(index) => of_operators[index].clone(),
            // Which are late depends on all the data, and what has names comes out of no built-in operator.
            Input::Late(_) | Input::Named { .. } => None,
        });
        let inputs: Option<Vec<Arc<[Value]>>> = inputs.collect();
        let events: Sample = inputs.map(|inputs| inputs.iter().flat_map(|events| events.iter().cloned()).collect());
        let outputs = events.and_then(|events| preview.operator(operator, component, events));
        of_operators.push(outputs);
    }
    preview.found
}

struct Preview<'a> {
    prepared: &'a Prepared,
    certain: Severity,
    found: Diagnostics,
}

/// What was read of a source.
#[derive(Default)]
struct FirstRecords {
    values: Arc<Column>,
    /// The numbers of the records whose events have the values.
    positions: Vec<u64>,
    /// Why others are no events, with their numbers.
    refused: Vec<String>,
}

fn first_records(
    pipeline: &Pipeline,
    source: &Source,
    reads: &[Wanted],
    clock: &Arc<dyn Clock>,
    disk: &Arc<dyn Disk>,
) -> Result<FirstRecords, Error> {
    let mut reader = source.spec.open(Opening {
        id: &source.id,
        pipeline: &pipeline.name,
        tenant: &pipeline.tenant,
        key: None,
        time: None,
        reads,
        clock: clock.clone(),
        from: None,
        is_continued: false,
        disk,
        keep: None,
    })?;
    let mut intake = Intake::default();
    loop {
        let events = intake.positions.len() + intake.refused.len();
        let limit = ReadLimit {
            events: LIMIT.events.saturating_sub(events),
            bytes: LIMIT.bytes.saturating_sub(intake.bytes()),
        };
        if limit.events == 0 || limit.bytes == 0 || reader.read(&mut intake, limit)? != Read::More {
            break;
        }
    }
    let refused = intake.refused.iter();
    Ok(FirstRecords {
        refused: refused
            .map(|refused| format!("record {}: {}", refused.position, refused.reason))
            .collect(),
        positions: std::mem::take(&mut intake.positions),
        values: intake.take_values().to_column(),
    })
}

impl Preview<'_> {
    fn say(&mut self, severity: Severity, (id, key): (&str, &str), message: &str, label: &str, help: Option<&str>) {
        let found = self
            .prepared
            .span_index
            .problem_at(severity, id, key, message, label, help);
        self.found.append(found);
    }

    fn source(&mut self, source: &Source, reads: &[Wanted], clock: &Arc<dyn Clock>, disk: &Arc<dyn Disk>) -> Sample {
        if source.spec.files().is_empty() || !source.spec.can_be_read_again(&**disk) {
            return None;
        }
        let id = &source.id;
        let records = match first_records(&self.prepared.pipeline, source, reads, clock, disk) {
            Ok(records) => records,
            Err(error) => {
                let message = format!("source `{id}` cannot be read");
                self.say(self.certain, (id, "path"), &message, &error.to_string(), None);
                return None;
            }
        };
        if records.values.is_empty() {
            if let Some(reason) = records.refused.first() {
                let message = format!(
                    "none of the first {} records of source `{id}` is an event",
                    records.refused.len()
                );
                self.say(Severity::Warning, (id, "path"), &message, reason, None);
            }
            return None;
        }
        if let Some(reason) = records.refused.first() {
            let message = format!(
                "{} of the first {} records of source `{id}` are no events",
                records.refused.len(),
                records.refused.len() + records.values.len()
            );
            self.say(Severity::Warning, (id, "path"), &message, reason, None);
        }
        if source.spec.format() == Format::Lines {
            return None;
        }
        let events: Arc<[Value]> = records
            .values
            .iter()
            .filter_map(|value| serde_json::from_slice(value).ok())
            .collect();
        // A header says for all of them what they have.
        let severity = match source.spec.format() {
            Format::Csv => self.certain,
            Format::Jsonl | Format::Lines => Severity::Warning,
        };
        let who = format!("source `{id}`");
        if events.first().is_some_and(Value::is_array) {
            let message = format!("the first record of {who} is an array");
            let help = "each line is one event: write the elements of an array on lines of their own";
            self.say(
                Severity::Warning,
                (id, "path"),
                &message,
                "all of the array is one event",
                Some(help),
            );
        }
        if let Some(key) = &source.key {
            self.expect(severity, (id, "key"), &who, "key", key, &events);
        }
        if let Some(time) = &source.time {
            let place = if self.prepared.span_index.has(id, "time.field") {
                "time.field"
            } else {
                "time"
            };
            if self.expect(severity, (id, place), &who, "time", &time.pointer, &events) {
                self.expect_times(source, place, &records, clock.wall_ms());
            }
        }
        Some(events)
    }

    /// Says so where operators go by the time of events that have none.
    fn expect_time_where_operators_go_by_it(&mut self) {
        let pipeline = &self.prepared.pipeline;
        let are_timed = Lines::of(pipeline).are_timed(pipeline);
        for (source, _) in pipeline.sources.iter().zip(are_timed).filter(|(_, is_timed)| *is_timed) {
            if source.time.is_none() && source.spec.format() != Format::Lines && !source.spec.files().is_empty() {
                let message = format!(
                    "operators behind source `{}` go by event time, and the source has no `time`",
                    source.id
                );
                let help = "point `time` at the field that has it, such as \"/ts\"";
                self.say(
                    Severity::Warning,
                    (&source.id, "id"),
                    &message,
                    "the time of an event is when it was read",
                    Some(help),
                );
            }
        }
    }

    /// Says so where none of the events has what a pointer points at.
    fn expect(
        &mut self,
        severity: Severity,
        place: (&str, &str),
        who: &str,
        key: &str,
        pointer: &Pointer,
        events: &[Value],
    ) -> bool {
        if events.is_empty()
            || events
                .iter()
                .any(|event| find(event, &pointer.tokens).is_some_and(|found| !found.is_null()))
        {
            return true;
        }
        let (last, way) = pointer.tokens.split_last().expect("a pointer has a token");
        let tables = events.iter().filter_map(|event| find(event, way)?.as_object());
        let names: BTreeSet<&str> = tables.flat_map(|table| table.keys().map(String::as_str)).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let is_there = names.contains(&last.as_str());
        let label = if is_there {
            "it is null in all of them"
        } else {
            "none of them has it"
        };
        let help = (!is_there && !names.is_empty()).then(|| suggestion(last, &names, "there are"));
        let count = match events.len() {
            1 => "the first event".to_owned(),
            count => format!("the first {count} events"),
        };
        let message = format!("`{key}` of {who} finds nothing in {count}");
        // Empty fields at the start of a column say nothing of those behind.
        let severity = if is_there { Severity::Warning } else { severity };
        self.say(severity, place, &message, label, help.as_deref());
        false
    }

    /// Says so where events have no time that can be read or one that lies in the future, or where all of them look like seconds.
    fn expect_times(&mut self, source: &Source, place: &str, records: &FirstRecords, now_ms: i64) {
        let (id, Some(time)) = (&source.id, &source.time) else {
            return;
        };
        let extract = Extract::new(None, Some(time));
        let times: Vec<Result<i64, String>> = records
            .values
            .iter()
            .map(|value| extract.find(value).map(|found| found.time.unwrap_or_default()))
            .collect();
        let flaw = times.iter().zip(&records.positions);
        let flaw = flaw.filter_map(|(time, position)| Some(format!("record {position}: {}", time.as_ref().err()?)));
        let flaws: Vec<String> = flaw.collect();
        let ahead = times.iter().zip(&records.positions);
        let mut ahead = ahead.filter(|(time, _)| time.as_ref().is_ok_and(|&ms| ms > now_ms.saturating_add(AHEAD_MS)));
        let ahead = ahead.next().filter(|_| source.max_ahead.is_none());
        let mut readable = times.iter().filter_map(|time| time.as_ref().ok()).peekable();
        let is_any_readable = readable.peek().is_some();
        match flaws.first() {
            Some(reason) if !is_any_readable => {
                let message = format!(
                    "none of the first {} events of source `{id}` has a time that can be read",
                    times.len()
                );
                let help = "`time = { field = …, unit = …, zone = … }` says how times are written";
                self.say(Severity::Warning, (id, place), &message, reason, Some(help));
            }
            _ if time.unit.is_none() && is_any_readable && readable.all(|ms| SECONDS.contains(ms)) => {
                let message = format!("the times of source `{id}` look like seconds");
                let help = format!(
                    "if they are, write `time = {{ field = {:?}, unit = \"s\" }}`",
                    time.pointer.text
                );
                self.say(
                    Severity::Warning,
                    (id, place),
                    &message,
                    "as ms they are of January to April 1970",
                    Some(&help),
                );
            }
            Some(reason) => {
                let (flaws, events) = (flaws.len(), times.len());
                let message =
                    format!("{flaws} of the first {events} events of source `{id}` have no time that can be read");
                let help = "such events become dead letters";
                self.say(Severity::Warning, (id, place), &message, reason, Some(help));
            }
            None => {}
        }
        if let Some((_, position)) = ahead {
            let message = format!("an event of source `{id}` lies in the future");
            let help = "events in windows that come after it are late; `max_ahead = \"1d\"` makes a dead letter of it, and `unit` says what \
                        the numbers count";
            let label = format!("record {position} is more than a day ahead of the clock");
            self.say(Severity::Warning, (id, place), &message, &label, Some(help));
        }
    }

    /// What comes out of an operator, where that is known.
    fn operator(&mut self, operator: &Operator, component: &(Component, Setup), events: Arc<[Value]>) -> Sample {
        let id = &operator.id;
        let who = format!("operator `{id}`");
        if let Some(key) = &operator.key {
            self.expect(Severity::Warning, (id, "key"), &who, "key", key, &events);
        }
        let ComponentRef::Builtin(name) = &operator.component else {
            return self.own_component(operator, component, events);
        };
        if let Some(field) = field(operator, "field") {
            self.expect(Severity::Warning, (id, "config.field"), &who, "field", &field, &events);
        }
        match name.as_str() {
            "filter" => Some(events),
            "map" => {
                let into = field(operator, "into").or_else(|| field(operator, "field"))?;
                let mapped = events.iter().cloned().map(|mut event| {
                    put(&mut event, &into.tokens);
                    event
                });
                Some(mapped.collect())
            }
            _ => None,
        }
    }

    /// What comes out of an operator whose component comes from a file, by the fields that its schema reads and writes.
    fn own_component(
        &mut self,
        operator: &Operator,
        (component, setup): &(Component, Setup),
        events: Arc<[Value]>,
    ) -> Sample {
        // An operator that opens during the run has no schema yet.
        let schema = setup.schema.as_deref()?;
        let who = format!("operator `{}`", operator.id);
        for read in schema.reads.iter().filter(|read| !read.is_optional) {
            let field = read.field.to_string();
            let place = (operator.id.as_str(), "component");
            self.expect(Severity::Warning, place, &who, &field, &pointer(&field), &events);
        }
        match (component.kind(), schema.outputs) {
            (Kind::Filter, _) => Some(events),
            (Kind::Map, OutputMode::Extend) => {
                let written: Vec<Pointer> = schema
                    .writes
                    .iter()
                    .map(|written| pointer(&written.field.to_string()))
                    .collect();
                let extended = events.iter().cloned().map(|mut event| {
                    written.iter().for_each(|field| put(&mut event, &field.tokens));
                    event
                });
                Some(extended.collect())
            }
            _ => None,
        }
    }
}

/// The field that a setting of a built-in operator names.
fn field(operator: &Operator, key: &str) -> Option<Pointer> {
    operator.config.get(key)?.as_str().map(pointer)
}

/// A field by its name, or by a JSON pointer.
fn pointer(text: &str) -> Pointer {
    let tokens = match text.strip_prefix('/') {
        Some(pointer) => pointer
            .split('/')
            .map(|token| token.replace("~1", "/").replace("~0", "~"))
            .collect(),
        None => vec![text.to_owned()],
    };
    let text = text.to_owned();
    Pointer { text, tokens }
}

fn find<'a>(event: &'a Value, tokens: &[String]) -> Option<&'a Value> {
    tokens.iter().try_fold(event, |value, token| match value {
        Value::Object(members) => members.get(token),
        Value::Array(items) => items.get(token.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Gives an event a number there, where there is a table to put it in.
fn put(event: &mut Value, tokens: &[String]) {
    let Some((last, way)) = tokens.split_last() else { return };
    let table = way.iter().try_fold(event, |value, token| value.get_mut(token));
    if let Some(Value::Object(members)) = table {
        members.insert(last.clone(), Value::from(0));
    }
}
