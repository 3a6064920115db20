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
fn refusal(admitted: &mut SideBySide, loaded: &Loaded) -> Option<String> {
    let letters = loaded.pipeline.dead_letters.as_deref().unwrap_or(Path::new("x"));
    match admitted.place(&loaded.pipeline, letters, loaded.span_index()) {
        Ok(place) => {
            admitted.admit(place);
            None
        }
        Err(problems) => Some(problems.to_string()),
    }
}

#[test]
fn a_pipeline_that_leaves_frees_its_name_its_files_and_its_budget() {
    let mut admitted = SideBySide::new(None, Names::OfProcess);
    let weight = |weight| format!("[tenant]\nweight = {weight}");
    let first = pipeline("p", "acme", "one.jsonl", &weight(2));
    let same_file = pipeline("q", "acme", "one.jsonl", "");
    let same_name = pipeline("p", "acme", "two.jsonl", "");
    let other_budget = pipeline("r", "acme", "three.jsonl", &weight(3));
    assert_eq!(refusal(&mut admitted, &first), None);
    for (refused, says) in [
        (&same_file, "use the same file"),
        (&same_name, "two pipelines are named `p`"),
        (&other_budget, "different budgets"),
    ] {
        let why = refusal(&mut admitted, refused).expect("its file, name or budget is that of the first pipeline");
        assert!(why.contains(says), "{why}");
    }
    admitted.leave(&first.pipeline);
    for freed in [&same_file, &same_name, &other_budget] {
        assert_eq!(refusal(&mut admitted, freed), None);
    }
    assert_eq!(admitted.budgets()["acme"].weight, 3);
    // One that was never admitted has nothing to leave.
    admitted.leave(&pipeline("s", "acme", "four.jsonl", "").pipeline);
    assert!(refusal(&mut admitted, &same_file).is_some());
}

#[test]
fn pipelines_of_two_tenants_may_share_a_name_where_names_are_the_tenants() {
    let mut admitted = SideBySide::new(None, Names::OfTenant);
    assert_eq!(refusal(&mut admitted, &pipeline("p", "acme", "one.jsonl", "")), None);
    assert_eq!(refusal(&mut admitted, &pipeline("p", "other", "two.jsonl", "")), None);
    let why = refusal(&mut admitted, &pipeline("p", "acme", "three.jsonl", ""));
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
    let mut admitted = SideBySide::new(None, Names::OfProcess);
    let first = at("first", &letters);
    assert_eq!(refusal(&mut admitted, &first), None);
    std::fs::write(&letters, "").unwrap();
    let link = folder.path().join("link.jsonl");
    std::fs::hard_link(&letters, &link).unwrap();
    let why = refusal(&mut admitted, &at("second", &letters)).expect("the first pipeline writes this file");
    assert!(why.contains("use the same file"), "{why}");
    admitted.leave(&first.pipeline);
    assert_eq!(refusal(&mut admitted, &at("third", &letters)), None);
    assert!(
        refusal(&mut admitted, &at("fourth", &link)).is_some(),
        "a hard link to the file of the third pipeline"
    );
    std::fs::remove_file(&letters).unwrap();
    assert!(
        refusal(&mut admitted, &at("fifth", &letters)).is_some(),
        "the third pipeline still writes at this path"
    );
}
