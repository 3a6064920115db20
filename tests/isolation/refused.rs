//! A pipeline file that is refused at the start keeps no other from running.

use std::fs;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

use crate::support::{Dirigo, Finished, Folder, guest, numbered};

/// A pipeline file that copies `source` to `sink`.
fn copying(name: &str, source: &str, sink: &str) -> String {
    format!(
        "[pipeline]\nname = \"{name}\"\n[[source]]\nid = \"events\"\nkind = \"file\"\npath = \"{source}\"\n\
         format = \"lines\"\n[[sink]]\nid = \"out\"\nkind = \"file\"\npath = \"{sink}\"\n"
    )
}

fn with_operator(name: &str, operator: &str) -> String {
    copying(name, "events.jsonl", "out.jsonl").replace("[[sink]]", &format!("[[operator]]\n{operator}\n[[sink]]"))
}

/// A host with three tenants, each with a folder that has a pipeline file and events. The one in the middle is to be refused.
fn three_tenants() -> Folder {
    let folder = Folder::new();
    let mut tenants = Vec::new();
    for tenant in ["acme", "bad", "globex"] {
        fs::create_dir(folder.path(tenant)).unwrap();
        folder.write(&format!("{tenant}/events.jsonl"), numbered(3, 1));
        folder.write(
            &format!("{tenant}/p.toml"),
            copying(tenant, "events.jsonl", "out.jsonl"),
        );
        tenants.push(format!(
            "[[tenant]]\nname = \"{tenant}\"\npipelines = [\"{tenant}/\"]\nsinks = 1\n"
        ));
    }
    folder.write("tenants.toml", tenants.concat());
    folder
}

/// Runs all three, and asserts that those to the left and to the right of the refused one came to their end.
fn run(folder: &Folder) -> Finished {
    for tenant in ["acme", "globex"] {
        let _ = fs::remove_file(folder.path(format!("{tenant}/out.jsonl")));
    }
    let files = ["acme/p.toml", "bad/p.toml", "globex/p.toml"];
    let finished = Dirigo::run(folder, files).args(["--tenants", "tenants.toml"]).finish();
    let summary = finished.summary();
    for tenant in ["acme", "globex"] {
        assert_eq!(summary.pipeline(tenant)["outcome"], "completed", "{}", finished.stderr);
        assert_eq!(folder.read(&format!("{tenant}/out.jsonl")), numbered(3, 1), "{tenant}");
    }
    assert_eq!(summary.json()["pipelines"].as_array().map(Vec::len), Some(2));
    finished
}

/// What the summary says of the refused one.
fn refused(finished: &Finished) -> &Value {
    let refused = finished.summary().json()["refused"].as_array().unwrap();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(
        (&refused[0]["file"], &refused[0]["tenant"]),
        (&"bad/p.toml".into(), &"bad".into())
    );
    &refused[0]
}

#[test]
fn a_file_that_is_refused_keeps_no_neighbour_from_running() {
    let folder = three_tenants();
    fs::copy(guest("map"), folder.path("acme/map.wasm")).unwrap();
    folder.write("bad/broken.wasm", "no component");
    mknodat(CWD, folder.path("bad/pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let two_sinks = copying("bad", "events.jsonl", "out.jsonl")
        + "[[sink]]\nid = \"more\"\nkind = \"null\"\ninputs = [\"events\"]\n";
    for (text, said) in [
        ("[pipeline]\nname = ".to_owned(), "bad/p.toml:"),
        (
            with_operator("bad", "id = \"g\"\ncomponent = \"broken.wasm\""),
            "cannot use its component",
        ),
        (
            with_operator("bad", "id = \"g\"\ncomponent = \"../acme/map.wasm\""),
            "may not read this path",
        ),
        (copying("bad", "pipe", "out.jsonl"), "the source file is a pipe"),
        (
            copying("bad", "events.jsonl", "../acme/out.jsonl"),
            "may not write this path",
        ),
        (two_sinks, "have 2 sinks, and it may have 1"),
        (
            copying("acme", "events.jsonl", "out.jsonl"),
            "two pipelines are named `acme`",
        ),
    ] {
        folder.write("bad/p.toml", text);
        let finished = run(&folder);
        finished.ends_with(
            78,
            &[
                said,
                "bad/p.toml is refused; the other 2 pipelines run",
                "bad/p.toml was refused: ",
            ],
        );
        let findings = refused(&finished)["findings"].as_array().unwrap();
        assert_eq!(findings[0]["severity"], "error");
    }
    folder.write("bad/p.toml", copying("bad", "events.jsonl", "out.jsonl"));
    folder.write("bad/out.jsonl", "of another origin\n");
    let finished = run(&folder);
    finished.ends_with(
        1,
        &[
            "pipeline `bad`: sink `out`: ",
            "`bad/out.jsonl` is there",
            "bad/p.toml was refused",
        ],
    );
    assert_eq!(refused(&finished)["name"], "bad");
    assert_eq!(folder.read("bad/out.jsonl"), "of another origin\n");
}

#[test]
fn state_of_another_tenant_is_refused_and_the_neighbours_go_on() {
    let folder = three_tenants();
    let run = |files: [&str; 2]| {
        let command = Dirigo::run(&folder, files).args(["--tenants", "tenants.toml"]);
        command.with_state().finish()
    };
    run(["acme/p.toml", "globex/p.toml"]).succeeds();
    folder.write("bad/p.toml", copying("globex", "events.jsonl", "out.jsonl"));
    let finished = run(["bad/p.toml", "acme/p.toml"]);
    finished.ends_with(
        78,
        &["the state of pipeline `globex` is of tenant `globex`", "bad/p.toml:2:8"],
    );
    assert_eq!(refused(&finished)["name"], "globex");
    assert_eq!(finished.summary().pipeline("acme")["outcome"], "completed");
}

#[test]
fn programs_get_what_was_refused_with_the_summary() {
    let folder = three_tenants();
    folder.write("bad/p.toml", "[pipeline]\n");
    let command = || Dirigo::run(&folder, ["bad/p.toml", "acme/p.toml"]).args(["-o", "json"]);
    let finished = command().finish();
    finished.ends_with(78, &["bad/p.toml", "is refused; the other pipeline runs"]);
    let printed: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(printed["pipelines"][0]["name"], "acme");
    assert_eq!(printed["refused"][0]["findings"][0]["file"], "bad/p.toml");
    // Where none runs, what is printed is what is wrong.
    let finished = Dirigo::run(&folder, ["bad/p.toml", "nowhere.toml"])
        .args(["-o", "json"])
        .finish();
    let printed: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert!(printed.as_array().unwrap().len() > 1, "{printed}");
    let refused = finished.summary().json()["refused"].as_array().unwrap();
    assert_eq!(
        refused.len(),
        2,
        "and the summary that was asked for is not that of an earlier run"
    );
    assert_eq!(finished.code(), 78);
}
