//! What a tenant may use, all its pipelines together: over it, it waits or loses what is too much.

use crate::pipeline;
use crate::support::{Dirigo, Finished, Folder, Summary, assert_says, dead_letters, guest, numbered, numbers};

const EVENTS: u64 = 20_000;

/// Sums of three events for each of `keys` keys, by a tenant with this budget.
fn sums(budget: &str, keys: u64) -> Folder {
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "sums"
        tenant = "acme"
        {budget}
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        time = "/n"
        [[operator]]
        id = "sums"
        component = "builtin:reduce"
        window = {{ count = 3 }}
        config = {{ field = "n", aggregate = "sum" }}
        actors = "per-key"
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        order = "source"
        "#
    ));
    folder.write("events.jsonl", numbered(EVENTS, keys));
    folder
}

fn tenant<'a>(summary: &'a Summary, name: &str) -> &'a serde_json::Value {
    let tenants = summary.json()["tenants"].as_array().unwrap();
    tenants.iter().find(|tenant| tenant["name"] == name).unwrap()
}

#[test]
fn a_tenant_keeps_to_its_number_of_active_actors() {
    let (bound, free) = (sums("[tenant]\nactive_actors = 3", 500), sums("", 500));
    let finished = Dirigo::run(&bound, ["pipeline.toml"]).workers(4).finish();
    let acme = tenant(finished.succeeds(), "acme");
    assert_eq!(acme["active_actors_peak"], 3);
    assert!(acme["actors_waited"].as_u64() > Some(0));
    assert_says(&finished.stderr, &["tenant acme: actors waited for an instance"]);
    Dirigo::run(&free, ["pipeline.toml"]).workers(4).finish().succeeds();
    assert!(
        bound.read("out.jsonl") == free.read("out.jsonl"),
        "the results are the same"
    );
}

#[test]
fn a_tenant_keeps_to_its_memory_and_loses_nothing_by_it() {
    let (bound, free) = (sums("[tenant]\nmemory = \"8MiB\"", 500), sums("", 500));
    let run = |folder: &Folder| {
        let finished = Dirigo::run(folder, ["pipeline.toml"]).workers(2).finish();
        tenant(finished.succeeds(), "acme")["memory_peak"].as_u64().unwrap()
    };
    let (bound_peak, free_peak) = (run(&bound), run(&free));
    // What two workers have under way, and the batch that each source may read, comes on top.
    assert!(bound_peak < 32 << 20, "{bound_peak} bytes");
    assert!(free_peak > 64 << 20, "{free_peak} bytes without a bound");
    assert!(
        bound.read("out.jsonl") == free.read("out.jsonl"),
        "the results are the same"
    );
}

#[test]
fn a_tenant_that_never_has_memory_gets_on_with_one_actor_and_one_batch() {
    let (bound, free) = (sums("[tenant]\nmemory = \"1MiB\"", 20), sums("", 20));
    for folder in [&bound, &free] {
        // More than one batch of the source, and more actors than memory has room for.
        folder.write("events.jsonl", numbered(2_000, 20));
        Dirigo::run(folder, ["pipeline.toml"]).workers(2).finish().succeeds();
    }
    assert!(
        bound.read("out.jsonl") == free.read("out.jsonl"),
        "the results are the same"
    );
}

#[test]
fn a_guest_that_hoards_is_stopped_by_the_memory_of_its_tenant() {
    let folder = pipeline(
        "map",
        "{ mode = \"memory\", every = 300 }",
        "[operator.limits]\nfuel_per_event = 100_000_000",
    );
    let text = folder
        .read("pipeline.toml")
        .replace("[dead_letters]", "[tenant]\nmemory = \"16MiB\"\n[dead_letters]");
    folder.write("pipeline.toml", text);
    folder.write("events.jsonl", numbered(600, 10));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    let tenant = tenant(finished.succeeds(), "default");
    let peak = tenant["memory_peak"].as_u64().unwrap();
    assert_says(&finished.stderr, &["tenant default: was denied `memory`"]);
    assert!(tenant["memory_denied"].as_u64() >= Some(2));
    // What instances start with, and events under way, come on top of what a guest may grow by.
    assert!(peak <= 24 << 20, "{peak} bytes");
    let dead_letters = dead_letters(&folder, "dead.jsonl");
    assert!(
        dead_letters
            .iter()
            .map(|dead_letter| dead_letter.kind.as_str())
            .eq(["memory"; 2]),
        "{dead_letters:?}"
    );
}

