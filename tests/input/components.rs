//! Files that are no operators.

use std::fs;

use crate::support::{Dirigo, Folder, guest, numbered};

/// A folder whose pipeline runs `operator.wasm` over a few events.
fn folder() -> Folder {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "p"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        [[operator]]
        id = "guest"
        component = "operator.wasm"
        config = { mode = "reject", every = 3 }
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#,
    );
    folder.write("events.jsonl", numbered(100, 1));
    folder
}

/// Asserts that no command takes `wasm`, and that each says why in these words.
fn is_refused(folder: &Folder, wasm: impl AsRef<[u8]>, words: &[&str]) {
    folder.write("operator.wasm", wasm);
    Dirigo::command(folder, "inspect")
        .args(["operator.wasm"])
        .finish()
        .ends_with(1, words);
    for subcommand in ["check", "run"] {
        let finished = Dirigo::command(folder, subcommand).args(["pipeline.toml"]).finish();
        finished.ends_with(78, words);
        finished.ends_with(78, &["operator `guest`", "pipeline.toml:"]);
    }
}

#[test]
fn what_is_no_component_is_told_what_it_is() {
    let folder = folder();
    is_refused(&folder, "", &["is empty"]);
    is_refused(&folder, "\0as", &["is not WebAssembly"]);
    is_refused(&folder, "\0asm", &["is cut off after the first bytes"]);
    is_refused(&folder, "#!/bin/sh\nexit 0\n", &["is not WebAssembly"]);
    is_refused(
        &folder,
        b"\0asm\x01\0\0\0",
        &["is a core module, not a component", "wasm32-wasip2"],
    );
    is_refused(
        &folder,
        wat::parse_str("(module (memory 1) (func (export \"map\")))").unwrap(),
        &["is a core module"],
    );
}

#[test]
fn a_missing_file_and_a_folder_are_named() {
    let folder = folder();
    let check = |words: &[&str]| {
        let finished = Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
        finished.ends_with(78, words);
    };
    check(&["operator.wasm"]);
    fs::create_dir(folder.path("operator.wasm")).unwrap();
    check(&["operator.wasm"]);
}

