//! `dirigo check`: is everything about these pipelines right?

use std::path::PathBuf;

use dirigo::disk::Real;
use dirigo::pipeline::{Names, Override, Severity};
use dirigo::runtime::{self, DeliveryCapabilities};

use super::admission::{Admission, Admitted, location_in};
use super::output::Format;
use super::outputs::{self, OutputNote};
use super::setup::CommandContext;
use super::{Exit, Globals, delivery_semantics, output, report};

/// Arguments of `dirigo check`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Looks at everything that a run needs before its first event: the file, its wiring, the files that its sources read, \
whose first records must have the key and the time that are looked for, and its components, each of which is opened \
once with its configuration; and, of several pipelines, whether they can \
run side by side: with names of their own, none writing a file that another reads or writes, each of a tenant that is \
known, and none stating another budget for it. With `--state DIR`, whether they go on from what is there. Says what a run would do to the files that are where it would write: \
without `--state DIR`, what one would do that keeps no state. Prints the delivery guarantee of each sink for a run with \
`--state`.

Exit code: 0 if all pipelines can run, 78 if one cannot.")]
pub(crate) struct Args {
    /// Pipeline files
    #[arg(required = true, value_name = "PIPELINE")]
    files: Vec<PathBuf>,
    /// The state directory that a run would be given
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// What tenants may use, as `dirigo run` would be given it: a file with a `[[tenant]]` for each
    #[arg(long, value_name = "FILE")]
    tenants: Option<PathBuf>,
    /// Put a value in place of the file's, such as `operator.map-1.config.scale=2`
    #[arg(short, long = "set", value_name = "KEY=VALUE")]
    set: Vec<Override>,
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let Some(setup) = CommandContext::for_pipelines(globals, args.tenants.as_deref(), args.state.as_deref())? else {
        return Ok(Exit::Configuration);
    };
    let mut admission = Admission::new(setup.files.tenants.as_ref(), Names::OfProcess);
    let mut all = Vec::new();
    let mut sound = Vec::new();
    let mut outputs = Vec::new();
    for file in &args.files {
        let found = match setup.load(file, &args.set) {
            Ok(prepared) => {
                let mut found = prepared.warnings.clone();
                found.append(runtime::preview(&prepared, &setup.clock, Severity::Error));
                // Without `--state` it may be meant for a run with it.
                let must_begin = args.state.is_some();
                let location = location_in(args.state.as_deref(), false, &prepared.pipeline);
                match admission.admit(prepared, location, must_begin) {
                    Ok(admitted) => {
                        let Admitted { prepared, location, .. } = &admitted;
                        if let Err(error) = &admitted.outputs {
                            found.append(error.foreseen(prepared));
                        }
                        if let Err(error) = runtime::try_sources(prepared, &setup.clock, location) {
                            found.append(error.located(prepared));
                        }
                        outputs.extend(outputs::of(&admitted));
                        sound.push(admitted.prepared.pipeline);
                    }
                    Err(refusal) => found.append(refusal.problems),
                }
                found
            }
            Err(problems) => problems,
        };
        if globals.format == Format::Text {
            report::diagnostics(&found, globals.format)?;
        }
        all.push(found);
    }
    let promised: Vec<_> = sound
        .iter()
        .map(|pipeline| {
            let capabilities = DeliveryCapabilities::foreseen(pipeline, &Real);
            (pipeline, runtime::delivery_semantics(pipeline, &capabilities))
        })
        .collect();
    let errors: usize = all.iter().map(|found| found.count(Severity::Error)).sum();
    match globals.format {
        Format::Json => {
            let mut findings = report::joined(&all);
            let delivery_semantics = promised.iter();
            findings.extend(
                delivery_semantics.flat_map(|(pipeline, of_sinks)| delivery_semantics::findings(pipeline, of_sinks)),
            );
            findings.extend(outputs.iter().map(OutputNote::to_json));
            output::print_json(&findings)?;
        }
        Format::Text if errors == 0 => {
            outputs.iter().for_each(|output| output::say(output.line()));
            for line in delivery_semantics::of_check(&promised) {
                output::say(line.as_str());
            }
            output::say(&case_report(args.files.len()));
        }
        Format::Text => outputs.iter().for_each(|output| output::say(output.line())),
    }
    Ok(if errors == 0 {
        Exit::Success
    } else {
        Exit::Configuration
    })
}

fn case_report(files: usize) -> String {
    if files == 1 {
        "the pipeline is valid".into()
    } else {
        format!("all {files} pipelines are valid")
    }
}
