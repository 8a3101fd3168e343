//! The rows of a topic's page as CSV and JSON: the same as on the page.

use chaperone_collector::{Pipelines, Verdict};

use super::*;
use fake::scene::at;
use fake::{FakeStore, NOW_MS, bench, config, hop, pipeline};

/// The columns of a CSV by name, a line each.
fn table(csv: &str) -> Vec<std::collections::BTreeMap<&str, &str>> {
    let mut lines = csv.trim_end().split("\r\n").map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().expect("head");
    lines.map(|line| head.iter().copied().zip(line).collect()).collect()
}

#[tokio::test]
async fn page_csv_and_json_have_the_same_rows() {
    let (router, _bench) = scene();
    for range in ["from=now-30m&to=now", "from=now-7d&to=now"] {
        let page = get(&router, &format!("/t/sjc/rides.events?{range}")).await;
        let flow = format!("/api/v1/flow?topic=rides.events&{range}");
        let json = get(&router, &flow).await.json();
        let csv = get(&router, &format!("{flow}&format=csv")).await;
        assert!(csv.header("content-disposition").contains("chaperone-flow.csv"));
        let (lines, rows) = (table(&csv.body), json["rows"].as_array().expect("rows"));
        assert_eq!(lines.len(), rows.len(), "{range}");
        for (line, row) in lines.iter().zip(rows) {
            let written = |value: &serde_json::Value| match value {
                serde_json::Value::Null => String::new(),
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            for column in ["window_ms", "width_ms", "windows"] {
                assert_eq!(line[column], written(&row[column]), "{column}");
            }
            for stage in row["stages"].as_array().expect("stages") {
                for what in ["n", "acked", "failed", "difference", "p50_ms", "p99_ms"] {
                    let column = format!("{} {what}", written(&stage["stage"]));
                    assert_eq!(line[column.as_str()], written(&stage[what]), "{column}");
                }
            }
            for hop in row["hops"].as_array().expect("hops") {
                for what in ["verdict", "missing_min", "surplus_min", "delayed"] {
                    let column = format!("{} > {} {what}", written(&hop["from_stage"]), written(&hop["to_stage"]));
                    assert_eq!(line[column.as_str()], written(&hop[what]), "{column}");
                }
            }
        }
        // The window that lost: its numbers as the page writes them.
        let lost = lines.iter().find(|l| l["window_ms"] == at(128).to_string()).expect("window");
        assert_eq!((lost["proxy > kafka:sjc verdict"], lost["proxy > kafka:sjc missing_min"]), ("missing", "23"));
        assert_eq!(lost["kafka:sjc difference"], "-23");
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
        let shown = page.body.split(">12:41:20</a>").nth(1).and_then(|r| r.split("</tr>").next()).expect("line");
        let counts: Vec<String> = shown
            .split("<td class=\"num")
            .skip(1)
            .take(5)
            .map(|cell| digits(cell.split('>').nth(1).and_then(|c| c.split('<').next()).unwrap_or_default()))
            .collect();
        let stages = fake::scene::STAGES.map(|stage| lost[format!("{stage} n").as_str()].to_owned());
        assert_eq!(counts, stages);
        assert!(shown.contains("−23 ("), "{shown}");
        // The boxes are the sums of what is counted on both sides of every hop.
        let settled: u64 = lines
            .iter()
            .filter(|l| {
                !l["producer > proxy verdict"].is_empty()
                    && !["open", "settling"].contains(&l["producer > proxy verdict"])
            })
            .map(|l| l["producer n"].parse::<u64>().expect("n"))
            .sum();
        let shown = page.body.split("<div class=\"c\">").nth(1).and_then(|b| b.split('<').next()).expect("box");
        assert_eq!(digits(shown), settled.to_string());
    }
}

#[tokio::test]
async fn rows_of_no_topic_are_refused_and_names_are_no_formulas() {
    let (router, _bench) = scene();
    for (query, status) in [("", 400), ("?topic=", 400), ("?topic=nobody", 404), ("?topic=rides.events&x=1", 400)] {
        let answer = get(&router, &format!("/api/v1/flow{query}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type")),
            (status, "application/problem+json"),
            "{query}"
        );
    }
    let mut store = FakeStore::default();
    store.windows.push(hop("=t", ("=a", "b"), NOW_MS - 28_000, Verdict::Ok));
    let router = app(bench(store, Pipelines::from(vec![pipeline("p", "-", "=t", &["=a", "b"])])).state, config());
    let csv = get(&router, "/api/v1/flow?topic=%3Dt&format=csv").await;
    assert!(csv.body.contains(",'=a n,") && csv.body.contains("\r\n'=t,"), "{}", csv.body);
    // A stage that never reported has no numbers, and no difference.
    let silent = get(&router, "/api/v1/flow?topic=%3Dt").await.json();
    assert_eq!(silent["rows"][0]["stages"][1]["n"], serde_json::Value::Null);
    assert_eq!(silent["rows"][0]["stages"][1]["difference"], serde_json::Value::Null);
}
