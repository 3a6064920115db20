//! The API against its own description, and what it answers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::Folder;
use crate::{Serving, deployment, idle};

/// The operations that the document describes: method, path, operation.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if ["get", "put", "post", "delete"].contains(&method.as_str()) {
                operations.push((method.to_uppercase(), path.clone(), operation.clone()));
            }
        }
    }
    operations
}

#[test]
fn each_operation_of_the_document_is_there_asks_for_a_token_and_answers_as_it_says() {
    let folder = Folder::new();
    let service = Serving::start(&folder);
    let document = service.ask("GET", "/api/v1/openapi.json", None).body;
    let operations = operations(&document);
    assert!(operations.len() >= 18, "{}", operations.len());
    let places: BTreeMap<&str, &str> = [("{tenant}", "default"), ("{name}", "none"), ("{sha256}", "0")].into();
    for (method, path, operation) in &operations {
        let place = places
            .iter()
            .fold(path.clone(), |path, (name, value)| path.replace(name, value));
        let is_open = operation["security"]
            .as_array()
            .is_some_and(|schemes| schemes.iter().any(|scheme| scheme == &json!({})));
        let body = (operation["requestBody"].is_object()).then(|| json!({ "pipeline": "" }));
        if is_open {
            continue;
        }
        let anonymous = service.ask_as(None, method, &place, body.as_ref());
        assert_eq!(anonymous.status, 401, "{method} {place}");
        let answer = service.ask("GET", "/api/v1/about", None);
        assert_eq!(answer.status, 200);
        let answer = service.ask(method, &place, body.as_ref());
        let described = &operation["responses"][answer.status.to_string()];
        assert!(
            described.is_object(),
            "{method} {place}: {} is not described: {answer:?}",
            answer.status
        );
    }
    service.end();
}

#[test]
fn what_is_wrong_with_a_request_is_said_with_what_would_be_right() {
    let folder = Folder::new();
    let service = Serving::start(&folder);
    let broken = idle("p").replace("builtin:map", "builtin:mapp");
    for (method, path, body, status, says) in [
        (
            "POST",
            "/api/v1/pipelines",
            Some(json!({ "pipelin": "" })),
            422,
            "unknown field `pipelin`",
        ),
        (
            "POST",
            "/api/v1/pipelines",
            Some(json!([])),
            422,
            "expected struct Deployment",
        ),
        (
            "POST",
            "/api/v1/pipelines",
            Some(json!({ "pipeline": "" })),
            422,
            "the pipeline file is empty",
        ),
        (
            "POST",
            "/api/v1/pipelines",
            Some(deployment(&broken)),
            422,
            "there is no built-in component `mapp`",
        ),
        (
            "POST",
            "/api/v1/check",
            Some(deployment(&broken)),
            422,
            "did you mean `map`?",
        ),
        (
            "GET",
            "/api/v1/tenants/default/pipelines/p",
            None,
            404,
            "tenant `default` has no pipeline `p`",
        ),
        (
            "PUT",
            "/api/v1/tenants/default/pipelines/p",
            Some(deployment(&idle("p"))),
            404,
            "has no pipeline `p`",
        ),
        (
            "POST",
            "/api/v1/tenants/default/pipelines/p/stop",
            None,
            404,
            "has no pipeline `p`",
        ),
        ("GET", "/api/v1/pipelines?tenent=x", None, 400, "unknown field `tenent`"),
    ] {
        let answer = service.ask(method, path, body.as_ref());
        assert_eq!(answer.status, status, "{method} {path} {answer:?}");
        assert!(
            answer.body.to_string().replace("\\\"", "\"").contains(says),
            "{says}: {answer:?}"
        );
    }
    let answer = service.ask("POST", "/api/v1/pipelines", Some(&deployment(&broken)));
    let finding = &answer.body["findings"][0];
    assert_eq!(
        (finding["file"].as_str(), finding["severity"].as_str()),
        (Some("pipeline.toml"), Some("error"))
    );
    assert!(finding["line"].as_u64().unwrap() > 1, "{finding}");
    service.end();
}

#[test]
fn a_check_deploys_nothing() {
    let folder = Folder::new();
    let service = Serving::start(&folder);
    let answer = service.ask("POST", "/api/v1/check", Some(&deployment(&idle("p"))));
    assert_eq!((answer.status, &answer.body["name"]), (200, &json!("p")), "{answer:?}");
    assert_eq!(service.ask("GET", "/api/v1/pipelines", None).body, json!([]));
    assert!(
        std::fs::read_dir(folder.path("service/files"))
            .unwrap()
            .next()
            .is_none()
    );
    service.end();
}
