//! Dead letters of a pipeline that a service runs.

use std::path::Path;

use anyhow::{Context as _, bail};
use dirigo::flow::DeadLetter;
use dirigo::runtime::{LetterGroup, LetterList};
use dirigo_api::{DeadLetterGroup, DeadLetters};
use serde_json::Value;

use super::super::output::Format;
use super::super::remote::{Client, Named, ServiceOptions, escaped};
use super::super::{Exit, Globals, output};
use super::retry::{self, Retried};
use super::{list, show};

/// The service, and the pipeline that is meant with what is no place on this machine.
fn find(place: &Path, service: &ServiceOptions) -> anyhow::Result<(Client, Named)> {
    if place
        .extension()
        .is_some_and(|ending| ending == "jsonl" || ending == "toml")
    {
        bail!(
            "there is no file {}; a run in which nothing fails leaves no file of dead letters",
            place.display()
        );
    }
    let neither = || {
        format!(
            "{} is no file or directory, and no pipeline of a service",
            place.display()
        )
    };
    let client = Client::new(service).with_context(neither)?;
    let name = place.to_str().with_context(neither)?;
    let named = client.find(name).with_context(neither)?;
    Ok((client, named))
}

pub(super) fn list(
    place: &Path,
    service: &ServiceOptions,
    operator: Option<&str>,
    globals: &Globals,
) -> anyhow::Result<Exit> {
    let (client, named) = find(place, service)?;
    let query = operator.map(|operator| format!("?operator={}", escaped(operator)));
    let letters: DeadLetters = client.get(&named.path(&format!("/dead-letters{}", query.unwrap_or_default())))?;
    if globals.format == Format::Json {
        output::print_json(&letters)?;
        return Ok(Exit::Success);
    }
    let group = |group: DeadLetterGroup| LetterGroup {
        pipeline: named.name.clone(),
        operator: group.operator,
        kind: group.kind,
        reason: group.reason,
        letters: group.letters,
        retried: group.retried,
        first_id: group.first_id,
        last_id: group.last_id,
    };
    let listed = LetterList {
        file: place.to_owned(),
        letters: letters.letters,
        retried: letters.retried,
        unreadable: letters.unreadable,
        groups: letters.groups.into_iter().map(group).collect(),
    };
    output::print(&list::text(&format_args!("pipeline `{}`", named.name), &listed))?;
    Ok(Exit::Success)
}

pub(super) fn show(place: &Path, service: &ServiceOptions, id: u64, globals: &Globals) -> anyhow::Result<Exit> {
    let (client, named) = find(place, service)?;
    let mut letter: Value = client.get(&named.path(&format!("/dead-letters/{id}")))?;
    if globals.format == Format::Json {
        output::print_json(&letter)?;
        return Ok(Exit::Success);
    }
    let is_retried = letter.as_object_mut().and_then(|letter| letter.remove("retried"));
    let letter: DeadLetter =
        serde_json::from_value(letter).context("the service did not answer as one of Dirigo does")?;
    output::print(&show::text(&letter, is_retried == Some(Value::Bool(true))))?;
    Ok(Exit::Success)
}

pub(super) fn retry(args: &retry::Args, globals: &Globals) -> anyhow::Result<Exit> {
    let local = [
        ("--state", args.state.is_some()),
        ("--component", args.component.is_some()),
        ("--tenants", args.tenants.is_some()),
        ("--set", !args.set.is_empty()),
    ];
    if let Some((option, _)) = local.iter().find(|(_, is_given)| *is_given) {
        bail!(
            "there is no pipeline file {}, and `{option}` is for one: a service retries the version that it runs",
            args.file.display()
        );
    }
    let (client, named) = find(&args.file, &args.service)?;
    let which = dirigo_api::Retry {
        operator: args.operator.clone(),
        ids: args.id.iter().copied().collect(),
    };
    let retried: dirigo_api::Retried = client.post(&named.path("/dead-letters/retry"), &which)?;
    let retried = Retried {
        pipeline: named.name,
        letters: retried.retried,
        has_resumed: retried.resumed,
        failed_again: retried.failed_again,
        late: retried.late,
        left: retried.left,
        dead_letters_path: None,
    };
    retried.reported(globals)
}
