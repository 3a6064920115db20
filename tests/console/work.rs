//! What is done with the console: signing in, deploying, stopping, moving with keys; and what it says when it cannot.

use base64::Engine as _;
use serde_json::json;

use crate::hostile::drop_file;
use crate::serving::{Serving, deployment, idle, pushed};
use crate::support::{Folder, guest};
use crate::{go, opened, sign_in, signed_in};

#[test]
fn what_is_wrong_is_said_and_the_page_comes_back_with_the_service() {
    let folder = Folder::new();
    let service = Serving::start(&folder);
    let address = service.address.clone();
    service.ask("POST", "/api/v1/pipelines", Some(&deployment(&idle("push"))));
    let mut browser = opened(&folder, &service);
    sign_in(&mut browser, "no token of this service");
    browser.wait_for("The service does not accept this token");
    assert_eq!(
        browser.eval("Object.keys(sessionStorage).length + Object.keys(localStorage).length"),
        0
    );
    sign_in(&mut browser, folder.read("service/operator.token").trim());
    browser.wait("document.querySelector('.pipelines tbody tr')");
    assert_eq!(
        browser.eval("[Object.keys(sessionStorage), Object.keys(localStorage), document.cookie]"),
        json!([["dirigo.token"], [], ""])
    );

    service.kill();
    browser.wait_for("does not answer");
    assert!(
        browser.text(".pipelines tbody").contains("push"),
        "what was there stays in sight"
    );
    let service = Serving::start_at(&address, &folder, &[]);
    browser.wait("document.getElementById('notice').hidden");

    go(&mut browser, "pipelines/default/none");
    browser.wait_for("There is no pipeline default/none");
    assert_eq!(browser.problems(), [""; 0]);
    browser.press("Sign out");
    browser.wait_for("Paste a token");
    assert_eq!(browser.eval("Object.keys(sessionStorage).length"), 0);
    service.end();
}

#[test]
fn a_viewer_looks_and_is_offered_nothing_else() {
    let folder = Folder::new();
    folder.write(
        "tenants.toml",
        "[[tenant]]\nname = \"acme\"\nlisten = [\"127.0.0.1:0\"]\n[[tenant]]\nname = \"globex\"\nlisten = [\"127.0.0.1:0\"]\n\
         [[token]]\nname = \"watcher\"\ntenant = \"acme\"\nrole = \"viewer\"\ntoken = \"watcher-0123456789abcdef\"\n",
    );
    let service = Serving::start_with(&folder, &["--tenants", "tenants.toml"]);
    for tenant in ["acme", "globex"] {
        let answer = service.ask(
            "POST",
            &format!("/api/v1/pipelines?tenant={tenant}"),
            Some(&deployment(&idle(tenant))),
        );
        assert_eq!(answer.status, 201, "{answer:?}");
        service.wait_for(&format!("{tenant}/{tenant}"), "running");
    }
    let mut browser = opened(&folder, &service);
    sign_in(&mut browser, "watcher-0123456789abcdef");
    browser.wait("document.querySelector('.pipelines tbody tr')");
    assert_eq!(
        browser.eval("document.querySelectorAll('.pipelines tbody tr').length"),
        1,
        "its own alone"
    );
    go(&mut browser, "pipelines/acme/acme");
    browser.wait_for("This token may only look.");
    let buttons = browser.eval("[...document.querySelectorAll('.title button')].map((button) => button.textContent)");
    assert_eq!(buttons, json!([]));
    go(&mut browser, "pipelines/globex/globex");
    browser.wait_for("This token may not do that. This token is of tenant `acme`.");
    assert_eq!(browser.problems(), [""; 0]);
    service.end();
}

