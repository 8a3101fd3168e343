//! Range and looks by pointer and keyboard: what a drag or a key changes is in the address, so that a reload shows the same.

use std::time::Duration;

use anyhow::ensure;
use chaperone_tests::eventually;
use serde::Deserialize;
use serde_json::json;

use crate::chromium::Browser;
use crate::looks::DESK;
use crate::scene::Scene;

const SOON: Duration = Duration::from_secs(10);
const WIDTH_MS: i64 = 10_000;
/// How far a range that ends now may have moved on while the page was loaded again: less than any key moves it.
const MOVED_MS: i64 = 6 * WIDTH_MS;

/// What the charts of a page are drawn over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct Axis {
    from: i64,
    to: i64,
}

impl Axis {
    fn length(self) -> i64 {
        self.to - self.from
    }
}

fn axis(browser: &Browser) -> anyhow::Result<Axis> {
    let ask = "const d = document.querySelector('main [data-from]').dataset; return { from: +d.from, to: +d.to };";
    browser.ask(ask, Vec::new())
}

/// Drags over the first chart between two parts of its width.
fn drag(browser: &Browser, from: f64, to: f64) -> anyhow::Result<()> {
    let ask = "const r = document.querySelector('main svg.strip').getBoundingClientRect();
        return [r.left + arguments[0] * r.width, r.left + arguments[1] * r.width, r.top + r.height / 2];";
    let [from, to, y]: [f64; 3] = browser.ask(ask, vec![from.into(), to.into()])?;
    let step =
        |x: f64| json!({ "type": "pointerMove", "duration": 50, "x": x.round(), "y": y.round(), "origin": "viewport" });
    let actions = json!([step(from), { "type": "pointerDown", "button": 0 }, step(f64::midpoint(from, to)), step(to), { "type": "pointerUp", "button": 0 }]);
    browser.act(
        &json!([{ "type": "pointer", "id": "mouse", "parameters": { "pointerType": "mouse" }, "actions": actions }]),
    )
}

/// The axis once it is another one; the same after a reload, or the same moved on with the clock where it ends now.
fn changed(browser: &Browser, what: &str, before: Axis) -> anyhow::Result<Axis> {
    let after = eventually(SOON, what, || {
        let after = axis(browser)?;
        ensure!(after != before, "{after:?} as before");
        Ok(after)
    })?;
    browser.reload()?;
    let again = axis(browser)?;
    let moved_ms = again.from - after.from;
    ensure!(
        again.length() == after.length() && (0..=MOVED_MS).contains(&moved_ms),
        "{what}: {again:?} after a reload, {after:?} before"
    );
    Ok(again)
}

/// Drag, keys of the range, theme on a topic's page.
pub(crate) fn by_hand(browser: &Browser, scene: &Scene) -> anyhow::Result<()> {
    browser.look(&DESK)?;
    let (from, to) = (scene.window_ms - 40 * WIDTH_MS, scene.window_ms + 20 * WIDTH_MS);
    browser.open(&format!("{}/t/main/{}?from={from}&to={to}&tz=UTC", scene.url, scene.topic("orders")?))?;
    let whole = axis(browser)?;
    drag(browser, 0.5, 0.9)?;
    let part = changed(browser, "the part that was dragged over", whole)?;
    let about = |tenths: i64| whole.from + whole.length() * tenths / 10;
    ensure!(
        (part.from - about(5)).abs() <= WIDTH_MS && (part.to - about(9)).abs() <= WIDTH_MS,
        "{part:?} of {whole:?}"
    );
    browser.press(&["-"])?;
    let longer = changed(browser, "a longer range", part)?;
    ensure!((longer.length() - 2 * part.length()).abs() <= 2 * WIDTH_MS, "{longer:?} of {part:?}");
    browser.press(&["["])?;
    let earlier = changed(browser, "an earlier range", longer)?;
    ensure!(earlier.to < longer.to && (earlier.length() - longer.length()).abs() <= 2 * WIDTH_MS, "{earlier:?}");
    browser.press(&["]"])?;
    let later = changed(browser, "a later range", earlier)?;
    ensure!(later.to > earlier.to, "{later:?}");
    browser.press(&["+"])?;
    let shorter = changed(browser, "a shorter range", later)?;
    ensure!(shorter.length() < later.length(), "{shorter:?}");
    // Where nothing was counted keys lead out as well.
    browser.open(&format!(
        "{}/t/main/{}?from={}&to={}",
        scene.url,
        scene.topic("orders")?,
        from - 60 * WIDTH_MS,
        from
    ))?;
    let nothing = axis(browser)?;
    browser.press(&["-"])?;
    changed(browser, "a longer range of nothing", nothing)?;
    browser.press(&["?"])?;
    let is_open = |browser: &Browser| browser.ask::<bool>("return document.querySelector('dialog').open;", Vec::new());
    ensure!(is_open(browser)?, "? does not tell the keys");
    browser.press(&["\u{e00c}"])?;
    ensure!(!is_open(browser)?, "Esc does not close it");
    theme(browser)
}

/// The theme stays, and is there before the first paint: the server writes it.
fn theme(browser: &Browser) -> anyhow::Result<()> {
    let shown = || -> anyhow::Result<String> {
        browser.ask("return document.documentElement.dataset.theme || '';", Vec::new())
    };
    ensure!(shown()?.is_empty(), "a theme before one was chosen: {}", shown()?);
    browser.click("button.theme")?;
    ensure!(shown()? == "dark", "{:?}", shown()?);
    browser.reload()?;
    let ground: String = browser.ask("return getComputedStyle(document.body).backgroundColor;", Vec::new())?;
    ensure!(shown()? == "dark" && ground == "rgb(16, 17, 19)", "{:?} on {ground}", shown()?);
    // Others look as they are told.
    browser.click("button.theme")?;
    browser.ask("document.cookie = 'theme=; Path=/; Max-Age=0'; return null;", Vec::new())
}
