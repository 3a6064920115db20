//! Pipelines of one process, which come and go.

use std::path::Path;

use dirigo_pipeline::{Loaded, Names, SideBySide};

use crate::good;

fn pipeline(name: &str, tenant: &str, letters: &str, budget: &str) -> Loaded {
    good(&format!(
        "[pipeline]\nname = \"{name}\"\ntenant = \"{tenant}\"\n[[source]]\nid = \"in\"\nkind = \"generator\"\n[[sink]]\nid = \
         \"out\"\nkind = \"null\"\n[dead_letters]\npath = \"/nowhere/{letters}\"\n{budget}"
    ))
}

/// Why a pipeline has no place, if it has none; else it is admitted.
fn refusal(beside: &mut SideBySide, loaded: &Loaded) -> Option<String> {
    let letters = loaded.pipeline.dead_letters.as_deref().unwrap_or(Path::new("x"));
    match beside.place(&loaded.pipeline, letters, loaded.span_index()) {
        Ok(place) => {
            beside.admit(place);
            None
        }
        Err(problems) => Some(problems.to_string()),
    }
}

#[test]
fn a_pipeline_that_leaves_frees_its_name_its_files_and_its_budget() {
    let mut beside = SideBySide::new(None, Names::OfProcess);
    let weight = |weight| format!("[tenant]\nweight = {weight}");
    let first = pipeline("p", "acme", "one.jsonl", &weight(2));
    let same_file = pipeline("q", "acme", "one.jsonl", "");
    let same_name = pipeline("p", "acme", "two.jsonl", "");
    let other_budget = pipeline("r", "acme", "three.jsonl", &weight(3));
    assert_eq!(refusal(&mut beside, &first), None);
    for (refused, says) in [
        (&same_file, "use the same file"),
        (&same_name, "two pipelines are named `p`"),
        (&other_budget, "different budgets"),
    ] {
        let why = refusal(&mut beside, refused).expect("it is in the way of the first");
        assert!(why.contains(says), "{why}");
    }
    beside.leave(&first.pipeline);
    for freed in [&same_file, &same_name, &other_budget] {
        assert_eq!(refusal(&mut beside, freed), None);
    }
    assert_eq!(beside.budgets()["acme"].weight, 3);
    // One that was never admitted has nothing to leave.
    beside.leave(&pipeline("s", "acme", "four.jsonl", "").pipeline);
    assert!(refusal(&mut beside, &same_file).is_some());
}

#[test]
fn pipelines_of_two_tenants_may_share_a_name_where_names_are_the_tenants() {
    let mut beside = SideBySide::new(None, Names::OfTenant);
    assert_eq!(refusal(&mut beside, &pipeline("p", "acme", "one.jsonl", "")), None);
    assert_eq!(refusal(&mut beside, &pipeline("p", "other", "two.jsonl", "")), None);
    let why = refusal(&mut beside, &pipeline("p", "acme", "three.jsonl", ""));
    assert!(why.is_some_and(|why| why.contains("two pipelines are named `p`")));
}

#[test]
fn a_file_that_was_made_since_is_still_that_of_its_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let letters = folder.path().join("letters.jsonl");
    let at = |name: &str, path: &Path| {
        let file = path.display();
        good(&format!(
            "[pipeline]\nname = \"{name}\"\n[[source]]\nid = \"in\"\nkind = \"generator\"\n[[sink]]\nid = \"out\"\nkind = \"null\"\n[dead_letters]\npath = \"{file}\"\n"
        ))
    };
    let mut beside = SideBySide::new(None, Names::OfProcess);
    let first = at("first", &letters);
    assert_eq!(refusal(&mut beside, &first), None);
    std::fs::write(&letters, "").unwrap();
    let link = folder.path().join("link.jsonl");
    std::fs::hard_link(&letters, &link).unwrap();
    let why = refusal(&mut beside, &at("second", &letters)).expect("it is the file of the first");
    assert!(why.contains("use the same file"), "{why}");
    beside.leave(&first.pipeline);
    assert_eq!(refusal(&mut beside, &at("third", &letters)), None);
    assert!(
        refusal(&mut beside, &at("fourth", &link)).is_some(),
        "it is the same file by another name"
    );
    std::fs::remove_file(&letters).unwrap();
    assert!(
        refusal(&mut beside, &at("fifth", &letters)).is_some(),
        "it may make it again"
    );
}
