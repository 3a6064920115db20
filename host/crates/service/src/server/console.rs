//! The console: the page at `/` and the files that it is made of.
//!
//! Owns how they are served. They hold no data and ask for no token; the page gets all that it shows from the API, with the token that its user gives
//! it. Browsers are told to run nothing but these files, and to talk to nothing but this service.

use std::sync::LazyLock;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use dirigo_api::hexadecimal;
use sha2::{Digest as _, Sha256};

use super::Shared;
use crate::refused::Refused;

/// What a browser may do with the page. Nothing inline runs, so not even a value of an event that got into the page as markup would.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const PAGE: &str = "index.html";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of the console.
struct File {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
    /// Its `ETag`.
    tag: String,
}

/// All of them.
static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    macro_rules! files {
        ($($name:literal: $kind:expr,)*) => {
            vec![$(File::new($name, $kind, include_str!(concat!("../console/", $name))),)*]
        };
    }
    files! {
        "index.html": "text/html; charset=utf-8",
        "style.css": "text/css; charset=utf-8",
        "icon.svg": "image/svg+xml",
        "api.js": SCRIPT,
        "app.js": SCRIPT,
        "deploy.js": SCRIPT,
        "dom.js": SCRIPT,
        "figures.js": SCRIPT,
        "format.js": SCRIPT,
        "graph.js": SCRIPT,
        "layout.js": SCRIPT,
        "overview.js": SCRIPT,
        "pipeline.js": SCRIPT,
        "rank.js": SCRIPT,
        "sign-in.js": SCRIPT,
        "tap.js": SCRIPT,
        "tenants.js": SCRIPT,
        "timeline.js": SCRIPT,
    }
});

impl File {
    fn new(name: &'static str, kind: &'static str, text: &'static str) -> Self {
        let tag = format!("\"{}\"", &hexadecimal(&Sha256::digest(text))[..32]);
        Self { name, kind, text, tag }
    }
}

pub(super) fn routes() -> Router<Shared> {
    let page = |headers: HeaderMap| async move { answer(PAGE, &headers) };
    let file = |Path(name): Path<String>, headers: HeaderMap| async move { answer(&name, &headers) };
    Router::new().route("/", get(page)).route("/console/{name}", get(file))
}

fn answer(name: &str, request: &HeaderMap) -> axum::response::Response {
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        return Refused::not_found(format!("the console has no file {name:?}")).into_response();
    };
    let has_it = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|tags| tags.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .any(|tag| tag.trim().trim_start_matches("W/") == file.tag);
    let mut response = if has_it {
        let mut unchanged = Response::new(Body::empty());
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        unchanged
    } else {
        Response::new(Body::from(file.text))
    };
    let headers = response.headers_mut();
    let tag = HeaderValue::from_str(&file.tag).expect("a tag is hexadecimal");
    headers.insert(header::ETAG, tag);
    let fixed: [(HeaderName, &'static str); 5] = [
        (header::CONTENT_TYPE, file.kind),
        // A browser asks each time, and a service of another version has other files.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/console");
        let there: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let served: BTreeSet<String> = FILES.iter().map(|file| file.name.to_owned()).collect();
        assert_eq!(served, there);
    }
}
