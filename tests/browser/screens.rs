//! The table of screens: where each is, and what it must say: the API's numbers, which are those that were injected.

use anyhow::{Context, ensure};
use chaperone_tests::api;
use chrono::DateTime;
use serde_json::Value;

use crate::accounts::{about, pipelines, quarantine, report, reporters};
use crate::page::{Page, count, signed, word};
use crate::scene::{Fault, STAGES, Scene};

/// One screen. A new one is a row of [`SCREENS`].
pub(crate) struct Screen {
    pub(crate) name: &'static str,
    /// Its address, of both windows of the scene where it has a range.
    pub(crate) path: fn(&Scene) -> anyhow::Result<String>,
    /// What it shows beside what it has to.
    pub(crate) facts: fn(&Scene, &Page) -> anyhow::Result<Vec<Fact>>,
}

/// One number or word of a screen.
#[derive(Debug)]
pub(crate) struct Fact {
    what: String,
    shown: String,
    /// What the API says, written as pages write it.
    api: String,
    /// What was done, written likewise.
    truth: String,
}

impl Fact {
    pub(crate) fn new(what: impl Into<String>, shown: &str, api: impl Into<String>, truth: impl Into<String>) -> Self {
        Self { what: what.into(), shown: shown.to_owned(), api: api.into(), truth: truth.into() }
    }
    /// What is wrong, if anything is. Narrow pages fold zeros away, and nothing else.
    pub(crate) fn wrong(&self, narrow: bool) -> Option<String> {
        let Self { what, shown, api, truth } = self;
        let folded = narrow && shown.is_empty() && truth == "0";
        let wrong = (shown != api && !folded) || api != truth;
        wrong.then(|| format!("{what}: shown {shown:?}, the API has {api:?}, true is {truth:?}"))
    }
}

pub(crate) const SCREENS: &[Screen] = &[
    Screen { name: "overview", path: |scene| Ok(format!("/?{}", scene.query())), facts: overview },
    Screen { name: "topic, loss", path: |scene| topic_path(scene, "orders"), facts: |s, p| topic(s, p, "orders") },
    Screen {
        name: "topic, surplus",
        path: |scene| topic_path(scene, "payments"),
        facts: |s, p| topic(s, p, "payments"),
    },
    Screen { name: "topic, delay", path: |scene| topic_path(scene, "invoices"), facts: |s, p| topic(s, p, "invoices") },
    Screen { name: "topic, clean", path: |scene| topic_path(scene, "refunds"), facts: |s, p| topic(s, p, "refunds") },
    Screen { name: "window, loss", path: |s| window_path(s, "orders"), facts: |s, p| window(s, p, "orders") },
    Screen { name: "window, surplus", path: |s| window_path(s, "payments"), facts: |s, p| window(s, p, "payments") },
    Screen { name: "window, delay", path: |s| window_path(s, "invoices"), facts: |s, p| window(s, p, "invoices") },
    Screen { name: "reporters", path: |_| Ok("/reporters?back=15m&tz=UTC".to_owned()), facts: reporters },
    Screen { name: "pipelines", path: |_| Ok("/pipelines?tz=UTC".to_owned()), facts: pipelines },
    Screen { name: "quarantine", path: |_| Ok("/quarantine?tz=UTC".to_owned()), facts: quarantine },
    Screen { name: "report", path: |scene| Ok(format!("/report?{}", scene.day()?)), facts: report },
    Screen { name: "about", path: |_| Ok("/about".to_owned()), facts: about },
    Screen { name: "lag", path: |scene| Ok(format!("/lag?group={}", scene.group)), facts: lag },
];

/// A topic's page over both windows.
pub(crate) fn topic_path(scene: &Scene, name: &str) -> anyhow::Result<String> {
    Ok(format!("/t/main/{}?{}", scene.topic(name)?, scene.query()))
}

/// An answer of the API.
pub(crate) fn json(scene: &Scene, path: &str) -> anyhow::Result<Value> {
    let (status, body) = api::get(&format!("{}{path}", scene.url))?;
    ensure!(status == 200, "{path}: {status} {body}");
    Ok(serde_json::from_str(&body)?)
}

/// Those elements of a list that the predicate picks.
pub(crate) fn pick<'a>(answer: &'a Value, list: &str, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<&'a Value> {
    let rows = answer[list].as_array().with_context(|| format!("no {list} in {answer}"))?;
    rows.iter().find(|row| wanted(row)).with_context(|| format!("not in {answer}"))
}

pub(crate) fn number(row: &Value, field: &str) -> anyhow::Result<u64> {
    row[field].as_u64().with_context(|| format!("no {field} in {row}"))
}

