//! An honest pipeline next to a hostile one, in one process and on one worker.

use std::cell::Cell;
use std::sync::OnceLock;

use crate::support::{Dirigo, Finished, Folder, Summary};

/// The most fuel that a guest burns before its worker has a look, however fast it is.
const POLL_FUEL_MAX: u64 = 3_000_000;

thread_local! {
    static LONGEST_POLL_US: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The longest poll of the guests that ran on this thread since this was last asked, in µs of processor time. It is to be read, not
/// to be judged: on a busy machine it says more of the machine than of the guest.
pub(crate) fn take_longest_poll_us() -> Option<u64> {
    LONGEST_POLL_US.take()
}

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

/// Runs the `pipeline.toml` of a folder next to a victim. The victim must come to exactly what it comes to alone, and
/// the guest must have given its worker back as often as its fuel says.
#[track_caller]
pub(crate) fn beside_a_victim(folder: &Folder) -> Finished {
    let finished = run(folder);
    assert_victim_is_unmoved(folder, finished.succeeds());
    let guest = |key| finished.succeeds().operator("guest", key);
    let (fuel, slices) = (guest("fuel"), guest("slices"));
    assert!(
        slices >= fuel / POLL_FUEL_MAX,
        "the guest was looked at {slices} times while it burnt {fuel} units of fuel"
    );
    LONGEST_POLL_US.set(LONGEST_POLL_US.get().max(Some(guest("poll_us_max"))));
    finished
}

/// Runs the `pipeline.toml` of a folder, which fails with these words, next to a victim that comes to exactly what it comes to alone.
#[track_caller]
pub(crate) fn fails_beside_a_victim(folder: &Folder, words: &[&str]) {
    let finished = run(folder);
    finished.ends_with(1, words);
    assert_eq!(finished.summary().pipeline("victim")["outcome"], "completed");
    assert_victim_is_unmoved(folder, finished.summary());
}

fn run(folder: &Folder) -> Finished {
    folder.write("victim.toml", VICTIM);
    Dirigo::run(folder, ["pipeline.toml", "victim.toml"])
        .workers(1)
        .finish()
}

#[track_caller]
fn assert_victim_is_unmoved(folder: &Folder, summary: &Summary) {
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
