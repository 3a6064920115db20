//! An honest pipeline beside a hostile one, in one process and on one worker.

use std::sync::OnceLock;

use crate::machine::longest_touch_us;
use crate::support::{Dirigo, Finished, Folder};

/// How long a guest may keep its worker, in µs of processor time, where the machine does not add to it. The aim is 1,000; the
/// figure is too high by up to 150 that the watchdog overstates it by, and by interrupts.
pub(crate) const POLL_US_MAX: u64 = 2_000;
/// On a machine that takes longer for a page nothing can be told.
const MACHINE_US_MAX: u64 = 5_000;
/// Runs of which one must keep the bound. What a hypervisor takes from a processor counts as the guest's, and seldom comes
/// back at the same place; what a guest does, does.
const ATTEMPTS: u32 = 3;

/// The readings that the victim makes, for a second.
const READINGS: usize = 600;

const VICTIM: &str = r#"
    [pipeline]
    name = "victim"
    tenant = "honest"
    [[source]]
    id = "readings"
    kind = "generator"
    count = 600
    rate = 600
    sensors = 20
    seed = 7
    key = "/sensor"
    time = "/ts"
    [[operator]]
    id = "fahrenheit"
    component = "builtin:map"
    config = { field = "value", scale = 1.8, offset = 32.0, into = "fahrenheit" }
    [[operator]]
    id = "averages"
    component = "builtin:window"
    window = { count = 5 }
    config = { field = "fahrenheit" }
    [[sink]]
    id = "readings-out"
    kind = "file"
    path = "victim.jsonl"
    inputs = ["fahrenheit"]
    [[sink]]
    id = "averages-out"
    kind = "file"
    path = "victim-averages.jsonl"
    inputs = ["averages"]
"#;

/// What the victim puts out when it is alone.
fn alone() -> &'static (String, String) {
    static ALONE: OnceLock<(String, String)> = OnceLock::new();
    ALONE.get_or_init(|| {
        let folder = Folder::new();
        folder.write("victim.toml", VICTIM);
        Dirigo::run(&folder, ["victim.toml"]).workers(1).finish().succeeds();
        let readings = folder.read("victim.jsonl");
        assert_eq!(readings.lines().count(), READINGS);
        (readings, folder.read("victim-averages.jsonl"))
    })
}

/// Runs the `pipeline.toml` of a folder beside a victim. The victim must come to exactly what it comes to alone, and no
/// guest may keep the worker for longer than `poll_us_max` and what the machine takes of any thread.
#[track_caller]
pub(crate) fn beside_a_victim(folder: &Folder, poll_us_max: u64) -> Finished {
    folder.write("victim.toml", VICTIM);
    let mut longest = Vec::new();
    for _ in 0..ATTEMPTS {
        let finished = Dirigo::run(folder, ["pipeline.toml", "victim.toml"])
            .workers(1)
            .finish();
        assert_victim_is_unmoved(folder, &finished);
        let poll_us = finished.succeeds().operator("guest", "poll_us_max");
        longest.push(poll_us);
        if poll_us <= poll_us_max {
            println!("  longest poll of the guest: {longest:?} µs");
            return finished;
        }
        let machine_us = longest_touch_us().min(MACHINE_US_MAX);
        if poll_us <= poll_us_max + machine_us {
            println!("  longest poll of the guest: {longest:?} µs, where one page takes the machine {machine_us}");
            return finished;
        }
    }
    panic!("the guest kept its worker for {longest:?} µs, beyond {poll_us_max} and what a page takes this machine");
}

#[track_caller]
fn assert_victim_is_unmoved(folder: &Folder, finished: &Finished) {
    let summary = finished.succeeds();
    let victim = summary.pipeline("victim");
    assert_eq!(victim["events_in"], READINGS);
    assert_eq!(victim["dead_letters"], 0);
    for operator in ["fahrenheit", "averages"] {
        assert_eq!(summary.operator(operator, "traps"), 0, "the victim's `{operator}`");
    }
    let (readings, averages) = alone();
    assert!(
        folder.read("victim.jsonl") == *readings && folder.read("victim-averages.jsonl") == *averages,
        "the victim came to something else than it comes to alone"
    );
}
