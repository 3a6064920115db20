//! Whether a pipeline may go on from the state that an earlier run left.
//!
//! With the state lies a [`Description`] of the pipeline that it belongs to: of each part whatever the stored positions and
//! accumulators depend on, and nothing else. [`resume`] compares before anything is touched. What may change, and why the
//! rest may not, is the table in docs/design/005-state-and-delivery.md.

mod migration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::in_flight::InFlightCounts;
use super::location::{DEAD_LETTERS_FILE, StateLocation};
use super::prepare::Prepared;
use super::start_error::were;
use dirigo_connect::{Facets, facets, seen_from};
use dirigo_disk as disk;
use dirigo_engine::{Component, Setup};
use dirigo_ground::call::StateVersions;
use dirigo_ground::zone::Zone;
use dirigo_pipeline::{ComponentRef, Diagnostics, Operator, Pipeline, Pointer, Source, TimeField, Window};
use dirigo_state::{self as state, EntryForm, Layout};

/// What state belongs to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Whose it is; `None` in state of before this was kept.
    #[serde(default)]
    tenant: Option<String>,
    /// By id: what a source's position depends on.
    sources: BTreeMap<String, Facets>,
    /// By id: the operators that keep state.
    operators: BTreeMap<String, OperatorDescription>,
    /// By id: the sinks that keep a position, and what it depends on.
    sinks: BTreeMap<String, Facets>,
    /// Where dead letters go, if the file says so.
    dead_letters: Option<String>,
    /// The operators and sinks that batches can wait for.
    #[serde(skip)]
    items: BTreeSet<String>,
}

/// An operator that keeps state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct OperatorDescription {
    /// What its accumulators depend on.
    facets: Facets,
    /// The state versions that its entries may have.
    versions: BTreeSet<u32>,
    /// By version: how its accumulators are laid out, where the component that wrote them says so.
    #[serde(default)]
    layouts: BTreeMap<u32, String>,
    /// What the component at hand reads.
    #[serde(skip)]
    reads: Option<StateVersions>,
}

/// Why a pipeline does not go on from its state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Incompatible {
    /// It is another pipeline than the state belongs to.
    #[error("{0}")]
    Changed(Box<Diagnostics>),
    /// The state cannot be opened.
    #[error(transparent)]
    State(#[from] state::Error),
    /// Nothing says what the state belongs to.
    #[error("the state does not say which pipeline it belongs to; `--fresh` discards the state")]
    Undescribed,
}

/// Something that keeps a pipeline from going on, at its place in the pipeline file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Incompatibility {
    id: String,
    key: String,
    message: String,
    label: String,
    /// The option of `dirigo state migrate` that helps; empty where none does.
    suggestion: String,
}

/// Checks a pipeline against the state in `location`, and carries over what that knows: which versions of state there
/// still are. Touches nothing.
///
/// # Errors
/// With every difference that would make results wrong, or when the state cannot be read.
pub fn resume(mut prepared: Prepared, location: &StateLocation) -> Result<Prepared, Incompatible> {
    let StateLocation::Directory { path, fresh: false } = location else {
        return Ok(prepared);
    };
    let Some(stopped) = state::stopped(&disk::Real, path)? else {
        return Ok(prepared);
    };
    let Some(offsets) = stopped.known_offsets()? else {
        return Ok(prepared);
    };
    let old = offsets.pipeline.as_ref().and_then(Description::from_json);
    let old = old.ok_or(Incompatible::Undescribed)?;
    let waiting = InFlightCounts::count(stopped.in_flight())?;
    let differences = old.differences(&prepared.description, &waiting);
    if differences.is_empty() {
        prepared.description.inherit(&old);
        return Ok(prepared);
    }
    Err(Incompatible::Changed(Box::new(report(&prepared, path, &differences))))
}

/// The tenant whose state is in `location`; `None` where there is none, or none says.
///
/// # Errors
/// When the state cannot be read.
pub fn tenant(location: &StateLocation) -> Result<Option<String>, Incompatible> {
    let StateLocation::Directory { path, .. } = location else {
        return Ok(None);
    };
    let Some(stopped) = state::stopped(&disk::Real, path)? else {
        return Ok(None);
    };
    let offsets = stopped.known_offsets()?;
    let known = offsets.and_then(|offsets| Description::from_json(offsets.pipeline.as_ref()?));
    Ok(known.and_then(|known| known.tenant))
}

