//! What events, logs and errors cannot do to the console: they are text, whatever is in them.

use serde_json::json;

use crate::serving::{Serving, deployment, idle, passing, pushed};
use crate::support::Folder;
use crate::{go, signed_in};

/// What would run as soon as it became a part of the page.
const SCRIPT: &str = "<img src=x onerror=\"window.owned=1\"><script>window.owned=1</script>";

#[test]
fn a_script_in_an_event_a_log_line_or_an_error_does_not_run() {
    let folder = Folder::with_pipeline(&pushed("push", &passing()));
    let mut service = Serving::start(&folder);
    service.deploys("pipeline.toml");
    let source = service.source();
    // An error that names a file as the pipeline file does: in the state, in the log, and in the list.
    let place = "<img src=x onerror=window.owned=1>";
    let failing = idle("failing").replace("path = \"out.jsonl\"", &format!("path = \"{place}/out.jsonl\""));
    let deployed = service.ask("POST", "/api/v1/pipelines", Some(&deployment(&failing)));
    assert_eq!(deployed.status, 201, "{deployed:?}");
    service.wait_for("default/failing", "running");
    service.ask("POST", "/api/v1/tenants/default/pipelines/failing/stop", None);
    service.wait_for("default/failing", "stopped");
    let place = folder.path("service/files/default/failing").join(place);
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::write(&place, "no folder").unwrap();
    service.ask("POST", "/api/v1/tenants/default/pipelines/failing/start", None);
    let details = service.wait_for("default/failing", "failed");
    assert!(
        details["reason"].as_str().unwrap().contains("<img src=x"),
        "{details:#}"
    );

    let mut browser = signed_in(&folder, &service);
    browser.wait_for("<img src=x onerror=window.owned=1>");
    go(&mut browser, "pipelines/default/failing");
    browser.wait("document.querySelector('.reason')?.textContent.includes('<img src=x')");
    browser.press("Log");
    browser.wait("document.querySelector('.log .message')");
    browser.wait("document.querySelector('.log').textContent.includes('<img src=x')");

    go(&mut browser, "pipelines/default/push");
    browser.wait("document.querySelector('.graph .link')");
    browser.eval("document.querySelector('.graph .link').dispatchEvent(new Event('click'))");
    browser.wait_for("Waiting for events");
    let event = format!("{}\n", json!({ "n": 1, "key": SCRIPT, "value": SCRIPT }));
    // Whether the tap has begun is not to be seen: events are sent until one shows.
    for _ in 0..100 {
        assert_eq!(source.post(event.as_bytes(), &[]).unwrap().status, 200);
        if browser.eval("document.querySelector('.events li') !== null") == true {
            break;
        }
    }
    browser.wait("document.querySelector('.events .value')?.textContent.includes('<script>window.owned=1</script>')");
    assert_eq!(browser.text(".events .key"), SCRIPT);
    browser.eval("document.querySelector('.events li').click()");
    browser.wait("document.querySelector('.events li').hasAttribute('data-open')");

    go(&mut browser, "deploy");
    let broken = pushed("broken", "component = \"builtin:<img src=x onerror=window.owned=1>\"");
    drop_file(&mut browser, "<img src=x onerror=window.owned=1>.toml", &broken);
    browser.press("Check");
    browser.wait("document.querySelector('.rendered')?.textContent.includes('<img src=x')");

    let found = browser.eval("[window.owned ?? null, document.querySelectorAll('main img, main script').length, document.title.includes('owned')]");
    assert_eq!(
        found,
        json!([null, 0, false]),
        "nothing of it ran, and nothing became markup"
    );
    assert_eq!(browser.problems(), [""; 0], "the browser had nothing to refuse");

    // If something became markup all the same, the browser would refuse to run it.
    browser.eval("{ const script = document.createElement('script'); script.textContent = 'window.owned = 1'; document.body.append(script); }");
    browser.eval("{ const image = document.createElement('img'); image.setAttribute('onerror', 'window.owned = 1'); image.src = 'x'; document.body.append(image); }");
    browser.wait("document.querySelector('img[onerror]').complete");
    assert_eq!(browser.eval("window.owned ?? null"), json!(null));
    let refused = browser.problems().join("\n");
    assert!(refused.contains("Content Security Policy"), "{refused}");
    service.end();
}

/// Drops a file on the page.
pub(crate) fn drop_file(browser: &mut crate::Browser, name: &str, text: &str) {
    browser.wait("document.querySelector('main').firstChild");
    browser.eval(&format!(
        "{{ const data = new DataTransfer(); data.items.add(new File([{}], {})); document.body.dispatchEvent(new DragEvent('drop', {{ dataTransfer: data, bubbles: true }})); }}",
        json!(text),
        json!(name)
    ));
}
