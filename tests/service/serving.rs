//! A service under way, and the pipelines that are deployed to it.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::support::{self, Answer, Client, Dirigo, Finished, Folder, Running};

/// A service under way, with its state in the folder `service`.
pub(crate) struct Serving<'a> {
    folder: &'a Folder,
    running: Running,
    /// Where its API is.
    pub(crate) address: String,
    /// Log lines of sources that listened before the service said where its API is: pipelines start next to that.
    listening: VecDeque<String>,
}

const LISTENS: &str = "listens at http://";

impl<'a> Serving<'a> {
    /// Starts one.
    #[track_caller]
    pub(crate) fn start(folder: &'a Folder) -> Self {
        Self::start_with(folder, &[])
    }

    /// Starts one with more arguments.
    #[track_caller]
    pub(crate) fn start_with(folder: &'a Folder, args: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", folder, args)
    }

    /// Starts one that listens at this address.
    #[track_caller]
    pub(crate) fn start_at(address: &str, folder: &'a Folder, args: &[&str]) -> Self {
        let serve = command(folder, "serve").args(["--state", "service", "--listen", address, "--workers", "2"]);
        let mut running = serve.args(args).env("DIRIGO_LOG", "info").piped();
        let mut listening = VecDeque::new();
        let serving = loop {
            let line = running.stderr.next().expect("the service says where it listens");
            if line.contains("serving at http://") {
                break line;
            }
            if line.contains(LISTENS) {
                listening.push_back(line);
            }
        };
        let address = serving
            .split("http://")
            .nth(1)
            .unwrap()
            .split(',')
            .next()
            .unwrap()
            .to_owned();
        // A kill between two starts leaves a context with the address of the one before.
        Self {
            folder,
            running,
            address,
            listening,
        }
    }

    /// A client command, of an operator of the host.
    pub(crate) fn client(&self, subcommand: &str) -> Dirigo {
        command(self.folder, subcommand)
            .env("DIRIGO_SERVER", format!("http://{}", self.address))
            .env("DIRIGO_TOKEN_FILE", self.folder.path("service/operator.token"))
    }

    /// Deploys a pipeline file by the client.
    #[track_caller]
    pub(crate) fn deploys(&self, file: &str) -> Finished {
        let finished = self.client("deploy").args([file]).finish();
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        finished
    }

    /// Sends a request as an operator of the host.
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let token = self.folder.read("service/operator.token");
        self.ask_as(Some(token.trim()), method, path, body)
    }

    /// Sends a request with a token, or without one.
    #[track_caller]
    pub(crate) fn ask_as(&self, token: Option<&str>, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        let bearer = token
            .map(|token| format!("Authorization: Bearer {token}\r\n"))
            .unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: \
             {}\r\n{bearer}\r\n",
            self.address,
            body.len()
        );
        self.send(&(head + &body))
    }

    /// Sends these bytes.
    #[track_caller]
    pub(crate) fn send(&self, request: &str) -> Answer {
        let client = Client {
            address: self.address.clone(),
            route: String::new(),
        };
        client
            .send(request.as_bytes())
            .unwrap_or_else(|| panic!("no answer to {request}"))
    }

    /// What the API says of a pipeline.
    #[track_caller]
    pub(crate) fn details(&self, pipeline: &str) -> Value {
        let (tenant, name) = pipeline.split_once('/').unwrap();
        let answer = self.ask("GET", &format!("/api/v1/tenants/{tenant}/pipelines/{name}"), None);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// Waits until what the API says of a pipeline is so.
    #[track_caller]
    pub(crate) fn wait_until(&self, pipeline: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let (tenant, name) = pipeline.split_once('/').unwrap();
        self.poll(&format!("/api/v1/tenants/{tenant}/pipelines/{name}"), what, is_so)
    }

    /// Asks again and again until the answer is so.
    #[track_caller]
    pub(crate) fn poll(&self, path: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        const LOOKS: u32 = 6_000;
        let mut answer = self.ask("GET", path, None);
        for _ in 0..LOOKS {
            assert_eq!(answer.status, 200, "{answer:?}");
            if is_so(&answer.body) {
                return answer.body;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
            answer = self.ask("GET", path, None);
        }
        panic!("{path} is not {what} after a minute: {:#}", answer.body);
    }

    /// Waits until a pipeline is in a state.
    #[track_caller]
    pub(crate) fn wait_for(&self, pipeline: &str, state: &str) -> Value {
        self.wait_until(pipeline, state, |details| details["state"] == *state)
    }

    /// The next source of which the log says where it listens.
    #[track_caller]
    pub(crate) fn source(&mut self) -> Client {
        let earlier = self.listening.pop_front();
        Client::of(&earlier.unwrap_or_else(|| self.running.stderr.wait_for(LISTENS)))
    }

    /// Ends it as a service manager does.
    #[track_caller]
    pub(crate) fn end(self) {
        self.running.terminate();
        let finished = self.running.finish();
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
    }

    /// Kills it, as nothing can prevent.
    pub(crate) fn kill(self) {
        assert!(self.running.kill(), "it was running");
    }
}

/// A command whose user has no contexts but those in the folder.
pub(crate) fn command(folder: &Folder, subcommand: &str) -> Dirigo {
    Dirigo::command(folder, subcommand).env("XDG_CONFIG_HOME", folder.path("config"))
}

/// A pipeline that takes events by HTTP, and writes them through a map to `out.jsonl`.
pub(crate) fn pushed(name: &str, map: &str) -> String {
    format!(
        r#"
        [pipeline]
        name = "{name}"
        checkpoint = "20ms"
        [[source]]
        id = "events"
        kind = "http"
        listen = "127.0.0.1:0"
        key = "/key"
        [[operator]]
        id = "map"
        {map}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#
    )
}

/// A map that passes events on as they are.
pub(crate) fn passing() -> String {
    hostile_map("pass")
}

/// The hostile map in a mode.
pub(crate) fn hostile_map(mode: &str) -> String {
    let path = support::guest("map");
    format!("component = \"{}\"\nconfig = {{ mode = \"{mode}\" }}", path.display())
}

/// A deployment whose components are built in.
pub(crate) fn deployment(pipeline: &str) -> Value {
    json!({ "pipeline": pipeline })
}

/// A pipeline that has nothing to do for as long as it runs.
pub(crate) fn idle(name: &str) -> String {
    pushed(
        name,
        "component = \"builtin:map\"\nconfig = { field = \"value\", scale = 1.0, into = \"value\" }",
    )
}
