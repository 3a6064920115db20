//! From a validated file to something that can run: components loaded, checked against their place, opened once.

use std::sync::Arc;

use super::SLICE_FUEL;
use super::compatibility::Description;
use dirigo_disk::Usage;
use dirigo_engine::{Component, Engine, GuestLog, Instance, Kind, Setup, Unopened};
use dirigo_ground::clock::Clock;
use dirigo_pipeline::{Actors, ComponentRef, Diagnostics, Loaded, Operator, Pipeline, SpanIndex};

/// A pipeline whose components fit their places.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// By operator: its component, and what its instances are made from.
    pub components: Vec<(Component, Setup)>,
    /// Warnings and notes.
    pub warnings: Diagnostics,
    /// What its state belongs to.
    pub description: Description,
    /// Where its parts stand in the file.
    pub span_index: SpanIndex,
}

/// Loads the components of a pipeline, and opens each once with its configuration.
///
/// # Errors
/// When a component can't be loaded, is not made for its place, needs more than its limits, or refuses its configuration:
/// everything that is wrong, at its place in the file.
pub async fn prepare(engine: &Engine, loaded: Loaded, clock: &Arc<dyn Clock>) -> Result<Prepared, Diagnostics> {
    let mut problems = Diagnostics::default();
    let mut components = Vec::new();
    for operator in &loaded.pipeline.operators {
        match fit(engine, &loaded, operator, clock).await {
            Ok(fitted) => components.push(fitted),
            Err(found) => problems.append(found),
        }
    }
    if problems.is_empty() {
        return Ok(Prepared {
            description: Description::of(&loaded.pipeline, &components),
            span_index: loaded.span_index().clone(),
            pipeline: loaded.pipeline,
            components,
            warnings: loaded.warnings,
        });
    }
    Err(problems)
}

async fn fit(
    engine: &Engine,
    loaded: &Loaded,
    operator: &Operator,
    clock: &Arc<dyn Clock>,
) -> Result<(Component, Setup), Diagnostics> {
    let found = match &operator.component {
        ComponentRef::Builtin(name) => engine.load_builtin(name),
        ComponentRef::File(path) => {
            let pipeline = &loaded.pipeline;
            engine.load_file_on(&*pipeline.access.disk(Usage::Read), path, pipeline.compiling)
        }
    };
    let component = found.map_err(|error| {
        let message = format!("operator `{}` cannot use its component", operator.id);
        loaded.error_at(&operator.id, "component", &message, &error.to_string(), None)
    })?;
    check_place(loaded, operator, &component)?;
    let log = Arc::new(GuestLog::new(
        &loaded.pipeline.name,
        &operator.id,
        clock.clone(),
        Arc::default(),
    ));
    let setup = Setup {
        limits: operator.limits,
        config: operator.config.to_string().into(),
        log,
        // It has no tenant before it runs.
        quota: Arc::default(),
        clock: clock.clone(),
    };
    match Instance::activate(&component, &setup, SLICE_FUEL).await {
        Ok(_) => Ok((component, setup)),
        Err(unopened) => Err(refused(loaded, operator, unopened)),
    }
}

fn check_place(loaded: &Loaded, operator: &Operator, component: &Component) -> Result<(), Diagnostics> {
    let id = &operator.id;
    let problem = |key: &str, label: String, help: &str| {
        let message = format!("`{id}` is a `{}` operator", component.kind());
        Err(loaded.error_at(id, key, &message, &label, Some(help)))
    };
    let needed = component.initial_memory();
    if needed > operator.limits.memory {
        let label = format!("the component starts with {needed} bytes");
        return problem("limits.memory", label, "raise `memory` under `[operator.limits]`");
    }
    match (component.kind(), operator.window, operator.actors) {
        (Kind::Reduce, None, _) => problem(
            "window",
            "it needs to know which events to fold".into(),
            "add `window = { count = 5 }`",
        ),
        (Kind::Map | Kind::Filter, Some(_), _) => {
            problem("window", "windows are for `reduce` operators".into(), "remove `window`")
        }
        (Kind::Map | Kind::Filter, _, Actors::PerKey) => problem(
            "actors",
            "it keeps no state by key".into(),
            "remove `actors`; `replicas` spreads its work",
        ),
        (Kind::Map | Kind::Filter, _, Actors::Shards(Some(_))) => problem(
            "shards",
            "it keeps no state by key".into(),
            "use `replicas` to spread its work",
        ),
        (Kind::Reduce, _, _) if operator.replicas.is_some() => problem(
            "replicas",
            "its turns run one after the other".into(),
            "use `shards` to spread its keys",
        ),
        _ => Ok(()),
    }
}

fn refused(loaded: &Loaded, operator: &Operator, unopened: Unopened) -> Diagnostics {
    let id = &operator.id;
    match unopened {
        Unopened::Refused(message) => loaded.error_at(
            id,
            "config",
            &format!("operator `{id}` refuses its configuration"),
            &message,
            None,
        ),
        Unopened::Trapped(trap) => loaded.error_at(
            id,
            "component",
            &format!("operator `{id}` cannot be opened"),
            &trap.reason,
            None,
        ),
    }
}
