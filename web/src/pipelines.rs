//! `/pipelines`: which stages topics run through, what is expected of each hop, by which rule it is counted, who reports now
//! and how far each hop is settled; as configured, or as discovered.
//!
//! Invariants: what a stage is said to have comes from its reporters and from nothing else; a hop is complete through the
//! earliest of its topics.

pub(crate) mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use chaperone_audit::Histogram;
use chaperone_collector::account::{HopStand, StageRule};
use chaperone_collector::query::{ReporterState, StageWindow, WindowQuery};
use chaperone_collector::{Hop, Pipeline, Pipelines, Stage, StageKind, TopicPattern, discover};

use crate::App;
use crate::api::ROWS_MAX;
use crate::error::WebError;
use crate::format;
use crate::frame::{self, About, Tab};
use crate::params::Params;
use crate::topic::late_after_ms;
use crate::topic::links::{self, Choice, Links};
use crate::zone::Zone;

/// Topics of a pipeline that are named.
const TOPICS_MAX: usize = 12;
/// Discovered pipelines on the page.
const DISCOVERED_MAX: usize = 200;
/// How far back delays of discovered stages are looked at, ms; as far as discovery itself looks.
const LOOKED_BACK_MS: i64 = 600_000;

#[derive(Template)]
#[template(path = "pipelines.html")]
struct PipelinesPage {
    problems: Vec<crate::Problem>,
    revision: u64,
    title: String,
    lede: String,
    zones: Vec<Choice>,
    panels: Vec<Panel>,
    discovered: Vec<Found>,
    more: String,
    /// Topics of no pipeline get none.
    discovers: bool,
    json: String,
    csv: String,
}

/// One configured pipeline.
struct Panel {
    name: String,
    patterns: String,
    owner: String,
    runbook: Option<String>,
    boxes: Vec<StageBox>,
    facts: Vec<Fact>,
    topics: Vec<TopicLink>,
    more_topics: String,
}

/// A stage, and the hop to the next one.
struct StageBox {
    name: String,
    kind: &'static str,
    who: String,
    nobody: bool,
    note: String,
    /// Of a group: each member, with who reports there now.
    members: Vec<String>,
    edge: Option<Edge>,
}

struct Edge {
    expects: String,
    through: String,
    age: String,
    late: bool,
    label: String,
}

struct Fact {
    name: &'static str,
    text: String,
    /// It wants to be looked at.
    odd: bool,
}

struct TopicLink {
    name: String,
    href: String,
}

/// One discovered pipeline.
struct Found {
    topic: TopicLink,
    stages: Vec<FoundStage>,
    through: String,
    age: String,
    late: bool,
}

struct FoundStage {
    name: String,
    delay: String,
}

/// What the page is made of, beside the pipelines.
struct Known {
    hops: Vec<HopStand>,
    rules: Vec<StageRule>,
    reporters: Vec<ReporterState>,
    seen: Vec<StageWindow>,
}

pub(crate) async fn page(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    answer(&app, &uri, &headers).await.unwrap_or_else(|error| error.into_page(&app))
}

async fn answer(app: &App, uri: &Uri, headers: &HeaderMap) -> Result<Response, WebError> {
    let params = Params::of(uri);
    let (now_ms, zone, pipelines) = (app.now_ms(), params.zone()?, app.pipelines());
    let store = &app.state.store;
    let revision = *store.revisions().borrow();
    let recent = WindowQuery {
        from_ms: now_ms.saturating_sub(LOOKED_BACK_MS),
        to_ms: now_ms,
        limit: Some(ROWS_MAX),
        ..WindowQuery::default()
    };
    let is_any_found = pipelines.list.iter().any(is_found);
    let known = Known {
        hops: store.hops().await?,
        rules: store.rules().await?,
        reporters: store.reporters(now_ms).await?,
        seen: if is_any_found { store.stage_windows(recent).await? } else { Vec::new() },
    };
    let mut page = view(&pipelines, &known, zone, now_ms);
    page.revision = revision;
    page.problems = app.problems_shown();
    let about =
        About { title: "Pipelines · Chaperone", events: Some("/events"), zone, now_ms, tab: Some(Tab::Pipelines) };
    Ok(frame::page(app, headers, &about, &page))
}

/// Whether nobody configured it.
pub(crate) fn is_found(pipeline: &Pipeline) -> bool {
    pipeline.name == discover::NAME && matches!(pipeline.topics.as_slice(), [TopicPattern::Name(_)])
}

/// A pattern as it is configured.
pub(crate) fn written(pattern: &TopicPattern) -> String {
    match pattern {
        TopicPattern::Name(name) => name.clone(),
        TopicPattern::Regex(whole) => {
            let inner = whole.as_str().strip_prefix("^(?:").and_then(|rest| rest.strip_suffix(")$"));
            inner.map_or_else(|| whole.as_str().to_owned(), |inner| format!("^{inner}"))
        }
    }
}

