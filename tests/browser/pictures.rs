//! Pictures of every screen for the README: `chaperone demo` with a loss, a doubled and a stalled message flow, photographed
//! once its faults are on the page. Always the same scene in the same size; times and hosts are those of the day.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chaperone_tests::demo::{Demo, Event};
use chaperone_tests::{api, eventually, paths};
use serde_json::json;

use crate::chromium::{Browser, Look};
use crate::looks::{DARK, DESK, NARROW};

/// Of each file.
const BYTES_MAX: usize = 150_000;
/// Tallest picture, CSS pixels: what is below is more of the same.
const TALLEST: u32 = 1600;
/// What the demo does: all at once, so that the rest of the page is calm.
const FAULTS: [&str; 2] = ["--faults", "loss:hop=3,count=37;dup:hop=2,count=12;masked:hop=4,count=5"];

/// Windows before the picture is taken.
const WINDOWS: usize = 15;
/// Those windows, and those that are not judged yet.
const RANGE: &str = "from=now-3m&to=now&tz=UTC";

/// A file below `docs/screens`, the page that it shows, and how.
type Picture = (&'static str, fn(&Shown) -> String, Look);

const PICTURES: &[Picture] = &[
    ("overview", |_| format!("/?{RANGE}"), DESK),
    ("overview-dark", |_| format!("/?{RANGE}"), DARK),
    ("topic", |shown| shown.topic.clone(), DESK),
    ("topic-dark", |shown| shown.topic.clone(), DARK),
    ("topic-narrow", |shown| shown.topic.clone(), NARROW),
    ("window", |shown| shown.window.clone(), DESK),
    ("reporters", |_| "/reporters?back=15m".to_owned(), DESK),
    ("pipelines", |_| "/pipelines".to_owned(), DESK),
    ("quarantine", |_| "/quarantine".to_owned(), DESK),
    ("report", |_| "/report?day=today&tz=UTC".to_owned(), DESK),
    ("about", |_| "/about".to_owned(), DESK),
    ("lag", |_| "/lag".to_owned(), DESK),
];

/// Addresses of the demo, without its host.
struct Shown {
    topic: String,
    window: String,
}

#[test]
fn pictures_of_every_screen() -> anyhow::Result<()> {
    let browser = Browser::start()?;
    let mut demo = Demo::start(&[&FAULTS[..], &["--duration", "400"]].concat())?;
    let minutes = Duration::from_secs(180);
    let url = demo.first("the dashboard", minutes, |event| match event {
        Event::Ready { url } => Some(url.clone()),
        _ => None,
    })?;
    let url = url.trim_end_matches('/').to_owned();
    // All three: the last one that is seen is the last one that was made.
    for id in 1..=3 {
        demo.first("a fault is seen", minutes, |event| {
            matches!(event, Event::Caught { id: of, .. } if *of == id).then_some(())
        })?;
    }
    let window = demo.first("the loss", minutes, |event| match event {
        Event::Caught { verdict, url, .. } if verdict == "missing" => Some(url.clone()),
        _ => None,
    })?;
    let window = window.strip_prefix(&url).context("another host")?.to_owned();
    let (path, query) = window.split_once('?').context("no query")?;
    let at = query.split('&').find_map(|p| p.strip_prefix("w=")).context("no window")?;
    let shown = Shown { window: format!("{path}/w/{at}?{RANGE}"), topic: format!("{path}?{RANGE}") };
    eventually(Duration::from_secs(300), "enough windows", || {
        let rows = api::windows_by(&url, "from=now-1h&to=now")?;
        let judged: BTreeSet<i64> = rows.iter().filter(|w| !w.is_pending()).map(|w| w.window_ms).collect();
        ensure!(judged.len() >= WINDOWS, "{} of {WINDOWS}", judged.len());
        Ok(())
    })?;
    for (name, path, look) in PICTURES {
        browser.look(look)?;
        browser.open(&format!("{url}{}", path(&shown)))?;
        take(&browser, name, look)?;
    }
    Ok(())
}

/// The whole page, in a palette.
fn take(browser: &Browser, name: &str, look: &Look) -> anyhow::Result<()> {
    let height: u32 = browser.ask("return Math.ceil(document.body.getBoundingClientRect().height);", Vec::new())?;
    browser.look(&Look { height: height.clamp(200, TALLEST), ..*look })?;
    browser.protocol("Emulation.setScrollbarsHidden", &json!({ "hidden": true }))?;
    let answer = browser.protocol("Page.captureScreenshot", &json!({ "format": "png" }))?;
    let picture = STANDARD.decode(answer["data"].as_str().context("no picture")?)?;
    let folder = paths::root().join("docs/screens");
    std::fs::create_dir_all(&folder)?;
    let whole = paths::scratch("pictures")?.join(format!("{name}.png"));
    std::fs::write(&whole, picture)?;
    let file = folder.join(format!("{name}.png"));
    let mut quantize = Command::new("pngquant");
    quantize.args(["--force", "--speed", "1", "--strip", "--output"]).arg(&file).args(["64", "--"]).arg(&whole);
    let status = quantize.stdin(Stdio::null()).status().context("cannot start pngquant: apt-get install pngquant")?;
    ensure!(status.success(), "pngquant ended with {status}");
    let bytes = std::fs::metadata(&file)?.len();
    println!("{} {bytes} bytes", file.display());
    ensure!(usize::try_from(bytes)? <= BYTES_MAX, "{name}: {bytes} bytes");
    Ok(())
}
