//! Each screen as each kind of reader sees it: what it says, and what browser, layout and axe-core find wrong.

use anyhow::Context;
use chaperone_tests::axe;
use serde::Deserialize;
use serde_json::json;

use crate::chromium::{Browser, Look};
use crate::page::Page;
use crate::scene::Scene;
use crate::screens::{SCREENS, Screen};

pub(crate) const DESK: Look = Look { name: "light", width: 1440, height: 1000, dark: false, script: true };
pub(crate) const DARK: Look = Look { name: "dark", dark: true, ..DESK };
pub(crate) const NARROW: Look = Look { name: "400 px", width: 400, height: 800, ..DESK };
pub(crate) const NO_SCRIPT: Look = Look { name: "no script", script: false, ..DESK };

/// Which of axe-core's findings count.
const IMPACTS: [&str; 2] = ["serious", "critical"];

/// Runs axe-core on what is shown.
const AXE: &str = "
const done = arguments[arguments.length - 1];
axe.run(document, { resultTypes: ['violations'], ...(arguments[0] ? { runOnly: arguments[0] } : {}) }).then(
  (result) => done(result.violations.map((v) => ({
    rule: v.id, impact: v.impact || '', places: v.nodes.map((n) => n.target.join(' ') + ': ' + n.failureSummary.split('\\n').slice(1).join(' ')),
  }))),
  (error) => done([{ rule: String(error), impact: 'critical', places: ['axe did not run'] }]));";

/// How many pixels a reader would have to scroll sideways, and what sticks out.
const OVERHANG: &str = "
const wide = document.scrollingElement.scrollWidth, view = document.documentElement.clientWidth;
if (wide <= view) return [];
const out = [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > view + 1 && !e.closest('.scroll'));
return [wide + ' px wide in ' + view, ...out.slice(0, 3).map((e) => e.tagName + '.' + (e.getAttribute('class') || ''))];";

#[derive(Debug, Deserialize)]
struct Violation {
    rule: String,
    impact: String,
    places: Vec<String>,
}

/// What was found; `shown` counts screens that were right in every look.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) shown: usize,
    pub(crate) findings: Vec<String>,
}

/// What axe-core finds serious or critical on the page that is shown. Dark pages differ in their colours only.
pub(crate) fn inaccessible(browser: &Browser, look: &Look) -> anyhow::Result<Vec<String>> {
    let there: bool = browser.ask("return 'axe' in window;", Vec::new())?;
    if !there {
        // In the page's own world, as a debugger would: its policy allows no script of ours.
        browser.ask::<()>(&format!("{}; return null;", axe::source()?), Vec::new())?;
    }
    let rules = if look.dark { json!(["color-contrast"]) } else { json!(null) };
    let violations: Vec<Violation> = browser.ask_later(AXE, vec![rules])?;
    let serious = violations.into_iter().filter(|v| IMPACTS.contains(&v.impact.as_str()));
    Ok(serious.map(|v| format!("axe: {} ({}) at {}", v.rule, v.impact, v.places.join(" | "))).collect())
}

/// What sticks out of the page that is shown.
pub(crate) fn overhang(browser: &Browser) -> anyhow::Result<Vec<String>> {
    let found: Vec<String> = browser.ask(OVERHANG, Vec::new())?;
    Ok(if found.is_empty() { found } else { vec![format!("sideways: {}", found.join(", "))] })
}

/// All that is wrong with the page that is shown, but for what it says.
pub(crate) fn faults(browser: &Browser, look: &Look) -> anyhow::Result<Vec<String>> {
    let mut found: Vec<String> = browser.complaints()?.into_iter().map(|c| format!("console: {c}")).collect();
    found.extend(overhang(browser)?);
    if look.script {
        found.extend(inaccessible(browser, look)?);
    }
    Ok(found)
}