#[test]
fn an_event_that_puts_out_more_than_its_tenant_may_is_a_dead_letter_and_its_neighbours_pass() {
    let budgets = [
        (
            "outputs_per_event = 10",
            "it led to 10001 outputs, its tenant's budget allows 10",
        ),
        (
            "output_bytes_per_event = \"4KiB\"",
            "bytes of output, its tenant's budget allows 4096",
        ),
    ];
    for (budget, reason) in budgets {
        let folder = pipeline("map", "{ mode = \"amplify\", every = 7 }", "");
        let budget = format!("[tenant]\n{budget}\n[dead_letters]");
        folder.write(
            "pipeline.toml",
            folder.read("pipeline.toml").replace("[dead_letters]", &budget),
        );
        folder.write("events.jsonl", numbered(700, 10));
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(2).finish();
        assert_eq!(finished.succeeds().count("dead_letters"), 100);
        let mut dead_letters = dead_letters(&folder, "dead.jsonl");
        dead_letters.sort_by_key(|dead_letter| dead_letter.event.position);
        for (dead_letter, n) in dead_letters.iter().zip((0..700).step_by(7)) {
            assert_eq!((dead_letter.kind.as_str(), dead_letter.number()), ("output", n));
            assert_says(&dead_letter.reason, &[reason]);
        }
        let survivors = (0..700).filter(|n: &u64| !n.is_multiple_of(7));
        assert!(numbers(&folder.read("out.jsonl")).into_iter().eq(survivors));
    }
}

#[test]
fn an_operator_that_always_puts_out_too_much_is_not_held_up_for_it() {
    let folder = pipeline("map", "{ mode = \"amplify\" }", "");
    let budget = "[tenant]\noutputs_per_event = 10\n[dead_letters]";
    let text = folder.read("pipeline.toml").replace("[dead_letters]", budget);
    folder.write("pipeline.toml", text);
    folder.write("events.jsonl", numbered(200, 10));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(1).finish();
    let summary = finished.succeeds();
    assert_eq!(summary.count("dead_letters"), 200);
    assert_eq!(summary.operator("guest", "quarantines"), 0);
}

#[test]
fn log_lines_are_those_that_the_tenant_may_write() {
    let folder = pipeline("map", "{ mode = \"log\", every = 10 }", "");
    let budget = "[tenant]\nlog_lines_per_second = 5\n[dead_letters]";
    let text = folder.read("pipeline.toml").replace("[dead_letters]", budget);
    folder.write("pipeline.toml", text);
    folder.write("events.jsonl", numbered(600, 10));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(2).finish();
    let summary = finished.succeeds();
    let elapsed_s = summary.json()["elapsed_s"].as_f64().unwrap();
    assert!(tenant(summary, "default")["log_lines_left_out"].as_u64() > Some(0));
    let lines = finished.stderr.lines().filter(|line| line.contains("guest")).count();
    // Each second five, and as many that say that some were left out; the first and the last second are not whole.
    let most = 2 * 5 * (elapsed_s as usize + 2);
    assert!(lines <= most, "{lines} lines in {elapsed_s} s");
    assert_says(&finished.stderr, &["too many log lines", "left_out"]);
}

#[test]
fn a_tenant_that_waits_for_fuel_is_told_so_while_it_waits() {
    let folder = sums("[tenant]\nfuel_per_second = 1_000_000", 50);
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).workers(1).piped();
    running
        .stderr
        .wait_for("note: tenant `acme` has used up its `fuel_per_second`");
    running.kill();
}

#[test]
fn an_operator_in_backoff_is_reported_while_it_waits() {
    let folder = pipeline("map", "{ mode = \"panic\" }", "");
    folder.write("events.jsonl", numbered(100_000, 10));
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).workers(1).piped();
    running.stderr.wait_for("keeps trapping");
    running.kill();
}

