//! All hostile kinds at once, next to three victims, for a while: what is asserted of them is no timing.
//! How long each kept a worker, `dirigo bench soak` prints.

use serde_json::Value;

use crate::support::{Dirigo, Folder};

/// What may be resident at any time: the guests' memory limits, 19 of 64 MiB and two of 512, make 2.2 GiB, which they approach
/// over 20 s or so; what waits in queues, state and code have the rest. A kind that leaks has no such bound.
const RESIDENT_BYTES_MAX: u64 = 3 << 30;
/// What may be resident when all pipelines have ended: what pools and the allocator keep.
const AFTER_BYTES_MAX: u64 = 1536 << 20;

#[test]
fn beside_all_kinds_at_once_nothing_is_lost_and_nothing_grows_without_bound() {
    let measured = soak();
    let victims = measured["victims"].as_array().unwrap();
    let neighbours = measured["neighbours"].as_array().unwrap();
    assert!(neighbours.len() > 20, "{} kinds", neighbours.len());
    for victim in victims {
        for fault in ["lost", "doubled", "misplaced"] {
            assert_eq!(victim[fault], 0, "{fault} of {victim}");
        }
    }
    for neighbour in neighbours {
        assert_eq!(neighbour["failure"], Value::Null, "{neighbour}");
        // One that never returns takes no event in, and events that wait take no slice of a guest.
        let did = |what: &str| neighbour[what].as_u64().unwrap();
        assert!(did("slices") + did("events") > 0, "{neighbour}");
    }
    assert_memory_is_bounded(&measured["resident_bytes"]);
}

fn soak() -> Value {
    let folder = Folder::new();
    let finished = Dirigo::command(&folder, "bench")
        .args(["soak", "-o", "json", "--duration", "20s", "--rate", "100"])
        .finish();
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    serde_json::from_str(&finished.stdout).unwrap()
}

/// Nothing to assert where the system does not tell.
#[track_caller]
fn assert_memory_is_bounded(resident: &Value) {
    let tenths = resident["tenths"].as_array().unwrap();
    let most = tenths.iter().filter_map(Value::as_u64).max();
    assert!(most.is_none_or(|most| most < RESIDENT_BYTES_MAX), "{resident}");
    let after = resident["after"].as_u64();
    assert!(after.is_none_or(|after| after < AFTER_BYTES_MAX), "{resident}");
}
