//! Guests with a function that no compiler makes: its body is written here, instruction by instruction.

use std::path::PathBuf;

use wasm_encoder::{BlockType, Encode as _, Function, HeapType, InstructionSink, MemArg};
use wasmparser::{BinaryReader, CodeSectionReader, KnownCustom, Name, Parser, Payload};

use crate::beside::beside_a_victim;
use crate::support::{DeadLetter, Finished, Folder, dead_letters, guest, numbered, pipeline};

/// The function of the guest whose body is put in; it takes a number and gives one.
const FUNCTION: &str = "replaced_by_the_test";
/// The kind of a component's section that is a core module.
const MODULE: u8 = 1;

/// Runs the hostile map with this body in its function, called at every 20th of 40 events.
fn run(body: impl FnOnce(&mut InstructionSink<'_>), limits: &str) -> (Folder, Finished) {
    let wasm = std::fs::read(guest("map")).unwrap();
    run_in(&wasm, body, limits)
}

fn run_in(wasm: &[u8], body: impl FnOnce(&mut InstructionSink<'_>), limits: &str) -> (Folder, Finished) {
    let mut function = Function::new([]);
    body(&mut function.instructions());
    function.instructions().local_get(0).end();
    let folder = pipeline("map", "{ mode = \"injected\", every = 20 }", limits);
    folder.write("guest.wasm", with_body(wasm, &function.into_raw_body()));
    let text = folder.read("pipeline.toml");
    let component: PathBuf = guest("map");
    folder.write(
        "pipeline.toml",
        text.replace(&*component.to_string_lossy(), "guest.wasm"),
    );
    folder.write("events.jsonl", numbered(40, 10));
    let finished = beside_a_victim(&folder);
    (folder, finished)
}

pub(crate) fn a_table_bomb_ends_at_its_limit() {
    let (_, finished) = run(
        |code| {
            code.loop_(BlockType::Empty)
                .ref_null(HeapType::FUNC)
                .i32_const(100)
                .table_grow(0)
                .i32_const(-1)
                .i32_ne()
                .br_if(0)
                .end();
        },
        "",
    );
    // Growth is denied; the guest may live on.
    assert_eq!(finished.succeeds().operator("guest", "dead_letters"), 0);
}

pub(crate) fn a_straight_line_of_slow_instructions_yields_on_its_way() {
    let (_, finished) = run(
        |code| {
            code.local_get(0).f64_convert_i32_u();
            (0..50_000).for_each(|_| {
                code.f64_sqrt();
            });
            code.drop();
        },
        "",
    );
    assert_eq!(finished.succeeds().operator("guest", "dead_letters"), 0);
}

pub(crate) fn one_copy_of_240_mib_yields_on_its_way() {
    run(
        |code| {
            code.i32_const(4_000).memory_grow(0).drop();
            code.i32_const(65_536)
                .i32_const(2_000_000)
                .i32_const(240 << 20)
                .memory_copy(0, 0);
        },
        "[operator.limits]\nmemory = \"256MiB\"\nfuel_per_event = 1_000_000_000",
    );
}

pub(crate) fn wasi_handles_are_held_up_to_a_bound() {
    let wasm = std::fs::read(guest("map")).unwrap();
    let get_stdout = number_of_the_import(&wasm, "get-stdout");
    let (folder, finished) = run_in(
        &wasm,
        |code| {
            code.loop_(BlockType::Empty).call(get_stdout).drop().br(0).end();
        },
        "",
    );
    // The call that finds no room traps, and the instance is dropped with all that it held.
    let dead_letters = dead_letters(&folder, "dead.jsonl");
    assert!(
        dead_letters.iter().map(DeadLetter::number).eq([0, 20]),
        "{dead_letters:?}"
    );
    assert!(
        dead_letters.iter().all(|dead_letter| dead_letter.kind == "trap"),
        "{dead_letters:?}"
    );
    assert!(finished.peak_bytes < 400 << 20, "{} bytes", finished.peak_bytes);
}

pub(crate) fn line_ends_printed_without_end_let_others_run() {
    const HANDLE: u64 = 0;
    const RESULT: i32 = 8;
    const LINE_ENDS: i32 = 64;
    let wasm = std::fs::read(guest("map")).unwrap();
    let get_stdout = number_of_the_import(&wasm, "get-stdout");
    let write = number_of_the_import(&wasm, "[method]output-stream.write");
    let at = |offset| MemArg {
        offset,
        align: 2,
        memory_index: 0,
    };
    let (folder, _) = run_in(
        &wasm,
        |code| {
            // The local becomes the address of two new pages.
            code.i32_const(2).memory_grow(0).i32_const(16).i32_shl().local_set(0);
            code.local_get(0).i32_const(LINE_ENDS).i32_add();
            code.i32_const(i32::from(b'\n')).i32_const(4096).memory_fill(0);
            code.local_get(0).call(get_stdout).i32_store(at(HANDLE));
            code.loop_(BlockType::Empty);
            code.local_get(0).i32_load(at(HANDLE));
            code.local_get(0).i32_const(LINE_ENDS).i32_add().i32_const(4096);
            code.local_get(0).i32_const(RESULT).i32_add();
            code.call(write).br(0).end();
        },
        "[operator.limits]\nfuel_per_event = 1_000_000",
    );
    let dead_letters = dead_letters(&folder, "dead.jsonl");
    assert!(
        dead_letters.iter().map(DeadLetter::number).eq([0, 20]),
        "{dead_letters:?}"
    );
    assert!(
        dead_letters.iter().all(|dead_letter| dead_letter.kind == "fuel"),
        "{dead_letters:?}"
    );
}

/// A section of a binary: its kind and its contents.
fn sections(binary: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut reader = BinaryReader::new(binary, 0);
    reader.read_bytes(8).unwrap();
    let mut sections = Vec::new();
    while !reader.eof() {
        let kind = reader.read_u8().unwrap();
        let bytes = reader.read_var_u32().unwrap() as usize;
        sections.push((kind, reader.read_bytes(bytes).unwrap().to_vec()));
    }
    sections
}

fn assemble(binary: &[u8], sections: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut out = binary[..8].to_vec();
    for (kind, contents) in sections {
        out.push(*kind);
        contents.as_slice().encode(&mut out);
    }
    out
}

/// The component with another body in [`FUNCTION`], and with tables that may grow.
fn with_body(component: &[u8], body: &[u8]) -> Vec<u8> {
    let mut parts = sections(component);
    for (_, module) in parts.iter_mut().filter(|(kind, _)| *kind == MODULE) {
        if let Some(defined) = number_of_the_function(module) {
            *module = replace(module, defined, body);
        }
    }
    assemble(component, &parts)
}

/// The number that a function which the guest imports has in the module with [`FUNCTION`].
fn number_of_the_import(component: &[u8], name: &str) -> u32 {
    let modules = sections(component).into_iter().filter(|(kind, _)| *kind == MODULE);
    let guest = modules
        .map(|(_, module)| module)
        .find(|module| number_of_the_function(module).is_some());
    for payload in Parser::new(0).parse_all(&guest.unwrap()) {
        if let Payload::ImportSection(imports) = payload.unwrap() {
            let functions = imports
                .into_imports()
                .map(Result::unwrap)
                .filter(|import| matches!(import.ty, wasmparser::TypeRef::Func(_)));
            return functions
                .zip(0..)
                .find_map(|(import, number)| (import.name == name).then_some(number))
                .unwrap();
        }
    }
    panic!("the guest imports nothing");
}

/// Which of the functions that the module defines it is.
fn number_of_the_function(module: &[u8]) -> Option<usize> {
    let mut imported = 0;
    for payload in Parser::new(0).parse_all(module) {
        match payload.unwrap() {
            Payload::ImportSection(imports) => {
                let is_function = |import: &wasmparser::Import<'_>| matches!(import.ty, wasmparser::TypeRef::Func(_));
                imported = imports.into_imports().map(Result::unwrap).filter(is_function).count();
            }
            Payload::CustomSection(section) => {
                let KnownCustom::Name(names) = section.as_known() else {
                    continue;
                };
                for name in names {
                    if let Name::Function(functions) = name.unwrap() {
                        let found = functions
                            .into_iter()
                            .map(Result::unwrap)
                            .find(|naming| naming.name.contains(FUNCTION));
                        if let Some(naming) = found {
                            return Some(naming.index as usize - imported);
                        }
                    }
                }
            }
            _ => {}
        }
    }
    None
}

fn replace(module: &[u8], defined: usize, body: &[u8]) -> Vec<u8> {
    const TABLE: u8 = 4;
    const CODE: u8 = 10;
    /// `1`, `funcref`, and the flag that a maximum follows the minimum.
    const ONE_TABLE_WITH_A_MAXIMUM: [u8; 3] = [1, 0x70, 1];
    let mut parts = sections(module);
    for (kind, contents) in &mut parts {
        match *kind {
            TABLE if contents.starts_with(&ONE_TABLE_WITH_A_MAXIMUM) => {
                let mut reader = BinaryReader::new(&contents[3..], 0);
                let minimum = reader.read_var_u32().unwrap();
                *contents = vec![1, 0x70, 0];
                minimum.encode(contents);
            }
            CODE => {
                let bodies = CodeSectionReader::new(BinaryReader::new(contents, 0)).unwrap();
                let mut out = Vec::new();
                bodies.count().encode(&mut out);
                for (n, old) in bodies.into_iter().enumerate() {
                    if n == defined { body } else { old.unwrap().as_bytes() }.encode(&mut out);
                }
                *contents = out;
            }
            _ => {}
        }
    }
    assemble(module, &parts)
}
