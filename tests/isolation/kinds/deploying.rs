//! Pipeline files that attack: they are refused, at the place in the file, and nothing of them runs.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Dirigo, Finished, Folder, numbered};

/// A host with two tenants; in the folder of each there are events, and what the other has is a secret.
fn host() -> Folder {
    let folder = Folder::new();
    for tenant in ["honest", "hostile"] {
        fs::create_dir(folder.path(tenant)).unwrap();
        folder.write(&format!("{tenant}/events.jsonl"), numbered(3, 1));
    }
    folder.write(
        "tenants.toml",
        "[[tenant]]\nname = \"honest\"\npipelines = [\"honest/\"]\n\
         [[tenant]]\nname = \"hostile\"\npipelines = [\"hostile/\"]\n",
    );
    folder
}

/// A pipeline of the hostile tenant, with `header` under `[pipeline]` and `operator` between its source and its sink.
fn pipeline(header: &str, source: &str, operator: &str, sink: &str) -> String {
    format!(
        "[pipeline]\nname = \"hostile\"\n{header}\n\
         [[source]]\nid = \"events\"\nkind = \"file\"\npath = \"{source}\"\nformat = \"lines\"\n{operator}\n\
         [[sink]]\nid = \"out\"\nkind = \"file\"\npath = \"{sink}\"\n"
    )
}

fn run(folder: &Folder, text: String) -> Finished {
    folder.write("hostile/pipeline.toml", text);
    fs::create_dir_all(folder.path("cache")).unwrap();
    Dirigo::run(folder, ["hostile/pipeline.toml"])
        .args(["--tenants", "tenants.toml"])
        .cache(folder.path("cache"))
        .env("HOST_SECRET", "x")
        .finish()
}

fn is_refused(folder: &Folder, text: String, words: &[&str]) {
    let refused = run(folder, text);
    refused.ends_with(78, &["hostile/pipeline.toml:"]);
    refused.ends_with(78, words);
}

pub(crate) fn code_planted_in_the_cache_is_refused() {
    let folder = host();
    for sink in ["../cache/planted.cwasm", "out/../../cache/planted.cwasm"] {
        let text = pipeline("", "events.jsonl", "", sink);
        is_refused(&folder, text, &["sink `out` may not write this path"]);
    }
    // Also where the tenant was granted a folder around it.
    let granting = folder.read("tenants.toml") + "write = [\".\"]\n";
    folder.write("tenants.toml", granting);
    let text = pipeline("", "events.jsonl", "", "../cache/planted.cwasm");
    is_refused(&folder, text, &["the cache directory of the host"]);
    assert_eq!(fs::read_dir(folder.path("cache")).unwrap().count(), 0);
}

pub(crate) fn files_of_another_tenant_are_out_of_reach() {
    let folder = host();
    symlink("../honest", folder.path("hostile/link")).unwrap();
    for there in ["../honest/events.jsonl", "link/events.jsonl", "/etc/passwd"] {
        let read = pipeline("", there, "", "out.jsonl");
        is_refused(&folder, read, &["source `events` may not read this path"]);
        let write = pipeline("", "events.jsonl", "", there);
        is_refused(&folder, write, &["sink `out` may not write this path"]);
    }
    assert_eq!(folder.read("honest/events.jsonl"), numbered(3, 1));
}

pub(crate) fn who_says_another_tenants_name_is_refused() {
    let folder = host();
    let text = pipeline("tenant = \"honest\"", "events.jsonl", "", "out.jsonl");
    is_refused(&folder, text, &["is of tenant `hostile`, and says `honest`"]);
}

pub(crate) fn secrets_of_the_host_are_not_told() {
    let folder = host();
    let operator = "[[operator]]\nid = \"f\"\ncomponent = \"builtin:filter\"\n\
                    config = { field = { env = \"HOST_SECRET\" }, threshold = 0 }";
    let text = pipeline("", "events.jsonl", operator, "out.jsonl");
    is_refused(&folder, text, &["is not among those that its tenant may read"]);
    for there in ["/proc/self/environ", "/proc/self/fd/3", "/sys/kernel/notes"] {
        let text = pipeline("", there, "", "out.jsonl");
        is_refused(&folder, text, &["source `events` may not read this path"]);
    }
}

pub(crate) fn who_asks_for_more_than_was_granted_is_refused() {
    let folder = host();
    for (slice, limit, words) in [
        ("slice = \"100ms\"", "", "`slice` is more"),
        ("", "fuel_per_event = 9_000_000_000_000", "`fuel_per_event` is more"),
        ("", "memory = \"4GiB\"", "`memory` is more"),
        ("", "state = \"256MiB\"", "`state` is more"),
    ] {
        let operator = format!(
            "[[operator]]\nid = \"f\"\ncomponent = \"builtin:filter\"\nconfig = {{ field = \"n\", threshold = 0 }}\n\
             {slice}\n[operator.limits]\n{limit}"
        );
        let text = pipeline("", "events.jsonl", &operator, "out.jsonl");
        is_refused(&folder, text, &[words, "than this tenant may ask for"]);
    }
}

pub(crate) fn a_thousand_sinks_are_refused() {
    let folder = host();
    let sinks: String = (0..1_000)
        .map(|n| format!("[[sink]]\nid = \"s{n}\"\nkind = \"null\"\ninputs = [\"events\"]\n"))
        .collect();
    let text = pipeline("", "events.jsonl", "", "out.jsonl") + &sinks;
    run(&folder, text).ends_with(78, &["have 1001 sinks, and it may have 64"]);
}

pub(crate) fn layers_that_double_their_events_are_refused() {
    let folder = host();
    let layer = |n: usize| {
        let inputs = match n {
            0 => "\"events\"".to_owned(),
            n => format!("\"a{0}\", \"b{0}\"", n - 1),
        };
        let operator = |id: &str| {
            format!(
                "[[operator]]\nid = \"{id}{n}\"\ncomponent = \"builtin:filter\"\ninputs = [{inputs}]\n\
                 config = {{ field = \"n\", threshold = 0 }}\n"
            )
        };
        operator("a") + &operator("b")
    };
    let operators: String = (0..30).map(layer).collect();
    let text = pipeline("", "events.jsonl", &operators, "out.jsonl");
    is_refused(&folder, text, &["too many paths lead from a source"]);
}
