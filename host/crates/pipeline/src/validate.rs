//! From the file as written to a pipeline that the host can trust.
//!
//! Owns the order of the checks and what they share. Every check reports what it finds and the others go on, so that
//! one pass finds everything.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dirigo_disk::{Denied, Usage};

use super::admission::{Admission, Caps};
use super::choice::Word;
use super::config::Environment;
use super::connector::Registry;
use super::diagnostic::{Diagnostic, Problems};
use super::graph::{self, WiredOperator, Wiring};
use super::model::{Operator, Pattern, Pipeline, Sink};
use super::outside::Outside;
use super::paths::{self, Access, BaseFolder, Claim, Claims, Readable};
use super::section::{At, Field};
use super::span::{Span, Texts};
use super::units::{Interval, Lapse};
use super::{budget, operator, raw, sink, source, test_case};

/// What a pipeline file may refer to outside of itself.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The kinds of sources and sinks.
    pub connectors: &'a Registry,
    /// The environment variables.
    pub environment: Environment<'a>,
    /// Where events come from.
    pub inputs: Inputs,
    /// What the file may do.
    pub admission: &'a Admission,
    /// For a file whose components the host has stored: where each is, by what the file calls it. Then no component is a file of the
    /// deployer's.
    pub stored: Option<&'a BTreeMap<String, PathBuf>>,
}

/// Where events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// From the sources, whose files must be there.
    OfSources,
    /// From test cases.
    HandedIn,
}

/// What the checks share.
pub struct Validation<'a> {
    pub(super) texts: &'a Texts,
    pub(super) folder: BaseFolder,
    pub(super) claims: Claims,
    pub(super) outside: Outside<'a>,
    pub(super) connectors: &'a Registry,
    pub(super) admission: &'a Admission,
    pub(super) stored: Option<&'a BTreeMap<String, PathBuf>>,
    inputs: Inputs,
    /// What was found so far.
    pub problems: Problems,
}

impl<'a> Validation<'a> {
    pub(super) fn new(texts: &'a Texts, file: &'a Path, surroundings: Surroundings<'a>, problems: Problems) -> Self {
        let Surroundings {
            connectors,
            environment,
            inputs,
            admission,
            stored,
        } = surroundings;
        let mut validation = Self {
            texts,
            folder: BaseFolder::of(file),
            claims: Claims::default(),
            outside: outside(file, environment, admission),
            connectors,
            admission,
            stored,
            inputs,
            problems,
        };
        let who = "the pipeline file".to_owned();
        let claim = Claim {
            path: file.to_owned(),
            names: None,
            who,
            access: Access::Reads,
            place: None,
            is_default: false,
        };
        validation.claims.add(&claim, &mut validation.problems);
        validation
    }

    /// The pipeline, unless there was an error.
    pub(super) fn pipeline(&mut self, raw: &raw::File, file: &Path) -> Option<Pipeline> {
        let header = self.header(raw);
        let account = self
            .admission
            .tenancy
            .as_ref()
            .map(|tenancy| tenancy.account().to_owned());
        let budget = raw
            .tenant
            .given()
            .map(|at| budget::of_pipeline(&at.value, &mut self.problems));
        let sources = each(&raw.source, |raw| source::validate(raw, self));
        let operators = each(&raw.operator, |raw| operator::validate(raw, self));
        let sinks = each(&raw.sink, |raw| sink::validate(raw, self));
        let dead_letters = raw.dead_letters.given().and_then(|at| self.dead_letters(&at.value));
        let dead_letters_if_exists = raw.dead_letters.given();
        let dead_letters_if_exists = dead_letters_if_exists.and_then(|at| at.value.if_exists.map(|Word(word)| *word));
        let dead_letters_max = raw.dead_letters.given().and_then(|at| at.value.max.map(|max| *max));
        let tests = test_case::validate_all(raw, self);
        self.expect_some(&raw.source, raw, "source", "an event has nowhere to come from");
        self.expect_some(&raw.sink, raw, "sink", "an event has nowhere to go");
        self.expect_one_reader_each(raw);
        let wiring = graph::wire(raw, &mut self.problems);
        if self.problems.has_errors() {
            return None;
        }
        let (operators, sinks) = connect(operators?, sinks?, wiring);
        let Header {
            name,
            tenant,
            slo,
            checkpoint,
        } = header?;
        let (sources, file) = (sources?, file.to_owned());
        Some(Pipeline {
            name,
            account: account.unwrap_or_else(|| tenant.clone()),
            tenant,
            budget,
            slo,
            checkpoint,
            sources,
            operators,
            sinks,
            dead_letters,
            dead_letters_if_exists,
            dead_letters_max,
            tests,
            file,
            access: self.admission.access.clone(),
            compiling: self.admission.compiling(),
        })
    }

