//! A machine that runs one pipeline, stops, and starts again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dirigo::actor::{Change, Operator};
use dirigo::clock::{Clock, ManualClock};
use dirigo::disk::{Disk, Mode, PathKind, Simulated};
use dirigo::engine::{Cache, Engine, Machine as Limits};
use dirigo::flow::{DeadLetterEncoder, EventEncoder, ReadStep, SinkTask, SourceTask};
use dirigo::pipeline::{self, Budget};
use dirigo::runtime::{
    Assembled, Checkpoints, Connectors, Host, HostOptions, Opened, Phase, Prepared, StateLocation, prepare,
};
use dirigo::scheduler::PolicyKind;
use dirigo::state::hash::PARTITIONS;
use dirigo::state::{self, Apply};

use crate::faults::{Fault, Sinks};
use crate::oracle::{self, Left};
use crate::support::{DeadLetter, Folder, Random, guest};

/// Lives of a machine that are cut short, at most.
const CRASHES_MAX: u64 = 12;
/// Steps of one life: many times what it takes to the end, so that only what hangs is given up.
const STEPS_MAX: usize = 20_000;

/// All that the runs of a pipeline share.
pub(crate) struct Machine {
    engine: Engine,
    prepared: Prepared,
    runtime: tokio::runtime::Runtime,
    expected: Left,
    /// The inputs, which no crash harms.
    folder: Folder,
}

/// How a run went.
#[derive(Debug, Default)]
pub(crate) struct Course {
    /// Times that the machine stopped.
    pub(crate) crashes: u64,
    /// Times that it started, and found what it had.
    pub(crate) starts: u64,
    /// Times that it went on with batches on their way.
    pub(crate) resumed: u64,
    /// Events that helpers folded, and of which what that came to was merged.
    pub(crate) helped: u64,
    /// Whether it did not come to its end, since it found that its state was damaged.
    pub(crate) is_refused: bool,
}

/// What is done to a machine in addition to ending its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    /// Nothing.
    Crashes,
    /// A fault of the protocol.
    Planted(Fault),
    /// Between two of its lives one bit of what the store has on the disk changes.
    FlippedBit,
}

/// How a life ended.
enum End {
    Crashed,
    Completed,
}

impl Machine {
    /// One whose operator `sums` is in this mode.
    pub(crate) fn new(sums: &str) -> Self {
        let folder = Folder::with_pipeline(&text(sums));
        for (source, id) in oracle::SOURCES.iter().enumerate() {
            folder.write(&format!("{id}.jsonl"), oracle::input(source));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let cache = Path::new(env!("CARGO_BIN_EXE_dirigo"))
            .with_file_name("hostile")
            .join("cache");
        let key = cache.with_file_name("cache.key");
        let engine = Engine::new(&Limits::read(), Cache::open(&cache, &key).ok()).unwrap();
        let loaded = pipeline::load(&folder.path("pipeline.toml"), &[], &dirigo::connectors::builtin()).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(0));
        let mut prepared = runtime.block_on(prepare(&engine, loaded, &clock)).unwrap();
        prepared.pipeline.dead_letters = Some(PathBuf::from(LETTERS));
        for operator in &mut prepared.pipeline.operators {
            // As short as can be: turns are suspended after every 2,000 units of fuel.
            operator.slice = Duration::from_nanos(1);
        }
        Self {
            engine,
            prepared,
            runtime,
            expected: oracle::expected(),
            folder,
        }
    }