fn overview(scene: &Scene, page: &Page) -> anyhow::Result<Vec<Fact>> {
    let answer = json(scene, &format!("/api/v1/topics?{}&with=details", scene.query()))?;
    let mut facts = Vec::new();
    let all = answer["topics"].as_array().context("topics")?;
    let sum = |field: &str| all.iter().map(|row| number(row, field)).sum::<anyhow::Result<u64>>();
    let truth = |of: fn(Fault) -> u64| scene.faults().map(|(_, fault)| of(fault)).sum::<u64>();
    for (figure, field, truth) in [
        ("missing at least", "missing_min", truth(|f| f.lost)),
        ("surplus at least", "surplus_min", truth(|f| f.foreign)),
        ("delayed", "delayed", truth(Fault::delayed)),
    ] {
        facts.push(Fact::new(figure, page.figure(figure)?, count(sum(field)?), count(truth)));
    }
    facts.push(Fact::new("silent reporters", page.figure("silent reporters")?, "0", "0"));
    for (topic, fault) in scene.faults() {
        let row = pick(&answer, "topics", |row| row["topic"] == topic)?;
        let cell = |column: &str| page.cell(&[topic], column);
        let worst = row["worst"].as_str().context("worst")?;
        facts.push(Fact::new(format!("{topic}: verdict"), cell("verdict")?, word(worst), word(fault.verdict())));
        for (column, field, sign, truth) in
            [("missing", "missing_min", '\u{2212}', fault.lost), ("surplus", "surplus_min", '+', fault.foreign)]
        {
            let api = signed(sign, number(row, field)?);
            // The number, and below it its share.
            let shown = cell(column)?.split_whitespace().next().unwrap_or_default();
            facts.push(Fact::new(format!("{topic}: {column}"), shown, api, signed(sign, truth)));
        }
        // How long it took, and behind it how many are on their way.
        let delay = cell("p99 delay")?;
        let shown = delay.strip_suffix(" delayed").map_or("0", |d| d.rsplit(' ').next().unwrap_or_default());
        let api = count(number(row, "delayed")?);
        facts.push(Fact::new(format!("{topic}: delayed"), shown, api, count(fault.delayed())));
        let is_bound = |yes: bool| if yes { "a lower bound" } else { "measured" };
        let (shown, api) = (delay.contains('\u{2265}'), row["p99_at_least"] == true);
        facts.push(Fact::new(format!("{topic}: p99 delay"), is_bound(shown), is_bound(api), is_bound(!fault.read)));
        let heard = format!("{} of {}", number(row, "reporters_heard")?, number(row, "reporters")?);
        facts.push(Fact::new(format!("{topic}: reporters"), cell("reporters")?, heard, "3 of 3"));
    }
    Ok(facts)
}

fn topic(scene: &Scene, page: &Page, name: &str) -> anyhow::Result<Vec<Fact>> {
    let topic = scene.topic(name)?;
    let (_, fault) = scene.faults().find(|(t, _)| *t == topic).context("no such topic")?;
    let mut facts = Vec::new();
    let truth = Scene::truth(fault);
    for (stage, truth) in STAGES.iter().zip(truth) {
        let stored: u64 = scene.counted(topic, stage)?.range(scene.range().0..scene.range().1).map(|(_, n)| n).sum();
        facts.push(Fact::new(format!("{topic}: {stage}"), page.stage(stage)?, count(stored), count(truth)));
    }
    for (at, pair) in truth.windows(2).enumerate() {
        let sign = if pair[1] < pair[0] { '\u{2212}' } else { '+' };
        let differ = signed(sign, pair[0].abs_diff(pair[1]));
        facts.push(Fact::new(format!("{topic}: edge {at}"), &page.edge(at)?, differ.clone(), differ));
    }
    let rows = scene.windows(topic)?;
    let rows: Vec<_> = rows.iter().filter(|w| w.window_ms == scene.window_ms).collect();
    let worst = rows.iter().map(|w| w.verdict.as_str()).find(|verdict| *verdict != "ok").unwrap_or("ok");
    let clock = DateTime::from_timestamp_millis(scene.window_ms).context("time")?.format("%H:%M:%S").to_string();
    let calm = fault.verdict() == "ok";
    // Equal neighbours are one row, which begins where the first of them does; windows with trouble are rows of their own.
    let row = if calm { format!("{} messages", count(truth[0])) } else { clock.clone() };
    let verdict = page.cell(&[&row], "verdict")?;
    facts.push(Fact::new(format!("{topic}: verdict at {clock}"), verdict, word(worst), word(fault.verdict())));
    if calm {
        return Ok(facts);
    }
    for (stage, truth) in STAGES.iter().zip(fault.counts()) {
        // The count, and below it the difference.
        let shown = page.cell(&[&clock], stage)?.split_whitespace().next().unwrap_or_default();
        let stored = scene.counted(topic, stage)?.get(&scene.window_ms).copied().unwrap_or_default();
        facts.push(Fact::new(format!("{topic}: {stage} at {clock}"), shown, count(stored), count(truth)));
    }
    let troubled = STAGES[if fault.delayed() > 0 { 2 } else { 1 }];
    let shown = page.cell(&[&clock], troubled)?.split_whitespace().nth(1).unwrap_or_default();
    let sum = |of: fn(&api::Window) -> u64| rows.iter().map(|w| of(w)).sum::<u64>();
    let (sign, api, truth) = match fault.verdict() {
        "surplus" => ('+', sum(|w| w.surplus_min), fault.foreign),
        "missing" => ('\u{2212}', sum(|w| w.missing_min), fault.lost),
        _ => ('\u{2212}', sum(|w| w.delayed), fault.delayed()),
    };
    facts.push(Fact::new(format!("{topic}: difference at {clock}"), shown, signed(sign, api), signed(sign, truth)));
    Ok(facts)
}

