//! A reader's way through the pages: from the overview to the evidence by clicks, and news without a reload.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_tests::eventually;

use crate::chromium::Browser;
use crate::looks::DESK;
use crate::page::{Page, signed};
use crate::scene::{FAULTS, Scene};

/// A window, its grace, reports, on a busy machine.
const NEWS: Duration = Duration::from_secs(60);

/// Overview → topic → window → evidence.
pub(crate) fn to_the_evidence(browser: &Browser, scene: &Scene) -> anyhow::Result<()> {
    let (topic, lost) = (scene.topic("orders")?, FAULTS[0].1.lost);
    browser.look(&DESK)?;
    browser.open(&format!("{}/?{}", scene.url, scene.query()))?;
    browser.click(&format!("a.topicname[href*=\"{topic}\"]"))?;
    shows(browser, "the topic", |page, address| {
        ensure!(address.contains(&format!("/t/main/{topic}")) && page.text.contains(topic), "{address}: {}", page.text);
        Ok(())
    })?;
    browser.click("svg.strip a.bad")?;
    shows(browser, "the window and its evidence", |page, address| {
        ensure!(address.contains(&format!("/w/{}", scene.window_ms)), "{address}");
        for word in [format!("at least {lost} missing"), signed('\u{2212}', lost), "missing".to_owned()] {
            ensure!(page.text.contains(&word), "no {word:?} in {}", page.text);
        }
        Ok(())
    })
}

/// A loss that happens while the page is open is on it, without a reload; returns how long after its window's end, s.
pub(crate) fn to_the_news(browser: &Browser, scene: &Scene) -> anyhow::Result<f64> {
    const MORE: u64 = 9;
    let topic = scene.topic("orders")?;
    browser.open(&format!("{}/?from=now-15m&to=now&tz=UTC", scene.url))?;
    let before = signed('\u{2212}', FAULTS[0].1.lost);
    let after = signed('\u{2212}', FAULTS[0].1.lost + MORE);
    let missing = || -> anyhow::Result<String> {
        // The number, and below it its share.
        let cell = Page::read(browser)?.cell(&[topic], "missing")?.to_owned();
        Ok(cell.split_whitespace().next().unwrap_or_default().to_owned())
    };
    ensure!(missing()? == before, "{} missing before", missing()?);
    browser.ask::<()>("window.sameDocument = true; return null;", Vec::new())?;
    let window = scene.lose_more(MORE)?;
    let end = Instant::now() + Duration::from_secs(10);
    eventually(NEWS, "the page shows the new loss", || {
        let shown = missing()?;
        ensure!(shown == after, "{shown}, not {after}; the window began at {window}");
        Ok(())
    })?;
    let took = Instant::now().saturating_duration_since(end).as_secs_f64();
    let same: bool = browser.ask("return window.sameDocument === true;", Vec::new())?;
    ensure!(same, "the page was loaded anew");
    let said: String = browser.ask("return document.querySelector('.live .state').textContent;", Vec::new())?;
    ensure!(said == "live", "the page says {said}");
    // The control: a reload forgets the mark.
    browser.reload()?;
    let same: bool = browser.ask("return window.sameDocument === true;", Vec::new())?;
    ensure!(!same, "a reload keeps the mark, so it proves nothing");
    Ok(took)
}

fn shows(browser: &Browser, what: &str, wanted: impl Fn(&Page, &str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    eventually(Duration::from_secs(10), what, || {
        wanted(&Page::read(browser).context("no page yet")?, &browser.address()?)
    })
}