    fn header(&mut self, raw: &raw::File) -> Option<Header> {
        if raw.pipeline.is_absent() {
            self.problems.push(
                Diagnostic::error("there is no `[pipeline]`")
                    .at(raw.place, "")
                    .help("start the file with `[pipeline]` and `name = \"…\"`"),
            );
        }
        let raw = &raw.pipeline.given()?.value;
        let name = raw
            .name
            .required("name", "\"sensors\"", raw.place, "the pipeline", &mut self.problems);
        let tenant = self.tenant(raw);
        let slo = self.positive("slo", &raw.slo);
        let checkpoint = match raw.checkpoint.given() {
            Some(At {
                value: Interval::Every(every),
                place,
            }) => {
                self.expect_positive("checkpoint", *every, *place);
                Some(*every)
            }
            Some(At {
                value: Interval::Off, ..
            }) => None,
            None => Some(default_checkpoint()),
        };
        Some(Header {
            name: name?.value.0.clone(),
            tenant,
            slo,
            checkpoint,
        })
    }

    /// Whose the pipeline is: as the tenants file says, where there is one.
    fn tenant(&mut self, raw: &raw::Pipeline) -> String {
        let said = raw.tenant.given();
        let name = said.map(|at| at.value.0.as_str());
        let Some(tenancy) = &self.admission.tenancy else {
            return name.unwrap_or(raw::TENANT).to_owned();
        };
        match tenancy.tenant(name, raw::TENANT) {
            Ok(tenant) => {
                if let (Some(at), None) = (said, &tenancy.tenant) {
                    let message = format!(
                        "no tenant in {} lists this file: it shares the budget of `[default]`, and its part of the workers, with all others that none lists",
                        tenancy.file.display()
                    );
                    let warning = Diagnostic::warning(message).at(at.place, "this name gives it none of its own");
                    let help = "the operator of the host lists the file in the `pipelines` of a `[[tenant]]`";
                    self.problems.push(warning.help(help));
                }
                tenant.to_owned()
            }
            Err((message, help)) => {
                let place = said.map_or(raw.place, |at| at.place);
                self.problems
                    .push(Diagnostic::error(message).at(place, "not its tenant").help(help));
                raw::TENANT.to_owned()
            }
        }
    }

    /// What a file asks for, or the default, as far as its tenant may have it; that it asks for more is reported.
    pub fn capped(
        &mut self,
        key: &str,
        asked: Option<(u64, Span)>,
        default: u64,
        cap: fn(&Caps) -> u64,
        shown: fn(u64) -> String,
    ) -> u64 {
        let cap = self.admission.caps.as_ref().map_or(u64::MAX, cap);
        if let Some((_, place)) = asked.filter(|(value, _)| *value > cap) {
            self.problems.push(beyond_cap(key, &shown(cap), place));
        }
        asked.map_or(default, |(value, _)| value).min(cap)
    }

    /// The duration, where it is given; that it is 0 is reported.
    pub fn positive(&mut self, key: &str, field: &Field<Lapse>) -> Option<Duration> {
        let At {
            value: Lapse(duration),
            place,
        } = field.given()?;
        self.expect_positive(key, *duration, *place);
        Some(*duration)
    }

    pub(super) fn expect_positive(&mut self, key: &str, duration: Duration, place: Span) {
        if duration.is_zero() {
            let problem = Diagnostic::error(format!("`{key}` is 0")).at(place, "no time at all");
            self.problems
                .push(problem.help("a duration above 0 is meant, such as \"50ms\""));
        }
    }