#[test]
fn what_a_tenant_used_and_waited_for_is_in_the_summary() {
    let folder = sums("[tenant]\nfuel_per_second = 40_000_000", 50);
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(1).finish();
    let summary = finished.succeeds();
    let acme = tenant(summary, "acme");
    let [worker_s, held_s, elapsed_s] =
        [&acme["worker_s"], &acme["held_s"], &summary.json()["elapsed_s"]].map(|seconds| seconds.as_f64().unwrap());
    // All it burns but a bucket of a tenth of a second and a slice has to be earned first.
    let earned_s = acme["fuel"].as_f64().unwrap() / 4e7 - 0.1;
    assert!(earned_s > 0.1, "{earned_s} s");
    assert!(
        worker_s > 0.0 && held_s > 0.0 && elapsed_s > earned_s - 0.1,
        "{acme} in {elapsed_s} s"
    );
    assert_says(&finished.stderr, &["tenant acme: was out of `fuel_per_second` for"]);
}

#[test]
fn the_tenants_file_has_the_last_word() {
    let folder = sums("[tenant]\nactive_actors = 100", 50);
    folder.write(
        "tenants.toml",
        "[[tenant]]\nname = \"acme\"\npipelines = [\".\"]\nweight = 7\nactive_actors = 2\n",
    );
    let run = |file: &str| {
        Dirigo::run(&folder, ["pipeline.toml"])
            .args(["--tenants", file])
            .workers(4)
            .finish()
    };
    let check = |file: &str| {
        Dirigo::command(&folder, "check")
            .args(["pipeline.toml", "--tenants", file])
            .finish()
    };
    check("tenants.toml").ends_with(0, &["the pipeline is valid"]);
    let finished = run("tenants.toml");
    let acme = tenant(finished.succeeds(), "acme");
    assert_eq!((&acme["weight"], &acme["active_actors_peak"]), (&7.into(), &2.into()));

    folder.write("others.toml", "[[tenant]]\nname = \"globex\"\n");
    folder.write("wrong.toml", "[[tenant]]\nname = \"acme\"\nwieght = 2\n");
    for finish in [&run as &dyn Fn(&str) -> Finished, &check] {
        finish("others.toml").ends_with(78, &["no tenant in others.toml has this pipeline file", "[default]"]);
        finish("none.toml").ends_with(78, &["cannot read the tenants file"]);
        finish("wrong.toml").ends_with(78, &["wrong.toml:3", "did you mean `weight`?"]);
    }
}

#[test]
fn pipelines_of_a_tenant_agree_on_its_budget() {
    let folder = sums("[tenant]\nweight = 2", 5);
    let other = folder.read("pipeline.toml").replace("\"sums\"", "\"others\"");
    folder.write(
        "other.toml",
        other
            .replace("weight = 2", "weight = 3")
            .replace("out.jsonl", "out-2.jsonl"),
    );
    Dirigo::run(&folder, ["pipeline.toml", "other.toml"])
        .finish()
        .ends_with(
            78,
            &["pipelines `sums` and `others` state different budgets for tenant `acme`"],
        );
}

#[test]
fn a_pipeline_that_cannot_meet_its_slo_is_told_so_with_the_numbers() {
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "slow"
        slo = "20ms"
        [[source]]
        id = "readings"
        kind = "generator"
        rate = 1_000_000
        [[operator]]
        id = "dawdler"
        component = "{}"
        config = {{ mode = "dawdle", field = "value" }}
        [[sink]]
        id = "out"
        kind = "null"
        "#,
        guest("map").display()
    ));
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).workers(1).piped();
    let said = running.stderr.wait_for("cannot meet its slo of 20ms");
    assert_says(
        &said,
        &[
            "warning: pipeline `slow`",
            "it needs",
            "workers (`dawdler`",
            "of 1",
            "weight 1 of 1",
        ],
    );
    running.interrupt();
    let finished = running.finish();
    let slo = &finished.succeeds().pipeline("slow")["slo"];
    assert_eq!(slo["target_ms"], 20.0);
}

#[test]
fn a_tenant_burns_no_more_fuel_than_it_may() {
    let folder = sums("[tenant]\nfuel_per_second = 20_000_000", 1_000);
    let text = folder.read("pipeline.toml").replace("actors = \"per-key\"", "");
    folder.write("pipeline.toml", text);
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(2).finish();
    let summary = finished.succeeds();
    let elapsed_s = summary.json()["elapsed_s"].as_f64().unwrap();
    let fuel = summary.operator("sums", "fuel");
    assert!(fuel > 20_000_000, "{fuel} fuel is less than it may burn");
    // What it had saved up before it began, a slice on each worker, and the last turn come on top of the rate.
    let most = (elapsed_s * 20e6) as u64 + 20_000_000;
    assert!(fuel <= most, "{fuel} fuel in {elapsed_s} s");
}
