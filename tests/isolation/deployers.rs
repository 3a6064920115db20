//! What a pipeline file may do to the host and to other tenants: what was granted, and nothing else.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::support::{Dirigo, Finished, Folder, guest, numbered};

/// A pipeline file that copies `source` to `sink`.
fn copying(name: &str, header: &str, source: &str, sink: &str) -> String {
    format!(
        r#"
        [pipeline]
        name = "{name}"
        {header}
        [[source]]
        id = "events"
        kind = "file"
        path = "{source}"
        format = "lines"
        [[sink]]
        id = "out"
        kind = "file"
        path = "{sink}"
        "#
    )
}

/// A host with two tenants, each with a folder that has a pipeline file and events.
fn two_tenants() -> Folder {
    let folder = Folder::new();
    for tenant in ["acme", "globex"] {
        fs::create_dir(folder.path(tenant)).unwrap();
        folder.write(&format!("{tenant}/events.jsonl"), numbered(3, 1));
        let copy = copying(tenant, "", "events.jsonl", "out.jsonl");
        folder.write(&format!("{tenant}/pipeline.toml"), copy);
    }
    folder.write(
        "tenants.toml",
        "[[tenant]]\nname = \"acme\"\npipelines = [\"acme/\"]\n\
         [[tenant]]\nname = \"globex\"\npipelines = [\"globex/\"]\n",
    );
    folder
}

fn run(folder: &Folder, file: &str) -> Finished {
    Dirigo::run(folder, [file]).args(["--tenants", "tenants.toml"]).finish()
}

