//! Components that wasm-smith makes, each from a seed.

use arbitrary::{Arbitrary as _, Unstructured};
use wasm_encoder::Encode as _;
use wasm_smith::{Component, Config, Module};
use wasmparser::BinaryReader;

use super::Random;

/// What a map's module has to import and to export.
const SHAPE: &str = r#"
        (import "memory" "memory" (memory 4 4096))
        (import "host" "log" (func (param i32 i32 i32)))
        (func (export "map") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable)
        (func (export "forget") (param i32))
"#;

/// A map around a module in the place of MODULE. It opens by itself: what opens at random does not.
const MAP: &str = r#"
    (component
        (import "dirigo:operator/host@0.2.0" (instance $host
            (type $names (enum "trace" "debug" "info" "warn" "error"))
            (export "level" (type $level (eq $names)))
            (export "log" (func (param "level" $level) (param "message" string)))))
        (core module $memory
            (memory (export "memory") 4 4096)
            (global $free (mut i32) (i32.const 0x10000))
            (func (export "open") (param i32 i32) (result i32) (i32.const 1024))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                (global.set $free (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const 0x1fff0)))
                (global.get $free)
                (global.set $free (i32.add (global.get $free) (local.get 3)))))
        (core instance $memory (instantiate $memory))
        (core func $log (canon lower (func $host "log") (memory $memory "memory")))
        (core module $module MODULE)
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
        (type $read-is (record (field "name" string) (field "kind" $type) (field "optional" bool)
            (field "exact" bool)))
        (export $read "field" (type $read-is))
        (type $written-is (record (field "name" string) (field "kind" $type)))
        (export $written "written" (type $written-is))
        (type $mode-is (enum "raw" "extend" "replace"))
        (export $mode "output-mode" (type $mode-is))
        (type $schema-is (record (field "reads" (list $read)) (field "raw" bool) (field "writes" (list $written))
            (field "outputs" $mode)))
        (export $schema "schema" (type $schema-is))
        (type $integer-is (record (field "field" u32) (field "event" u32) (field "value" s64)))
        (export $integer "exact-integer" (type $integer-is))
        (type $batch-is (record (field "times" (list s64)) (field "keys" $column) (field "fields" (list $field))
            (field "integers" (list $integer)) (field "values" (option $column))))
        (export $batch "batch" (type $batch-is))
        (type $failure-is (record (field "index" u32) (field "message" string)))
        (export $failure "failure" (type $failure-is))
        (type $outputs-is (record (field "origins" (list u32)) (field "keys" (option $column))
            (field "fields" (list $field)) (field "values" (option $column)) (field "failures" (list $failure))))
        (export $outputs "outputs" (type $outputs-is))
        (func $open (param "config" string) (result (result $schema (error string)))
            (canon lift (core func $memory "open") (memory $memory "memory") (realloc (func $memory "realloc"))))
        (func $map (param "input" $batch) (result $outputs)
            (canon lift (core func $module "map") (memory $memory "memory") (realloc (func $memory "realloc"))
                (post-return (func $module "forget"))))
        (instance $lifecycle (export "open" (func $open)))
        (instance $mapping (export "map" (func $map)))
        (export "dirigo:operator/lifecycle@0.2.0" (instance $lifecycle))
        (export "dirigo:operator/map@0.2.0" (instance $mapping)))
"#;

/// What `make` makes of the seeds from `first` on, those that it makes nothing of left out.
pub(crate) fn components(
    first: u64,
    make: impl Fn(&[u8]) -> arbitrary::Result<Vec<u8>>,
) -> impl Iterator<Item = (u64, Vec<u8>)> {
    (first..).filter_map(move |seed| Some((seed, make(&entropy(seed)).ok()?)))
}

/// Bytes that wasm-smith makes something of: it ends where they do.
fn entropy(seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let words = 64 << random.below(8);
    (0..words).flat_map(|_| random.next().to_le_bytes()).collect()
}

/// A component of wasm-smith's, which need not be valid and exports what it likes.
pub(crate) fn any_component(bytes: &[u8]) -> arbitrary::Result<Vec<u8>> {
    let mut entropy = Unstructured::new(bytes);
    Ok(Component::new(Config::default(), &mut entropy)?.to_bytes())
}

/// A map that fits its place, and does what wasm-smith says with whatever features of WebAssembly there are.
pub(crate) fn any_map(bytes: &[u8]) -> arbitrary::Result<Vec<u8>> {
    let mut entropy = Unstructured::new(bytes);
    let mut config = Config::arbitrary(&mut entropy)?;
    config.module_shape = Some(wat::parse_str(format!("(module {SHAPE})")).unwrap());
    let module = Module::new(config, &mut entropy)?.to_bytes();
    let around = wat::parse_str(MAP.replace("MODULE", SHAPE)).unwrap();
    Ok(with_second_module(&around, &module))
}

/// A component with another module in the place of its second one.
fn with_second_module(component: &[u8], module: &[u8]) -> Vec<u8> {
    /// The kind of a component's section that is a core module.
    const MODULE: u8 = 1;
    let mut reader = BinaryReader::new(component, 0);
    let mut out = reader.read_bytes(8).unwrap().to_vec();
    let mut modules = 0;
    while !reader.eof() {
        let kind = reader.read_u8().unwrap();
        let bytes = reader.read_var_u32().unwrap() as usize;
        let contents = reader.read_bytes(bytes).unwrap();
        modules += usize::from(kind == MODULE);
        out.push(kind);
        if kind == MODULE && modules == 2 {
            module.encode(&mut out);
        } else {
            contents.encode(&mut out);
        }
    }
    out
}
