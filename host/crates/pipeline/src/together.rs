//! Pipelines that are to run side by side: each has a name and files of its own.
//!
//! Owns what one pipeline file alone cannot show. That the items of one file do not get in each other's way is found when
//! it is loaded.

use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Diagnostics, Problems};
use super::loaded::texts;
use super::model::{ComponentRef, Pipeline};
use super::paths::{Access, Claim, Claims};
use dirigo_connect::Files;

/// What keeps `pipelines`, each with the file that its dead letters go to, from running in one process; by pipeline file,
/// and nothing where all can.
#[must_use]
pub fn conflicts(pipelines: &[(&Pipeline, PathBuf)]) -> Vec<Diagnostics> {
    let names = duplicate_names(pipelines);
    if !names.is_empty() {
        // Where they go by one name their dead letters go to one file too: that is said by now.
        return names;
    }
    let mut claims = Claims::default();
    let mut found = Vec::new();
    for (pipeline, dead_letters) in pipelines {
        let mut problems = Problems::default();
        for claim in uses(pipeline, dead_letters) {
            claims.add(claim, &mut problems);
        }
        if problems.has_errors() {
            found.push(problems.into_diagnostics(texts(&pipeline.file, "", &[])));
        }
    }
    found
}

fn duplicate_names(pipelines: &[(&Pipeline, PathBuf)]) -> Vec<Diagnostics> {
    let is_taken = |(index, (pipeline, _)): &(usize, &(&Pipeline, PathBuf))| {
        let mut earlier = pipelines[..*index].iter();
        earlier.any(|(other, _)| other.name == pipeline.name)
    };
    let told = |(_, (pipeline, _)): (usize, &(&Pipeline, PathBuf))| {
        let problem = Diagnostic::error(format!("two pipelines are named `{}`", pipeline.name));
        let problem = problem.help("give each run-mate a name of its own");
        Diagnostics::of_one(texts(&pipeline.file, "", &[]), problem)
    };
    pipelines.iter().enumerate().filter(is_taken).map(told).collect()
}

/// The files that a pipeline reads and writes.
fn uses(pipeline: &Pipeline, dead_letters: &Path) -> Vec<Claim> {
    let claim = |path: &Path, who: String, access| Claim {
        path: path.to_owned(),
        names: None,
        who: format!("{who} of pipeline `{}`", pipeline.name),
        access,
        place: None,
        is_default: false,
    };
    let claim_files = |files: Files, who, access| match files {
        Files::One(path) => claim(&path, who, access),
        Files::Matching(pattern) => Claim {
            names: Some(pattern.clone()),
            ..claim(&pattern.folder, who, access)
        },
    };
    let mut uses = vec![claim(&pipeline.file, "the file".to_owned(), Access::Reads)];
    for source in &pipeline.sources {
        let claims = source.spec.files().into_iter();
        uses.extend(claims.map(|files| claim_files(files, format!("source `{}`", source.id), Access::Reads)));
    }
    for operator in &pipeline.operators {
        if let ComponentRef::File(path) = &operator.component {
            let who = format!("the component of operator `{}`", operator.id);
            uses.push(claim(path, who, Access::Reads));
        }
    }
    for sink in &pipeline.sinks {
        let claims = sink.spec.files().into_iter();
        uses.extend(claims.map(|files| claim_files(files, format!("sink `{}`", sink.id), Access::Writes)));
    }
    uses.push(Claim {
        is_default: pipeline.dead_letters.is_none(),
        ..claim(dead_letters, "the dead letters".to_owned(), Access::Writes)
    });
    uses
}