    /// Runs to the end, however often the machine stops before; or says what is wrong then.
    pub(crate) fn run(&self, seed: u64, trial: Trial) -> Result<Course, String> {
        let fault = match trial {
            Trial::Planted(fault) => Some(fault),
            Trial::Crashes | Trial::FlippedBit => None,
        };
        let mut random = Random(seed);
        let mut course = Course::default();
        let mut disk = Simulated::new(random.next());
        disk.lie_on_sync(fault == Some(Fault::SkippedSync));
        let mut shown = String::new();
        let mut starts_before_flip = None;
        let mut flip_after = (trial == Trial::FlippedBit).then(|| 1 + random.next() % 6);
        loop {
            if flip_after.is_some_and(|crashes| course.crashes >= crashes) && flip(&disk, &mut random) {
                flip_after = None;
                starts_before_flip = Some(course.starts);
            }
            // The crash before it may have taken the name of a part that readers saw, and the bit the epoch that knows of it: that is found out once the
            // machine starts.
            if starts_before_flip == Some(course.starts) {
                shown.clear();
            }
            let is_flipped = trial == Trial::FlippedBit && flip_after.is_none();
            let is_last = course.crashes == CRASHES_MAX;
            if !is_last {
                // Opening alone takes up to forty operations, a checkpoint about ten.
                let operations = if random.one_in(2) { 60 } else { 600 };
                let last = disk.operations() + 1 + random.next() % operations;
                if random.one_in(4) {
                    disk.fail_at(last);
                } else {
                    disk.crash_at(last);
                }
            }
            let patience = if is_last {
                None
            } else {
                Some(if random.one_in(2) { 100 } else { 800 })
            };
            let life = Life {
                machine: self,
                disk: &disk,
                random: &mut random,
                fault,
                // Planted faults are found soonest where much is on its way.
                is_short: fault.is_none() && seed.is_multiple_of(2),
                patience,
            };
            match life.live(&mut course, &mut shown) {
                Ok(End::Completed) => break,
                Ok(End::Crashed) => course.crashes += 1,
                Err(error) if is_flipped && is_refusal(&error) => {
                    course.is_refused = true;
                    return Ok(course);
                }
                Err(error) => return Err(error),
            }
            self.shown(&disk, &mut shown)?;
            disk = disk.restart();
        }
        match self.left(&disk)?.difference(&self.expected) {
            None => Ok(course),
            Some(difference) => Err(format!("after {} crashes {difference}", course.crashes)),
        }
    }
}

/// Whether a run says that its state is damaged. Damage to the last epoch of a run that was killed looks like what the kill
/// left, unless a sink has written what only that epoch knows of.
fn is_refusal(error: &str) -> bool {
    let is_output_unknown =
        error.contains("which is newer than the state") || error.contains("nothing shows that this");
    error.contains(" is damaged") || is_output_unknown
}

/// Changes one bit of what the store has on the disk; `false` if that is nothing yet.
fn flip(disk: &Simulated, random: &mut Random) -> bool {
    let folder = Path::new(STATE);
    let names = disk.list(folder).unwrap_or_default().into_iter();
    let files: Vec<_> = names
        .map(|name| folder.join(name))
        .filter(|path| path != Path::new(LETTERS))
        .filter_map(|path| match disk.look(&path) {
            Ok(PathKind::File(bytes)) if bytes > 0 => Some((path, bytes)),
            _ => None,
        })
        .collect();
    if files.is_empty() {
        return false;
    }
    let (path, bytes) = &files[random.below(files.len())];
    let at = random.next() % bytes;
    let file = disk.open(path, Mode::Existing).unwrap();
    let mut byte = [0];
    file.read_at(at, &mut byte).unwrap();
    file.write_at(at, &[byte[0] ^ (1 << random.below(8))]).unwrap();
    file.sync().unwrap();
    true
}