/// The page of the second window of a topic.
fn window_path(scene: &Scene, name: &str) -> anyhow::Result<String> {
    Ok(format!("/t/main/{}/w/{}?{}", scene.topic(name)?, scene.window_ms, scene.query()))
}

/// The hop that is wrong: what its stages counted, the difference, the verdict's word and reason; and the same as Markdown.
fn window(scene: &Scene, page: &Page, name: &str) -> anyhow::Result<Vec<Fact>> {
    let topic = scene.topic(name)?;
    let (_, fault) = scene.faults().find(|(t, _)| *t == topic).context("no such topic")?;
    let rows = scene.windows(topic)?;
    let hop = rows.iter().find(|w| w.window_ms == scene.window_ms && w.verdict != "ok").context("no trouble")?;
    let from = STAGES.iter().position(|stage| *stage == hop.from_stage).context("stage")?;
    let mut facts = Vec::new();
    for (at, verb) in [(from, if from == 0 { "counted" } else { "seen" }), (from + 1, "seen")] {
        let stored = scene.counted(topic, STAGES[at])?.get(&scene.window_ms).copied();
        // Nobody has told of it, which is not a zero.
        let written = |n: Option<u64>| n.map_or_else(|| "nothing reported".to_owned(), count);
        let truth = fault.counts()[at];
        let label = format!("{verb} at {}", STAGES[at]);
        let truth = written((truth > 0).then_some(truth));
        facts.push(Fact::new(format!("{topic}: {label}"), page.summand(&label)?, written(stored), truth));
    }
    let (label, sign, api, truth) = match fault.verdict() {
        "surplus" => ("surplus at least", '+', hop.surplus_min, fault.foreign),
        "missing" => ("missing at least", '\u{2212}', hop.missing_min, fault.lost),
        _ => ("delayed, not passed yet", '\u{2212}', hop.delayed, fault.delayed()),
    };
    facts.push(Fact::new(format!("{topic}: {label}"), page.summand(label)?, signed(sign, api), signed(sign, truth)));
    let why = if page.text.contains(&hop.why) { hop.why.as_str() } else { "not there" };
    facts.push(Fact::new(format!("{topic}: why"), why, hop.why.as_str(), hop.why.as_str()));
    let path = window_path(scene, name)?;
    let (status, text) = api::get(&format!("{}{}", scene.url, path.replacen('?', ".md?", 1)))?;
    // Of a delay it says how many, of the others the difference as well.
    let truth = count(truth);
    let told = if status == 200 && text.contains(&truth) { truth.as_str() } else { text.as_str() };
    facts.push(Fact::new(format!("{topic}: Markdown"), told, truth.clone(), truth.clone()));
    Ok(facts)
}

fn lag(scene: &Scene, page: &Page) -> anyhow::Result<Vec<Fact>> {
    let answer = json(scene, &format!("/api/v1/lag?group={}", scene.group))?;
    let mut facts = Vec::new();
    for (topic, fault) in scene.faults() {
        let row = pick(&answer, "lag", |row| row["topic"] == topic)?;
        // The number, and behind it where it goes.
        let cell = page.cell(&[topic], "messages")?;
        let shown = cell.split(|c: char| !(c.is_ascii_digit() || c == ',')).next().unwrap_or_default();
        facts.push(Fact::new(
            format!("{topic}: messages behind"),
            shown,
            count(number(row, "messages")?),
            count(fault.delayed()),
        ));
        // Whether it falls behind or only is changes from look to look.
        let shown = page.cell(&[topic], "state")?;
        let state = row["state"].as_str().context("state")?;
        let truth = if fault.read { "caught up" } else { "behind" };
        facts.push(Fact::new(format!("{topic}: state"), shown.trim_start_matches("falling "), word(state), truth));
    }
    Ok(facts)
}
