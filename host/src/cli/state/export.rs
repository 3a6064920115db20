//! `dirigo state export`.

use std::io::{self, BufWriter, Write as _};

use dirigo::state::Stopped;

use super::{StateSelector, printed};
use crate::cli::Exit;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Each line is a JSON object, whatever `-o` says: `pipeline`, `operator`, `key` (`key_base64` if it is no text), `count`, \
`start`, `end`, and `accumulator`: as JSON where its component said how it is laid out, else in base64, with `value` \
where it is JSON or text. Keys come in the order in which they are stored.")]
pub(super) struct Args {
    #[command(flatten)]
    selector: StateSelector,
    /// Only the entries of this operator
    #[arg(long, value_name = "ID")]
    operator: Option<String>,
}

pub(super) fn execute(args: &Args) -> anyhow::Result<Exit> {
    let mut out = BufWriter::new(io::stdout().lock());
    let pipelines = args.selector.pipelines()?.into_iter();
    let states: Vec<_> = pipelines
        .map(|(name, directory)| Ok((name, super::open(&directory)?)))
        .collect::<anyhow::Result<_>>()?;
    let (names, states): (Vec<String>, Vec<Stopped>) = states.into_iter().unzip();
    if let Some(operator) = &args.operator {
        super::check_operator(operator, &states)?;
    }
    for (pipeline, state) in names.iter().zip(&states) {
        let description = super::description(state)?;
        let written = state.each(|operator, key, entry| {
            if args.operator.as_deref().is_some_and(|wanted| wanted != operator) {
                return Ok(());
            }
            let entry_view = printed::PrintedEntry::new(pipeline, operator, key, &entry, description.as_ref());
            serde_json::to_writer(&mut out, &entry_view).map_err(io::Error::from)?;
            Ok(out.write_all(b"\n")?)
        });
        match written.and_then(|()| Ok(out.flush()?)) {
            Err(Failed::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Success),
            written => written?,
        }
    }
    Ok(Exit::Success)
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    State(#[from] dirigo::state::Error),
    #[error("writing to standard output: {0}")]
    Write(#[from] io::Error),
}