/// The operators fail at some events; two of them keep state, and close their windows at the end; one takes many slices over each
/// event; one has events wait for their times, and sets timers.
fn text(sums: &str) -> String {
    format!(
        r#"
        [pipeline]
        name = "simulated"
        [[source]]
        id = "a"
        kind = "file"
        path = "a.jsonl"
        key = "/key"
        time = "/n"
        [[source]]
        id = "b"
        kind = "file"
        path = "b.jsonl"
        key = "/key"
        time = "/n"
        [[operator]]
        id = "map"
        component = "{map}"
        inputs = ["a", "b"]
        replicas = {{ max = 3 }}
        config = {{ mode = "panic", every = {map_fails} }}
        [[operator]]
        id = "slow"
        component = "{map}"
        replicas = {{ max = 3 }}
        config = {{ mode = "dawdle", every = 10 }}
        [[operator]]
        id = "list"
        component = "{reduce}"
        shards = {{ max = 4 }}
        window = {{ count = {list_window} }}
        partial = "emit"
        config = {{ mode = "reject", every = {list_fails} }}
        [[operator]]
        id = "each"
        component = "{reduce}"
        inputs = ["slow"]
        actors = "per-key"
        window = {{ count = {each_window} }}
        partial = "emit"
        config = {{ mode = "panic", every = {each_fails} }}
        [[operator]]
        id = "in-time"
        component = "{reduce}"
        inputs = ["slow"]
        shards = {{ max = 4 }}
        window = {{ tumbling = "{time_window}ms" }}
        config = {{ mode = "pass", every = 1 }}
        [[operator]]
        id = "sums"
        component = "{sum}"
        inputs = ["a", "b"]
        key = "/source"
        shards = {{ max = 4 }}
        window = {{ tumbling = "{sums_window}ms" }}
        config = {{ mode = "{sums}", every = {sums_fail} }}
        [[operator]]
        id = "timers"
        component = "{process}"
        inputs = ["slow"]
        shards = {{ max = 4 }}
        order = "time"
        config = {{ mode = "reject", every = {timers_fail} }}
        [[sink]]
        id = "in-order"
        kind = "file"
        path = "in-order/*.jsonl"
        commit = "epoch"
        inputs = ["list"]
        order = "source"
        [[sink]]
        id = "by-key"
        kind = "file"
        path = "by-key.jsonl"
        inputs = ["each"]
        [[sink]]
        id = "of-timers"
        kind = "file"
        path = "timers.jsonl"
        inputs = ["timers"]
        [[sink]]
        id = "of-odd"
        kind = "file"
        path = "odd.jsonl"
        inputs = ["timers.odd"]
        [[sink]]
        id = "of-windows-in-time"
        kind = "file"
        path = "in-time.jsonl"
        inputs = ["in-time"]
        order = "source"
        [[sink]]
        id = "of-sums"
        kind = "file"
        path = "sums.jsonl"
        inputs = ["sums"]
        order = "source"
        "#,
        map = guest("map").display(),
        reduce = guest("reduce").display(),
        process = guest("process").display(),
        sum = guest("sum").display(),
        sums_window = oracle::SUMS_WINDOW,
        sums_fail = oracle::SUMS_FAIL,
        timers_fail = oracle::TIMERS_FAIL,
        map_fails = oracle::MAP_FAILS,
        list_fails = oracle::LIST_FAILS,
        each_fails = oracle::EACH_FAILS,
        list_window = oracle::LIST_WINDOW,
        each_window = oracle::EACH_WINDOW,
        time_window = oracle::TIME_WINDOW,
    )
}

/// Places on the simulated disk. Those of the sinks are where the pipeline file has them.
const STATE: &str = "/state";
const LETTERS: &str = "/state/dead-letters.jsonl";

/// From one start of the machine to its stop.
struct Life<'a> {
    machine: &'a Machine,
    disk: &'a Simulated,
    random: &'a mut Random,
    fault: Option<Fault>,
    /// Whether its memory is.
    is_short: bool,
    /// It is crashed between two steps once in so many; its last life is not.
    patience: Option<usize>,
}

