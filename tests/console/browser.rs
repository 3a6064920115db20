//! A headless Chromium: where it comes from, and how it is driven.
//!
//! The browser is a package of npm, so that nothing has to be installed by hand. It is driven over two pipes, by the Chrome `DevTools` protocol. Knows
//! nothing of the console.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Folder, target_directory};

const PACKAGE: &str = "@sparticuz/chromium@153.0.0";
/// Unpacks what the package brings: the browser, and the libraries that it needs and that a server has not.
const UNPACK: &str = "const fs = require('fs'), zlib = require('zlib');
for (const [from, to] of [['chromium.br', 'chromium'], ['al2023.tar.br', 'libraries.tar']])
    fs.createReadStream(`node_modules/@sparticuz/chromium/bin/${from}`).pipe(zlib.createBrotliDecompress()).pipe(fs.createWriteStream(to, { mode: 0o755 }));";
/// Between two looks at a page.
const PAUSE: Duration = Duration::from_millis(50);
/// Half a minute of looks.
const LOOKS: u32 = 600;

/// The folder with the browser, which is brought once for each target directory.
fn installed() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = target_directory().join(PACKAGE.replace(['/', '@'], "-"));
        if !folder.exists() {
            let new = target_directory().join(format!("new-browser-{}", std::process::id()));
            fs::create_dir_all(&new).unwrap();
            let run = |program: &str, args: &[&str]| {
                let output = Command::new(program).args(args).current_dir(&new).output();
                let output =
                    output.unwrap_or_else(|error| panic!("starting `{program}`, which brings the browser: {error}"));
                assert!(
                    output.status.success(),
                    "{program}: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
            };
            run(
                "npm",
                &[
                    "install",
                    "--no-audit",
                    "--no-fund",
                    "--ignore-scripts",
                    "--prefix",
                    ".",
                    PACKAGE,
                ],
            );
            run("node", &["-e", UNPACK]);
            run("tar", &["-xf", "libraries.tar"]);
            fs::remove_dir_all(new.join("node_modules")).unwrap();
            // Another process may have been faster.
            if fs::rename(&new, &folder).is_err() {
                fs::remove_dir_all(&new).unwrap();
            }
        }
        folder
    })
}

/// A browser with one page.
pub(crate) struct Browser {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    calls: u64,
    session: Option<String>,
    /// What the page did wrong: errors that nothing took, and what the browser refused to do.
    problems: Vec<String>,
}

impl Browser {
    pub(crate) fn start(folder: &Folder) -> Self {
        let browser = installed();
        // It reads from descriptor 3, and writes to descriptor 4.
        let mut process = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null 2>&1"])
            .arg(browser.join("chromium"))
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", folder.path("browser").display()))
            .arg("about:blank")
            .env("LD_LIBRARY_PATH", browser.join("lib"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut browser = Self {
            process,
            to,
            from: BufReader::new(from),
            calls: 0,
            session: None,
            problems: Vec::new(),
        };
        let page = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached = json!({ "targetId": page["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attached);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method of the protocol.
    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut answer = Vec::new();
            self.from.read_until(0, &mut answer).unwrap();
            assert_eq!(answer.pop(), Some(0), "the browser has ended at {method}");
            let mut answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.calls {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        let problem = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => &params["exceptionDetails"],
            // That a request was refused or not answered is for the page to say.
            Some("Log.entryAdded") if params["entry"]["level"] == "error" && params["entry"]["source"] != "network" => {
                &params["entry"]
            }
            _ => return,
        };
        self.problems.push(problem.to_string());
    }

    /// What the page did wrong since this was last asked.
    pub(crate) fn problems(&mut self) -> Vec<String> {
        // What was said before this call is read by then.
        self.eval("0");
        std::mem::take(&mut self.problems)
    }

    /// What an expression comes to in the page.
    #[track_caller]
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut result = self.call("Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result:#}");
        result["result"]["value"].take()
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub(crate) fn wait(&mut self, expression: &str) {
        for _ in 0..LOOKS {
            if self.eval(&format!("Boolean({expression})")) == true {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        let page = self.eval("document.body.innerText");
        panic!(
            "after half a minute {expression} is not so on the page:\n{}",
            page.as_str().unwrap_or_default()
        );
    }

    /// Waits until the page says something.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) {
        self.wait(&format!("document.body?.innerText.includes({})", json!(text)));
    }

    /// The text of the first element that a selector finds.
    #[track_caller]
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector({}).textContent", json!(selector)));
        text.as_str()
            .unwrap_or_else(|| panic!("there is no {selector}"))
            .to_owned()
    }

    /// Presses the button with this text.
    #[track_caller]
    pub(crate) fn press(&mut self, button: &str) {
        let named = format!(
            "[...document.querySelectorAll('button')].findLast((button) => button.textContent === {})",
            json!(button)
        );
        self.wait(&format!("{named} && !{named}.disabled"));
        self.eval(&format!("{named}.click()"));
    }

    /// Types a key.
    pub(crate) fn key(&mut self, key: &str) {
        let text = match key {
            "Enter" => Some("\r"),
            _ if key.chars().count() == 1 => Some(key),
            _ => None,
        };
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "ArrowUp" => 38,
            "ArrowDown" => 40,
            _ => 0,
        };
        for kind in ["keyDown", "keyUp"] {
            let mut params = json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code });
            if let (Some(text), "keyDown") = (text, kind) {
                params["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", params);
        }
    }

    /// Has the window be of a size, and dark or light.
    pub(crate) fn look(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", scheme);
    }

    /// A picture of what is in the window, as PNG in base 64.
    pub(crate) fn picture(&mut self) -> String {
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        picture["data"].as_str().unwrap().to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
