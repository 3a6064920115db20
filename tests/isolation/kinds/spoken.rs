//! Guests that speak UTF-16, as those of some languages do, and at length. None is made by a compiler: they are written here.

use crate::beside::beside_a_victim;
use crate::support::{DeadLetter, dead_letters, guest, numbered, pipeline};

/// Half a million units: a mebibyte.
const UNITS: u32 = 500_000;

/// A map that does this at each batch, and hands on nothing. Its memory is full of zeros, which are texts.
fn speaker(at_a_batch: &str) -> Vec<u8> {
    let text = format!(
        r#"
        (component
            (import "dirigo:operator/host@0.2.0" (instance $host
                (type $names (enum "trace" "debug" "info" "warn" "error"))
                (export "level" (type $level (eq $names)))
                (export "log" (func (param "level" $level) (param "message" string)))))
            (core module $memory
                (memory (export "memory") 64)
                (global $free (mut i32) (i32.const 0x200000))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                    (global.set $free (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
                    (global.get $free)
                    (global.set $free (i32.add (global.get $free) (local.get 3))))
                (func (export "forget") (param i32) (global.set $free (i32.const 0x200000))))
            (core instance $memory (instantiate $memory))
            (core func $log (canon lower (func $host "log") (memory $memory "memory") string-encoding=utf16))
            (core module $module
                (import "memory" "memory" (memory 64))
                (import "host" "log" (func $log (param i32 i32 i32)))
                (func (export "open") (param i32 i32) (result i32) (i32.const 1024))
                (func (export "map") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                    {at_a_batch}
                    (i32.const 2048)))
            (core instance $module (instantiate $module
                (with "memory" (instance $memory))
                (with "host" (instance (export "log" (func $log))))))
            (type $column-is (record (field "bytes" (list u8)) (field "ends" (list u32))))
            (export $column "column" (type $column-is))
            (type $type-is (enum "boolean" "s64" "f64" "text" "bytes" "json"))
            (export $type "field-type" (type $type-is))
            (type $values-is (variant (case "boolean" (list u8)) (case "s64" (list s64)) (case "f64" (list f64))
                (case "text" $column) (case "bytes" $column) (case "json" $column)))
            (export $values "field-values" (type $values-is))
            (type $field-is (record (field "validity" (option (list u8))) (field "values" $values)))
            (export $field "field-column" (type $field-is))
            (type $read-is (record (field "name" string) (field "kind" $type) (field "optional" bool)))
            (export $read "field" (type $read-is))
            (type $written-is (record (field "name" string) (field "kind" $type)))
            (export $written "written" (type $written-is))
            (type $mode-is (enum "raw" "extend" "replace"))
            (export $mode "output-mode" (type $mode-is))
            (type $schema-is (record (field "reads" (list $read)) (field "raw" bool) (field "writes" (list $written))
                (field "outputs" $mode)))
            (export $schema "schema" (type $schema-is))
            (type $batch-is (record (field "times" (list s64)) (field "keys" $column) (field "fields" (list $field))
                (field "values" (option $column))))
            (export $batch "batch" (type $batch-is))
            (type $failure-is (record (field "index" u32) (field "message" string)))
            (export $failure "failure" (type $failure-is))
            (type $outputs-is (record (field "origins" (list u32)) (field "keys" (option $column))
                (field "fields" (list $field)) (field "values" (option $column)) (field "failures" (list $failure))))
            (export $outputs "outputs" (type $outputs-is))
            (func $open (param "config" string) (result (result $schema (error string)))
                (canon lift (core func $module "open") (memory $memory "memory") (realloc (func $memory "realloc"))))
            (func $map (param "input" $batch) (result $outputs)
                (canon lift (core func $module "map") (memory $memory "memory") (realloc (func $memory "realloc"))
                    (post-return (func $memory "forget")) string-encoding=utf16))
            (instance $lifecycle (export "open" (func $open)))
            (instance $mapping (export "map" (func $map)))
            (export "dirigo:operator/lifecycle@0.2.0" (instance $lifecycle))
            (export "dirigo:operator/map@0.2.0" (instance $mapping)))
        "#
    );
    wat::parse_str(text).unwrap()
}

/// Runs it over one event, which becomes a dead letter.
fn run(at_a_batch: &str, limits: &str) -> DeadLetter {
    let folder = pipeline("map", "{}", limits);
    folder.write("guest.wasm", speaker(at_a_batch));
    let text = folder.read("pipeline.toml");
    let component = guest("map");
    folder.write(
        "pipeline.toml",
        text.replace(&*component.to_string_lossy(), "guest.wasm"),
    );
    folder.write("events.jsonl", numbered(1, 1));
    beside_a_victim(&folder);
    let mut dead_letters = dead_letters(&folder, "dead.jsonl");
    assert_eq!(dead_letters.len(), 1);
    dead_letters.remove(0)
}

pub(crate) fn a_long_reason_in_utf16_is_cut_before_it_is_read() {
    // One failure, at 4096, of event 0.
    let dead_letter = run(
        &format!(
            "(i32.store (i32.const 2104) (i32.const 4096)) (i32.store (i32.const 2108) (i32.const 1))
             (i32.store (i32.const 4100) (i32.const 0x10000)) (i32.store (i32.const 4104) (i32.const {UNITS}))"
        ),
        "",
    );
    assert_eq!(dead_letter.kind, "rejected");
    let length = dead_letter.reason.len();
    assert!((2_048..5_000).contains(&length), "{length}");
    assert!(dead_letter.reason.ends_with('…'));
}

pub(crate) fn long_lines_in_utf16_are_cut_and_yield_between_them() {
    let dead_letter = run(
        &format!("(loop (call $log (i32.const 1) (i32.const 0x10000) (i32.const {UNITS})) (br 0))"),
        "[operator.limits]\nfuel_per_event = 1_000_000",
    );
    assert_eq!(dead_letter.kind, "fuel");
}
