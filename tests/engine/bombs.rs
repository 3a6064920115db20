//! Components that are small, and would take the compiler long or much: each is refused with what there is too much of, and
//! costs nothing but itself.

use crate::support::{Dirigo, Finished, Folder, Random, guest, number_of, numbered};

/// A component around one core module.
fn around(module: &str) -> String {
    format!("(component (core module {module}) (core instance (instantiate 0)))")
}

fn inspect(text: &str) -> Finished {
    let folder = Folder::new();
    folder.write("bomb.wasm", wat::parse_str(text).unwrap());
    Dirigo::command(&folder, "inspect").args(["bomb.wasm"]).finish()
}

fn refused(text: &str, words: &str) {
    inspect(text).ends_with(1, &["bomb.wasm", words]);
}

#[test]
fn blocks_nested_too_deep_are_refused() {
    for (block, deepest) in [("loop", 27_000), ("block", 80_000), ("loop", 2_000)] {
        let nested = format!(
            "(func {} {})",
            format!("{block} ").repeat(deepest),
            "end ".repeat(deepest)
        );
        let words = "has a function with blocks nested to a depth of 2001, more than the 2000 that this host compiles";
        if deepest > 2_000 {
            refused(&around(&nested), words);
        } else {
            refused(&around(&nested), "exports none of");
        }
    }
}

#[test]
fn a_branch_table_of_too_many_places_is_refused() {
    let table = |places: usize| {
        around(&format!(
            "(func (block (br_table {} (i32.const 0))))",
            "0 ".repeat(places + 1)
        ))
    };
    refused(
        &table(110_000),
        "has a function whose branch tables name places that number 110000, more than the 10000",
    );
    refused(&table(10_000), "exports none of");
}

#[test]
fn too_many_segments_are_refused() {
    let data = |segments: usize| around(&format!("(memory 1) {}", "(data \"x\")".repeat(segments)));
    refused(
        &data(90_000),
        "has data segments that number 90000, more than the 10000",
    );
    let elements = |segments: usize| {
        let table = "(table 1 funcref) (func $f) (memory 1)";
        around(&format!("{table} {}", "(elem (i32.const 0) $f)".repeat(segments)))
    };
    refused(
        &elements(20_000),
        "has element segments that number 20000, more than the 10000",
    );
    let long = format!(
        "(func $f) (table 200000 funcref) (elem (i32.const 0) {})",
        "$f ".repeat(200_000)
    );
    refused(&around(&long), "has elements that number 200000, more than the 100000");
    refused(&data(5_000), "exports none of");
}

#[test]
fn instances_that_double_are_counted_before_they_are_made() {
    let mut text = "(component (component $c0 (core module $m) (core instance (instantiate $m)))".to_owned();
    for level in 1..60 {
        let inner = format!("(instance (instantiate $c{}))", level - 1).repeat(2);
        text.extend(["(component $c", &level.to_string(), " ", &inner, ")"]);
    }
    let bomb = text.clone() + "(instance (instantiate $c59)))";
    refused(&bomb, "comes to instances that number");
    // Ten of them are no bomb.
    let few = "(instance (instantiate $c0))".repeat(10);
    let (first, _) = text.split_once("(component $c1").unwrap();
    refused(&format!("{first}{few})"), "exports none of");
}

#[test]
fn types_that_double_are_refused() {
    let tuples: String = (1..100)
        .map(|level| format!("(type $t{level} (tuple $t{before} $t{before}))", before = level - 1))
        .collect();
    refused(
        &format!("(component (type $t0 (tuple u8 u8)) {tuples} (import \"f\" (func (param \"x\" $t99))))"),
        "is not a valid component",
    );
    // Each has two of the one before.
    let instances: String = (1..60)
        .map(|level| {
            let outer = format!("(alias outer 1 $i{} (type $o))", level - 1);
            let two = "(export \"a\" (instance (type $o))) (export \"b\" (instance (type $o)))";
            format!("(type $i{level} (instance {outer} {two}))")
        })
        .collect();
    let doubled = format!("(component (type $i0 (instance)) {instances} (import \"i\" (instance (type $i59))))");
    inspect(&doubled).ends_with(1, &["bomb.wasm"]);
}

/// A pipeline with a component that takes the compiler some seconds and some hundred MB, next to one that does not.
fn slow_to_compile() -> (Folder, String) {
    let folder = Folder::new();
    // Wide functions of few kinds of instructions: within all bounds on what a component may have.
    let body = "local.get 0 i64.const 7 i64.mul i64.const 3 i64.add local.set 0 ".repeat(8_000);
    let functions = format!("(func (param i64) {body})").repeat(40);
    folder.write("slow.wasm", wat::parse_str(around(&functions)).unwrap());
    folder.write("events.jsonl", numbered(3, 1));
    let pipeline = |name: &str, component: &str| {
        format!(
            "[pipeline]\nname = \"{name}\"\n[[source]]\nid = \"events\"\nkind = \"file\"\npath = \"events.jsonl\"\n\
             [[operator]]\nid = \"guest\"\ncomponent = \"{component}\"\nconfig = {{ mode = \"pass\" }}\n\
             [[sink]]\nid = \"out\"\nkind = \"file\"\npath = \"{name}.jsonl\"\n"
        )
    };
    std::fs::copy(guest("map"), folder.path("operator.wasm")).unwrap();
    folder.write("good.toml", pipeline("good", "operator.wasm"));
    (folder, pipeline("slow", "slow.wasm"))
}

#[test]
fn compiling_is_bounded_in_time_and_memory() {
    let (folder, slow) = slow_to_compile();
    folder.write("slow.toml", slow);
    for (limits, words) in [
        (
            "compile_time = \"100ms\"",
            ["took more than 0.1 s of processor time", "`compile_time`"],
        ),
        (
            "compile_memory = \"48MiB\"",
            ["took more than 48 MiB of memory", "`compile_memory`"],
        ),
    ] {
        folder.write("tenants.toml", format!("[default.limits]\n{limits}\n"));
        let finished = Dirigo::run(&folder, ["slow.toml"])
            .args(["--tenants", "tenants.toml"])
            .cache(folder.path("cache"))
            .finish();
        finished.ends_with(78, &["operator `guest` cannot use its component", "slow.toml:"]);
        finished.ends_with(78, &words);
    }
    let finished = Dirigo::run(&folder, ["good.toml"]).cache(folder.path("cache")).finish();
    finished.succeeds();
}

/// Components that are nearly right: bits are flipped where a seed says, which is printed.
#[test]
fn damaged_components_are_refused_or_run_and_never_move_the_host() {
    let seed = number_of("DIRIGO_SEED", u64::from(std::process::id()));
    println!("DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    let whole = std::fs::read(guest("map")).unwrap();
    let folder = Folder::new();
    for _ in 0..24 {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(4) {
            // What says how it is built stands in front; the most of it is code.
            let within = if random.one_in(2) { 4_096 } else { bytes.len() };
            let place = random.below(within);
            bytes[place] ^= 1 << random.below(8);
        }
        folder.write("damaged.wasm", bytes);
        let code = Dirigo::command(&folder, "inspect")
            .args(["damaged.wasm"])
            .cache(folder.path("cache"))
            .finish()
            .code();
        assert!(code == 0 || code == 1, "{code}");
    }
}