/// Reports differences: each where it is written, and once what can be done.
pub(super) fn report(prepared: &Prepared, directory: &Path, differences: &[Incompatibility]) -> Diagnostics {
    let mut all = Diagnostics::default();
    let suggestions: BTreeSet<&str> = differences.iter().map(|one| one.suggestion.as_str()).collect();
    let suggestions: Vec<&str> = suggestions
        .into_iter()
        .filter(|suggestion| !suggestion.is_empty())
        .collect();
    let suggestions = if suggestions.is_empty() {
        String::new()
    } else {
        format!(" and {}", suggestions.join(", "))
    };
    for (index, difference) in differences.iter().enumerate() {
        let help = (index + 1 == differences.len()).then(|| {
            format!(
                "nothing was changed: undo the change, migrate the state with `dirigo state migrate PIPELINE --state {}`\
                 {suggestions}, or start anew with `--fresh`, which discards the state in {}",
                directory.parent().unwrap_or(directory).display(),
                directory.display()
            )
        });
        let Incompatibility {
            id,
            key,
            message,
            label,
            suggestion: _,
        } = difference;
        all.append(prepared.span_index.error_at(id, key, message, label, help.as_deref()));
    }
    all
}

/// Whether dead letters go elsewhere than the ones whose position is stored.
pub(super) fn have_dead_letters_moved(
    known: Option<&Value>,
    pipeline: &Pipeline,
    path: &Path,
    location: &StateLocation,
) -> bool {
    let Some(known) = known.and_then(Description::from_json) else {
        return false;
    };
    match (known.dead_letters, location) {
        (Some(before), _) => seen_from(&pipeline.file, path) != before,
        (None, StateLocation::Directory { path: directory, .. }) => path != directory.join(DEAD_LETTERS_FILE),
        (None, StateLocation::Temporary) => false,
    }
}

impl Description {
    /// The description of a pipeline with its components, which have been activated once.
    #[must_use]
    pub fn of(pipeline: &Pipeline, components: &[(Component, Setup)]) -> Self {
        let operators = pipeline.operators.iter().zip(components);
        let keepers = operators.filter_map(|(operator, (component, _))| {
            let (reads, layout) = (component.state_versions()?, component.state_layout());
            Some((operator.id.clone(), OperatorDescription::of(operator, reads, layout)))
        });
        let file = &pipeline.file;
        let sinks = pipeline.sinks.iter();
        let ids = pipeline.operators.iter().map(|operator| &operator.id);
        Self {
            tenant: Some(pipeline.tenant.clone()),
            sources: pipeline
                .sources
                .iter()
                .map(|source| (source.id.clone(), of_source(source, file)))
                .collect(),
            operators: keepers.collect(),
            sinks: sinks
                .clone()
                .filter_map(|sink| Some((sink.id.clone(), sink.spec.facets(file)?)))
                .collect(),
            dead_letters: pipeline.dead_letters.as_ref().map(|path| seen_from(file, path)),
            items: ids.chain(sinks.map(|sink| &sink.id)).cloned().collect(),
        }
    }

