//! The console in a browser: what it shows next to what the API answers, what it does, and what events cannot do to it.
//!
//! Needs `npm`, which brings the browser, so this target is not among those that `cargo test` runs; `.ci/run` runs it.

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    reason = "a test that cannot go on fails; plain words matter more than speed here"
)]

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "no suite uses all of it")]
mod support;

#[path = "../service/serving.rs"]
#[allow(dead_code, reason = "the other suite uses all of it")]
mod serving;

mod browser;
mod figures;
mod hostile;
mod pictures;
mod work;

use serde_json::json;

use crate::browser::Browser;
use crate::serving::Serving;
use crate::support::Folder;

/// The page, with the token of an operator of the host.
#[track_caller]
pub(crate) fn signed_in(folder: &Folder, service: &Serving<'_>) -> Browser {
    let mut browser = opened(folder, service);
    sign_in(&mut browser, folder.read("service/operator.token").trim());
    browser.wait("document.querySelector('main h1')?.textContent === 'Pipelines'");
    browser
}

/// The page, without a token.
#[track_caller]
pub(crate) fn opened(folder: &Folder, service: &Serving<'_>) -> Browser {
    let mut browser = Browser::start(folder);
    browser.look(1280, 800, "light");
    browser.call(
        "Page.navigate",
        json!({ "url": format!("http://{}/", service.address) }),
    );
    browser.wait_for("Paste a token");
    browser
}

/// Enters a token.
#[track_caller]
pub(crate) fn sign_in(browser: &mut Browser, token: &str) {
    browser.eval(&format!(
        "document.querySelector('main input').value = {}",
        json!(token)
    ));
    browser.press("Sign in");
}

/// Goes to a page of the console, and waits until it is there.
#[track_caller]
pub(crate) fn go(browser: &mut Browser, page: &str) {
    browser.eval("document.querySelector('main').firstChild.isOld = true");
    browser.eval(&format!("location.hash = {}", json!(format!("#/{page}"))));
    browser.wait("document.querySelector('main').firstChild?.isOld !== true");
}
