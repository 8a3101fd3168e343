//! Every state of a verdict as it is drawn: cell of the matrix, strip of the list, row of the table, page of the window.
//!
//! Snapshots: `INSTA_UPDATE=always cargo t -p chaperone-web --test web states` writes them anew; what changed is for the reviewer's
//! eyes. No two states may look alike.

use std::collections::BTreeMap;

use chaperone_collector::query::HopWindow;
use chaperone_collector::{Caveat, CaveatKind, Doubt, Pipelines, Verdict};

use super::*;
use fake::{FakeStore, NOW_MS, bench, config, hop, pipeline, seen, summary};

const STAGES: [&str; 2] = ["producer", "kafka:k"];
/// 12:49:00, when the window begins.
const MS: i64 = NOW_MS - 58_000;

/// A window of each state, by the name of its snapshot.
fn states() -> Vec<(&'static str, HopWindow, u64)> {
    let row = |verdict| hop("t", (STAGES[0], STAGES[1]), MS, verdict);
    let caveat = |kind, messages| vec![Caveat { kind, side: Doubt::Upstream, messages }];
    let mut states: Vec<(&'static str, HopWindow, u64)> =
        Verdict::ALL.into_iter().map(|v| (v.as_str(), row(v), 1_000)).collect();
    for (name, row, down) in &mut states {
        match *name {
            "missing" => (row.missing_min, *down) = (23, 977),
            "surplus" => (row.surplus_min, *down) = (6, 1_006),
            "re-read" => (row.surplus_min, *down) = (402, 1_402),
            "delayed" | "overdue" => (row.delayed, *down) = (380, 620),
            "unproven" => row.caveats = caveat(CaveatKind::ReporterGone, Some(3)),
            "uncertain" => row.caveats = caveat(CaveatKind::Unaudited, None),
            _ => {}
        }
    }
    let mut not_yet = row(Verdict::Uncertain);
    not_yet.caveats = caveat(CaveatKind::NotAuditedYet, None);
    states.push(("not_yet", not_yet, 1_000));
    let mut late = row(Verdict::Missing);
    (late.missing_min, late.delayed, late.amendments) = (20, 5, 1);
    states.push(("missing_and_delayed", late, 975));
    states
}

fn router(row: &HopWindow, down: u64) -> Router {
    let mut up = seen("t", STAGES[0], MS, 1_000);
    let mut below = seen("t", STAGES[1], MS, down);
    (up.hist, below.hist) = (hist(1_000, 4), hist(down, 90));
    up.acked = if row.verdict == Verdict::Unproven { 997 } else { 1_000 };
    let mut topic = summary("t", &STAGES, row.verdict);
    (topic.missing_min, topic.surplus_min, topic.delayed) = (row.missing_min, row.surplus_min, row.delayed);
    let mut counts = vec![up];
    // Of a stage that never reported there is no count.
    counts.extend(Some(below).filter(|_| row.verdict != Verdict::NoReport));
    let store = FakeStore { windows: vec![row.clone()], counts, topics: vec![topic], ..FakeStore::default() };
    app(bench(store, Pipelines::from(vec![pipeline("p", "k", "t", &STAGES)])).state, config())
}

fn hist(n: u64, ms: i64) -> chaperone_audit::Histogram {
    let mut hist = chaperone_audit::Histogram::new();
    hist.add_cell(chaperone_audit::histogram::cell_of(ms), n);
    hist
}

/// What stands between two texts, the first time.
fn part<'a>(html: &'a str, from: &str, to: &str) -> &'a str {
    let start = html.find(from).unwrap_or_else(|| panic!("no {from}: {html}"));
    let rest = html.get(start..).unwrap_or_default();
    let end = rest.find(to).map_or(rest.len(), |i| i + to.len());
    rest.get(..end).unwrap_or_default()
}

/// One element a line.
fn lines(html: &str) -> String {
    html.replace("><", ">\n<")
}

#[tokio::test]
async fn every_state_is_drawn_as_it_was() {
    let mut drawn: BTreeMap<String, &str> = BTreeMap::new();
    for (name, row, down) in states() {
        let router = router(&row, down);
        let topic = get(&router, "/t/k/t?from=now-5m&to=now").await;
        let list = get(&router, "/?from=now-5m&to=now").await;
        let window = get(&router, &format!("/t/k/t/w/{MS}")).await;
        for page in [&topic, &list, &window] {
            assert_eq!(page.status, StatusCode::OK, "{name}: {}", page.body);
        }
        let cell = part(part(&topic.body, "class=\"p strip\"", "</svg>"), "<g class=\"crisp\">", "</g>");
        let strip = part(&list.body, "class=\"p strip\"", "</svg>");
        let table = part(part(&topic.body, "class=\"windows\"", "</table>"), "<tbody>", "</tbody>");
        let main = part(&window.body, "<main", "</main>");
        let all = [("matrix", cell), ("list", strip), ("table", table), ("window", main)];
        let all: Vec<String> = all.iter().map(|(title, html)| format!("== {title}\n{}\n", lines(html))).collect();
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(format!("state_{name}"), all.join("\n"));
        });
        let shapes: String = cell.split("<rect ").skip(1).filter(|r| !r.contains("class=\"hit\"")).collect();
        // The two kinds of missing differ by their numbers; everything else by its shape.
        if name != "missing_and_delayed"
            && let Some(other) = drawn.insert(shapes, name)
        {
            panic!("{name} is drawn like {other}");
        }
    }
}
