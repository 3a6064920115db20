//! From a validated file to something that can run: components loaded, checked against their place, opened once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::SLICE_FUEL;
use super::compatibility::Description;
use super::keys;
use super::named_outputs;
use super::schemas;
use super::settings::{self, Wrong};
use dirigo_disk::{Real, Usage};
use dirigo_engine::{Component, Engine, GuestLog, Instance, Kind, Seed, Setup, Unopened};
use dirigo_ground::clock::Clock;
use dirigo_pipeline::{Actors, ComponentRef, Diagnostics, Loaded, Operator, Pipeline, SpanIndex, hide};

/// How long a component may take to say how it lays out its state.
const LAYOUT_MS_MAX: u64 = 2_000;

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
    prepare_with(engine, loaded, clock, &Patience::without_end()).await
}

/// How long the start of a run waits for operators that open, all together. One that takes longer opens while the run goes on, at its
/// own pipeline's cost, and has its own limit.
#[derive(Debug)]
pub struct Patience {
    left_ms: AtomicU64,
    each_ms: u64,
}

impl Patience {
    /// That of a run: operators open in milliseconds, and one that does not is not to hold up the pipelines of others.
    #[must_use]
    pub fn of_run() -> Self {
        /// For all operators together, and for each.
        const ALL_MS: u64 = 2_000;
        const EACH_MS: u64 = 500;
        Self {
            left_ms: AtomicU64::new(ALL_MS),
            each_ms: EACH_MS,
        }
    }

    /// That of those who want to know whether an operator opens.
    #[must_use]
    pub fn without_end() -> Self {
        Self {
            left_ms: AtomicU64::new(u64::MAX),
            each_ms: u64::MAX,
        }
    }

    /// For how long to wait for the next operator.
    fn next_ms(&self) -> u64 {
        /// What nearly all need, however many have taken long before them.
        const LEAST_MS: u64 = 20;
        self.left_ms.load(Ordering::Relaxed).clamp(LEAST_MS, self.each_ms)
    }

    fn use_up(&self, ms: u64) {
        self.left_ms
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(left.saturating_sub(ms))
            })
            .ok();
    }
}

/// Prepares a pipeline as [`prepare`] does, and goes on without an operator that takes too long to open.
///
/// # Errors
/// As [`prepare`].
pub async fn prepare_with(
    engine: &Engine,
    loaded: Loaded,
    clock: &Arc<dyn Clock>,
    patience: &Patience,
) -> Result<Prepared, Diagnostics> {
    let mut problems = Diagnostics::default();
    let mut components = Vec::new();
    for operator in &loaded.pipeline.operators {
        match fit(engine, &loaded, operator, clock, patience).await {
            Ok(fitted) => components.push(fitted),
            Err(found) => problems.append(found),
        }
    }
    if problems.is_empty() {
        problems.append(named_outputs::problems(&loaded, &components));
        problems.append(schemas::problems(&loaded, &components));
    }
    if problems.is_empty() {
        let mut warnings = loaded.warnings.clone();
        warnings.append(named_outputs::unread(&loaded, &components));
        warnings.append(keys::one_for_all(&loaded, &components));
        return Ok(Prepared {
            description: Description::of(&loaded.pipeline, &components),
            span_index: loaded.span_index().clone(),
            pipeline: loaded.pipeline,
            components,
            warnings,
        });
    }
    Err(problems)
}