#[test]
fn a_pipeline_is_deployed_with_its_component_upgraded_stopped_started_and_deleted() {
    let folder = Folder::new();
    let service = Serving::start(&folder);
    let mut browser = signed_in(&folder, &service);
    let file = pushed(
        "dropped",
        "component = \"guests/map.wasm\"\nconfig = { mode = \"pass\" }",
    );
    // A file may be dropped on any page.
    drop_file(&mut browser, "dropped.toml", &file);
    browser.wait_for("drop this component as well");
    let component = base64::engine::general_purpose::STANDARD.encode(std::fs::read(guest("map")).unwrap());
    browser.eval(&format!(
        "{{ const bytes = Uint8Array.from(atob('{component}'), (letter) => letter.charCodeAt(0)); const data = new DataTransfer();
            data.items.add(new File([bytes], 'map.wasm')); document.body.dispatchEvent(new DragEvent('drop', {{ dataTransfer: data, bubbles: true }})); }}"
    ));
    browser.press("Check");
    browser.wait_for("default/dropped can run.");
    assert_eq!(
        service.ask("GET", "/api/v1/pipelines", None).body,
        json!([]),
        "a check deploys nothing"
    );
    browser.press("Deploy");
    browser.wait_for("default/dropped, version 1, is on disk");
    service.wait_for("default/dropped", "running");
    browser.press("Deploy");
    browser.wait("document.querySelector('dialog[open]')");
    browser.press("Upgrade");
    browser.wait_for("default/dropped, version 2, is on disk");
    service.wait_until("default/dropped", "upgraded", |details| {
        details["version"] == 2 && details["state"] == "running"
    });

    go(&mut browser, "pipelines/default/dropped/versions");
    browser.wait("document.querySelectorAll('.versions li').length === 2");
    browser.press("Roll back to it");
    browser.wait("document.querySelector('dialog[open]')");
    browser.press("Roll back");
    service.wait_until("default/dropped", "back", |details| {
        details["version"] == 1 && details["state"] == "running"
    });

    browser.press("Stop");
    browser.wait("document.querySelector('dialog[open]')");
    browser.press("Cancel");
    assert_eq!(
        service.details("default/dropped")["state"],
        "running",
        "nothing is done without a yes"
    );
    browser.press("Stop");
    browser.wait("document.querySelector('dialog[open]')");
    browser.eval("document.querySelector('dialog .primary').click()");
    service.wait_for("default/dropped", "stopped");
    browser.press("Start");
    service.wait_for("default/dropped", "running");
    browser.press("Delete");
    browser.wait("document.querySelector('dialog .danger').disabled");
    browser.eval("{ const input = document.querySelector('dialog input'); input.value = 'dropped'; input.dispatchEvent(new Event('input')); }");
    browser.eval("document.querySelector('dialog .danger').click()");
    browser.wait_for("There are no pipelines yet.");
    assert_eq!(service.ask("GET", "/api/v1/pipelines", None).body, json!([]));
    assert_eq!(browser.problems(), [""; 0]);
    service.end();
}

#[test]
fn keys_filter_select_open_and_lead_back() {
    let folder = Folder::new();
    let service = Serving::start(&folder);
    for name in ["alpha", "beta", "gamma"] {
        service.ask("POST", "/api/v1/pipelines", Some(&deployment(&idle(name))));
        service.wait_for(&format!("default/{name}"), "running");
    }
    let mut browser = signed_in(&folder, &service);
    browser.wait("document.querySelectorAll('.pipelines tbody tr').length === 3");
    browser.key("/");
    assert_eq!(browser.eval("document.activeElement.type"), "search");
    for letter in ["m", "m"] {
        browser.key(letter);
    }
    browser.wait("document.querySelectorAll('.pipelines tbody tr').length === 1");
    browser.key("Escape");
    browser.wait("document.querySelectorAll('.pipelines tbody tr').length === 3");
    browser.key("ArrowDown");
    browser.key("ArrowDown");
    browser.key("ArrowUp");
    assert_eq!(
        browser.eval("document.querySelector('tr[aria-selected] a').textContent"),
        "beta"
    );
    browser.key("Enter");
    browser.wait("document.title.startsWith('default/beta')");
    browser.key("Escape");
    browser.wait("document.title === 'Dirigo'");
    browser.key("2");
    browser.wait("document.title.startsWith('Tenants')");
    assert_eq!(browser.problems(), [""; 0]);
    service.end();
}

#[test]
fn a_phone_shows_all_without_scrolling_sideways() {
    let folder = Folder::new();
    let service = Serving::start(&folder);
    service.ask("POST", "/api/v1/pipelines", Some(&deployment(&idle("alpha"))));
    service.wait_for("default/alpha", "running");
    let mut browser = signed_in(&folder, &service);
    browser.look(390, 844, "dark");
    for page in [
        "",
        "pipelines/default/alpha",
        "pipelines/default/alpha/versions",
        "tenants",
        "deploy",
    ] {
        go(&mut browser, page);
        browser.wait("document.querySelector('main h1')");
        browser.wait("document.documentElement.scrollWidth <= 390");
    }
    let colour = "getComputedStyle(document.body).backgroundColor";
    let dark = browser.eval(colour);
    browser.look(390, 844, "light");
    assert_ne!(browser.eval(colour), dark);
    service.end();
}
