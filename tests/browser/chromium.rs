//! A real Chromium, driven by `WebDriver`.
//!
//! One page at a time, calls that block. Everything that the browser complains of (a refusal by the content security
//! policy, an error on the console, a file that is not there) is kept until [`Browser::complaints`] takes it. Driver and
//! browser die with the process: the driver by its guard, the browser because its end of their pipe closes.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::Context;
use chaperone_tests::programs::{self, Program};
use chaperone_tests::{paths, process};
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use url::Url;

/// A busy machine starts a browser.
const STARTS: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);

/// A running browser with one page.
pub(crate) struct Browser {
    runtime: Runtime,
    client: Client,
    driver: Program,
    _profile: TempDir,
}

/// How a page is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) name: &'static str,
    /// CSS pixels.
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) dark: bool,
    /// Whether the page may run its scripts.
    pub(crate) script: bool,
}

/// A `WebDriver` command that the standard does not have.
#[derive(Debug)]
struct Extension {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }
    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

#[derive(Deserialize)]
struct Entry {
    level: String,
    message: String,
}

impl Browser {
    /// Starts driver and browser.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut driver = programs::installed("chromedriver", &["--port=0"], &[("TZ".to_owned(), "UTC".to_owned())])?;
        let said = "started successfully on port ";
        let line = driver.line("the browser's driver listens", STARTS, |line| line.contains(said))?;
        let (_, port) = line.rsplit_once(said).context("no port")?;
        let profile = TempDir::with_prefix_in("chromium-", paths::scratch("browser")?)?;
        let data = format!("--user-data-dir={}", profile.path().display());
        // The sandbox wants a user that is not root, and namespaces that containers lack; only our own pages are shown.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
            "--lang=en",
            &data,
        ];
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let capabilities: Capabilities = wanted.as_object().cloned().context("no object")?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let address = format!("http://127.0.0.1:{}", port.trim_end_matches('.'));
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities);
        let client = runtime.block_on(builder.connect(&address)).with_context(|| driver.output())?;
        Ok(Self { runtime, client, driver, _profile: profile })
    }

    /// Shows a page; returns once it is loaded.
    pub(crate) fn open(&self, url: &str) -> anyhow::Result<()> {
        self.runtime.block_on(self.client.goto(url)).with_context(|| format!("opening {url}"))
    }

    /// The address that is shown.
    pub(crate) fn address(&self) -> anyhow::Result<String> {
        Ok(self.runtime.block_on(self.client.current_url())?.to_string())
    }

    /// Loads the page anew.
    pub(crate) fn reload(&self) -> anyhow::Result<()> {
        Ok(self.runtime.block_on(self.client.refresh())?)
    }

    /// Clicks what the CSS selector finds first; again, where a live page was swapped between finding and clicking.
    pub(crate) fn click(&self, selector: &str) -> anyhow::Result<()> {
        chaperone_tests::eventually(SOON, &format!("clicking {selector}"), || {
            let click = async { self.client.find(Locator::Css(selector)).await?.click().await };
            Ok(self.runtime.block_on(click)?)
        })
    }

    /// What a function's body returns that is called in the page, for arguments that it finds in `arguments`. Neither the
    /// page's policy nor a [`Look`] without scripts keeps it from running.
    pub(crate) fn ask<T: DeserializeOwned>(&self, body: &str, arguments: Vec<Value>) -> anyhow::Result<T> {
        let answer = self.runtime.block_on(self.client.execute(body, arguments))?;
        serde_json::from_value(answer.clone()).with_context(|| format!("not what was asked for: {answer}"))
    }

    /// The same for a function that calls back: its last argument.
    pub(crate) fn ask_later<T: DeserializeOwned>(&self, body: &str, arguments: Vec<Value>) -> anyhow::Result<T> {
        let answer = self.runtime.block_on(self.client.execute_async(body, arguments))?;
        serde_json::from_value(answer.clone()).with_context(|| format!("not what was asked for: {answer}"))
    }

    /// Keys and pointer, as `WebDriver`'s actions.
    pub(crate) fn act(&self, actions: &Value) -> anyhow::Result<()> {
        self.extension("actions", json!({ "actions": actions })).map(drop)
    }

    /// Presses and lets go of keys, one after another.
    pub(crate) fn press(&self, keys: &[&str]) -> anyhow::Result<()> {
        let strokes =
            keys.iter().flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })));
        self.act(&json!([{ "type": "key", "id": "keys", "actions": strokes.collect::<Vec<Value>>() }]))
    }

    /// Moves the mouse onto the middle of what the CSS selector finds first.
    pub(crate) fn hover(&self, selector: &str) -> anyhow::Result<()> {
        let ask = "const r = document.querySelector(arguments[0]).getBoundingClientRect();
            return [Math.round(r.left + r.width / 2), Math.round(r.top + r.height / 2)];";
        let [x, y]: [i64; 2] = self.ask(ask, vec![selector.into()])?;
        let step = json!({ "type": "pointerMove", "duration": 50, "x": x, "y": y, "origin": "viewport" });
        let mouse = json!({ "pointerType": "mouse" });
        self.act(&json!([{ "type": "pointer", "id": "mouse", "parameters": mouse, "actions": [step] }]))
    }

    /// From now on pages are looked at like this.
    pub(crate) fn look(&self, look: &Look) -> anyhow::Result<()> {
        let scheme = if look.dark { "dark" } else { "light" };
        let size = json!({ "width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": false });
        self.protocol("Emulation.setDeviceMetricsOverride", &size)?;
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.protocol("Emulation.setEmulatedMedia", &media)?;
        self.protocol("Emulation.setScriptExecutionDisabled", &json!({ "value": !look.script })).map(drop)
    }

    /// A command of Chromium's own protocol.
    pub(crate) fn protocol(&self, command: &str, parameters: &Value) -> anyhow::Result<Value> {
        self.extension("goog/cdp/execute", json!({ "cmd": command, "params": parameters }))
    }

    /// What the browser complained of since the last call.
    pub(crate) fn complaints(&self) -> anyhow::Result<Vec<String>> {
        let entries: Vec<Entry> = serde_json::from_value(self.extension("se/log", json!({ "type": "browser" }))?)?;
        let serious = entries.into_iter().filter(|entry| matches!(entry.level.as_str(), "SEVERE" | "WARNING"));
        Ok(serious.map(|entry| entry.message).collect())
    }

    fn extension(&self, path: &'static str, body: Value) -> anyhow::Result<Value> {
        self.runtime.block_on(self.client.issue_cmd(Extension { path, body })).with_context(|| path.to_owned())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser first: killed alone, the driver would leave it to notice by itself.
        process::kill_tree(self.driver.process.id());
    }
}