/// Whatever a page says that is not what it should.
pub(crate) fn untrue(scene: &Scene, screen: &Screen, page: &Page, look: &Look) -> Vec<String> {
    let narrow = look.width <= NARROW.width;
    match (screen.facts)(scene, page) {
        Ok(facts) => facts.iter().filter_map(|fact| fact.wrong(narrow)).collect(),
        Err(error) => vec![format!("{error:#}")],
    }
}

/// Looks at every screen in every way.
pub(crate) fn at_all(browser: &Browser, scene: &Scene) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut right = vec![true; SCREENS.len()];
    // What was there before is nobody's.
    browser.complaints()?;
    for look in [DESK, DARK, NARROW, NO_SCRIPT] {
        browser.look(&look)?;
        for (screen, right) in SCREENS.iter().zip(&mut right) {
            let path = (screen.path)(scene).with_context(|| screen.name.to_owned())?;
            browser.open(&format!("{}{path}", scene.url))?;
            let mut found = untrue(scene, screen, &Page::read(browser)?, &look);
            found.extend(faults(browser, &look)?);
            *right &= found.is_empty();
            outcome.findings.extend(found.into_iter().map(|text| format!("{}, {}: {text}", screen.name, look.name)));
        }
    }
    browser.look(&DESK)?;
    outcome.shown = right.iter().filter(|right| **right).count();
    Ok(outcome)
}

/// That what is looked for would be found: one wrong digit, grey on grey, a script in the page, something that is too wide.
pub(crate) fn controls(browser: &Browser, scene: &Scene) -> anyhow::Result<Vec<String>> {
    let screen = &SCREENS[0];
    let fresh = || -> anyhow::Result<()> {
        // It stands still: news would put the page in order again.
        browser.open(&format!("{}{}&live=0", scene.url, (screen.path)(scene)?))?;
        browser.complaints().map(drop)
    };
    let mut blind = Vec::new();
    let mut must = |what: &str, found: Vec<String>, word: &str| {
        if !found.iter().any(|text| text.contains(word)) {
            blind.push(format!("{what} is not noticed: {found:?}"));
        }
    };
    fresh()?;
    let lie =
        "const cell = [...document.querySelectorAll('td.t-missing span')].find((e) => /[1-9]/.test(e.textContent));
        cell.textContent = cell.textContent.replace(/[1-9]/, (d) => d === '9' ? '8' : String(+d + 1)); return null;";
    browser.ask::<()>(lie, Vec::new())?;
    must("a wrong number", untrue(scene, screen, &Page::read(browser)?, &DESK), "missing: shown");
    fresh()?;
    let pale = "const e = document.querySelector('h1'); e.style.color = '#777'; e.style.backgroundColor = '#888'; return null;";
    browser.ask::<()>(pale, Vec::new())?;
    must("grey on grey", inaccessible(browser, &DESK)?, "color-contrast");
    fresh()?;
    let inline = "const s = document.createElement('script'); s.textContent = 'window.planted = 1'; document.head.append(s); return null;";
    browser.ask::<()>(inline, Vec::new())?;
    must("a script in the page", faults(browser, &DESK)?, "Content Security Policy");
    let ran: bool = browser.ask("return 'planted' in window;", Vec::new())?;
    must("that it did not run", vec![format!("planted: {ran}")], "planted: false");
    browser.look(&NARROW)?;
    fresh()?;
    let wide = "const e = document.createElement('div'); e.style.width = '900px'; e.textContent = 'wide'; document.querySelector('main').append(e); return null;";
    browser.ask::<()>(wide, Vec::new())?;
    must("something too wide", overhang(browser)?, "sideways");
    browser.look(&NO_SCRIPT)?;
    fresh()?;
    let runs: bool = browser.ask("return !document.querySelector('.live .state').hidden;", Vec::new())?;
    must("that scripts do not run", vec![format!("live: {runs}")], "live: false");
    browser.look(&DESK)?;
    Ok(blind)
}
