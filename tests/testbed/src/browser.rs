//! A real browser: Chromium without a window, by Debian's chromium-driver and the WebDriver protocol.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::Program;
use crate::servers::{free_port, root};

/// Time for the start of the driver, and for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page. Dropping the value ends it.
#[derive(Debug)]
pub struct Browser {
    port: u16,
    session: String,
    _driver: Program,
}

impl Browser {
    /// Starts a browser with an empty page.
    pub fn start() -> Self {
        let port = free_port();
        let mut driver = Command::new("chromedriver");
        driver.arg(format!("--port={port}"));
        let driver = Program::run(driver);
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < PATIENCE, "chromedriver does not listen: {}", driver.output());
            std::thread::sleep(Duration::from_millis(20));
        }
        // Root has no sandbox, and containers have a small /dev/shm.
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": {"args": arguments}, "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let begun = request(port, "POST", "/session", &wanted);
        let session = begun["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {begun}")).to_owned();
        Self { port, session, _driver: driver }
    }

    /// Loads a page.
    pub fn open(&self, url: &str) {
        self.command("url", &json!({"url": url}));
    }

    /// Returns the value of a script, such as `return document.title`.
    pub fn script(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({"script": script, "args": []}))
    }

    /// Returns the value that a script passes to the function `arguments[0]` later.
    pub fn script_async(&self, script: &str) -> Value {
        self.command("execute/async", &json!({"script": script, "args": []}))
    }

    /// Returns the text of the first element that a CSS selector finds, with one blank for each space between words.
    pub fn text(&self, selector: &str) -> Option<String> {
        let text = self.script(&format!("return document.querySelector({})?.textContent ?? null", json!(selector)));
        text.as_str().map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Executes a command of the DevTools protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.command("goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// Sets the size of the page, and the colours that the viewer prefers: `light` or `dark`.
    pub fn show_as(&self, width: u32, height: u32, colours: &str) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
        let feature = json!({"features": [{"name": "prefers-color-scheme", "value": colours}]});
        self.devtools("Emulation.setEmulatedMedia", &feature);
    }

    /// Seconds for which the page has used the browser's main thread so far, for scripts, styles, layout and painting, in the time domain of
    /// `Performance.enable`.
    pub fn task_seconds(&self) -> f64 {
        let metrics = self.devtools("Performance.getMetrics", &json!({}));
        let all = metrics["metrics"].as_array().unwrap();
        all.iter().find(|metric| metric["name"] == "TaskDuration").unwrap()["value"].as_f64().unwrap()
    }

    /// The messages of the browser's console so far, such as violations of the policy and errors of scripts.
    pub fn messages(&self) -> Vec<String> {
        let messages = self.command("se/log", &json!({"type": "browser"}));
        let text = |message: &Value| message["message"].as_str().unwrap_or_default().to_owned();
        messages.as_array().unwrap().iter().map(text).collect()
    }

    /// The violations that axe-core finds, one string for each rule: impact, rule, and the first element.
    pub fn accessibility_violations(&self) -> Vec<String> {
        let axe = Command::new(root().join("dev/axe")).output().unwrap();
        assert!(axe.status.success(), "{}", String::from_utf8_lossy(&axe.stderr));
        let axe = String::from_utf8(axe.stdout).unwrap();
        let source = std::fs::read_to_string(Path::new(axe.trim())).unwrap();
        self.script(&source);
        let found = self.script_async("axe.run(document).then(arguments[0], error => arguments[0](String(error)))");
        let violations = found["violations"].as_array().unwrap_or_else(|| panic!("axe failed: {found}"));
        let text = |violation: &Value| {
            format!(
                "{} {}: {}",
                violation["impact"].as_str().unwrap_or("unknown"),
                violation["id"].as_str().unwrap_or_default(),
                violation["nodes"][0]["html"].as_str().unwrap_or_default()
            )
        };
        violations.iter().map(text).collect()
    }

    fn command(&self, name: &str, parameters: &Value) -> Value {
        request(self.port, "POST", &format!("/session/{}/{name}", self.session), parameters)
    }
}

impl Drop for Browser {
    /// The driver ends the browser; without it, the processes of the browser would stay.
    fn drop(&mut self) {
        // A test that fails already must not panic again.
        let end = || request(self.port, "DELETE", &format!("/session/{}", self.session), &Value::Null);
        let _ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(end));
    }
}

/// Sends a request to the driver, and returns the value of its answer.
fn request(port: u16, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(body.as_bytes())).unwrap();
    // The driver announces the end of the connection, and keeps it open.
    let mut connection = BufReader::new(connection);
    let (mut status, mut length) = (String::new(), 0);
    connection.read_line(&mut status).unwrap();
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut answer = vec![0; length];
    connection.read_exact(&mut answer).unwrap();
    let mut content: Value = serde_json::from_slice(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    assert!(status.starts_with("HTTP/1.1 200"), "{method} {path} failed: {}", content["value"]["message"]);
    content["value"].take()
}
