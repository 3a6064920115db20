//! Who may do what: tokens, tenants, roles, and what is sent by those who mean ill.

use serde_json::json;

use crate::support::Folder;
use crate::{Serving, deployment, idle};

const ACME: &str = "acme-0123456789abcdef";
const GLOBEX: &str = "globex-0123456789abcdef";
const WATCHER: &str = "watcher-0123456789abcdef";
const EXPIRED: &str = "expired-0123456789abcdef";

/// A folder with two tenants, and tokens for each.
fn tenants() -> Folder {
    let folder = Folder::new();
    folder.write(
        "tenants.toml",
        format!(
            r#"
            [[tenant]]
            name = "acme"
            listen = ["127.0.0.1:0"]
            [[tenant]]
            name = "globex"
            listen = ["127.0.0.1:0"]
            [[token]]
            name = "acme"
            tenant = "acme"
            token = "{ACME}"
            [[token]]
            name = "globex"
            tenant = "globex"
            token = "{GLOBEX}"
            [[token]]
            name = "watcher"
            tenant = "acme"
            role = "viewer"
            token = "{WATCHER}"
            [[token]]
            name = "old"
            tenant = "acme"
            token = "{EXPIRED}"
            expires = "2020-01-01T00:00:00Z"
            "#
        ),
    );
    folder
}

#[test]
fn a_tenant_sees_and_touches_only_its_own() {
    let folder = tenants();
    let service = Serving::start_with(&folder, &["--tenants", "tenants.toml"]);
    let ask = |token, method: &str, path: &str, body| service.ask_as(token, method, path, body);
    let own = deployment(&idle("own"));
    for (token, status) in [
        (None, 401),
        (Some("x"), 401),
        (Some(EXPIRED), 401),
        (Some(WATCHER), 403),
        (Some(ACME), 201),
    ] {
        let answer = ask(token, "POST", "/api/v1/pipelines", Some(&own));
        assert_eq!(answer.status, status, "{token:?} {answer:?}");
    }
    // Each tenant has names of its own.
    assert_eq!(ask(Some(GLOBEX), "POST", "/api/v1/pipelines", Some(&own)).status, 201);
    let twice = ask(Some(ACME), "POST", "/api/v1/pipelines", Some(&own));
    assert_eq!(
        (twice.status, twice.body["error"].as_str()),
        (409, Some("tenant `acme` has a pipeline `own`"))
    );
    let acme = "/api/v1/tenants/acme/pipelines/own";
    for (method, path) in [
        ("GET", acme.to_owned()),
        ("PUT", acme.to_owned()),
        ("DELETE", acme.to_owned()),
        ("POST", format!("{acme}/start")),
        ("POST", format!("{acme}/stop")),
        ("POST", format!("{acme}/rollback")),
        ("GET", format!("{acme}/versions")),
        ("GET", format!("{acme}/logs")),
        ("GET", format!("{acme}/history")),
        ("GET", format!("{acme}/dead-letters")),
        ("GET", "/api/v1/pipelines?tenant=acme".to_owned()),
        ("POST", "/api/v1/pipelines?tenant=acme".to_owned()),
        ("POST", "/api/v1/check?tenant=acme".to_owned()),
        // Whether there is such a pipeline, or such a tenant, does not show.
        ("GET", "/api/v1/tenants/acme/pipelines/none".to_owned()),
        ("GET", "/api/v1/tenants/nobody/pipelines/none".to_owned()),
    ] {
        let body = (method != "GET").then_some(&own);
        let foreign = ask(Some(GLOBEX), method, &path, body);
        assert_eq!(foreign.status, 403, "{method} {path} {foreign:?}");
        let anonymous = ask(None, method, &path, body);
        assert_eq!(anonymous.status, 401, "{method} {path} {anonymous:?}");
        assert!(!anonymous.body.to_string().contains("own"), "{anonymous:?}");
    }
    for (method, path) in [
        ("DELETE", acme.to_owned()),
        ("POST", format!("{acme}/stop")),
        ("PUT", acme.to_owned()),
    ] {
        assert_eq!(
            ask(Some(WATCHER), method, &path, Some(&own)).status,
            403,
            "{method} {path}"
        );
    }
    assert_eq!(ask(Some(WATCHER), "GET", acme, None).status, 200);
    let seen = |token| {
        let listed = ask(Some(token), "GET", "/api/v1/pipelines", None).body;
        let tenant = |pipeline: &serde_json::Value| pipeline["tenant"].as_str().unwrap().to_owned();
        listed.as_array().unwrap().iter().map(tenant).collect::<Vec<_>>()
    };
    assert_eq!(seen(ACME), ["acme"]);
    assert_eq!(seen(GLOBEX), ["globex"]);
    let operator = folder.read("service/operator.token");
    assert_eq!(seen(operator.trim()), ["acme", "globex"]);
    let tenants = ask(Some(GLOBEX), "GET", "/api/v1/tenants", None).body;
    assert_eq!(tenants.as_array().unwrap().len(), 1, "{tenants}");
    assert_eq!(
        ask(Some(GLOBEX), "DELETE", "/api/v1/tenants/globex/pipelines/own", None).status,
        202
    );
    assert_eq!(service.details("acme/own")["name"], "own");
    service.end();
}