    /// As it is stored.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("a description is plain JSON")
    }

    /// One that was stored.
    #[must_use]
    pub fn from_json(stored: &Value) -> Option<Self> {
        Self::deserialize(stored).ok()
    }

    /// What of `new` keeps it from going on where this pipeline stopped, with events `waiting` in it.
    pub(super) fn differences(&self, new: &Self, waiting: &InFlightCounts) -> Vec<Incompatibility> {
        let mut found = Vec::new();
        compare(
            "source",
            "the position where it stopped",
            &self.sources,
            &new.sources,
            &mut found,
        );
        for (id, old) in &self.operators {
            match new.operators.get(id) {
                Some(new) => old.compare(id, new, &mut found),
                None => found.push(Incompatibility::lost(
                    id,
                    "component",
                    "operator",
                    "the windows that it had open",
                    new.items.contains(id),
                )),
            }
        }
        compare(
            "sink",
            "the position that it had written to",
            &self.sinks,
            &new.sinks,
            &mut found,
        );
        let at_gone = waiting.at.iter().filter(|(id, _)| {
            !new.items.contains(*id) && !self.operators.contains_key(*id) && !self.sinks.contains_key(*id)
        });
        found.extend(at_gone.map(|(id, events)| {
            let message = format!("`{id}` is gone, and {} to it when the last run stopped", were(*events));
            Incompatibility::new(id, "id", message, "").suggest(Incompatibility::gone(id))
        }));
        let of_gone = waiting
            .of
            .iter()
            .filter(|(id, _)| !new.brings_events(id) && !self.brings_events(id));
        found.extend(of_gone.map(|(id, events)| {
            let were = if *events == 1 {
                "was on its way"
            } else {
                "were on their way"
            };
            let message = format!("source `{id}` is gone, and {events} of its events {were} when the last run stopped");
            Incompatibility::new(id, "id", message, "").suggest(Incompatibility::gone(id))
        }));
        found
    }

    /// How the accumulators of an operator of this version are laid out, if that is known.
    #[must_use]
    pub fn layout(&self, operator: &str, version: u32) -> Option<Layout> {
        Layout::parse(self.operators.get(operator)?.layouts.get(&version)?)
    }

    /// What is kept of a key of an operator.
    #[must_use]
    pub fn entry_form(&self, operator: &str) -> EntryForm {
        let facet = |name: &str| self.operators.get(operator)?.facets.get(name);
        if facet("order").is_some_and(|order| !order.is_null()) {
            EntryForm::Keyed
        } else if facet("window").is_some_and(|window| window.get("time").is_some()) {
            EntryForm::Segments
        } else {
            EntryForm::Window
        }
    }

    /// Whether an operator has windows of the same shape as one of `new`, whatever late events they take in.
    pub(super) fn has_same_windows(&self, id: &str, new: &Self, new_id: &str) -> bool {
        let shape = |description: &Self, id: &str| {
            let mut window = description.operators.get(id)?.facets.get("window")?.clone();
            for kind in ["/time/sliding", "/time/session"] {
                if let Some(of_kind) = window.pointer_mut(kind).and_then(Value::as_object_mut) {
                    of_kind.remove("allowed_ms");
                }
            }
            Some(window)
        };
        shape(self, id) == shape(new, new_id)
    }

    /// Whether it has an operator of that name which keeps state.
    pub(super) fn has_operator(&self, id: &str) -> bool {
        self.operators.contains_key(id)
    }

    /// Whether events come of what has that name: it is a source, or an operator that goes by event time.
    fn brings_events(&self, id: &str) -> bool {
        self.sources.contains_key(id) || self.entry_form(id) != EntryForm::Window
    }

    /// Whether a sink of `new` writes where this pipeline's sink of that name did.
    pub(super) fn has_same_sink(&self, id: &str, new: &Self) -> bool {
        self.sinks.get(id) == new.sinks.get(id)
    }

    pub(super) fn has_source(&self, id: &str) -> bool {
        self.sources.contains_key(id)
    }

    /// Whether it has a source, operator or sink of that name.
    pub(super) fn has(&self, id: &str) -> bool {
        self.items.contains(id) || self.sources.contains_key(id)
    }

    /// Whether a pipeline without a path for its dead letters, or with another one, is followed by one with another.
    pub(super) fn has_other_dead_letters(&self, new: &Self) -> bool {
        self.dead_letters != new.dead_letters
    }

    /// Takes over the versions that entries of an earlier run may still have.
    fn inherit(&mut self, old: &Self) {
        for (id, described) in &mut self.operators {
            if let Some(old) = old.operators.get(id) {
                described.versions.extend(&old.versions);
                for (version, layout) in &old.layouts {
                    described.layouts.entry(*version).or_insert_with(|| layout.clone());
                }
            }
        }
    }
}

/// Compares sources, or sinks: whatever has a position in a medium.
fn compare(
    what: &str,
    kept: &str,
    old: &BTreeMap<String, Facets>,
    new: &BTreeMap<String, Facets>,
    found: &mut Vec<Incompatibility>,
) {
    for (id, facets) in old {
        match new.get(id) {
            Some(now) => {
                let before = found.len();
                changed(what, id, kept, facets, now, found);
                if what == "source" {
                    // Whatever it reads now, it can be read from its start.
                    let restarted = |one: &mut Incompatibility| {
                        let or = if one.suggestion.is_empty() { "" } else { " or " };
                        one.suggestion = format!("{}{or}`--restart {id}`", one.suggestion);
                    };
                    found[before..].iter_mut().for_each(restarted);
                }
            }
            None => found.push(Incompatibility::lost(id, "kind", what, kept, false)),
        }
    }
}

