//! Every way through the pages by keyboard, the filter of the overview, and what makes a live page stand still.

use std::time::Duration;

use anyhow::ensure;
use chaperone_tests::eventually;

use crate::chromium::Browser;
use crate::looks::DESK;
use crate::page::Page;
use crate::scene::Scene;

const SOON: Duration = Duration::from_secs(10);
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";

/// What `g` and a key lead to from the overview: the beginning of the path.
const PLACES: [(&str, &str); 8] = [
    ("o", "/?"),
    ("t", "/t/main/"),
    ("l", "/lag"),
    ("r", "/reporters"),
    ("p", "/pipelines"),
    ("q", "/quarantine"),
    ("d", "/report"),
    ("a", "/about"),
];

pub(crate) fn by_hand(browser: &Browser, scene: &Scene) -> anyhow::Result<()> {
    browser.look(&DESK)?;
    for (key, path) in PLACES {
        overview(browser, scene)?;
        if key == "o" {
            browser.open(&format!("{}/about", scene.url))?;
        }
        browser.press(&["g", key])?;
        at(browser, &format!("g {key}"), |address| match path {
            // The overview has a range in its address or none.
            "/?" => address == format!("{}/", scene.url) || address.starts_with(&format!("{}/?", scene.url)),
            _ => address.starts_with(&format!("{}{path}", scene.url)),
        })?;
    }
    filter(browser, scene)?;
    kiosk(browser, scene)?;
    standstill(browser, scene)
}

fn overview(browser: &Browser, scene: &Scene) -> anyhow::Result<()> {
    browser.open(&format!("{}/?{}", scene.url, scene.query()))
}

fn at(browser: &Browser, what: &str, wanted: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    eventually(SOON, what, || {
        let address = browser.address()?;
        ensure!(wanted(&address), "{address}");
        Ok(())
    })
}

/// Found by a part of its name, typed; kept with *only problems*; all again by one click.
fn filter(browser: &Browser, scene: &Scene) -> anyhow::Result<()> {
    let (wanted, other) = (scene.topic("payments")?, scene.topic("refunds")?);
    let shows = |what: &str, all: &[&str], none: &[&str]| {
        eventually(SOON, what, || {
            let text = Page::read(browser)?.text;
            ensure!(all.iter().all(|t| text.contains(t)) && !none.iter().any(|t| text.contains(t)), "{text}");
            Ok(())
        })
    };
    overview(browser, scene)?;
    shows("all topics", &[wanted, other], &[])?;
    let typed: Vec<String> = wanted.chars().map(String::from).collect();
    browser.press(&["/"])?;
    browser.press(&typed.iter().map(String::as_str).chain([ENTER]).collect::<Vec<_>>())?;
    at(browser, "the filter in the address", |address| address.contains(&format!("q={wanted}")))?;
    shows("the topic that was typed", &[wanted], &[other])?;
    browser.click("nav[aria-label=Show] a:first-child")?;
    at(browser, "only problems", |address| address.contains("only=trouble") && address.contains("q="))?;
    shows("it is one of the problems", &[wanted], &[other])?;
    overview(browser, scene)?;
    browser.press(&["/"])?;
    browser.press(&["n", "o", "n", "e", "s", "u", "c", "h", ENTER])?;
    shows("that none fits", &["No topic fits the filter"], &[wanted, other])?;
    browser.click("main p.note a")?;
    shows("all topics again", &[wanted, other], &[])
}

/// Without what a wall display has no use for, and back.
fn kiosk(browser: &Browser, scene: &Scene) -> anyhow::Result<()> {
    let shown = || browser.ask::<bool>("return document.querySelector('.top .nav').checkVisibility();", Vec::new());
    let becomes = |what: &str, wanted: bool| {
        eventually(SOON, what, || {
            ensure!(shown()? == wanted, "not yet");
            Ok(())
        })
    };
    overview(browser, scene)?;
    ensure!(shown()?, "no navigation to begin with");
    browser.press(&["k"])?;
    at(browser, "kiosk", |address| address.contains("kiosk=1"))?;
    becomes("the navigation is gone", false)?;
    browser.press(&[ESCAPE])?;
    at(browser, "no kiosk", |address| !address.contains("kiosk"))?;
    becomes("the navigation is back", true)
}

/// A live page stands still under the mouse and on demand, says so, and goes on.
fn standstill(browser: &Browser, scene: &Scene) -> anyhow::Result<()> {
    let says = |what: &str, state: &str| {
        eventually(SOON, what, || {
            let said: String = browser.ask("return document.querySelector('.live .state').textContent;", Vec::new())?;
            ensure!(said == state, "the page says {said}, not {state}");
            Ok(())
        })
    };
    browser.open(&format!("{}/?from=now-15m&to=now&tz=UTC", scene.url))?;
    browser.hover("h1")?;
    says("live", "live")?;
    browser.hover("table.topics td")?;
    says("paused under the mouse", "paused")?;
    browser.hover("h1")?;
    says("live again", "live")?;
    browser.press(&["l"])?;
    at(browser, "stopped in the address", |address| address.contains("live=0"))?;
    says("paused on demand", "paused")?;
    browser.press(&["l"])?;
    at(browser, "going on", |address| !address.contains("live=0"))?;
    says("live once more", "live")
}