#[test]
fn a_pipeline_reaches_no_file_of_the_host_or_of_another_tenant() {
    let folder = tenants();
    folder.write("secret.jsonl", "{\"n\":1}\n");
    let service = Serving::start_with(&folder, &["--tenants", "tenants.toml"]);
    let secret = folder.path("secret.jsonl");
    let reads = |path: &str| {
        format!(
            "[pipeline]\nname = \"p\"\n[[source]]\nid = \"in\"\nkind = \"file\"\npath = \"{path}\"\n[[sink]]\nid = \"out\"\nkind = \
             \"null\"\n"
        )
    };
    let outside = [
        secret.to_str().unwrap(),
        "../../globex/p/out.jsonl",
        "../../../operator.token",
        "../../../pipelines/globex/own.json",
        "/etc/passwd",
    ];
    for path in outside {
        let answer = service.ask_as(Some(ACME), "POST", "/api/v1/pipelines", Some(&deployment(&reads(path))));
        assert_eq!(answer.status, 422, "{path} {answer:?}");
        let said = answer.body["findings"][0]["message"].as_str().unwrap();
        assert!(said.contains("may not read this path"), "{path}: {said}");
    }
    let mut with_folder = deployment(&reads("secret.jsonl"));
    with_folder["folder"] = json!(folder.path(""));
    let answer = service.ask_as(Some(ACME), "POST", "/api/v1/pipelines", Some(&with_folder));
    assert_eq!(answer.status, 422, "{answer:?}");
    assert!(
        answer.body.to_string().contains("only an operator of the host"),
        "{answer:?}"
    );
    // The environment of the service is nobody's but its own.
    let token = idle("p").replace("key = \"/key\"", "token = { env = \"PATH\" }");
    let answer = service.ask_as(Some(ACME), "POST", "/api/v1/pipelines", Some(&deployment(&token)));
    assert_eq!(answer.status, 422, "{answer:?}");
    assert!(
        answer
            .body
            .to_string()
            .contains("not among those that its tenant may read"),
        "{answer:?}"
    );
    // What was refused leaves nothing behind.
    let left: Vec<_> = std::fs::read_dir(folder.path("service/files")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    service.end();
}

#[test]
fn a_pipeline_says_neither_another_tenant_nor_its_own_budget() {
    let folder = tenants();
    let service = Serving::start_with(&folder, &["--tenants", "tenants.toml"]);
    let other = idle("p").replace("name = \"p\"", "name = \"p\"\ntenant = \"globex\"");
    let budget = idle("p") + "[tenant]\nweight = 1000\n";
    let renamed = json!({ "pipeline": idle("p"), "set": ["pipeline.name=q"] });
    for (deployment, says) in [
        (deployment(&other), "this file is of tenant `acme`, and says `globex`"),
        (deployment(&budget), "does not say what its tenant may use"),
        (renamed, "is deployed as `p`"),
    ] {
        let answer = service.ask_as(Some(ACME), "POST", "/api/v1/pipelines", Some(&deployment));
        assert_eq!(answer.status, 422, "{answer:?}");
        assert!(answer.body.to_string().contains(says), "{answer:?}");
    }
    service.end();
}

#[test]
fn names_and_hashes_lead_to_no_file_beyond_the_store() {
    let folder = tenants();
    let service = Serving::start_with(&folder, &["--tenants", "tenants.toml"]);
    for (method, path, status) in [
        ("GET", "/api/v1/tenants/acme/pipelines/..%2F..%2Foperator", 404),
        ("DELETE", "/api/v1/tenants/acme/pipelines/..", 404),
        ("GET", "/api/v1/tenants/..%2Facme/pipelines/p", 403),
        ("PUT", "/api/v1/components/..%2F..%2Foperator.token", 422),
        ("PUT", "/api/v1/components/ABC", 422),
        ("DELETE", "/api/v1/components/..%2Fx", 422),
        ("GET", "/api/v1/nothing", 404),
        ("PATCH", "/api/v1/pipelines", 405),
    ] {
        let answer = service.ask_as(Some(ACME), method, path, None);
        assert_eq!(answer.status, status, "{method} {path} {answer:?}");
        assert!(answer.body["error"].is_string(), "{answer:?}");
    }
    let nameless = deployment(&idle("p").replace("name = \"p\"", "name = \"../../p\""));
    let answer = service.ask_as(Some(ACME), "POST", "/api/v1/pipelines", Some(&nameless));
    assert_eq!(answer.status, 422, "{answer:?}");
    assert!(
        answer.body["rendered"].as_str().unwrap().contains("cannot be a name"),
        "{answer:?}"
    );
    service.end();
}

#[test]
fn uploads_are_what_they_say_and_no_larger_than_they_may_be() {
    let folder = tenants();
    let service = Serving::start_with(&folder, &["--tenants", "tenants.toml"]);
    let sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let upload = |body: &str, length: usize| {
        service.send(&format!(
            "PUT /api/v1/components/{sha256} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {ACME}\r\nContent-Length: \
             {length}\r\n\r\n{body}"
        ))
    };
    let text = upload("no wasm", 7);
    assert_eq!(
        (text.status, text.body["error"].as_str()),
        (422, Some("this is no WebAssembly"))
    );
    let other = upload("\0asm1234", 8);
    assert_eq!(other.status, 422, "{other:?}");
    assert!(
        other.body["error"].as_str().unwrap().contains("another SHA-256"),
        "{other:?}"
    );
    let large = service.ask_as(
        Some(ACME),
        "POST",
        "/api/v1/pipelines",
        Some(&json!({ "pipeline": "x".repeat(5 << 20) })),
    );
    assert_eq!(large.status, 413, "{:?}", large.body["error"]);
    let unknown = json!({ "pipeline": idle("p"), "components": { "x.wasm": sha256 } });
    let answer = service.ask_as(Some(ACME), "POST", "/api/v1/pipelines", Some(&unknown));
    assert_eq!(answer.status, 422, "{answer:?}");
    assert!(answer.body.to_string().contains("was not uploaded"), "{answer:?}");
    // What did not come whole is not kept.
    let stored: Vec<_> = std::fs::read_dir(folder.path("service/components/acme"))
        .unwrap()
        .collect();
    assert!(stored.is_empty(), "{stored:?}");
    service.end();
}

#[test]
fn a_service_is_reached_from_this_machine_alone_unless_it_is_told_otherwise() {
    let folder = Folder::new();
    let serve = |args: &[&str]| {
        crate::command(&folder, "serve")
            .args(["--state", "service"])
            .args(args)
            .finish()
    };
    serve(&["--listen", "0.0.0.0:0"]).ends_with(78, &["is beyond this machine", "--insecure"]);
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(folder.path(name)).unwrap().permissions().mode() & 0o777
    };
    let service = Serving::start(&folder);
    assert_eq!((mode("service"), mode("service/operator.token")), (0o700, 0o600));
    serve(&["--listen", "127.0.0.1:0"]).ends_with(1, &["another service uses"]);
    service.end();
}

#[test]
fn a_component_that_is_stored_already_is_answered_once_all_of_it_was_sent() {
    let folder = tenants();
    let service = Serving::start_with(&folder, &["--tenants", "tenants.toml"]);
    // More than a socket takes in before its reader has read.
    let component = "\0asm".to_owned() + &"\0".repeat(4 << 20);
    let sha256 = "98ddf4ad2fb1ca31a769ea8adc49d1574fe9970575f720fc874a3f7d3989308f";
    let upload = format!(
        "PUT /api/v1/components/{sha256} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {ACME}\r\nContent-Length: {}\r\n\r\n{component}",
        component.len()
    );
    assert_eq!(service.send(&upload).status, 201);
    let again = service.send(&upload);
    assert_eq!((again.status, &again.body["bytes"]), (200, &json!(component.len())));
    service.end();
}