/// Finds the facets that are not what they were. Where the kind is another, the others say nothing.
fn changed(what: &str, id: &str, kept: &str, old: &Facets, new: &Facets, found: &mut Vec<Incompatibility>) {
    let who = format!("{what} `{id}`");
    let differs = |key: &&String| old.get(*key) != new.get(*key);
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).filter(differs).collect();
    let is_other_kind = keys.iter().any(|key| *key == "kind");
    for key in keys.into_iter().filter(|key| !is_other_kind || *key == "kind") {
        let message = format!("`{key}` of {who} has changed, and {kept} depends on it");
        let is_in_time = |facets: &Facets| facets.get("window").is_some_and(|window| window.get("time").is_some());
        let suggestion = match what {
            "operator" if is_other_kind || key == "window" && (is_in_time(old) || is_in_time(new)) => {
                format!("`--drop {id}`, which deletes what it keeps,")
            }
            _ if is_other_kind => String::new(),
            _ => format!("`--accept {id}`"),
        };
        let as_window = |value| Window::deserialize(value).ok().filter(|_| key == "window");
        let window = old.get(key).and_then(as_window);
        let label = match old.get(key) {
            Some(_) if let Some(window) = window => format!("it was {window}"),
            Some(Value::String(text)) => format!("it was \"{text}\""),
            Some(value) if !value.is_null() => format!("it was {value}"),
            _ => "there was none".to_owned(),
        };
        found.push(Incompatibility::new(id, key, message, &label).suggest(suggestion));
    }
}

impl Incompatibility {
    fn new(id: &str, key: &str, message: String, label: &str) -> Self {
        Self {
            id: id.to_owned(),
            key: key.to_owned(),
            message,
            label: label.to_owned(),
            suggestion: String::new(),
        }
    }

    fn suggest(self, suggestion: String) -> Self {
        Self { suggestion, ..self }
    }

    /// What can be said of something that is there no more.
    fn gone(id: &str) -> String {
        format!("`--rename {id}=NEW` or `--drop {id}`")
    }

    /// Something that kept `kept` and has no place for it any more.
    fn lost(id: &str, key: &str, what: &str, kept: &str, is_there: bool) -> Self {
        if is_there {
            let message = format!("{what} `{id}` keeps no state any more, and {kept} would be lost");
            let difference = Self::new(id, key, message, "a component that keeps none");
            return difference.suggest(format!("`--drop {id}`"));
        }
        let message = format!("{what} `{id}` is gone, and with it {kept} would be lost");
        Self::new(id, "id", message, "").suggest(Self::gone(id))
    }
}

impl OperatorDescription {
    fn of(operator: &Operator, reads: StateVersions, layout: Option<&str>) -> Self {
        // A file may be replaced, or moved, by a repaired one: what it reads is what counts. A built-in is what it is.
        let component = match &operator.component {
            ComponentRef::Builtin(name) => format!("builtin:{name}"),
            ComponentRef::File(_) | ComponentRef::Stored { .. } => "a file".to_owned(),
        };
        let facets = facets([
            ("component", json!(component)),
            ("config", operator.config_as_written.clone()),
            ("key", pointer(operator.key.as_ref())),
            ("window", json!(operator.window)),
        ]);
        // State of before there was such a thing has none.
        let facets = facets
            .into_iter()
            .chain(operator.order.map(|order| ("order".to_owned(), json!(order))))
            .collect();
        Self {
            facets,
            versions: [reads.written].into(),
            layouts: layout
                .map(|layout| (reads.written, layout.to_owned()))
                .into_iter()
                .collect(),
            reads: Some(reads),
        }
    }

    fn compare(&self, id: &str, new: &Self, found: &mut Vec<Incompatibility>) {
        let who = format!("operator `{id}`");
        let kept = if self.facets.contains_key("order") {
            "what it keeps of keys"
        } else {
            "what its open windows hold"
        };
        changed("operator", id, kept, &self.facets, &new.facets, found);
        for (version, was) in &self.layouts {
            let Some(is) = new.layouts.get(version).filter(|is| *is != was) else {
                continue;
            };
            let message =
                format!("the component of {who} lays out its state otherwise, and still calls it version {version}");
            let label = format!("it was `{was}`, and is `{is}`");
            let difference = Incompatibility::new(id, "component", message, &label);
            found.push(difference.suggest(format!("`--accept {id}`, if it reads the old state as it should")));
        }
        let Some(reads) = new.reads else { return };
        let unread: Vec<u32> = self
            .versions
            .iter()
            .copied()
            .filter(|&version| !reads.reads(version))
            .collect();
        let Some(&version) = unread.last() else { return };
        let StateVersions { written, oldest } = reads;
        let message = if version > written {
            format!("{who} has state of version {version}, which is newer than its component")
        } else {
            format!("{who} has state of version {version}, which its component cannot migrate")
        };
        let label = if oldest == written {
            format!("it reads version {written} only")
        } else {
            format!("it reads versions {oldest} to {written}")
        };
        found.push(Incompatibility::new(id, "component", message, &label));
    }
}

