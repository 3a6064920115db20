//! The arrows between the modules of a crate.
//!
//! A module is a file next to `lib.rs`, with the folder of its name. Its arrows are the paths in it that begin with `crate` or
//! lead out of it with `super`; what `lib.rs` exports of a module is that module's. Tests do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::graph::{Graph, on_a_circle};
use crate::{crates, stem};

/// `lib.rs`, as far as it is more than a list of modules and what they export.
const ROOT: &str = "lib";
/// Crates of which some modules still use one another in a circle. None may join them.
const STILL_CIRCULAR: [&str; 5] = ["actor", "bench", "pipeline", "runtime", "state"];

/// A source file: its module, how deep it lies in that, and its text without comments and tests.
struct Source {
    module: String,
    depth: usize,
    text: String,
}

fn sources(src: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    let mut folders = vec![src.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let of_tests: BTreeSet<String> = files.iter().flat_map(|file| test_modules(file)).collect();
    let is_shipped = |file: &&PathBuf| {
        let within = file.strip_prefix(src).unwrap().with_extension("");
        !within.iter().any(|name| of_tests.contains(name.to_str().unwrap()))
    };
    files.iter().filter(is_shipped).map(|file| source(src, file)).collect()
}

/// The modules that a file declares for tests alone, in files of their own.
fn test_modules(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let declared = text.split("#[cfg(test)]\nmod ").skip(1);
    let names = declared.filter_map(|rest| rest.lines().next()?.strip_suffix(';'));
    names.map(str::to_owned).collect()
}

fn source(src: &Path, path: &Path) -> Source {
    let within = path.strip_prefix(src).unwrap().with_extension("");
    let mut names: Vec<&str> = within.iter().map(|name| name.to_str().unwrap()).collect();
    if names.len() > 1 {
        names.pop_if(|name| *name == "mod");
    }
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    Source {
        module: names[0].to_owned(),
        depth: names.len(),
        text: lines.collect::<Vec<_>>().join(" "),
    }
}

/// The paths of a `use` tree, with the names that they have here: `a::{b, c as d}` is `a::b` as `b`, and `a::c` as `d`.
fn paths(tree: &str) -> Vec<(String, String)> {
    let Some((prefix, rest)) = tree.split_once('{') else {
        let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
        let path = path.replace(' ', "");
        let last = path.rsplit("::").next().unwrap().to_owned();
        let name = if alias.is_empty() { last } else { alias.trim().into() };
        return vec![(path, name)];
    };
    let (within, _) = rest.rsplit_once('}').unwrap_or_else(|| panic!("no end of {tree:?}"));
    let (mut parts, mut depth) = (vec![String::new()], 0_u32);
    for character in within.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if character == ',' && depth == 0 {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(character);
        }
    }
    let parts = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    parts
        .flat_map(|part| paths(&format!("{}{part}", prefix.trim())))
        .collect()
}

/// A text without its `use` lines, and those: whether each exports what it names, and its tree.
fn uses(text: &str) -> (String, Vec<(bool, &str)>) {
    let (mut others, mut uses) = (String::new(), Vec::new());
    for statement in text.split_inclusive(';') {
        let (before, tree) = statement.rsplit_once("use ").unwrap_or((statement, ""));
        let is_tree = |character: char| character.is_alphanumeric() || " :_{},*;".contains(character);
        if tree.is_empty() || !tree.chars().all(is_tree) || before.ends_with(char::is_alphanumeric) {
            others.push_str(statement);
        } else {
            let is_export = before.trim_end().ends_with("pub") || before.trim_end().ends_with("pub(crate)");
            others.push_str(before);
            uses.push((is_export, tree.trim_end_matches(';')));
        }
    }
    (others, uses)
}

/// The paths in a text that begin with `first`.
fn paths_from<'a>(text: &'a str, first: &'a str) -> impl Iterator<Item = &'a str> {
    let is_in_path = |character: char| character.is_alphanumeric() || character == '_' || character == ':';
    text.split(move |character| !is_in_path(character))
        .filter(move |path| path.strip_prefix(first).is_some_and(|rest| rest.starts_with("::")))
}

/// The arrows between the modules of the crate in this folder.
fn arrows(src: &Path) -> Graph {
    let sources = sources(src);
    let modules: BTreeSet<&str> = sources.iter().map(|source| source.module.as_str()).collect();
    let root = sources.iter().find(|source| source.module == ROOT);
    let mut exports = BTreeMap::new();
    for (_, tree) in root.map(|root| uses(&root.text).1).into_iter().flatten() {
        for (path, name) in paths(tree) {
            let mut segments = path
                .split("::")
                .skip_while(|segment| ["crate", "self"].contains(segment));
            if let Some(&module) = segments.next().and_then(|first| modules.get(first)) {
                exports.insert(name, module);
            }
        }
    }
    let mut graph = Graph::new();
    for source in &sources {
        let (text, uses) = uses(&source.text);
        // What `lib.rs` only hands on is no arrow of its own.
        let trees = uses
            .iter()
            .filter(|(is_export, _)| !(*is_export && source.module == ROOT));
        let named = trees.flat_map(|(_, tree)| paths(tree)).map(|(path, _)| path);
        let inline = ["crate", "super"]
            .into_iter()
            .flat_map(|first| paths_from(&text, first));
        let own = modules.iter().filter(|_| source.module == ROOT);
        let own = own.flat_map(|module| paths_from(&text, module));
        for path in named.chain(inline.chain(own).map(str::to_owned)) {
            let mut segments = path.split("::").peekable();
            let ups = std::iter::from_fn(|| segments.next_if_eq(&"super")).count();
            let leaves = ups == source.depth || segments.next_if_eq(&"crate").is_some() || source.module == ROOT;
            let Some(first) = segments.next().filter(|_| leaves) else {
                continue;
            };
            let target = match modules.get(first) {
                Some(module) => module,
                None if source.module == ROOT => continue,
                None => exports.get(first).copied().unwrap_or(ROOT),
            };
            if target != source.module {
                graph.entry(source.module.clone()).or_default().insert(target.into());
            }
        }
    }
    graph
}

#[test]
fn no_modules_of_a_crate_use_one_another_in_a_circle() {
    for folder in crates() {
        let graph = arrows(&folder.join("src"));
        let circle = on_a_circle(&graph);
        let is_known = STILL_CIRCULAR.contains(&stem(&folder));
        assert_eq!(
            !circle.is_empty(),
            is_known,
            "{}: {circle:?} in {graph:#?}",
            stem(&folder)
        );
    }
}

#[test]
fn a_path_is_taken_apart_into_what_it_names() {
    let named = paths("crate::{a::{b, c as d}, e}");
    let named: Vec<_> = named
        .iter()
        .map(|(path, name)| (path.as_str(), name.as_str()))
        .collect();
    assert_eq!(named, [("crate::a::b", "b"), ("crate::a::c", "d"), ("crate::e", "e")]);
    let (others, uses) = uses("mod a; pub use a::B; use c::{d, e}; fn f() { crate::g::h(); }");
    assert_eq!(uses, [(true, "a::B"), (false, "c::{d, e}")]);
    assert_eq!(paths_from(&others, "crate").collect::<Vec<_>>(), ["crate::g::h"]);
}
