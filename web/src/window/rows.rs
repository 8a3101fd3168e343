//! The window as JSON and CSV: raw numbers, the same query as the page. docs/FORMATS.md has the shapes.

use axum::Json;
use axum::response::{IntoResponse, Response};
use chaperone_collector::Pipeline;
use chaperone_collector::query::{HopWindow, WindowDetail};
use serde::Serialize;

use crate::api::csv_headers;
use crate::csv::text;
use crate::window::facts::{Facts, Spot};

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are the format's")]
struct Window<'a> {
    cluster: &'a str,
    pipeline: &'a str,
    owner: Option<&'a str>,
    runbook: Option<&'a str>,
    topic: &'a str,
    window_ms: Option<i64>,
    width_ms: Option<i64>,
    hops: Vec<Hop<'a>>,
    stages: Vec<Stage<'a>>,
    partitions: Vec<Partition<'a>>,
    #[serde(flatten)]
    detail: &'a WindowDetail,
}

#[derive(Serialize)]
struct Hop<'a> {
    #[serde(flatten)]
    window: &'a HopWindow,
    settled_ms: Option<i64>,
    amendment_count: u32,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are the format's")]
struct Stage<'a> {
    stage: &'a str,
    /// The group that it is a member of, as hops call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    n: u64,
    acked: u64,
    failed: u64,
    bytes: u64,
    last_ms: i64,
    p50_ms: Option<i64>,
    p99_ms: Option<i64>,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are the format's")]
struct Partition<'a> {
    stage: &'a str,
    partition: i32,
    log: u32,
    n: u64,
    first_offset: i64,
    last_offset: i64,
}

fn hops(facts: &Facts) -> impl Iterator<Item = &HopWindow> {
    facts.row.iter().flat_map(|r| r.hops.iter().flatten())
}

fn stages(facts: &Facts) -> impl Iterator<Item = Stage<'_>> {
    let all = facts.names.iter().zip(&facts.parts).flat_map(|(name, parts)| parts.iter().map(move |part| (name, part)));
    all.filter_map(|(name, part)| {
        let t = part.total.as_ref()?;
        let (stage, group) = (&part.stage, (*name != part.stage).then_some(name.as_str()));
        let (p50_ms, p99_ms) = (t.hist.quantile_ms(500), t.hist.quantile_ms(990));
        let last_ms = t.last_ms;
        Some(Stage { stage, group, n: t.n, acked: t.acked, failed: t.failed, bytes: t.bytes, last_ms, p50_ms, p99_ms })
    })
}

fn partitions(facts: &Facts) -> impl Iterator<Item = Partition<'_>> {
    facts.parts.iter().flatten().flat_map(|part| {
        part.offsets.iter().map(move |(partition, Spot { log, n, first, last })| Partition {
            stage: &part.stage,
            partition: *partition,
            log: *log,
            n: *n,
            first_offset: *first,
            last_offset: *last,
        })
    })
}

pub(super) fn json(pipeline: &Pipeline, facts: &Facts) -> Response {
    let hop = |window| Hop { window, settled_ms: window.settled_ms, amendment_count: window.amendments };
    let window = Window {
        cluster: &pipeline.cluster,
        pipeline: &pipeline.name,
        owner: pipeline.owner.as_deref(),
        runbook: pipeline.runbook.as_deref(),
        topic: &facts.topic,
        window_ms: facts.row.as_ref().map(|r| r.from_ms),
        width_ms: facts.row.as_ref().map(|r| r.to_ms - r.from_ms),
        hops: hops(facts).map(hop).collect(),
        stages: stages(facts).collect(),
        partitions: partitions(facts).collect(),
        detail: &facts.detail,
    };
    Json(window).into_response()
}

const HEADER: &str = "kind,topic,window_ms,width_ms,stage,to_stage,name,host,application,datacenter,n,acked,failed,bytes,\
                      first_offset,last_offset,verdict,missing_min,surplus_min,delayed,at_ms,why\r\n";

/// One line: the columns of `HEADER`, empty where one does not apply.
#[derive(Default)]
struct Line {
    kind: &'static str,
    stage: String,
    to_stage: String,
    name: String,
    host: String,
    application: String,
    datacenter: String,
    counts: [Option<u64>; 4],
    offsets: [Option<i64>; 2],
    verdict: &'static str,
    bounds: [Option<u64>; 3],
    at_ms: Option<i64>,
    why: String,
}

impl Line {
    fn write(&self, facts: &Facts, out: &mut String) {
        let number = |n: Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
        let signed = |n: Option<i64>| n.map(|n| n.to_string()).unwrap_or_default();
        let row = facts.row.as_ref();
        let mut fields = vec![self.kind.to_owned(), text(&facts.topic)];
        fields.extend([signed(row.map(|r| r.from_ms)), signed(row.map(|r| r.to_ms - r.from_ms))]);
        fields.extend(
            [&self.stage, &self.to_stage, &self.name, &self.host, &self.application, &self.datacenter].map(|t| text(t)),
        );
        fields.extend(self.counts.map(number));
        fields.extend(self.offsets.map(signed));
        fields.push(self.verdict.to_owned());
        fields.extend(self.bounds.map(number));
        fields.extend([signed(self.at_ms), text(&self.why)]);
        out.push_str(&fields.join(","));
        out.push_str("\r\n");
    }
}

pub(super) fn csv(facts: &Facts) -> Response {
    let mut out = HEADER.to_owned();
    for h in hops(facts) {
        let bounds = [h.missing_min, h.surplus_min, h.delayed].map(Some);
        let (stage, to_stage) = (h.from_stage.clone(), h.to_stage.clone());
        let (verdict, why) = (h.verdict.as_str(), h.why.clone());
        Line { kind: "hop", stage, to_stage, verdict, bounds, at_ms: h.settled_ms, why, ..Line::default() }
            .write(facts, &mut out);
    }
    for s in stages(facts) {
        let counts = [s.n, s.acked, s.failed, s.bytes].map(Some);
        Line { kind: "stage", stage: s.stage.to_owned(), counts, at_ms: Some(s.last_ms), ..Line::default() }
            .write(facts, &mut out);
    }
    for s in &facts.detail.shares {
        let line = Line {
            kind: "reporter",
            stage: s.stage.clone(),
            name: s.incarnation.to_string(),
            host: s.host.clone(),
            application: s.application.clone(),
            datacenter: s.datacenter.clone(),
            counts: [s.n, s.acked, s.failed, s.bytes].map(Some),
            at_ms: s.last_ms,
            ..Line::default()
        };
        line.write(facts, &mut out);
    }
    for p in partitions(facts) {
        let (stage, name) = (p.stage.to_owned(), p.partition.to_string());
        let (counts, offsets) = ([Some(p.n), None, None, None], [p.first_offset, p.last_offset].map(Some));
        Line { kind: "partition", stage, name, counts, offsets, ..Line::default() }.write(facts, &mut out);
    }
    for a in &facts.detail.amendments {
        let (stage, to_stage) = (a.from_stage.clone(), a.to_stage.clone());
        let bounds = [Some(a.new_missing), Some(a.new_surplus), None];
        let (verdict, why) = (a.new_verdict.as_str(), a.cause.clone());
        Line { kind: "amendment", stage, to_stage, verdict, bounds, at_ms: Some(a.at_ms), why, ..Line::default() }
            .write(facts, &mut out);
    }
    (csv_headers("chaperone-window.csv"), out).into_response()
}