async fn fit(
    engine: &Engine,
    loaded: &Loaded,
    operator: &Operator,
    clock: &Arc<dyn Clock>,
    patience: &Patience,
) -> Result<(Component, Setup), Diagnostics> {
    let found = match &operator.component {
        ComponentRef::Builtin(name) => engine.load_builtin(name),
        ComponentRef::File(path) => {
            let pipeline = &loaded.pipeline;
            engine.load_file_on(&*pipeline.access.disk(Usage::Read), path, pipeline.compiling)
        }
        ComponentRef::Stored { path, .. } => engine.load_file_on(&Real, path, loaded.pipeline.compiling),
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
    let mut setup = Setup {
        schema: None,
        limits: operator.limits,
        config: operator.config.to_string().into(),
        log,
        // It has no tenant before it runs.
        quota: Arc::default(),
        seed: Seed::new(&loaded.pipeline.name, &operator.id),
        clock: clock.clone(),
    };
    let started_ns = clock.now_ns();
    let within_ms = patience.next_ms().min(setup.limits.open_ms);
    // What state is read as decides over right and wrong: that is waited for. Fuel bounds it to about a second.
    let asking_ms = setup.limits.open_ms.min(LAYOUT_MS_MAX);
    Instance::learn_state_layout(&component, &setup, asking_ms).await;
    let opened = Instance::activate_within(&component, &setup, SLICE_FUEL, within_ms).await;
    patience.use_up((clock.now_ns() - started_ns) / 1_000_000);
    match opened {
        Ok(instance) => {
            setup.schema = Some(instance.schema().clone());
            Ok((component, setup))
        }
        Err(Unopened::Late(ms)) if ms < setup.limits.open_ms && has_said_what_it_keeps(&component) => {
            let (pipeline, operator) = (&loaded.pipeline.name, &operator.id);
            tracing::warn!(%pipeline, %operator, "not open after {ms} ms; the run starts, and it opens meanwhile");
            Ok((component, setup))
        }
        Err(Unopened::Refused(message)) => Err(misconfigured(loaded, operator, &component, &setup, &message).await),
        Err(unopened) => Err(unopenable(loaded, operator, &unopened)),
    }
}

/// Whether all is known of it that is to be known before a run: which state it reads, if it keeps some.
fn has_said_what_it_keeps(component: &Component) -> bool {
    !component.kind().is_stateful() || component.state_versions().is_some()
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
        (Kind::Process, None, _) if operator.order.is_none() => problem(
            "component",
            "it needs to know in which order events come".into(),
            "add `order = \"time\"`, by their times, once the watermark has passed them; or `order = \"arrival\"`, as they come",
        ),
        (Kind::Map | Kind::Filter | Kind::Process, Some(_), _) => {
            problem("window", "windows are for `reduce` operators".into(), "remove `window`")
        }
        (Kind::Map | Kind::Filter | Kind::Reduce, _, _) if operator.order.is_some() => problem(
            "order",
            "the order of events is for `process` operators".into(),
            "remove `order`",
        ),
        (Kind::Map | Kind::Filter | Kind::Process, _, _) if operator.partial.is_some() => problem(
            "partial",
            "windows are for `reduce` operators".into(),
            "remove `partial`",
        ),
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
        (Kind::Reduce | Kind::Process, _, _) if operator.replicas.is_some() => problem(
            "replicas",
            "its turns run one after the other".into(),
            "use `shards` to spread its keys",
        ),
        _ => Ok(()),
    }
}

/// A configuration that an operator refuses: each setting that its schema shows to be wrong at its place, or the message as it is.
async fn misconfigured(
    loaded: &Loaded,
    operator: &Operator,
    component: &Component,
    setup: &Setup,
    message: &str,
) -> Diagnostics {
    let id = &operator.id;
    let title = format!("operator `{id}` refuses its configuration");
    let schema = Instance::ask_settings(component, setup).await;
    let wrong = schema.map_or_else(Vec::new, |schema| settings::wrong(&schema, &operator.config));
    let mut problems = Diagnostics::default();
    for wrong in &wrong {
        let Wrong { key, label, help, .. } = wrong;
        let (label, _) = hide(label, &operator.config, &operator.config_as_written);
        let (mut help, mut settings) = hide(help, &operator.config, &operator.config_as_written);
        let name = format!("`{}` ", key.trim_start_matches("config."));
        settings.retain(|setting| setting.starts_with(&name));
        if let Some(note) = not_shown(&settings) {
            help = format!("{help}; {note}");
        }
        let index = loaded.span_index();
        problems.append(if wrong.is_unknown {
            index.error_at_name(id, key, &title, &label, Some(&help))
        } else {
            index.error_at(id, key, &title, &label, Some(&help))
        });
    }
    if wrong.is_empty() {
        let (message, settings) = hide(message, &operator.config, &operator.config_as_written);
        problems.append(loaded.error_at(id, "config", &title, &message, not_shown(&settings).as_deref()));
    }
    problems
}

/// What is said of settings that came from outside.
fn not_shown(settings: &[String]) -> Option<String> {
    let named = (!settings.is_empty()).then(|| settings.join(", "))?;
    Some(format!(
        "{named}; what it holds is not shown, and is a string where `type = \"string\"` stands next to it"
    ))
}

/// An operator that does not open.
fn unopenable(loaded: &Loaded, operator: &Operator, unopened: &Unopened) -> Diagnostics {
    let id = &operator.id;
    let title = format!("operator `{id}` cannot be opened");
    let (label, help) = match unopened {
        Unopened::Refused(message) => {
            let (message, _) = hide(message, &operator.config, &operator.config_as_written);
            (message, None)
        }
        Unopened::Trapped(trap) => (trap.reason.clone(), None),
        Unopened::Late(ms) => (
            format!(
                "its `open` takes longer than {} s",
                Duration::from_millis(*ms).as_secs_f64()
            ),
            Some("that is its limit: raise `open` under `[operator.limits]` if it needs more, up to \"10m\""),
        ),
    };
    loaded.error_at(id, "component", &title, &label, help)
}