#[test]
fn no_path_of_a_pipeline_leads_to_what_the_host_keeps_for_itself() {
    let folder = Folder::new();
    folder.write("events.jsonl", numbered(3, 1));
    let key = folder.write("cache.key", [0; 32]);
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    for directory in ["cache", "state"] {
        fs::create_dir(folder.path(directory)).unwrap();
        fs::set_permissions(folder.path(directory), fs::Permissions::from_mode(0o700)).unwrap();
    }
    symlink("cache", folder.path("link")).unwrap();
    symlink("state/planted", folder.path("dangling")).unwrap();
    let run = || {
        Dirigo::run(&folder, ["pipeline.toml"])
            .with_state()
            .cache(folder.path("cache"))
            .env("DIRIGO_CACHE_KEY", folder.path("cache.key"))
            .finish()
    };
    for (path, what) in [
        ("cache/planted.cwasm", "cache directory"),
        ("out/../cache/planted.cwasm", "cache directory"),
        ("link/planted.cwasm", "cache directory"),
        ("state/p/lock", "state directory"),
        ("state/other/dead-letters.jsonl", "state directory"),
        ("dangling", "state directory"),
        ("cache.key", "key of the cache"),
    ] {
        folder.write("pipeline.toml", copying("p", "", "events.jsonl", path));
        run().ends_with(78, &["sink `out` may not write this path", what, "pipeline.toml:"]);
        folder.write("pipeline.toml", copying("p", "", path, "out.jsonl"));
        run().ends_with(78, &["source `events` may not read this path", what]);
        let dead_letters = format!(
            "{}[dead_letters]\npath = \"{path}\"\n",
            copying("p", "", "events.jsonl", "o.jsonl")
        );
        folder.write("pipeline.toml", dead_letters);
        run().ends_with(78, &["the dead letters may not write this path", what]);
    }
    assert_eq!(fs::read_dir(folder.path("cache")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(folder.path("state")).unwrap().count(), 0);
    assert_eq!(fs::read(folder.path("cache.key")).unwrap(), [0; 32]);
    folder.write("pipeline.toml", copying("p", "", "events.jsonl", "out.jsonl"));
    run().succeeds();
}

#[test]
fn what_the_kernel_shows_of_the_host_is_no_source() {
    let folder = Folder::new();
    for path in [
        "/proc/self/environ",
        "/proc/self/../self/maps",
        "/sys/kernel/notes",
        "/dev/zero",
    ] {
        folder.write("pipeline.toml", copying("p", "", path, "out.jsonl"));
        let refused = Dirigo::run(&folder, ["pipeline.toml"]).finish();
        refused.ends_with(78, &["source `events` may not read this path", "the kernel shows"]);
    }
    assert!(!folder.path("out.jsonl").exists());
}

#[test]
fn a_tenant_has_the_folder_of_its_pipeline_file() {
    let folder = two_tenants();
    let both = Dirigo::run(&folder, ["acme/pipeline.toml", "globex/pipeline.toml"])
        .args(["--tenants", "tenants.toml"])
        .finish();
    let summary = both.succeeds();
    assert_eq!(summary.pipeline("acme")["tenant"], "acme");
    assert_eq!(summary.pipeline("globex")["tenant"], "globex");
    assert_eq!(folder.read("acme/out.jsonl"), folder.read("acme/events.jsonl"));
}

#[test]
fn a_tenant_reads_and_writes_nothing_of_another() {
    let folder = two_tenants();
    symlink(folder.path("globex"), folder.path("acme/absolute")).unwrap();
    symlink("../globex/out.jsonl", folder.path("acme/planted.jsonl")).unwrap();
    for path in [
        "../globex/out.jsonl",
        "absolute/out.jsonl",
        "planted.jsonl",
        "in/../../globex/out.jsonl",
    ] {
        folder.write("acme/pipeline.toml", copying("acme", "", "events.jsonl", path));
        run(&folder, "acme/pipeline.toml").ends_with(78, &["sink `out` may not write this path", "acme"]);
    }
    for path in [
        "../globex/events.jsonl",
        "absolute/events.jsonl",
        "/etc/passwd",
        "../tenants.toml",
        "absolute/*.jsonl",
    ] {
        let copy = copying("acme", "", path, "out.jsonl");
        folder.write("acme/pipeline.toml", copy);
        let refused = run(&folder, "acme/pipeline.toml");
        refused.ends_with(78, &["source `events` may not read this path"]);
        assert!(!refused.stderr.contains("cannot find"), "{}", refused.stderr);
    }
    fs::copy(guest("map"), folder.path("globex/operator.wasm")).unwrap();
    let with_component = copying("acme", "", "events.jsonl", "out.jsonl").replace(
        "[[sink]]",
        "[[operator]]\nid = \"guest\"\ncomponent = \"../globex/operator.wasm\"\n[[sink]]",
    );
    folder.write("acme/pipeline.toml", with_component);
    run(&folder, "acme/pipeline.toml").ends_with(78, &["the component of operator `guest` may not read this path"]);
    // A folder of the tenant's whose file is a link out of it is found out when it is opened.
    fs::create_dir(folder.path("acme/in")).unwrap();
    symlink("../../globex/events.jsonl", folder.path("acme/in/a.jsonl")).unwrap();
    let of_folder = copying("acme", "", "in/*.jsonl", "out.jsonl");
    folder.write("acme/pipeline.toml", of_folder);
    run(&folder, "acme/pipeline.toml").ends_with(1, &["source `events`", "leads out of"]);
    assert!(!folder.path("globex/out.jsonl").exists());
}

#[test]
fn a_tenant_does_not_write_what_it_is_granted() {
    let folder = Folder::new();
    folder.write("events.jsonl", numbered(3, 1));
    folder.write("tenants.toml", "[default]\n");
    symlink("tenants.toml", folder.path("link.jsonl")).unwrap();
    for path in ["tenants.toml", "new/../tenants.toml", "link.jsonl"] {
        folder.write("pipeline.toml", copying("p", "", "events.jsonl", path));
        let refused = run(&folder, "pipeline.toml");
        refused.ends_with(
            78,
            &["sink `out` may not write this path", "the tenants file of the host"],
        );
    }
    assert_eq!(folder.read("tenants.toml"), "[default]\n");
}

#[test]
fn a_link_to_the_file_of_a_tenant_grants_it_no_other_folder() {
    let folder = two_tenants();
    symlink("../acme/pipeline.toml", folder.path("globex/link.toml")).unwrap();
    let refused = run(&folder, "globex/link.toml");
    refused.ends_with(78, &["sink `out` may not write this path", "its list `write` has"]);
}

#[test]
fn every_command_that_loads_a_pipeline_file_holds_its_tenant_to_what_was_granted() {
    let folder = two_tenants();
    let copy = copying("acme", "", "../globex/events.jsonl", "out.jsonl");
    folder.write("acme/pipeline.toml", copy);
    fs::create_dir_all(folder.path("state/acme")).unwrap();
    for command in [
        &["run"][..],
        &["check"],
        &["test"],
        &["dead-letters", "retry"],
        &["state", "migrate", "--state", "state"],
    ] {
        let finished = Dirigo::command(&folder, command[0])
            .args(&command[1..])
            .args(["acme/pipeline.toml", "--tenants", "tenants.toml"])
            .finish();
        finished.ends_with(78, &["source `events` may not read this path"]);
    }
    let copy = copying("acme", "", "events.jsonl", "../globex/out.jsonl");
    folder.write("acme/pipeline.toml", copy);
    for command in [&["test"][..], &["dead-letters", "retry"]] {
        let finished = Dirigo::command(&folder, command[0])
            .args(&command[1..])
            .args(["acme/pipeline.toml", "--tenants", "tenants.toml"])
            .finish();
        finished.ends_with(78, &["sink `out` may not write this path"]);
    }
}

#[test]
fn a_dead_letter_reads_and_asks_for_no_more_than_its_tenant() {
    let folder = two_tenants();
    folder.write("globex/secret", "n");
    folder.write("acme/field", "n");
    fs::copy(guest("map"), folder.path("globex/map.wasm")).unwrap();
    let failing = copying("acme", "", "events.jsonl", "out.jsonl").replace(
        "[[sink]]",
        "[[operator]]\nid = \"f\"\ncomponent = \"builtin:filter\"\nconfig = { field = \"missing\", threshold = 0 }\n\
         [dead_letters]\npath = \"dead.jsonl\"\n[[sink]]",
    );
    folder.write("acme/pipeline.toml", failing);
    run(&folder, "acme/pipeline.toml").ends_with(1, &["dead letters"]);
    let letter = folder.read("acme/dead.jsonl").lines().next().unwrap().to_owned();
    let replay = |text: String, file: &str, arguments: &[&str]| {
        folder.write(file, text);
        let command = Dirigo::command(&folder, "replay").args([file, "--id", "1"]);
        command.args(arguments).env("HOST_SECRET", "n").finish()
    };
    let tenants = &["--tenants", "tenants.toml"];
    let with_field = |field: &str| {
        assert!(letter.contains("\"missing\""));
        letter.replacen("\"missing\"", field, 1)
    };
    for (field, said) in [
        ("{\"file\":\"globex/secret\"}", "in no folder that its tenant may read"),
        (
            "{\"file\":\"acme/../globex/secret\"}",
            "in no folder that its tenant may read",
        ),
        (
            "{\"env\":\"HOST_SECRET\"}",
            "is not among those that its tenant may read",
        ),
    ] {
        replay(with_field(field), "acme/forged.jsonl", tenants).ends_with(1, &[said]);
        replay(with_field(field), "acme/forged.jsonl", &[]).ends_with(0, &[]);
    }
    let own = || with_field("{\"file\":\"acme/field\"}");
    replay(own(), "acme/forged.jsonl", tenants).ends_with(0, &[]);
    replay(own(), "globex/forged.jsonl", tenants).ends_with(1, &["in no folder that its tenant may read"]);
    replay(own(), "forged.jsonl", tenants).ends_with(78, &["no tenant in tenants.toml has", "`--tenant NAME`"]);
    let named = ["--tenants", "tenants.toml", "--tenant", "acme"];
    replay(own(), "forged.jsonl", &named).ends_with(0, &[]);
    let foreign = own().replacen("builtin:filter", "globex/map.wasm", 1);
    replay(foreign, "acme/forged.jsonl", tenants).ends_with(1, &["in no folder that its tenant may read"]);
    // What the host keeps for itself is nobody's, also without a tenants file.
    folder.write("cache.key", "n");
    fs::set_permissions(folder.path("cache.key"), fs::Permissions::from_mode(0o600)).unwrap();
    folder.write("forged.jsonl", with_field("{\"file\":\"cache.key\"}"));
    let replayed = Dirigo::command(&folder, "replay").args(["forged.jsonl", "--id", "1"]);
    let replayed = replayed.env("DIRIGO_CACHE_KEY", folder.path("cache.key")).finish();
    replayed.ends_with(1, &["it leads into the key of the cache of the host"]);
}

#[test]
fn folders_that_are_granted_replace_that_of_the_pipeline_file() {
    let folder = two_tenants();
    fs::create_dir_all(folder.path("data/acme")).unwrap();
    folder.write("data/events.jsonl", numbered(2, 1));
    folder.write(
        "tenants.toml",
        "[[tenant]]\nname = \"acme\"\npipelines = [\"acme/pipeline.toml\"]\nread = [\"data\"]\nwrite = [\"data/acme\"]\n",
    );
    let copy = copying("acme", "", "../data/events.jsonl", "../data/acme/new/out.jsonl");
    folder.write("acme/pipeline.toml", copy);
    run(&folder, "acme/pipeline.toml").succeeds();
    assert_eq!(folder.read("data/acme/new/out.jsonl"), folder.read("data/events.jsonl"));
    folder.write(
        "acme/pipeline.toml",
        copying("acme", "", "events.jsonl", "../data/out.jsonl"),
    );
    run(&folder, "acme/pipeline.toml").ends_with(
        78,
        &[
            "source `events` may not read this path",
            "sink `out` may not write this path",
            "its list `write` has",
        ],
    );
}

#[test]
fn a_file_runs_as_the_tenant_that_the_tenants_file_says() {
    let folder = two_tenants();
    let said = copying("acme", "tenant = \"globex\"", "events.jsonl", "out.jsonl");
    folder.write("acme/pipeline.toml", said.clone());
    run(&folder, "acme/pipeline.toml").ends_with(
        78,
        &[
            "this file is of tenant `acme`, and says `globex`",
            "acme/pipeline.toml:",
        ],
    );
    folder.write("loose.toml", said.replace("events.jsonl", "acme/events.jsonl"));
    run(&folder, "loose.toml").ends_with(78, &["no tenant in tenants.toml has this pipeline file"]);
    let with_default = folder.read("tenants.toml") + "[default]\nweight = 1\n";
    folder.write("tenants.toml", with_default);
    run(&folder, "loose.toml").ends_with(78, &["this file is not of tenant `globex`", "loose.toml:"]);
    let other = folder.read("loose.toml").replace("globex", "initech");
    folder.write("loose.toml", other);
    assert_eq!(
        run(&folder, "loose.toml").succeeds().pipeline("acme")["tenant"],
        "initech"
    );
}

#[test]
fn a_file_asks_for_no_more_than_its_tenant_may_have() {
    let folder = Folder::new();
    folder.write("events.jsonl", numbered(3, 1));
    let asking = |slice: &str, limits: &str| {
        copying("p", "", "events.jsonl", "out.jsonl").replace(
            "[[sink]]",
            &format!(
                "[[operator]]\nid = \"f\"\ncomponent = \"builtin:filter\"\nconfig = {{ field = \"n\", threshold = 1 }}\n\
                 {slice}\n[operator.limits]\n{limits}\n[[sink]]"
            ),
        )
    };
    folder.write("tenants.toml", "[default]\n");
    let too_much = [
        ("slice = \"100ms\"", "", "`slice` is more", "more than 1ms"),
        ("", "memory = \"1GiB\"", "`memory` is more", "more than 256.0 MiB"),
        ("", "state = \"100MiB\"", "`state` is more", "more than 4.0 MiB"),
        (
            "",
            "fuel_per_event = 9_000_000_000",
            "`fuel_per_event` is more",
            "more than 1000000000",
        ),
        ("", "open = \"2m\"", "`open` is more", "more than 1m"),
    ];
    for (slice, limits, what, cap) in too_much {
        folder.write("pipeline.toml", asking(slice, limits));
        run(&folder, "pipeline.toml").ends_with(78, &[what, cap, "pipeline.toml:"]);
        Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
    }
    folder.write(
        "tenants.toml",
        "[default.limits]\nslice = \"100ms\"\nmemory = \"1GiB\"\nstate = \"100MiB\"\nfuel_per_event = 9_000_000_000\n\
         open = \"2m\"\nzstd_window_max = \"256MiB\"\n",
    );
    for (slice, limits, ..) in too_much {
        folder.write("pipeline.toml", asking(slice, limits));
        run(&folder, "pipeline.toml").succeeds();
    }
}

#[test]
fn a_source_takes_no_more_memory_to_decompress_than_its_tenant_may() {
    let folder = Folder::new();
    folder.write("events.jsonl", numbered(3, 1));
    let asking = copying("p", "", "events.jsonl", "out.jsonl");
    let asking = asking.replacen("format = ", "zstd_window_max = \"256MiB\"\nformat = ", 1);
    folder.write("pipeline.toml", asking);
    folder.write("tenants.toml", "[default]\n");
    let words = [
        "`zstd_window_max` is more",
        "more than 128.0 MiB",
        "limits = { zstd_window_max = … }",
    ];
    run(&folder, "pipeline.toml").ends_with(78, &words);
    folder.write("tenants.toml", "[default.limits]\nzstd_window_max = \"256MiB\"\n");
    run(&folder, "pipeline.toml").succeeds();
}

#[test]
fn files_that_no_tenant_lists_have_one_budget_together() {
    let folder = Folder::new();
    folder.write("events.jsonl", numbered(3, 1));
    let files = ["one", "two", "three"].map(|name| {
        let header = format!("tenant = \"{name}\"");
        let file = format!("{name}.toml");
        folder.write(&file, copying(name, &header, "events.jsonl", &format!("{name}.jsonl")));
        file
    });
    let [one, two, three] = files.each_ref().map(String::as_str);
    let run = |tenants: &str| {
        folder.write("tenants.toml", tenants);
        for name in ["one", "two", "three"] {
            let _ = fs::remove_file(folder.path(format!("{name}.jsonl")));
        }
        Dirigo::run(&folder, [one, two, three])
            .args(["--tenants", "tenants.toml"])
            .finish()
    };
    let finished = run("[default]\nsources = 2\n");
    finished.ends_with(78, &["have 3 sources, and it may have 2", "three.toml is refused"]);
    finished.ends_with(
        78,
        &[
            "no tenant in tenants.toml lists this file",
            "this name gives it none of its own",
        ],
    );
    let summary = finished.summary();
    assert_eq!(summary.pipeline("two")["tenant"], "two");
    let tenants = summary.json()["tenants"].as_array().unwrap();
    assert_eq!(tenants.len(), 1, "{tenants:?}");
    assert_eq!(tenants[0]["name"], "[default]");
    run("[default]\n[[tenant]]\nname = \"acme\"\npipelines = [\"one.toml\"]\nsources = 1\n").ends_with(
        78,
        &["this file is of tenant `acme`, and says `one`", "one.toml is refused"],
    );
}

#[test]
fn a_long_slice_is_cut_where_tenants_share_the_host() {
    let folder = Folder::new();
    folder.write("events.jsonl", numbered(4, 1));
    let spinning = |name: &str, tenant: &str| {
        let header = format!("tenant = \"{tenant}\"");
        let operator = format!(
            "[[operator]]\nid = \"guest\"\ncomponent = \"{}\"\nslice = \"100ms\"\n\
             config = {{ mode = \"loop\", every = 2 }}\n[operator.limits]\nfuel_per_event = 1_000_000_000\n[[sink]]",
            guest("map").display()
        );
        copying(name, &header, "events.jsonl", &format!("{name}.jsonl")).replace("[[sink]]", &operator)
    };
    folder.write("one.toml", spinning("one", "acme"));
    folder.write("two.toml", spinning("two", "globex"));
    let targets = |finished: &Finished| -> Vec<f64> {
        let operators = finished.succeeds().json()["operators"].as_array().unwrap();
        let target = |operator: &serde_json::Value| operator["slice_us"]["target"].as_f64().unwrap();
        operators.iter().map(target).collect()
    };
    let alone = Dirigo::run(&folder, ["one.toml"]).workers(1).finish();
    assert_eq!(targets(&alone), [100_000.0]);
    let both = Dirigo::run(&folder, ["one.toml", "two.toml"]).workers(1).finish();
    assert_eq!(targets(&both), [1_000.0, 1_000.0]);
}

#[test]
fn a_tenant_reads_the_environment_variables_that_it_was_granted() {
    let folder = two_tenants();
    let naming = |name: &str| {
        copying("acme", "", "events.jsonl", "out.jsonl").replace(
            "[[sink]]",
            &format!(
                "[[operator]]\nid = \"f\"\ncomponent = \"builtin:filter\"\n\
                 config = {{ field = {{ env = \"{name}\" }}, threshold = 0 }}\n[[sink]]"
            ),
        )
    };
    let run = |name: &str| {
        folder.write("acme/pipeline.toml", naming(name));
        Dirigo::run(&folder, ["acme/pipeline.toml"])
            .args(["--tenants", "tenants.toml"])
            .env("HOST_SECRET", "n")
            .env("ACME_FIELD", "n")
            .finish()
    };
    for name in ["HOST_SECRET", "ACME_FIELD", "NOT_SET"] {
        run(name).ends_with(
            78,
            &[
                "is not among those that its tenant may read",
                &format!("env = [\"{name}\"]"),
            ],
        );
    }
    let granting = folder
        .read("tenants.toml")
        .replacen("name = \"acme\"", "name = \"acme\"\nenv = [\"ACME_*\"]", 1);
    folder.write("tenants.toml", granting);
    run("ACME_FIELD").succeeds();
    run("HOST_SECRET").ends_with(78, &["is not among those that its tenant may read"]);
}

/// A pipeline file with this many sources, each of which feeds all of this many sinks.
fn wide(name: &str, sources: usize, sinks: usize) -> String {
    let source = |n: usize| format!("[[source]]\nid = \"g{n}\"\nkind = \"generator\"\ncount = 1\n");
    let ids: Vec<String> = (0..sources).map(|n| format!("\"g{n}\"")).collect();
    let sink = |n: usize| {
        format!(
            "[[sink]]\nid = \"s{n}\"\nkind = \"null\"\ninputs = [{}]\n",
            ids.join(", ")
        )
    };
    let items: String = (0..sources).map(source).chain((0..sinks).map(sink)).collect();
    format!("[pipeline]\nname = \"{name}\"\ntenant = \"acme\"\n{items}")
}

#[test]
fn a_tenant_has_no_more_sources_and_sinks_than_it_was_granted() {
    let folder = Folder::new();
    folder.write("tenants.toml", "[default]\nsources = 3\n");
    let run = |sources: usize, sinks: usize| {
        folder.write("one.toml", wide("one", sources - 1, sinks - 1));
        folder.write("two.toml", wide("two", 1, 1));
        Dirigo::run(&folder, ["one.toml", "two.toml"])
            .args(["--tenants", "tenants.toml"])
            .finish()
    };
    run(3, 64).succeeds();
    run(4, 2).ends_with(
        78,
        &[
            "the pipelines of tenant `acme` have 4 sources, and it may have 3",
            "`sources = …`",
        ],
    );
    run(3, 65).ends_with(
        78,
        &[
            "the pipelines of tenant `acme` have 65 sinks, and it may have 64",
            "two.toml",
        ],
    );
}

#[test]
fn more_sources_and_sinks_than_a_host_can_run_are_refused_before_any_starts() {
    let folder = Folder::new();
    folder.write(
        "pipeline.toml",
        wide("many", 4_100, 1).replace("inputs = [", "inputs = [\"g0\"] #"),
    );
    for subcommand in ["run", "check"] {
        let refused = Dirigo::command(&folder, subcommand).args(["pipeline.toml"]).finish();
        refused.ends_with(78, &["4100 sources and 1 sinks", "one host runs 4096"]);
    }
}

/// A graph of layers of two operators, each of which reads both of the layer before.
fn diamonds(layers: usize) -> String {
    let operator = |id: String, inputs: String| {
        format!(
            "[[operator]]\nid = \"{id}\"\ncomponent = \"builtin:filter\"\ninputs = [{inputs}]\n\
             config = {{ field = \"value\", threshold = -1e9 }}\n"
        )
    };
    let layer = |n: usize| {
        let inputs = match n {
            0 => "\"g\"".to_owned(),
            n => format!("\"a{0}\", \"b{0}\"", n - 1),
        };
        operator(format!("a{n}"), inputs.clone()) + &operator(format!("b{n}"), inputs)
    };
    let operators: String = (0..layers).map(layer).collect();
    format!(
        "[pipeline]\nname = \"diamonds\"\n[[source]]\nid = \"g\"\nkind = \"generator\"\ncount = 2\n{operators}\
         [[sink]]\nid = \"out\"\nkind = \"null\"\ninputs = [\"a{last}\"]\n",
        last = layers - 1
    )
}

#[test]
fn a_graph_that_doubles_its_events_in_each_layer_is_refused() {
    let folder = Folder::new();
    for layers in [12, 30, 100] {
        folder.write("pipeline.toml", diamonds(layers));
        let refused = Dirigo::run(&folder, ["pipeline.toml"]).finish();
        refused.ends_with(
            78,
            &[
                "too many paths lead from a source to operator `a10`",
                "1024 paths",
                "at most 1000",
            ],
        );
    }
    // Sources side by side are no paths of one event.
    folder.write("pipeline.toml", wide("wide", 1_100, 1));
    let joined = Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
    joined.ends_with(0, &["the pipeline is valid"]);
    folder.write("pipeline.toml", diamonds(5));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    assert_eq!(finished.succeeds().count("events_out"), 2 * 16);
}

#[test]
fn a_tenant_neither_continues_nor_discards_the_state_of_another() {
    let folder = two_tenants();
    let run = |file: &str, more: &[&str]| {
        Dirigo::run(&folder, [file])
            .args(["--tenants", "tenants.toml"])
            .args(more)
            .with_state()
            .finish()
    };
    run("acme/pipeline.toml", &[]).succeeds();
    folder.write("globex/pipeline.toml", copying("acme", "", "events.jsonl", "out.jsonl"));
    for more in [&[][..], &["--fresh"]] {
        let refused = run("globex/pipeline.toml", more);
        refused.ends_with(
            78,
            &["the state of pipeline `acme` is of tenant `acme`, and this one of `globex`"],
        );
    }
    let again = run("acme/pipeline.toml", &[]);
    assert_eq!(again.succeeds().count("events_out"), 0, "it goes on from its own state");
}
