//! Requests to a service, and the errors of their answers.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use dirigo_api::{Caller, Pipeline, PipelineDetails, Problem};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::super::output;
use super::contexts::Contexts;

/// For how long an answer is waited for: a component may be compiled before it.
const ANSWER_MAX: Duration = Duration::from_mins(4);
/// For how long a connection is waited for.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// The longest answer.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Which service, as whom, and for whom.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServiceOptions {
    /// Talk to the service at this address, such as `http://127.0.0.1:7117`
    #[arg(long, value_name = "URL", env = "DIRIGO_SERVER", help_heading = "Which service")]
    server: Option<String>,
    /// The file with the token; `DIRIGO_TOKEN` in the environment comes before it
    #[arg(long, value_name = "FILE", env = "DIRIGO_TOKEN_FILE", help_heading = "Which service")]
    token_file: Option<PathBuf>,
    /// Talk to the service of this context; by default the current one
    #[arg(long, value_name = "NAME", env = "DIRIGO_CONTEXT", help_heading = "Which service")]
    context: Option<String>,
    /// Whose pipelines are meant; by default those of the tenant that the token is for
    #[arg(long, value_name = "NAME", env = "DIRIGO_TENANT", help_heading = "Which service")]
    tenant: Option<String>,
}

/// A service, and who asks it.
pub(crate) struct Client {
    agent: Agent,
    server: String,
    token: String,
    /// Whose pipelines are meant, where that is said.
    pub(super) tenant: Option<String>,
}

/// A pipeline of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(super) tenant: String,
    pub(crate) name: String,
}

/// A request that was refused.
#[derive(Debug, thiserror::Error)]
#[error("{}", .problem.error)]
pub(crate) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) problem: Problem,
}

impl Refusal {
    /// Says to people why it was refused.
    pub(crate) fn say(&self) {
        let Problem {
            error, help, rendered, ..
        } = &self.problem;
        if !rendered.is_empty() {
            rendered.lines().for_each(output::say);
        }
        output::say(&format!("error: {error}"));
        if let Some(help) = help {
            output::say(&format!("  = help: {help}"));
        }
    }
}

impl Client {
    /// Of the service that the options name.
    pub(crate) fn new(options: &ServiceOptions) -> anyhow::Result<Self> {
        let contexts = Contexts::load()?;
        // Who names a server means that one, not the current context's; its token is not for another server.
        let context = match (&options.server, &options.context) {
            (Some(_), None) => None,
            (_, named) => contexts.named(named.as_deref())?,
        };
        let server = options
            .server
            .as_deref()
            .or(context.map(|context| context.server.as_str()));
        let Some(server) = server else {
            bail!(
                "no service is known: start one with `dirigo serve`, or name one with `--server URL` and `--token-file FILE`, or with \
                 `dirigo context add`"
            );
        };
        if !server.starts_with("http://") && !server.starts_with("https://") {
            bail!("the address of the service, {server:?}, does not begin with `http://` or `https://`");
        }
        let of_context = context.and_then(|context| context.token_env.as_deref());
        let in_environment = |name: &str| std::env::var(name).ok().filter(|token| !token.trim().is_empty());
        let file = options
            .token_file
            .as_ref()
            .or(context.and_then(|context| context.token_file.as_ref()));
        let token = match (
            in_environment("DIRIGO_TOKEN").or_else(|| in_environment(of_context?)),
            file,
        ) {
            (Some(token), _) => token,
            (None, Some(file)) => {
                fs::read_to_string(file).with_context(|| format!("cannot read the token in {}", file.display()))?
            }
            (None, None) => bail!("no token is known: give one with `--token-file FILE` or in `DIRIGO_TOKEN`"),
        };
        let config = Agent::config_builder()
            .timeout_global(Some(ANSWER_MAX))
            .timeout_connect(Some(CONNECT_MAX))
            .http_status_as_error(false)
            // A token is for one server.
            .max_redirects(0)
            .max_redirects_will_error(false);
        Ok(Self {
            agent: config.build().into(),
            server: server.trim_end_matches('/').to_owned(),
            token: token.trim().to_owned(),
            tenant: options.tenant.clone().or_else(|| context?.tenant.clone()),
        })
    }