impl Life<'_> {
    fn live(mut self, course: &mut Course, seen: &mut String) -> Result<End, String> {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(0));
        let place = StateLocation::Directory {
            path: PathBuf::from(STATE),
            fresh: false,
        };
        let options = state::StoreOptions {
            apply: Apply::ByHand,
            log_bytes_max: 8 << 10,
            layer_bytes_max: 8 << 10,
            // Actors of every other machine hold few keys at a time, or none.
            loaded_max: if self.is_short { self.random.below(4) } else { 256 },
            kept_min: 0,
        };
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let prepared = self.machine.prepared.clone();
        let opened = Connectors::open_on(&disk, options, &prepared, &clock, &place);
        let mut connectors = match opened {
            Ok(connectors) => connectors,
            Err(_) if self.is_over() => return Ok(End::Crashed),
            Err(error) => return Err(format!("it does not start again: {error}")),
        };
        // What readers saw before is there again, now that recovery has finished what a crash had interrupted.
        let before = std::mem::take(seen);
        self.machine.shown(self.disk, seen)?;
        if !self.disk.is_crashed() && !seen.starts_with(&before) {
            return Err(format!("readers saw\n{before}\nand now see\n{seen}"));
        }
        course.starts += 1;
        connectors.batch_events = 1 + self.random.below(4);
        let host = Host::unmanned(
            self.machine.engine.clone(),
            HostOptions {
                workers: 2,
                policy: PolicyKind::Fair,
                instances_max: 4 + u32::try_from(self.random.below(8)).unwrap(),
                clock,
            },
            self.machine.runtime.handle().clone(),
        );
        if self.is_short {
            // Between none at all and enough for all instances.
            let memory = 1 + (self.random.below(24) << 20);
            let budget = Budget {
                memory: Some(memory as u64),
                ..Budget::default()
            };
            host.set_budget(&prepared.pipeline.tenant, budget);
        }
        let assembled = Assembled::new(&host, Opened { prepared, connectors });
        course.resumed += u64::from(!assembled.checkpoints().is_empty());
        let mut hands = Hands::new(assembled);
        let outcome = self.work(&host, &mut hands);
        let operators = hands.assembled.operators().iter();
        course.helped += operators.map(|operator| operator.helped()).sum::<u64>();
        let failure = hands.assembled.failure_latch().failure();
        let ended = hands.assembled.conclude();
        match outcome {
            Ok(End::Completed) => {
                let counts = ended.operators.iter().find(|operator| operator.queued != 0);
                counts.map_or(Ok(End::Completed), |operator| {
                    Err(format!("events are left: {operator:?}"))
                })
            }
            Ok(End::Crashed) => Ok(End::Crashed),
            Err(_) if self.is_over() => Ok(End::Crashed),
            Err(error) => Err(failure.map_or(error, |failure| failure.to_string())),
        }
    }

    /// Whether the life may end with an error: the machine has stopped, or its disk has failed once.
    fn is_over(&self) -> bool {
        self.disk.is_crashed() || self.disk.has_failed()
    }

    /// Has some operator have more or fewer replicas or helpers, or other shards.
    fn scale(&mut self, operators: &[Arc<Operator>]) {
        let operator = &operators[self.random.below(operators.len())];
        let (Some(bounds), Some(load)) = (operator.scaling_bounds(), operator.load()) else {
            return;
        };
        let max = *bounds.end() as usize;
        if !operator.kind().is_stateful() {
            operator.set_replicas(1 + u32::try_from(self.random.below(max)).unwrap());
            return;
        }
        let shards = load.actors.len();
        let actor = self.random.below(shards);
        let change = if operator.id() == "sums" && !self.random.one_in(3) {
            let helpers = u16::try_from(self.random.below(max)).unwrap();
            Change::Help { actor, helpers }
        } else if shards < max && self.random.one_in(2) {
            let first = load.actors[actor].first_partition;
            let end = load
                .actors
                .get(actor + 1)
                .map_or(PARTITIONS, |next| next.first_partition);
            let own = usize::try_from(end - first).unwrap();
            let at = first + u32::try_from(self.random.below(own)).unwrap();
            Change::Split { actor, at }
        } else {
            Change::Join { actor }
        };
        operator.apply(&change);
    }

    /// Takes steps until everything is done, or the machine stops.
    fn work(&mut self, host: &Host, hands: &mut Hands) -> Result<End, String> {
        let checkpoints = hands.assembled.checkpoints().clone();
        let mut checkpoint = None;
        let mut before = Sinks::new();
        for _ in 0..STEPS_MAX {
            if self.disk.is_crashed() || self.patience.is_some_and(|steps| self.random.one_in(steps)) {
                self.disk.crash();
                return Ok(End::Crashed);
            }
            if let Some(failure) = hands.assembled.failure_latch().failure() {
                return Err(failure.to_string());
            }
            match self.random.below(22) {
                21 => self.scale(hands.assembled.operators()),
                20 => {
                    // Those that a watermark has closed so far.
                    hands.assembled.close_windows().map_err(|error| error.to_string())?;
                }
                0..3 => hands.read(self.random),
                3..12 => {
                    host.step(self.random.below(3));
                }
                12..15 => hands.write(self.random),
                15 => hands.send_to_dead_letters(self.random),
                16 => host.sweep(),
                _ => {
                    let is_due = || self.random.one_in(3).then_some(Phase::Due);
                    if let Some(phase) = checkpoint.take().or_else(is_due) {
                        checkpoint = self.advance(&checkpoints, hands, phase, &mut before)?;
                    }
                }
            }
            if !hands.have_read() || !checkpoints.is_empty() {
                continue;
            }
            let has_windows = hands.assembled.close_windows().map_err(|error| error.to_string())?;
            if !has_windows && checkpoint.is_none() {
                self.finish(&checkpoints, hands, &mut before)?;
                return Ok(End::Completed);
            }
        }
        Err("it does not come to an end".into())
    }

    /// Takes the next step of a checkpoint, and looks at what readers see of it.
    fn advance(
        &mut self,
        checkpoints: &Arc<Checkpoints>,
        hands: &mut Hands,
        mut phase: Phase,
        before: &mut Sinks,
    ) -> Result<Option<Phase>, String> {
        match &mut phase {
            // Who writes comes to the mark: the checkpoint would wait for it.
            Phase::Cut(_) => hands.write_all(),
            Phase::Prepared(moment) => {
                let sinks = moment.snapshot.offsets.sinks.clone();
                if let Some(fault) = self.fault {
                    fault.spoil(moment, before, checkpoints.positions());
                }
                *before = sinks;
            }
            Phase::Due | Phase::Committed(_) => {}
        }
        // Readers must see nothing of it before its last step. Sinks write in their own time, so now and then they are given it
        // on both sides of a step.
        let seen = self.random.one_in(4).then(|| self.seen(hands)).transpose()?;
        let next = checkpoints.advance(phase).map_err(|failure| failure.to_string())?;
        if let (Some(seen), Some(_)) = (seen, &next) {
            let now = self.seen(hands)?;
            if now != seen && !self.is_over() {
                return Err(format!("readers saw\n{seen}\nand in the middle of a checkpoint\n{now}"));
            }
        }
        if let (Some(Fault::PublishedEarly), Some(Phase::Prepared(moment))) = (self.fault, &next) {
            let published = checkpoints.publish(moment.epoch);
            published.map_err(|failure| failure.to_string())?;
            hands.write_all();
            // Few epochs show something, and few crashes fall between: without help it takes hundreds of seeds.
            if self.patience.is_some() && self.random.one_in(10) {
                self.disk.crash();
            }
        }
        Ok(next)
    }

    /// What readers see once sinks have done all that they were told to.
    fn seen(&self, hands: &mut Hands) -> Result<String, String> {
        hands.write_all();
        let mut seen = String::new();
        self.machine.shown(self.disk, &mut seen)?;
        Ok(seen)
    }

    /// The last checkpoint.
    fn finish(&mut self, checkpoints: &Arc<Checkpoints>, hands: &mut Hands, before: &mut Sinks) -> Result<(), String> {
        hands.assembled.end();
        let mut checkpoint = Some(Phase::Due);
        while let Some(phase) = checkpoint {
            checkpoint = self.advance(checkpoints, hands, phase, before)?;
        }
        hands.write_all();
        let failure = hands.assembled.failure_latch().failure();
        failure.map_or(Ok(()), |failure| Err(failure.to_string()))
    }
}