    fn dead_letters(&mut self, raw: &raw::DeadLetters) -> Option<PathBuf> {
        self.written_file(raw.path.given()?, "dead letters file", "the dead letters")
    }

    /// The path of a file that the pipeline writes.
    pub fn written_file(&mut self, at: &At<String>, of: &str, who: &str) -> Option<PathBuf> {
        let path = self.folder.resolve(at, &mut self.problems)?;
        self.permit(&path, at.place, who, Usage::Write)?;
        paths::expect_no_directory(&path, at.place, of, &mut self.problems)?;
        self.claim(&path, at.place, who, Access::Writes);
        Some(path)
    }

    /// The files of a folder that the pipeline writes, whose name has a `*`.
    pub fn written_files(&mut self, at: &At<String>, who: &str) -> Option<Pattern> {
        let pattern = self.folder.pattern(at, &mut self.problems)?;
        self.permit(&pattern.folder, at.place, who, Usage::Write)?;
        paths::expect_no_file(&pattern.folder, at.place, "folder of the parts", &mut self.problems)?;
        self.claim_files(&pattern, at.place, who, Access::Writes);
        Some(pattern)
    }

    /// The path of a file that a source reads, or also of a pipe.
    pub fn source_file(&mut self, at: &At<String>, who: &str, may_be_pipe: bool) -> Option<PathBuf> {
        let readable = if may_be_pipe {
            Readable::FileOrPipe
        } else {
            Readable::File
        };
        let path = self.folder.resolve(at, &mut self.problems)?;
        self.permit(&path, at.place, who, Usage::Read)?;
        match self.inputs {
            Inputs::OfSources if path.is_dir() => {
                let problem = Diagnostic::error("the source file is a directory").at(at.place, "a directory");
                let help = "to read the files in it, end the path with a `/`, or with a name such as `/*.jsonl`";
                self.problems.push(problem.help(help));
                None
            }
            Inputs::OfSources => self.read_file(at, "source file", who, readable),
            Inputs::HandedIn => {
                self.claim(&path, at.place, who, Access::Reads);
                Some(path)
            }
        }
    }

    /// The path of a file that a source follows. It may come later, in a folder that is there.
    pub fn followed_file(&mut self, at: &At<String>, who: &str) -> Option<PathBuf> {
        let path = self.folder.resolve(at, &mut self.problems)?;
        self.permit(&path, at.place, who, Usage::Read)?;
        let is_to_come = !path.exists() && path.parent().is_some_and(|folder| paths::or_here(folder).is_dir());
        if self.inputs == Inputs::OfSources && is_to_come {
            self.claim(&path, at.place, who, Access::Reads);
            return Some(path);
        }
        self.source_file(at, who, false)
    }

    /// The files of a folder that a source reads: those that match, or where the path ends with a slash all.
    pub fn source_files(&mut self, at: &At<String>, who: &str) -> Option<Pattern> {
        let pattern = if at.value.contains('*') {
            self.folder.pattern(at, &mut self.problems)?
        } else {
            Pattern::all_of(self.folder.resolve(at, &mut self.problems)?)
        };
        self.permit(&pattern.folder, at.place, who, Usage::Read)?;
        self.claim_files(&pattern, at.place, who, Access::Reads);
        if self.inputs == Inputs::OfSources {
            paths::expect_files(&pattern, at.place, &mut self.problems)?;
        }
        Some(pattern)
    }

    /// An address at which the pipeline may listen: an IP address, or `localhost`, and a port. Beyond the machine itself only if `is_open` says that
    /// this is meant.
    pub fn address(&mut self, at: &At<String>, who: &str, is_open: bool) -> Option<SocketAddr> {
        let parse = |text: &str| text.replace("localhost:", "127.0.0.1:").parse::<SocketAddr>().ok();
        let Some(address) = parse(&at.value) else {
            let problem = Diagnostic::error(format!("{who} has no address to listen at")).at(at.place, "no address");
            self.problems
                .push(problem.help("it is an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\""));
            return None;
        };
        let granted = self.admission.listen.as_ref();
        let is_granted = granted.is_none_or(|granted| granted.iter().any(|granted| parse(granted) == Some(address)));
        if !is_granted {
            let problem = Diagnostic::error(format!("{who} may not listen at this address"))
                .at(at.place, "the tenants file does not grant it")
                .help("the operator of the host names it in the `listen` of the tenant");
            self.problems.push(problem);
            return None;
        }
        if !address.ip().is_loopback() && !is_open {
            let problem = Diagnostic::error(format!("{who} would listen beyond this machine without encryption"))
                .at(at.place, "not a loopback address")
                .help("put a proxy that speaks TLS in front of a loopback address, or say `insecure = true`");
            self.problems.push(problem);
            return None;
        }
        Some(address)
    }