    /// Where the service is.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    fn address(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.server)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// What stands at a path.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let request = self
            .agent
            .get(self.address(path))
            .header("Authorization", self.bearer());
        self.answer(request.call())
    }

    /// What stands at a path, as it comes: there may be more for as long as it is read.
    pub(super) fn open(&self, path: &str) -> anyhow::Result<impl std::io::Read + use<>> {
        let request = self
            .agent
            .get(self.address(path))
            .header("Authorization", self.bearer());
        let request = request.config().timeout_global(None).build();
        Ok(self.accepted(request.call())?.into_body().into_reader())
    }

    /// Sends something to a path.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let request = self
            .agent
            .post(self.address(path))
            .header("Authorization", self.bearer());
        self.answer(request.send_json(body))
    }

    /// Asks for something to be done.
    pub(super) fn ask<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let request = self
            .agent
            .post(self.address(path))
            .header("Authorization", self.bearer());
        self.answer(request.send_empty())
    }

    /// Puts something in place of what is at a path.
    pub(super) fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let request = self
            .agent
            .put(self.address(path))
            .header("Authorization", self.bearer());
        self.answer(request.send_json(body))
    }

    /// Sends a component.
    pub(super) fn upload(&self, sha256: &str, component: &[u8]) -> anyhow::Result<()> {
        let address = self.address(&format!("components/{sha256}"));
        let request = self.agent.put(address).header("Authorization", self.bearer());
        let request = request.header("Content-Type", "application/wasm");
        self.answer::<dirigo_api::Component>(request.send(component)).map(drop)
    }

    /// Has what is at a path removed.
    pub(super) fn delete(&self, path: &str) -> anyhow::Result<()> {
        let request = self
            .agent
            .delete(self.address(path))
            .header("Authorization", self.bearer());
        self.accepted(request.call()).map(drop)
    }

    fn answer<T: DeserializeOwned>(&self, answer: Result<Response<Body>, ureq::Error>) -> anyhow::Result<T> {
        let mut response = self.accepted(answer)?;
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_json();
        body.with_context(|| format!("{} did not answer as a service of Dirigo does", self.server))
    }

    fn accepted(&self, answer: Result<Response<Body>, ureq::Error>) -> anyhow::Result<Response<Body>> {
        let mut response = answer.with_context(|| format!("cannot reach the service at {}", self.server))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let problem = response.body_mut().read_json::<Problem>().unwrap_or_else(|_| Problem {
            error: format!("{} answered with {status}", self.server),
            ..Problem::default()
        });
        Err(Refusal { status, problem }.into())
    }

    /// The pipeline that `name` means: `NAME` of the tenant that is meant, or `TENANT/NAME`.
    pub(crate) fn find(&self, name: &str) -> anyhow::Result<Named> {
        if let Some((tenant, name)) = name.split_once('/') {
            return Ok(Named::new(tenant, name));
        }
        if let Some(tenant) = &self.tenant {
            return Ok(Named::new(tenant, name));
        }
        if let Some(tenant) = self.get::<Caller>("whoami")?.tenant {
            return Ok(Named::new(&tenant, name));
        }
        let all: Vec<Pipeline> = self.get("pipelines")?;
        let found: Vec<&Pipeline> = all.iter().filter(|pipeline| pipeline.name == name).collect();
        match &found[..] {
            [one] => Ok(Named::new(&one.tenant, name)),
            [] => {
                let names: Vec<&str> = all.iter().map(|pipeline| pipeline.name.as_str()).collect();
                let help = if names.is_empty() {
                    "the service has none; `dirigo deploy FILE` deploys one".to_owned()
                } else {
                    dirigo::pipeline::suggestion(name, &names, "there are")
                };
                bail!("there is no pipeline `{name}`: {help}")
            }
            several => {
                let names: Vec<String> = several
                    .iter()
                    .map(|pipeline| format!("{}/{name}", pipeline.tenant))
                    .collect();
                bail!(
                    "several tenants have a pipeline `{name}`; say which: {}",
                    names.join(", ")
                )
            }
        }
    }

    /// A pipeline with its parts.
    pub(super) fn details(&self, named: &Named) -> anyhow::Result<PipelineDetails> {
        self.get(&named.path(""))
    }

    /// Waits until a pipeline does what it goes on with, at most for this time.
    pub(super) fn settled(&self, named: &Named, patience: Duration) -> anyhow::Result<PipelineDetails> {
        const LOOK_INTERVAL: Duration = Duration::from_millis(50);
        let mut left = patience;
        loop {
            let details = self.details(named)?;
            if !details.pipeline.state.is_passing() || left.is_zero() {
                return Ok(details);
            }
            std::thread::sleep(LOOK_INTERVAL.min(left));
            left = left.saturating_sub(LOOK_INTERVAL);
        }
    }
}

impl Named {
    pub(super) fn new(tenant: &str, name: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The path of the pipeline in the API, and of what is beneath it.
    pub(crate) fn path(&self, beneath: &str) -> String {
        format!(
            "tenants/{}/pipelines/{}{beneath}",
            escaped(&self.tenant),
            escaped(&self.name)
        )
    }
}

/// A text as a part of an address.
pub(crate) fn escaped(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte: u8| {
        if is_plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_an_address_is_escaped() {
        assert_eq!(
            Named::new("a-b", "../x y?").path("/stop"),
            "tenants/a-b/pipelines/..%2Fx%20y%3F/stop"
        );
    }
}
