//! Pipelines next to one that never gives way.

use crate::support::{Dirigo, Folder, assert_says, event, guest, numbered};

/// A pipeline whose only event loops for as long as the host lets it.
fn endless_loop(folder: &Folder, tenant: &str) {
    folder.write("one.jsonl", numbered(1, 1));
    let text = format!(
        r#"
        [pipeline]
        name = "hog"
        tenant = "{tenant}"
        [[source]]
        id = "one"
        kind = "file"
        path = "one.jsonl"
        [[operator]]
        id = "hog"
        component = "{}"
        config = {{ mode = "loop" }}
        [operator.limits]
        fuel_per_event = {}
        [[sink]]
        id = "nowhere"
        kind = "null"
        "#,
        guest("map").display(),
        i64::MAX
    );
    folder.write("hog.toml", text);
}

/// A pipeline that answers on standard output what it is told on standard input.
fn conversation(folder: &Folder, tenant: &str) {
    let text = format!(
        r#"
        [pipeline]
        name = "light"
        tenant = "{tenant}"
        [[source]]
        id = "in"
        kind = "stdin"
        key = "/key"
        [[operator]]
        id = "map"
        component = "builtin:map"
        config = {{ field = "n", scale = 2.0, into = "twice" }}
        [[operator]]
        id = "sums"
        component = "builtin:reduce"
        window = {{ count = 1 }}
        config = {{ field = "twice", aggregate = "sum" }}
        [[sink]]
        id = "out"
        kind = "stdout"
        "#
    );
    folder.write("light.toml", text);
}

#[test]
fn a_loop_in_one_pipeline_does_not_stop_another_on_the_same_worker() {
    for (hog, light) in [("acme", "globex"), ("acme", "acme")] {
        let folder = Folder::new();
        endless_loop(&folder, hog);
        conversation(&folder, light);
        let mut running = Dirigo::run(&folder, ["hog.toml", "light.toml"]).workers(1).piped();
        running.stderr.wait_for("event 0 makes it loop");
        for n in 1..=300 {
            running.say(&event(n, "k"));
            running.stdout.wait_for(&format!("\"sum\":{}.0", 2 * n));
        }
        running.interrupt();
        running.stderr.wait_for("draining");
        running.interrupt();
        running.finish().ends_with(130, &[]);
    }
}

#[test]
fn a_pipeline_whose_guest_only_traps_does_not_stop_another() {
    let folder = Folder::new();
    conversation(&folder, "globex");
    folder.write("many.jsonl", numbered(30, 1));
    folder.write(
        "trapping.toml",
        format!(
            "[pipeline]\nname = \"trapping\"\n[[source]]\nid = \"many\"\nkind = \"file\"\npath = \"many.jsonl\"\n\
             [[operator]]\nid = \"guest\"\ncomponent = \"{}\"\nconfig = {{ mode = \"panic\" }}\n\
             [[sink]]\nid = \"nowhere\"\nkind = \"null\"\n",
            guest("map").display()
        ),
    );
    let mut running = Dirigo::run(&folder, ["trapping.toml", "light.toml"]).workers(1).piped();
    for n in 1..=300 {
        running.say(&event(n, "k"));
        running.stdout.wait_for(&format!("\"sum\":{}.0", 2 * n));
    }
    let finished = running.finish();
    let summary = finished.succeeds();
    assert_eq!(summary.pipeline("trapping")["dead_letters"], 30);
    assert_eq!(summary.pipeline("light")["events_out"], 300);
}

#[test]
fn a_guest_that_logs_where_nobody_reads_stops_neither_itself_nor_another() {
    let folder = Folder::new();
    conversation(&folder, "globex");
    folder.write("one.jsonl", numbered(1, 1));
    folder.write(
        "talking.toml",
        format!(
            "[pipeline]\nname = \"talking\"\n[[source]]\nid = \"one\"\nkind = \"file\"\npath = \"one.jsonl\"\n\
             [[operator]]\nid = \"guest\"\ncomponent = \"{}\"\nconfig = {{ mode = \"log\" }}\n\
             [[sink]]\nid = \"out\"\nkind = \"stdout\"\n",
            guest("map").display()
        ),
    );
    let run = Dirigo::run(&folder, ["talking.toml", "light.toml"]).workers(1);
    let (mut running, stderr) = run.with_full_stderr();
    running.stdout.wait_for("\"n\":0");
    for n in 1..=300 {
        running.say(&event(n, "k"));
        running.stdout.wait_for(&format!("\"sum\":{}.0", 2 * n));
    }
    running.read_stderr(stderr);
    let finished = running.finish();
    assert_eq!(finished.succeeds().pipeline("talking")["events_out"], 1);
    assert_says(&finished.stderr, &["line 0 about event 0", "line 49 about event 0"]);
}

#[test]
fn a_pipeline_that_fails_leaves_its_neighbours_alone() {
    let folder = Folder::new();
    conversation(&folder, "globex");
    folder.write("one.jsonl", numbered(1, 1));
    folder.write(
        "stopping.toml",
        format!(
            "[pipeline]\nname = \"stopping\"\n[[source]]\nid = \"one\"\nkind = \"file\"\npath = \"one.jsonl\"\n\
             [[operator]]\nid = \"guest\"\ncomponent = \"{}\"\nconfig = {{ mode = \"panic\" }}\n\
             [operator.limits]\nerrors = \"stop\"\n[[sink]]\nid = \"nowhere\"\nkind = \"null\"\n",
            guest("map").display()
        ),
    );
    let mut running = Dirigo::run(&folder, ["stopping.toml", "light.toml"]).piped();
    for n in 1..=300 {
        running.say(&event(n, "k"));
        running.stdout.wait_for(&format!("\"sum\":{}.0", 2 * n));
    }
    let finished = running.finish();
    finished.ends_with(1, &["pipeline `stopping`", "event 0 is more than it can bear"]);
    assert_eq!(finished.stdout.lines().count(), 300);
}