    /// Reports, at `place`, that the pipeline may not send to addresses that are not public, where that is so.
    pub fn expect_private_receivers(&mut self, place: Span, who: &str) {
        if self.admission.private_receivers == Some(false) {
            let problem = Diagnostic::error(format!("{who} may not send to addresses that are not public"))
                .at(place, "the tenants file does not grant it")
                .help("the operator of the host says `private_receivers = true` for the tenant");
            self.problems.push(problem);
        }
    }

    /// Whether the pipeline may connect to a port of a host; that its tenant may not is reported.
    pub fn may_connect(&mut self, host: &str, port: u16, place: Span, who: &str) -> bool {
        let is_it = |granted: &String| {
            let parts = granted.rsplit_once(':');
            parts.is_some_and(|(name, number)| {
                name.trim_matches(['[', ']']).eq_ignore_ascii_case(host) && number.parse() == Ok(port)
            })
        };
        let granted = self.admission.connect.as_ref();
        let is_granted = granted.is_none_or(|granted| granted.iter().any(is_it));
        if !is_granted {
            let problem = Diagnostic::error(format!("{who} may not connect to `{host}:{port}`"))
                .at(place, "the tenants file does not grant it")
                .help("the operator of the host names it in the `connect` of the tenant");
            self.problems.push(problem);
        }
        is_granted
    }

    /// Whether the pipeline may connect to what is named to it alone, since a tenants file says so.
    #[must_use]
    pub fn is_confined(&self) -> bool {
        self.admission.connect.is_some()
    }

    /// The path of a file that the pipeline reads.
    pub(super) fn read_file(&mut self, at: &At<String>, of: &str, who: &str, readable: Readable) -> Option<PathBuf> {
        let path = self.folder.resolve(at, &mut self.problems)?;
        self.permit(&path, at.place, who, Usage::Read)?;
        // Claimed even when it does not exist: that another writes it is then the reason, and worth hearing.
        self.claim(&path, at.place, who, Access::Reads);
        paths::expect_file(&path, at.place, of, readable, &mut self.problems)?;
        Some(path)
    }

    /// Reports a path that this file may not use. Nothing is said of what is there.
    fn permit(&mut self, path: &Path, place: Span, who: &str, usage: Usage) -> Option<()> {
        let Err(denied) = self.admission.access.check(path, usage) else {
            return Some(());
        };
        let problem = Diagnostic::error(format!("{who} may not {usage} this path")).at(place, denied.to_string());
        let help = match denied {
            Denied::NotGranted { .. } | Denied::Escapes { .. } => Some(
                "use a folder that is granted, or have the operator of the host grant this one in the tenants file"
                    .to_owned(),
            ),
            Denied::Host { .. } => Some("choose a folder that the host does not keep for itself".to_owned()),
            Denied::Kernel { .. } => Some("`kind = \"stdin\"` reads standard input".to_owned())
                .filter(|_| usage == Usage::Read && path.starts_with("/dev")),
            _ => None,
        };
        self.problems.push(problem.help_if(help));
        None
    }

    fn claim(&mut self, path: &Path, place: Span, who: &str, access: Access) {
        self.claim_all(path, None, place, who, access);
    }

    fn claim_files(&mut self, pattern: &Pattern, place: Span, who: &str, access: Access) {
        self.claim_all(&pattern.folder, Some(pattern.clone()), place, who, access);
    }

