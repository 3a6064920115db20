//! The console as it is served: the page and its files. What it does in a browser is another suite's, `console`.

use std::collections::BTreeSet;

use crate::Serving;
use crate::support::{Answer, Folder};

const POLICY: &str = "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n";

/// The files that the page and its scripts name, the page first.
fn files(service: &Serving<'_>) -> Vec<(String, Answer)> {
    let mut paths = vec!["/".to_owned()];
    let mut files: Vec<(String, Answer)> = Vec::new();
    let mut known: BTreeSet<String> = paths.iter().cloned().collect();
    while let Some(path) = paths.pop() {
        let answer = service.ask_as(None, "GET", &path, None);
        assert_eq!(answer.status, 200, "{path} {answer:?}");
        let text = answer.body.as_str().unwrap();
        let named = text.split(['"', '\'']).filter_map(|part| {
            let name = part.strip_prefix("/console/").or_else(|| part.strip_prefix("./"))?;
            Some(format!("/console/{name}"))
        });
        for path in named {
            if known.insert(path.clone()) {
                paths.push(path);
            }
        }
        files.push((path, answer));
    }
    files
}

#[test]
fn the_page_and_its_files_need_no_token_and_hold_what_was_built() {
    let folder = Folder::new();
    let service = Serving::start(&folder);
    let files = files(&service);
    assert!(
        files.len() >= 15,
        "{:?}",
        files.iter().map(|(path, _)| path).collect::<Vec<_>>()
    );
    let token = folder.read("service/operator.token");
    for (path, answer) in &files {
        for header in [
            POLICY,
            "x-content-type-options: nosniff\r\n",
            "cache-control: no-cache\r\n",
            "referrer-policy: no-referrer\r\n",
            "etag: \"",
        ] {
            assert!(answer.head.contains(header), "{path} lacks {header:?}: {}", answer.head);
        }
        assert!(!answer.head.contains("set-cookie"), "{path}: {}", answer.head);
        let kind = match path.rsplit_once('.').map(|(_, ending)| ending) {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert!(
            answer.head.contains(&format!("content-type: {kind}\r\n")),
            "{path}: {}",
            answer.head
        );
        let text = answer.body.as_str().unwrap();
        assert!(!text.contains(token.trim()), "{path} holds the token");
        // What could make markup of a value, or load something from elsewhere.
        for never in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "DOMParser",
            "localStorage",
        ] {
            assert!(!text.contains(never), "{path} has {never}");
        }
        let elsewhere = text.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !elsewhere.contains("http://") && !elsewhere.contains("https://"),
            "{path} names another place"
        );
    }
    // The same with a token, and without: there is nothing in them that is anyone's.
    let with_token = service.ask("GET", "/", None);
    assert_eq!(with_token.body, files[0].1.body);
    service.end();
}

#[test]
fn the_page_has_neither_scripts_nor_styles_of_its_own() {
    let folder = Folder::new();
    let service = Serving::start(&folder);
    let page = service.ask_as(None, "GET", "/", None).body.as_str().unwrap().to_owned();
    for tag in page.split("<script").skip(1) {
        let (attributes, rest) = tag.split_once('>').unwrap();
        assert!(attributes.contains("src=\"/console/"), "{attributes}");
        assert!(rest.starts_with("</script>"), "{rest}");
    }
    for never in ["<style", " style=", "javascript:"] {
        assert!(!page.contains(never), "{never}");
    }
    let handler = page
        .split(char::is_whitespace)
        .find(|word| word.starts_with("on") && word.contains("=\""));
    assert_eq!(handler, None);
    service.end();
}

#[test]
fn a_browser_that_has_a_file_is_sent_it_once() {
    let folder = Folder::new();
    let service = Serving::start(&folder);
    let ask = |method: &str, path: &str, tag: &str| {
        service.send(&format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIf-None-Match: {tag}\r\n\r\n"
        ))
    };
    for path in ["/", "/console/app.js"] {
        let whole = ask("GET", path, "\"another\"");
        assert_eq!(whole.status, 200, "{path}");
        let tag = whole
            .head
            .split("etag: ")
            .nth(1)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}")] {
            let again = ask("GET", path, &known);
            assert_eq!((again.status, again.body.as_str()), (304, Some("")), "{path} {known}");
            assert!(
                again.head.contains(&tag) && again.head.contains(POLICY),
                "{}",
                again.head
            );
        }
        let head = ask("HEAD", path, "\"another\"");
        assert_eq!((head.status, head.body.as_str()), (200, Some("")), "{path}");
        let length = whole.body.as_str().unwrap().len();
        assert!(
            head.head.contains(&format!("content-length: {length}")),
            "{}",
            head.head
        );
    }
    let none = service.ask_as(None, "GET", "/console/none.js", None);
    assert_eq!(
        (none.status, none.body["error"].as_str()),
        (404, Some("the console has no file \"none.js\""))
    );
    assert_eq!(service.ask_as(None, "POST", "/", None).status, 405);
    assert_eq!(
        service
            .ask_as(None, "GET", "/console/..%2F..%2Foperator.token", None)
            .status,
        404
    );
    service.end();
}