fn of_source(source: &Source, file: &Path) -> Facets {
    let mut of_source = source.spec.facets(file);
    of_source.extend(facets([
        ("key", pointer(source.key.as_ref())),
        ("time", time(source.time.as_ref())),
    ]));
    of_source
}

/// The pointer alone, unless more is said.
fn time(time: Option<&TimeField>) -> Value {
    let field = pointer(time.map(|time| &time.pointer));
    match time {
        Some(TimeField { unit, zone, .. }) if unit.is_some() || zone.is_some() => json!({
            "field": field,
            "unit": unit.map(|unit| unit.to_string()),
            "zone": zone.map(Zone::name),
        }),
        _ => field,
    }
}

fn pointer(pointer: Option<&Pointer>) -> Value {
    json!(
        pointer
            .map(|pointer| &pointer.tokens)
            .map(|tokens| format!("/{}", tokens.join("/")))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_pipeline as pipeline;

    /// A pipeline with a stateless operator, a reduce that reads `reads`, and one source and sink.
    fn described(edit: impl Fn(String) -> String, reads: (u32, u32)) -> Description {
        let text = edit(
            r#"
            [pipeline]
            name = "p"
            [[source]]
            id = "in"
            kind = "stdin"
            key = "/k"
            [[operator]]
            id = "hot"
            component = "builtin:filter"
            config = { field = "v", threshold = 1 }
            [[operator]]
            id = "sum"
            component = "builtin:reduce"
            window = { count = 3 }
            config = { field = "v", aggregate = "sum" }
            [[sink]]
            id = "out"
            kind = "file"
            path = "out.jsonl"
            "#
            .to_owned(),
        );
        let pipeline = pipeline::parse(&text, Path::new("p.toml"), &[], &dirigo_connectors::builtin());
        let pipeline = pipeline.expect(&text).pipeline;
        let mut description = Description::of(&pipeline, &[]);
        let (oldest, written) = reads;
        for operator in pipeline.operators.iter().filter(|operator| operator.window.is_some()) {
            let described = OperatorDescription::of(operator, StateVersions { written, oldest }, None);
            description.operators.insert(operator.id.clone(), described);
        }
        description
    }

    /// What is said of the change of `from` to `to`, by id and key.
    fn found(from: &str, to: &str) -> Vec<(String, String)> {
        let old = stored(&described(|text| text, (1, 1)));
        let new = described(
            |text| {
                assert!(text.contains(from), "{from}");
                text.replace(from, to)
            },
            (1, 1),
        );
        let differences = old.differences(&new, &InFlightCounts::default());
        differences.into_iter().map(|one| (one.id, one.key)).collect()
    }

    fn stored(description: &Description) -> Description {
        Description::from_json(&description.to_json()).unwrap()
    }

    #[test]
    fn what_results_do_not_depend_on_may_change() {
        for (from, to) in [
            ("name = \"p\"", "name = \"p\"\nslo = \"5ms\"\ncheckpoint = \"2s\""),
            ("threshold = 1", "threshold = 2"),
            ("component = \"builtin:filter\"", "component = \"builtin:map\""),
            (
                "window = { count = 3 }",
                "window = { count = 3 }\nshards = 3\nlimits = { memory = \"32MiB\" }",
            ),
            ("path = \"out.jsonl\"", "path = \"out.jsonl\"\norder = \"source\""),
            ("[[sink]]", "[[sink]]\nid = \"more\"\nkind = \"stdout\"\n[[sink]]"),
            (
                "[[operator]]\n            id = \"hot\"",
                "[[operator]]\n            id = \"warm\"",
            ),
            ("key = \"/k\"", "key = \"/k\"\nlateness = \"1s\""),
        ] {
            assert_eq!(found(from, to), [], "{to}");
        }
    }

    #[test]
    fn what_positions_and_accumulators_depend_on_is_named_with_its_key() {
        for (from, to, id, key) in [
            ("aggregate = \"sum\"", "aggregate = \"max\"", "sum", "config"),
            ("count = 3", "count = 4", "sum", "window"),
            ("window = ", "key = \"/x\"\nwindow = ", "sum", "key"),
            ("id = \"sum\"", "id = \"total\"", "sum", "id"),
            ("key = \"/k\"", "key = \"/x\"", "in", "key"),
            ("key = \"/k\"", "key = \"/k\"\ntime = \"/ts\"", "in", "time"),
            ("kind = \"stdin\"", "kind = \"stdin\"\nformat = \"csv\"", "in", "format"),
            (
                "kind = \"stdin\"\n            key = \"/k\"",
                "kind = \"generator\"",
                "in",
                "kind",
            ),
            ("id = \"in\"", "id = \"input\"", "in", "id"),
            ("path = \"out.jsonl\"", "path = \"new.jsonl\"", "out", "path"),
            (
                "kind = \"file\"\n            path = \"out.jsonl\"",
                "kind = \"stdout\"",
                "out",
                "id",
            ),
        ] {
            assert_eq!(found(from, to), [(id.to_owned(), key.to_owned())], "{to}");
        }
    }

    #[test]
    fn a_component_reads_the_versions_that_it_says_and_no_others() {
        let new = described(|text| text, (2, 4));
        for (version, report) in [
            (1, Some("cannot migrate")),
            (2, None),
            (4, None),
            (5, Some("newer than its component")),
        ] {
            let old = stored(&described(|text| text, (version, version)));
            let differences = old.differences(&new, &InFlightCounts::default());
            assert_eq!(differences.len(), usize::from(report.is_some()), "{version}");
            assert!(
                differences.iter().all(|one| one.message.contains(report.unwrap())),
                "{differences:?}"
            );
        }
    }

    #[test]
    fn another_layout_of_the_same_version_is_refused_with_both() {
        let laid_out = |version: u32, layout: Option<&str>| {
            let mut description = described(|text| text, (1, version));
            let layouts = &mut description.operators.get_mut("sum").unwrap().layouts;
            *layouts = layout.map(|layout| (version, layout.to_owned())).into_iter().collect();
            description
        };
        let differences =
            |old: &Description, new: &Description| stored(old).differences(new, &InFlightCounts::default());
        let (a, b) = (Some("postcard:{a: u64, b: u64}"), Some("postcard:{b: u64, a: u64}"));
        let found = differences(&laid_out(1, a), &laid_out(1, b));
        assert_eq!(found.len(), 1);
        assert!(found[0].message.contains("still calls it version 1"), "{found:?}");
        assert_eq!(
            found[0].label,
            "it was `postcard:{a: u64, b: u64}`, and is `postcard:{b: u64, a: u64}`"
        );
        for (old, new) in [
            (laid_out(1, a), laid_out(1, a)),
            (laid_out(1, a), laid_out(2, b)),
            (laid_out(1, a), laid_out(1, None)),
            (laid_out(1, None), laid_out(1, b)),
        ] {
            assert_eq!(differences(&old, &new), []);
        }
        let mut second = laid_out(2, b);
        second.inherit(&stored(&laid_out(1, a)));
        assert_eq!(
            differences(&second, &laid_out(1, b)).len(),
            2,
            "the layout of version 1 is remembered; and 2 is newer"
        );
    }

    #[test]
    fn a_version_is_remembered_until_none_of_its_entries_can_be_left() {
        let mut second = described(|text| text, (1, 2));
        second.inherit(&stored(&described(|text| text, (1, 1))));
        let third = described(|text| text, (2, 3));
        let differences = stored(&second).differences(&third, &InFlightCounts::default());
        assert_eq!(
            differences.len(),
            1,
            "entries of version 1 may not have been touched since"
        );
    }

    #[test]
    fn an_operator_may_go_unless_events_wait_for_it() {
        let old = stored(&described(|text| text, (1, 1)));
        let new = described(|text| text.replace("id = \"hot\"", "id = \"warm\""), (1, 1));
        let count = |id: &str| (id.to_owned(), 2);
        let waiting = InFlightCounts {
            at: ["hot", "sum"].map(count).into(),
            of: ["in", "other"].map(count).into(),
        };
        let differences = old.differences(&new, &waiting);
        let ids: Vec<_> = differences.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["hot", "other"], "and a source whose events are on their way");
    }
}