/// Rows → page. Pure.
fn view(pipelines: &Pipelines, known: &Known, zone: Zone, now_ms: i64) -> PipelinesPage {
    let (found, configured): (Vec<&Pipeline>, Vec<&Pipeline>) = pipelines.list.iter().partition(|p| is_found(p));
    let mut topics: BTreeMap<*const Pipeline, BTreeSet<&str>> = BTreeMap::new();
    for hop in &known.hops {
        if let Some(pipeline) = pipelines.of(&hop.topic) {
            topics.entry(std::ptr::from_ref(pipeline)).or_default().insert(&hop.topic);
        }
    }
    let of = |p: &Pipeline| topics.get(&std::ptr::from_ref(p)).cloned().unwrap_or_default();
    let title = match (configured.len() as u64, found.len() as u64) {
        (0, 0) => "No pipeline is configured".to_owned(),
        (0, n) => format!("{}, discovered", format::plural(n, "pipeline")),
        (n, 0) => format::plural(n, "pipeline"),
        (n, f) => format!("{}, and {} discovered", format::plural(n, "pipeline"), format::count(f)),
    };
    PipelinesPage {
        problems: Vec::new(),
        revision: 0,
        title,
        lede: "Boxes are stages, with who reports there now; between them is what is expected of the hop, and until when it is settled."
            .to_owned(),
        zones: links::zones(zone, |z| format!("/pipelines?tz={}", format::url(&z.param()))),
        panels: configured.iter().map(|p| panel(p, &of(p), known, zone, now_ms)).collect(),
        discovered: found.iter().take(DISCOVERED_MAX).map(|p| one_found(p, known, zone, now_ms)).collect(),
        more: match found.len().saturating_sub(DISCOVERED_MAX) {
            0 => String::new(),
            n => format!("{} more; the JSON has all", format::plural(n as u64, "topic")),
        },
        discovers: pipelines.discover.is_some(),
        json: "/api/v1/pipelines?format=json".to_owned(),
        csv: "/api/v1/pipelines?format=csv".to_owned(),
    }
}

/// Until when a hop is settled, over these topics: the earliest.
pub(crate) fn through(hops: &[HopStand], topics: &BTreeSet<&str>, hop: Hop<'_>) -> Option<i64> {
    let of = |h: &&HopStand| {
        topics.contains(h.topic.as_str()) && (&h.from_stage, &h.to_stage) == (&hop.from.name, &hop.to.name)
    };
    hops.iter().filter(of).map(|h| h.complete_through_ms).min()
}

/// How many of the reporters of these stages live, and how many are silent.
pub(crate) fn reporting(reporters: &[ReporterState], stages: &[String]) -> (usize, usize) {
    let of = |state: &str| reporters.iter().filter(|r| stages.contains(&r.stage) && r.state == state).count();
    (of("live"), of("gone"))
}

fn panel(p: &Pipeline, topics: &BTreeSet<&str>, known: &Known, zone: Zone, now_ms: i64) -> Panel {
    let late_after = late_after_ms(p, p.counting.width_ms);
    let hops: Vec<Edge> = p
        .hops()
        .map(|hop| {
            let at = through(&known.hops, topics, hop);
            let behind = at.map(|ms| now_ms.saturating_sub(ms));
            let expects = expects(hop);
            Edge {
                label: format!("{} to {}: {expects}", format::name(&hop.from.name), format::name(&hop.to.name)),
                expects,
                through: at.map_or_else(|| "nothing settled yet".to_owned(), |ms| zone.clock(ms)),
                age: behind.map(|ms| format!("{} ago", format::age(ms))).unwrap_or_default(),
                late: behind.is_some_and(|ms| ms > late_after),
            }
        })
        .collect();
    let mut hops = hops.into_iter();
    let mut links = topics.iter().map(|t| TopicLink { name: format::name(t), href: Links::path(&p.cluster, t) });
    let patterns: Vec<String> = p.topics.iter().map(|t| format::name(&written(t))).collect();
    Panel {
        name: format::name(&p.name),
        patterns: patterns.join(", "),
        owner: p.owner.as_deref().map(format::name).unwrap_or_default(),
        // The configuration takes only addresses that begin with https:// or http://.
        runbook: p.runbook.clone(),
        boxes: p.stages.iter().map(|stage| boxed(stage, known, hops.next())).collect(),
        facts: facts(p, topics, known),
        topics: links.by_ref().take(TOPICS_MAX).collect(),
        more_topics: match links.count() {
            0 => String::new(),
            n => format!("and {n} more"),
        },
    }
}