#[test]
fn exports_that_make_no_operator_are_told_apart() {
    let folder = folder();
    let component = |text: &str| wat::parse_str(text).unwrap();
    is_refused(
        &folder,
        component("(component)"),
        &["exports none of", "it exports nothing"],
    );
    is_refused(
        &folder,
        component("(component (instance $i) (export \"acme:shop/till@1.0.0\" (instance $i)))"),
        &["exports none of", "acme:shop/till@1.0.0"],
    );
    is_refused(
        &folder,
        component(
            "(component (instance $i) (export \"dirigo:operator/map@0.2.0\" (instance $i))
             (export \"dirigo:operator/filter@0.2.0\" (instance $i)))",
        ),
        &["exports more than one kind of operator: map, filter"],
    );
    is_refused(
        &folder,
        component("(component (instance $i) (export \"dirigo:operator/map@0.2.0\" (instance $i)))"),
        &["does not export `dirigo:operator/lifecycle@0.2.0`"],
    );
    is_refused(
        &folder,
        component("(component (instance $i) (export \"dirigo:operator/map@0.3.0\" (instance $i)))"),
        &["exports none of", "dirigo:operator/map@0.3.0"],
    );
}

#[test]
fn functions_of_other_types_are_refused_before_anything_runs() {
    let folder = folder();
    let wasm = wat::parse_str(
        r#"
        (component
          (core module $module (func (export "f") (result i32) i32.const 0))
          (core instance $core (instantiate $module))
          (func $f (result u32) (canon lift (core func $core "f")))
          (instance $map (export "map" (func $f)))
          (instance $lifecycle (export "open" (func $f)))
          (export "dirigo:operator/map@0.2.0" (instance $map))
          (export "dirigo:operator/lifecycle@0.2.0" (instance $lifecycle)))
        "#,
    )
    .unwrap();
    is_refused(&folder, wasm, &["does not fit the contract", "build it anew"]);
}

#[test]
fn imports_that_were_not_granted_are_refused_by_name() {
    let folder = folder();
    for import in [
        "wasi:filesystem/preopens@0.2.3",
        "wasi:sockets/tcp@0.2.0",
        "wasi:http/outgoing-handler@0.2.0",
        "acme:vault/keys",
    ] {
        let wasm = wat::parse_str(format!("(component (import \"{import}\" (instance)))")).unwrap();
        is_refused(
            &folder,
            wasm,
            &[&format!("imports `{import}`, which operators are not granted")],
        );
    }
    let both = "(component (import \"acme:vault/keys\" (instance)) (import \"wasi:sockets/udp@0.2.0\" (instance)))";
    is_refused(
        &folder,
        wat::parse_str(both).unwrap(),
        &["imports `acme:vault/keys`, `wasi:sockets/udp@0.2.0`"],
    );
}

#[test]
fn the_settings_of_an_operator_are_listed_with_types_and_defaults() {
    let folder = folder();
    let inspect = |name: &str| {
        let finished = Dirigo::command(&folder, "inspect").args([name]).finish();
        assert_eq!(finished.code(), 0, "{finished:?}");
        finished.stdout
    };
    let reduce = inspect("builtin:reduce");
    for line in [
        "  aggregate  \"avg\" or \"sum\" or \"min\" or \"max\" or \"count\", required\n",
        "  field      a string, optional\n",
    ] {
        assert!(reduce.contains(line), "{line:?} is not in\n{reduce}");
    }
    assert!(
        reduce.contains("state layout    postcard:{value: <Sum({high: f64, low: f64, more: option {"),
        "{reduce}"
    );
    let map = inspect("builtin:map");
    for line in [
        "  field   a string, required\n",
        "  offset  a number, by default 0.0\n",
        "  scale   a number, by default 1.0\n",
    ] {
        assert!(map.contains(line), "{line:?} is not in\n{map}");
    }
    // A user's operator, whose configuration cannot be written down and so tells no defaults.
    let own = inspect(&guest("map").display().to_string());
    assert!(own.contains("  every  a whole number, 0 or more, optional\n"), "{own}");
}

#[test]
fn a_wrong_setting_is_pointed_at_where_it_is_written() {
    let folder = folder();
    let text = folder.read("pipeline.toml").replace("operator.wasm", "builtin:map");
    let check = |config: &str| {
        let written = text.replace("{ mode = \"reject\", every = 3 }", config);
        folder.write("pipeline.toml", &written);
        Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish()
    };
    let column = |config: &str, at: &str| {
        let line = format!("        config = {config}");
        format!(":{}", line.find(at).unwrap() + 1)
    };
    for (config, at, words) in [
        (
            r#"{ field = "n", scael = 2 }"#,
            "scael",
            ["unknown field `scael`", "did you mean `scale`?"],
        ),
        (
            r#"{ field = "n", scale = "2" }"#,
            "\"2\"",
            ["this is a string", "`scale` is a number, by default 1.0"],
        ),
        ("{ scale = 2 }", "{", ["missing field `field`", "add `field`: a string"]),
    ] {
        let finished = check(config);
        finished.ends_with(78, &words);
        finished.ends_with(
            78,
            &[
                "operator `guest` refuses its configuration",
                "pipeline.toml:11",
                &column(config, at),
            ],
        );
    }
    check("{ field = 1, scael = 2 }").ends_with(78, &["this is a whole number", "unknown field `scael`"]);
}

/// Numbers that look random, the same for the same seed.
fn random(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

#[test]
fn a_component_cut_off_anywhere_is_refused() {
    let folder = folder();
    let wasm = fs::read(guest("map")).unwrap();
    let places = random(1).map(|number| usize::try_from(number % wasm.len() as u64).unwrap());
    for place in places.take(16).chain([8, 9, wasm.len() - 1]) {
        println!("cut off at {place} of {}", wasm.len());
        folder.write("operator.wasm", &wasm[..place]);
        let finished = Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
        finished.ends_with(78, &["operator `guest` cannot use its component"]);
    }
}

#[test]
fn a_component_with_a_flipped_bit_is_refused_or_runs_and_the_host_stands() {
    let folder = folder();
    let whole = fs::read(guest("map")).unwrap();
    for number in random(2).take(20) {
        let (place, bit) = (usize::try_from(number % whole.len() as u64).unwrap(), number >> 61);
        println!("bit {bit} of byte {place} is flipped");
        let mut wasm = whole.clone();
        wasm[place] ^= 1 << bit;
        folder.write("operator.wasm", wasm);
        let run = Dirigo::run(&folder, ["pipeline.toml"]).args(["--cache-dir", "off"]);
        let finished = run.set("operator.guest.limits.fuel_per_event", 100_000).finish();
        // What a flip makes of the code is anyone's guess: it may be refused, give up on its events, or do its work.
        if finished.code() == 0 {
            assert_eq!(finished.succeeds().count("events_in"), 100);
        } else {
            assert!([1, 78].contains(&finished.code()), "{finished:?}");
            finished.ends_with(finished.code(), &["error"]);
        }
    }
}