/// What the threads of a pipeline do, to be done one by one.
struct Hands {
    assembled: Assembled,
    source_tasks: Vec<SourceTask>,
    ended: Vec<bool>,
    sinks: Vec<SinkTask<EventEncoder>>,
    dead_letters: Vec<SinkTask<DeadLetterEncoder>>,
}

impl Hands {
    fn new(mut assembled: Assembled) -> Self {
        let source_tasks = std::mem::take(&mut assembled.source_tasks);
        Self {
            ended: vec![false; source_tasks.len()],
            source_tasks,
            sinks: std::mem::take(&mut assembled.sinks),
            dead_letters: assembled.dead_letters.take().into_iter().collect(),
            assembled,
        }
    }

    fn have_read(&self) -> bool {
        self.ended.iter().all(|ended| *ended)
    }

    fn read(&mut self, random: &mut Random) {
        let source = random.below(self.source_tasks.len());
        self.ended[source] |= self.source_tasks[source].step() == ReadStep::Ended;
    }

    fn write(&mut self, random: &mut Random) {
        let sink = random.below(self.sinks.len());
        if !self.sinks[sink].step() {
            self.sinks[sink].flush();
        }
    }

    fn send_to_dead_letters(&mut self, random: &mut Random) {
        for dead_letters in &mut self.dead_letters {
            if !dead_letters.step() && random.one_in(2) {
                dead_letters.flush();
            }
        }
    }