fn boxed(stage: &Stage, known: &Known, edge: Option<Edge>) -> StageBox {
    let noun = if stage.kind == StageKind::Kafka { "tap" } else { "reporter" };
    let who = |stages: &[String]| match reporting(&known.reporters, stages) {
        (0, 0) => "nobody reports".to_owned(),
        (0, n) => format!("{} silent", format::plural(n as u64, noun)),
        (n, 0) => format::plural(n as u64, noun),
        (n, s) => format!("{}, {s} silent", format::plural(n as u64, noun)),
    };
    // A group without one of its members is no group.
    let nobody = stage.reported().iter().any(|s| reporting(&known.reporters, std::slice::from_ref(s)).0 == 0);
    let members = stage.members.iter().map(|s| format!("{}: {}", format::name(s), who(std::slice::from_ref(s))));
    let mut notes = Vec::new();
    if stage.kind == StageKind::Client {
        notes.push(if stage.complete { "complete" } else { "not declared complete" });
    }
    if stage.at_least_once {
        notes.push("at least once");
    }
    if stage.stamped_only {
        notes.push("stamped only");
    }
    StageBox {
        name: format::name(&stage.name),
        kind: if stage.kind == StageKind::Kafka { "Kafka, tapped" } else { "linked" },
        who: who(stage.reported()),
        nobody,
        note: notes.join(", "),
        members: members.collect(),
        edge,
    }
}

fn expects(hop: Hop<'_>) -> String {
    let text = hop.to.expect.to_string();
    match text.as_str() {
        "1/1" => "every message".to_owned(),
        share if share.ends_with('%') => format!("{} pass", share.replace("..", " … ")),
        _ => format!("{text} of it"),
    }
}

fn facts(p: &Pipeline, topics: &BTreeSet<&str>, known: &Known) -> Vec<Fact> {
    let fact = |name, text| Fact { name, text, odd: false };
    let c = &p.counting;
    let unit = if c.time.starts_with("header:") || c.time.starts_with("json:") {
        format!(" in {}", format::name(&c.unit))
    } else {
        String::new()
    };
    let stages: BTreeSet<&str> = p.stages.iter().flat_map(Stage::reported).map(String::as_str).collect();
    let of = known.rules.iter().filter(|r| topics.contains(r.topic.as_str()) && stages.contains(r.stage.as_str()));
    // The newest rule of each topic and stage.
    let mut newest: BTreeMap<(&str, &str), &StageRule> = BTreeMap::new();
    for rule in of {
        let entry = newest.entry((&rule.topic, &rule.stage)).or_insert(rule);
        if rule.last_ms > entry.last_ms {
            *entry = rule;
        }
    }
    let ids: BTreeSet<String> = newest.values().map(|r| r.rule.to_string()).collect();
    let differ = newest.keys().any(|(topic, _)| {
        let of = newest.iter().filter(|((t, _), _)| t == topic).map(|(_, r)| r.rule);
        of.collect::<BTreeSet<_>>().len() > 1
    });
    let rule = match (ids.len(), differ) {
        (0, _) => "nothing counted yet".to_owned(),
        (_, true) => format!("stages differ: {}", ids.into_iter().collect::<Vec<_>>().join(", ")),
        (1, false) => ids.into_iter().collect(),
        (n, false) => format!("{n} rules, the same at every stage of a topic"),
    };
    let seconds = |d: std::time::Duration| format::age(i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
    let mut facts = vec![
        fact("time", format::name(&c.time) + &unit),
        fact("identity", format::name(&c.id)),
        Fact { name: "rule in use", text: rule, odd: differ },
        fact("window", format::age(c.width_ms)),
        fact("grace", seconds(p.grace)),
        fact("silent after", seconds(p.silent_after)),
    ];
    facts.extend(p.objective.map(|of| fact("objective", format!("99 % within {}", seconds(of)))));
    if !p.expected.is_empty() {
        let one = |e: &chaperone_collector::Expected| {
            format!("{} × {} at {}", e.at_least, format::name(&e.application), format::name(&e.stage))
        };
        facts.push(fact("expected", p.expected.iter().map(one).collect::<Vec<_>>().join(", ")));
    }
    facts
}

fn one_found(p: &Pipeline, known: &Known, zone: Zone, now_ms: i64) -> Found {
    let topic = match p.topics.first() {
        Some(TopicPattern::Name(name)) => name.as_str(),
        _ => "",
    };
    let topics = BTreeSet::from([topic]);
    let at = p.hops().filter_map(|hop| through(&known.hops, &topics, hop)).min();
    let behind = at.map(|ms| now_ms.saturating_sub(ms));
    let delay = |stage: &str| {
        let mut all = Histogram::new();
        let of = known.seen.iter().filter(|w| w.topic == topic && w.stage == stage);
        of.for_each(|w| all.add(&w.hist));
        all.quantile_ms(500).map_or_else(|| "quiet".to_owned(), format::delay)
    };
    Found {
        topic: TopicLink { name: format::name(topic), href: Links::path(&p.cluster, topic) },
        stages: p.stages.iter().map(|s| FoundStage { name: format::name(&s.name), delay: delay(&s.name) }).collect(),
        through: at.map_or_else(|| "nothing settled yet".to_owned(), |ms| zone.clock(ms)),
        age: behind.map(|ms| format!("{} ago", format::age(ms))).unwrap_or_default(),
        late: behind.is_some_and(|ms| ms > late_after_ms(p, p.counting.width_ms)),
    }
}
