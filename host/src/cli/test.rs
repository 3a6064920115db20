//! `dirigo test`: the cases in a pipeline file, against the components as they are compiled.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use dirigo::pipeline::{Override, Severity, Test};
use dirigo::runtime::Prepared;
use dirigo::runtime::case::{CaseOutcome, CaseRunner};
use serde::Serialize;

use super::output::Format;
use super::setup::CommandContext;
use super::written_file::can_be_written;
use super::{Exit, Globals, case_report, junit, output, report};

/// Arguments of `dirigo test`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The values of a case's `input` enter as if its sources had read them: as a line of JSON, for `csv` as a record with these \
fields, for `lines` a string as the line itself. They enter one after the other, on a clock that stands still at \
1970-01-01T00:00:00Z, which is the time of events from a source without `time`. An entry `{ watermark = TIME }` says how far \
event time has come at its source. Behind one, and before an event of another source, nothing enters until all that came of the \
entries before it has left. No file of a source is read and none of a sink is written.

What leaves by each sink must be the case's `output` there, all of it and in this order, or in whatever order with \
`order = \"any\"`: values are equal as JSON, so members may come in any order and 1 is 1.0. Outputs come in the order of their \
inputs, whatever `order` a sink keeps; those of windows in time behind the others of what closed them, in the order of their ends \
and keys. A sink of kind `null` is only looked at by cases that name it. With `dead_letters` these dead letters must come and no \
others; without it they are shown, and fail no case by themselves. `late` is how many events must come too late for their windows \
in time, `max_fuel_per_event` what an operator may burn on the average of its events.

Exit code: 0 if all cases passed, 1 if one failed or there was none, 78 if the pipeline file cannot be used.")]
pub(crate) struct Args {
    /// Pipeline file with `[[test]]` cases
    #[arg(value_name = "PIPELINE")]
    file: PathBuf,
    /// Run only the cases whose names contain this
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// What tenants may do, as `dirigo run` is given it: a file with a `[[tenant]]` for each
    #[arg(long, value_name = "FILE")]
    tenants: Option<PathBuf>,
    /// Put a value in place of the file's, such as `operator.map-1.config.scale=2`
    #[arg(short, long = "set", value_name = "KEY=VALUE")]
    set: Vec<Override>,
    /// Write what came of the cases to this file, too, as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// What is printed for programs.
#[derive(Debug, Default, Serialize)]
struct Tally {
    passed: usize,
    failed: usize,
    cases: Vec<Case>,
}

#[derive(Debug, Serialize)]
struct Case {
    name: String,
    line: usize,
    passed: bool,
    #[serde(flatten)]
    outcome: CaseOutcome,
    #[serde(skip)]
    report: junit::SuiteCase,
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    if let Some(file) = &args.junit
        && let Err(error) = can_be_written(file)
    {
        let file = file.display();
        output::say(&format!(
            "error: `--junit {file}`: the report cannot be written there: {error}"
        ));
        return Ok(Exit::Configuration);
    }
    let Some(setup) = CommandContext::for_pipelines(globals, args.tenants.as_deref(), None)? else {
        return Ok(Exit::Configuration);
    };
    let prepared = match setup.load_for_tests(&args.file, &args.set) {
        Ok(prepared) => prepared,
        Err(problems) => {
            report::diagnostics(&problems, globals.format)?;
            return Ok(Exit::Configuration);
        }
    };
    if prepared.warnings.count(Severity::Warning) > 0 {
        report::diagnostics(&prepared.warnings, Format::Text)?;
    }
    let tests = chosen(args, &prepared.pipeline.tests)?;
    let tally = run(&setup, &prepared, &tests, &args.file, globals.format)?;
    match globals.format {
        Format::Json => output::print_json(&tally)?,
        Format::Text => output::print(&format!("{} passed, {} failed\n", tally.passed, tally.failed))?,
    }
    let exit = if tally.failed == 0 {
        Exit::Success
    } else {
        Exit::Failure
    };
    if let Some(file) = &args.junit {
        let suite = junit::Suite {
            file: args.file.display().to_string(),
            cases: tally.cases.into_iter().map(|case| case.report).collect(),
        };
        fs::write(file, junit::document(&suite))
            .with_context(|| format!("cannot write the report to {}", file.display()))?;
    }
    Ok(exit)
}

/// The cases to run: at least one.
fn chosen<'a>(args: &Args, tests: &'a [Test]) -> anyhow::Result<Vec<&'a Test>> {
    let file = args.file.display();
    anyhow::ensure!(
        !tests.is_empty(),
        "no tests in {file}: add a `[[test]]` with `name`, `input` and `output`"
    );
    let Some(filter) = &args.filter else {
        return Ok(tests.iter().collect());
    };
    let chosen: Vec<&Test> = tests.iter().filter(|test| test.name.contains(filter)).collect();
    anyhow::ensure!(
        !chosen.is_empty(),
        "none of the {} tests in {file} has `{filter}` in its name",
        tests.len()
    );
    Ok(chosen)
}

fn run(
    setup: &CommandContext,
    prepared: &Prepared,
    tests: &[&Test],
    file: &Path,
    format: Format,
) -> anyhow::Result<Tally> {
    let runner = CaseRunner::new(setup.engine.clone(), setup.runtime.handle().clone());
    let mut tally = Tally::default();
    for test in tests {
        let started_ns = setup.clock.now_ns();
        let outcome = setup.runtime.block_on(runner.run(prepared, test));
        let duration = Duration::from_nanos(setup.clock.now_ns() - started_ns);
        if format == Format::Text {
            output::print(&case_report::text(test, &outcome, file))?;
        }
        let passed = outcome.is_passed();
        if passed {
            tally.passed += 1;
        } else {
            tally.failed += 1;
        }
        tally.cases.push(Case {
            name: test.name.clone(),
            line: test.line,
            passed,
            report: junit::SuiteCase {
                name: test.name.clone(),
                line: test.line,
                duration,
                is_passed: passed,
                details: case_report::details(test, &outcome),
            },
            outcome,
        });
    }
    Ok(tally)
}