    fn write_all(&mut self) {
        for sink in &mut self.sinks {
            while sink.step() {}
        }
        for dead_letters in &mut self.dead_letters {
            while dead_letters.step() {}
        }
    }
}

impl Machine {
    /// What readers of the ordered sink see: never anything but a beginning of what is expected.
    fn shown(&self, disk: &Simulated, seen: &mut String) -> Result<(), String> {
        let disk = disk.look_on();
        let parts = self.folder.path("in-order");
        let mut text = String::new();
        if disk.look(&parts).unwrap() == PathKind::Folder {
            for name in disk.list(&parts).unwrap() {
                if !name.as_encoded_bytes().starts_with(b".") {
                    text.push_str(&read(&disk, &parts.join(name)));
                }
            }
        }
        let expected = &self.expected.in_order;
        if !expected.starts_with(&text) {
            return Err(format!("readers see\n{text}\nwhich is no beginning of\n{expected}"));
        }
        *seen = text;
        Ok(())
    }

    /// Everything that is left at the end.
    fn left(&self, disk: &Simulated) -> Result<Left, String> {
        let mut left = Left::default();
        self.shown(disk, &mut left.in_order)?;
        let disk = disk.look_on();
        left.in_time = read(&disk, &self.folder.path("in-time.jsonl"));
        left.sums = read(&disk, &self.folder.path("sums.jsonl"));
        for (file, name) in [("timers.jsonl", ""), ("odd.jsonl", "odd ")] {
            for line in read(&disk, &self.folder.path(file)).lines() {
                let told: serde_json::Value =
                    serde_json::from_str(line).map_err(|error| format!("{error} in {line}"))?;
                let key = format!("{name}{}", told["key"].as_str().unwrap());
                left.told.entry(key).or_default().push(oracle::told(&told));
            }
        }
        for line in read(&disk, &self.folder.path("by-key.jsonl")).lines() {
            let window: serde_json::Value = serde_json::from_str(line).map_err(|error| format!("{error} in {line}"))?;
            let key = window["key"].as_str().unwrap().to_owned();
            left.by_key.entry(key).or_default().push(line.to_owned());
        }
        let mut numbers = BTreeMap::new();
        for line in read(&disk, Path::new(LETTERS)).lines() {
            let dead_letter: DeadLetter = serde_json::from_str(line).map_err(|error| format!("{error} in {line}"))?;
            let place = (
                dead_letter.operator,
                dead_letter.event.source,
                dead_letter.event.position,
            );
            if !left.dead.insert(place.clone()) {
                return Err(format!("{place:?} died twice"));
            }
            numbers.insert(dead_letter.id, place);
        }
        let are_counted = numbers.keys().copied().eq(1..=left.dead.len() as u64);
        if are_counted {
            Ok(left)
        } else {
            Err(format!("dead letters are numbered {numbers:?}"))
        }
    }
}

fn read(disk: &dyn Disk, path: &Path) -> String {
    if disk.look(path).unwrap() == PathKind::Missing {
        return String::new();
    }
    let file = disk.open(path, Mode::Existing).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
