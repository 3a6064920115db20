//! `dirigo deploy` and `dirigo upgrade`: a pipeline file with its components is sent to a service.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use dirigo::disk::{Real, read_regular};
use dirigo::pipeline::Override;
use dirigo_api::{Component, Deployed, Deployment, State};
use sha2::{Digest as _, Sha256};

use super::super::output::{self, Format};
use super::super::{Exit, Globals};
use super::client::{Refusal, escaped};
use super::{Client, Named, ServiceOptions};

/// The largest component that a service takes.
const COMPONENT_BYTES_MAX: u64 = 192 << 20;

/// Arguments of `dirigo deploy`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The service gets the pipeline file and the components that it names. It looks at them as `dirigo check` does, keeps the pipeline on disk, \
and starts it. Relative paths of sources and sinks start from a folder that the service keeps for the pipeline; values such as \
`{ env = \"NAME\" }` are looked up where the service runs.

Exit code: 0 if the pipeline runs, 1 if it failed to start or the service cannot be reached, 78 if the pipeline file is refused.")]
pub(crate) struct Args {
    #[command(flatten)]
    sent: Sent,
}

/// Arguments of `dirigo upgrade`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The new file and components resume where the present version is, without losing or repeating an event. If the new \
version cannot start, fails within 30 s, or more than a hundredth more of its events become dead letters, the version before comes back.

Exit code: 0 if the new version runs, 1 if it failed to start or the service cannot be reached, 78 if the pipeline file is refused.")]
pub(crate) struct UpgradeArgs {
    #[command(flatten)]
    sent: Sent,
}

/// What is sent.
#[derive(Debug, clap::Args)]
struct Sent {
    /// The pipeline file
    #[arg(value_name = "PIPELINE")]
    file: PathBuf,
    /// Put a value in place of the file's, such as `operator.map-1.config.scale=2`
    #[arg(short, long = "set", value_name = "KEY=VALUE")]
    set: Vec<Override>,
    /// Have relative paths start from this folder of the service's machine; for operators of the host
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// How long to wait until the pipeline runs
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    wait: Duration,
    #[command(flatten)]
    service: ServiceOptions,
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    send(&args.sent, globals, |client, _, deployment| {
        let query = client
            .tenant
            .as_ref()
            .map(|tenant| format!("?tenant={}", escaped(tenant)));
        client.post(&format!("pipelines{}", query.unwrap_or_default()), deployment)
    })
}

pub(crate) fn upgrade(args: &UpgradeArgs, globals: &Globals) -> anyhow::Result<Exit> {
    send(&args.sent, globals, |client, name, deployment| {
        let named = client.find(name)?;
        client.put(&named.path(""), deployment)
    })
}

fn send(
    sent: &Sent,
    globals: &Globals,
    request: impl FnOnce(&Client, &str, &Deployment) -> anyhow::Result<Deployed>,
) -> anyhow::Result<Exit> {
    let client = Client::new(&sent.service)?;
    let text = fs::read_to_string(&sent.file)
        .with_context(|| format!("cannot read the pipeline file {}", sent.file.display()))?;
    let named = named_in(&text, &sent.set);
    let mut components = BTreeMap::new();
    let stored: Vec<Component> = client.get("components")?;
    let folder = sent.file.parent().unwrap_or(Path::new(""));
    for written in named.components {
        let path = folder.join(&written);
        let bytes = read_regular(&Real, &path, COMPONENT_BYTES_MAX)
            .with_context(|| format!("cannot read the component {}", path.display()))?;
        let sha256 = dirigo_api::hexadecimal(&Sha256::digest(&bytes));
        if !stored.iter().any(|stored| stored.sha256 == sha256) {
            client.upload(&sha256, &bytes)?;
        }
        components.insert(written, sha256);
    }
    let deployment = Deployment {
        pipeline: text,
        file: sent.file.display().to_string(),
        set: sent.set.iter().map(|given| given.text().to_owned()).collect(),
        components,
        folder: match &sent.folder {
            Some(folder) => Some(std::path::absolute(folder)?.display().to_string()),
            None => None,
        },
    };
    let deployed = match request(&client, &named.pipeline, &deployment) {
        Ok(deployed) => deployed,
        Err(error) => return refused(error, globals),
    };
    if globals.format == Format::Text {
        deployed.rendered.lines().for_each(output::say);
    }
    let pipeline = Named::new(&deployed.pipeline.tenant, &deployed.pipeline.name);
    let version = deployed.pipeline.version;
    let details = client.settled(&pipeline, sent.wait)?;
    if globals.format == Format::Json {
        output::print_json(&details)?;
    } else {
        let (name, tenant) = (&pipeline.name, &pipeline.tenant);
        let reason = details.pipeline.reason.as_deref().unwrap_or_default();
        let now = &details.pipeline;
        match now.state {
            State::Failed => output::say(&format!(
                "error: pipeline `{name}` of tenant `{tenant}` failed: {reason}"
            )),
            _ if now.version != version => output::say(&format!(
                "error: version {version} of pipeline `{name}` of tenant `{tenant}` was taken back, and version {} is {}; \
                 `dirigo logs {tenant}/{name}` says why",
                now.version,
                now.state.word()
            )),
            state => output::print(&format!(
                "pipeline `{name}` of tenant `{tenant}`, version {version}: {}\n",
                state.word()
            ))?,
        }
    }
    let has_failed = details.pipeline.state == State::Failed || details.pipeline.version != version;
    Ok(if has_failed { Exit::Failure } else { Exit::Success })
}