    fn claim_all(&mut self, path: &Path, names: Option<Pattern>, place: Span, who: &str, access: Access) {
        let claim = Claim {
            path: path.to_owned(),
            names,
            who: who.to_owned(),
            access,
            place: Some(place),
            is_default: false,
        };
        self.claims.add(&claim, &mut self.problems);
    }

    fn expect_one_reader_each(&mut self, raw: &raw::File) {
        for kind in self.connectors.sources() {
            let Some(exclusive) = kind.exclusive() else { continue };
            let readers = list(&raw.source).iter().filter_map(|at| {
                let word = at.value.kind.given().filter(|at| at.value.is_word(kind.name()))?;
                Some((at.value.id.given()?.value.0.as_str(), word.place))
            });
            let readers: Vec<(&str, Span)> = readers.collect();
            for pair in readers.windows(2) {
                let [(first_id, first), (id, place)] = [pair[0], pair[1]];
                let message = format!("sources `{first_id}` and `{id}` both read {}", exclusive.medium);
                self.problems.push(
                    Diagnostic::error(message)
                        .at(place, "again here")
                        .also(first, "first here")
                        .help(exclusive.help),
                );
            }
        }
    }

    fn expect_some<T>(&mut self, field: &Field<Vec<At<T>>>, raw: &raw::File, what: &str, why: &str) {
        let has_none = field.is_absent() || field.given().is_some_and(|at| at.value.is_empty());
        if has_none {
            let place = raw.pipeline.given().map_or(raw.place, |at| at.place);
            let problem = Diagnostic::error(format!("the pipeline has no {what}")).at(place, why);
            self.problems.push(problem.help(format!("add a `[[{what}]]`")));
        }
    }
}

fn default_checkpoint() -> Duration {
    humantime::parse_duration(raw::CHECKPOINT).expect("the default interval is a duration")
}

/// Where a pipeline file finds values outside of itself.
pub(super) fn outside<'a>(file: &'a Path, environment: Environment<'a>, admission: &'a Admission) -> Outside<'a> {
    let folder = file.parent().unwrap_or(Path::new(""));
    Outside {
        environment,
        folder,
        admission,
    }
}

/// A size, for people.
#[must_use]
pub fn shown_size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

/// Says that a file asks for more than its tenant may have.
pub(super) fn beyond_cap(key: &str, cap: &str, place: Span) -> Diagnostic {
    let problem = Diagnostic::error(format!("`{key}` is more than this tenant may ask for"));
    problem.at(place, format!("more than {cap}")).help(format!(
        "ask for {cap} or less; the operator of the host raises it with `limits = {{ {key} = … }}` in the tenants file"
    ))
}

/// What `[pipeline]` says.
struct Header {
    name: String,
    tenant: String,
    slo: Option<Duration>,
    checkpoint: Option<Duration>,
}

/// All items of a list validated; `None` if one was refused.
fn each<R, T>(field: &Field<Vec<At<R>>>, mut validate: impl FnMut(&R) -> Option<T>) -> Option<Vec<T>> {
    // Collected first: the items behind a refused one are to be looked at as well.
    let validated: Vec<Option<T>> = list(field).iter().map(|at| validate(&at.value)).collect();
    validated.into_iter().collect()
}

/// The items of a list, none where it is absent.
pub(super) fn list<T>(field: &Field<Vec<At<T>>>) -> &[At<T>] {
    field.given().map_or(&[], |at| &at.value)
}

/// Gives operators and sinks their inputs, and puts the operators in topological order.
fn connect(operators: Vec<Operator>, sinks: Vec<Sink>, wiring: Wiring) -> (Vec<Operator>, Vec<Sink>) {
    let mut operators: Vec<Option<Operator>> = operators.into_iter().map(Some).collect();
    let ordered = wiring.operators.into_iter().map(
        |WiredOperator {
             index,
             inputs,
             read_outputs,
         }| {
            let operator = operators[index].take().expect("the order names each operator once");
            Operator {
                inputs,
                read_outputs,
                ..operator
            }
        },
    );
    let ordered = ordered.collect();
    let sinks = sinks
        .into_iter()
        .zip(wiring.sinks)
        .map(|(sink, inputs)| Sink { inputs, ..sink })
        .collect();
    (ordered, sinks)
}