/// What a refusal is worth: a pipeline file that is at fault is a configuration.
fn refused(error: anyhow::Error, globals: &Globals) -> anyhow::Result<Exit> {
    let Some(refusal) = error.downcast_ref::<Refusal>() else {
        return Err(error);
    };
    match globals.format {
        Format::Json => output::print_json(&refusal.problem)?,
        Format::Text => refusal.say(),
    }
    let is_of_file = refusal.status.as_u16() == 422;
    Ok(if is_of_file { Exit::Configuration } else { Exit::Failure })
}

/// What a pipeline file names.
struct NamedIn {
    pipeline: String,
    /// The components that are files, as it writes them.
    components: Vec<String>,
}

/// What is named in a file, as far as it can be read: what is wrong with it the service says.
fn named_in(text: &str, set: &[Override]) -> NamedIn {
    #[derive(Default, serde::Deserialize)]
    struct File {
        #[serde(default)]
        pipeline: Header,
        #[serde(default)]
        operator: Vec<Operator>,
    }
    #[derive(Default, serde::Deserialize)]
    struct Header {
        name: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Operator {
        id: Option<String>,
        component: Option<String>,
    }
    let file: File = toml::from_str(text).unwrap_or_default();
    // The last of several values counts.
    let replaced = |id: &str| {
        let values = set.iter().rev().filter_map(|given| given.text().split_once('='));
        let key = format!("operator.{id}.component");
        let mut values = values.filter(|(path, _)| path.trim() == key);
        values
            .next()
            .map(|(_, value)| value.trim().trim_matches('"').to_owned())
    };
    let component = |operator: Operator| replaced(operator.id.as_deref()?).or(operator.component);
    let mut components: Vec<String> = file.operator.into_iter().filter_map(component).collect();
    components.retain(|component| !component.starts_with("builtin:"));
    components.sort();
    components.dedup();
    NamedIn {
        pipeline: file.pipeline.name.unwrap_or_default(),
        components,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_of_a_file_are_found_with_what_replaces_them() {
        let text = "[pipeline]\nname = \"p\"\n[[operator]]\nid = \"a\"\ncomponent = \"builtin:map\"\n[[operator]]\nid = \"b\"\n\
                    component = \"b.wasm\"\n[[operator]]\nid = \"c\"\ncomponent = \"b.wasm\"\n[[operator]]\nid = \"d\"\ncomponent = \
                    \"d.wasm\"";
        let set: Vec<Override> = ["operator.d.component=e.wasm", "operator.a.config.component=x"]
            .map(|text| text.parse().unwrap())
            .into();
        let named = named_in(text, &set);
        assert_eq!(
            (named.pipeline.as_str(), named.components),
            ("p", vec!["b.wasm".to_owned(), "e.wasm".to_owned()])
        );
        assert!(named_in("no = [toml", &[]).components.is_empty());
    }
}
