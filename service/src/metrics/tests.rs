//! The text, read back by a parser that accepts only what Prometheus' format 0.0.4 and its naming conventions allow.

use std::collections::{BTreeMap, BTreeSet};

use chaperone_audit::clock::ManualClock;
use chaperone_collector::lag::{GroupLag, LagRound, Round, State, Trend};
use chaperone_collector::query::ProcessState;
use chaperone_collector::{Applied, SqliteStore};
use uuid::Uuid;

use super::families::{ALL, Family, Kind};
use super::meters::{Cause, Lost, TOPICS_MAX, TopicBeat};
use super::*;

/// A sample: labels and value.
type Sample = (BTreeMap<String, String>, f64);

/// Samples by full name (`_bucket` and the like included). Panics at anything that a scraper might refuse.
fn parse(text: &str) -> BTreeMap<String, Vec<Sample>> {
    assert!(text.ends_with('\n') && !text.contains("\n\n"), "{text}");
    let mut samples: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
    let mut family: Option<&Family> = None;
    let mut helped: Option<&str> = None;
    let mut begun = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help");
            assert!(begun.insert(name) && !help.is_empty(), "a family stands in one place: {name}");
            (helped, family) = (Some(name), None);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(helped, Some(name), "help, then type");
            let found = ALL.iter().find(|f| f.name == name).expect("in the table");
            assert_eq!(found.kind.as_str(), kind);
            family = Some(found);
        } else {
            let (name, labels, value) = sample(line);
            let family = family.expect("a type before its samples");
            check(family, &name, &labels, value);
            let all = samples.entry(name).or_default();
            assert!(all.iter().all(|(known, _)| *known != labels), "twice: {line}");
            all.push((labels, value));
        }
    }
    samples
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let end = line.find(['{', ' ']).expect("a value");
    let (name, mut rest) = line.split_at(end);
    assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label");
            assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
            let (mut value, mut chars) = (String::new(), after.char_indices());
            let end = loop {
                match chars.next().expect("the closing quote") {
                    (_, '\\') => value.push(match chars.next().expect("what is escaped").1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        c => panic!("\\{c}: {line}"),
                    }),
                    (at, '"') => break at,
                    (_, c) => value.push(c),
                }
            };
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = &after[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect("the closing brace");
    }
    let value = rest.strip_prefix(' ').expect("one space").parse().expect("a number");
    (name.to_owned(), labels, value)
}

fn check(family: &Family, name: &str, labels: &BTreeMap<String, String>, value: f64) {
    let suffix = name.strip_prefix(family.name).expect("under its family");
    let allowed: &[&str] = if family.kind == Kind::Histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
    assert!(allowed.contains(&suffix), "{name}");
    let mut expected: BTreeSet<&str> = family.labels.iter().copied().collect();
    if suffix == "_bucket" {
        expected.insert("le");
    }
    assert_eq!(labels.keys().map(String::as_str).collect::<BTreeSet<_>>(), expected, "{name}");
    assert!(value >= 0.0 && value.is_finite(), "{name} {value}");
}

fn value(samples: &BTreeMap<String, Vec<Sample>>, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let wanted: BTreeMap<String, String> = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    samples.get(name)?.iter().find(|(labels, _)| *labels == wanted).map(|(_, value)| *value)
}

/// A process with everything that it can have, and a topic that tries to break the text.
async fn busy() -> Metrics {
    let store = Arc::new(SqliteStore::in_memory().expect("a store"));
    let beat = |n, beat_ms| ProcessState {
        id: Uuid::from_u128(n),
        role: "tap".into(),
        clusters: String::new(),
        reads: String::new(),
        host: "secret-host".into(),
        pid: 1,
        version: "0".into(),
        started_ms: 1,
        beat_ms,
        problems: Vec::new(),
    };
    store.beat(beat(1, 40_000)).await.expect("beats");
    store.beat(beat(2, 57_500)).await.expect("beats");
    store.note_lag(looked_at_groups()).await.expect("a look");
    let meters = Meters::default();
    let tap = meters.tap("k");
    tap.beat([(HOSTILE.to_owned(), TopicBeat { messages: 3, bytes: 30, partitions: 2, behind: 9 })], 7, true);
    tap.claimed(2);
    tap.lost(Lost::Hole);
    tap.restarts(Cause::Stalled);
    let intake = meters.intake("k", "audit");
    let applied = Applied { applied: 5, noop: 1, ..Applied::default() };
    intake.applied(applied, 600, Duration::from_millis(3));
    intake.applied(applied, 600, Duration::from_secs(60));
    intake.refused();
    intake.stands(4, 11);
    meters.judged(Duration::from_millis(1));
    meters.add(Arc::new(crate::agent::State::default()));
    let said = |text: &str, notice| Problem { text: text.to_owned(), notice };
    let problems = watch::channel(vec![said("a", false), said("b", true), said("c", true)]).1;
    Metrics { store, problems, meters, clock: Arc::new(ManualClock::new(60_000)), role: "run" }
}

/// A group that is behind in one partition.
fn looked_at_groups() -> LagRound {
    let row = GroupLag {
        cluster: "k".into(),
        group: "billing".into(),
        topic: HOSTILE.into(),
        partition: Some(3),
        at_ms: 58_000,
        state: State::Behind,
        committed: Some(10),
        end: Some(52),
        log_start: Some(0),
        messages: Some(42),
        lag_ms: Some(12_500),
        error_ms: Some(5_000),
        at_least: false,
        trend: Trend::Steady,
        lag_trend: Trend::Steady,
        produced_per_s: None,
        consumed_per_s: None,
        catch_up_ms: None,
        retention_left_ms: None,
        eaten: 0,
        held: false,
    };
    let about = Round { cluster: "k".into(), at_ms: 58_000, every_ms: 5_000, groups: 1, left_out: 0 };
    LagRound { about, rows: vec![row], index: Vec::new() }
}

const HOSTILE: &str = "a\"b\\c\nd{e}";

#[tokio::test]
async fn the_text_is_what_prometheus_reads_and_says_what_was_counted() {
    let samples = parse(&busy().await.write().await);
    let topic = [("cluster", "k"), ("topic", HOSTILE)];
    let audit = [("cluster", "k"), ("topic", "audit")];
    let group = [("cluster", "k"), ("group", "billing"), ("topic", HOSTILE), ("partition", "3")];
    let with = |name, value| [audit[0], audit[1], (name, value)];
    for (name, labels, expected) in [
        ("chaperone_tap_messages_total", &topic[..], 3.0),
        ("chaperone_tap_lag_messages", &topic, 9.0),
        ("chaperone_tap_claims_total", &[("cluster", "k")], 2.0),
        ("chaperone_tap_claims_lost_total", &[("cluster", "k"), ("cause", "hole")], 1.0),
        ("chaperone_tap_claims_lost_total", &[("cluster", "k"), ("cause", "fenced")], 0.0),
        ("chaperone_tap_restarts_total", &[("cluster", "k"), ("cause", "stalled")], 1.0),
        ("chaperone_tap_paused", &[("cluster", "k")], 1.0),
        ("chaperone_intake_records_total", &with("outcome", "applied"), 10.0),
        ("chaperone_intake_apply_seconds_bucket", &with("le", "0.002"), 0.0),
        ("chaperone_intake_apply_seconds_bucket", &with("le", "0.005"), 1.0),
        ("chaperone_intake_apply_seconds_bucket", &with("le", "10"), 1.0),
        ("chaperone_intake_apply_seconds_bucket", &with("le", "+Inf"), 2.0),
        ("chaperone_intake_apply_seconds_count", &audit, 2.0),
        ("chaperone_intake_apply_seconds_sum", &audit, 60.003),
        ("chaperone_intake_paused", &audit, 1.0),
        ("chaperone_problems", &[("kind", "notice")], 2.0),
        ("chaperone_ready", &[], 0.0),
        ("chaperone_store_up", &[], 1.0),
        ("chaperone_store_heartbeat_age_seconds", &[("role", "tap")], 2.5),
        ("chaperone_group_lag_messages", &group, 42.0),
        ("chaperone_group_lag_seconds", &group, 12.5),
        ("chaperone_group_lag_error_seconds", &group, 5.0),
    ] {
        assert_eq!(value(&samples, name, labels), Some(expected), "{name} {labels:?}");
    }
    assert!(!samples.contains_key("chaperone_store_applied_through_age_seconds"), "not known is not zero");
    assert!(samples["process_resident_memory_bytes"][0].1 > 1e6);
    let written: BTreeSet<&str> = samples
        .keys()
        .map(|n| n.trim_end_matches("_bucket").trim_end_matches("_sum").trim_end_matches("_count"))
        .collect();
    let missing: Vec<&str> = ALL.iter().map(|f| f.name).filter(|n| !written.contains(n)).collect();
    // Nothing is judged, counted or expected here; `truth` and `flow` have tests of their own.
    let truth = [
        "hop_messages",
        "hop_windows",
        "topic_complete_through_age_seconds",
        "stage_delay_messages",
        "expected_reporters",
        "live_reporters",
    ]
    .map(|n| format!("chaperone_{n}"));
    assert_eq!(missing[0], "chaperone_store_applied_through_age_seconds");
    assert_eq!(missing[1..], truth);
}

#[tokio::test]
async fn no_label_says_a_host_and_a_store_that_does_not_answer_is_down() {
    let mut metrics = busy().await;
    assert!(!metrics.write().await.contains("secret-host"));
    let dir = tempfile::tempdir().expect("a directory");
    metrics.store = Arc::new(chaperone_collector::SqliteView::open(dir.path().join("none.sqlite")).expect("a view"));
    let samples = parse(&metrics.write().await);
    assert_eq!(value(&samples, "chaperone_store_up", &[]), Some(0.0));
    assert!(!samples.contains_key("chaperone_store_records_total"));
}

#[test]
fn topics_beyond_the_limit_are_one_and_gauges_of_what_left_are_zero() {
    let meters = Meters::default();
    let tap = meters.tap("k");
    let beat = TopicBeat { messages: 1, bytes: 1, partitions: 1, behind: 1 };
    tap.beat((0..TOPICS_MAX + 5).map(|n| (format!("t{n:05}"), beat)), 0, false);
    tap.beat([("t00000".to_owned(), beat)], 0, false);
    let mut out = Exposition::new(ALL);
    meters.write(&mut out);
    let samples = parse(&out.finish());
    let of = |name, topic| value(&samples, name, &[("cluster", "k"), ("topic", topic)]);
    assert_eq!(samples["chaperone_tap_messages_total"].len(), TOPICS_MAX + 1);
    assert_eq!(of("chaperone_tap_messages_total", "(others)"), Some(5.0));
    assert_eq!(
        (of("chaperone_tap_messages_total", "t00000"), of("chaperone_tap_partitions", "t00000")),
        (Some(2.0), Some(1.0))
    );
    assert_eq!(
        (of("chaperone_tap_messages_total", "t00001"), of("chaperone_tap_partitions", "t00001")),
        (Some(1.0), Some(0.0))
    );
}

/// What promtool would complain about, and what we do not want.
#[test]
fn names_follow_the_conventions() {
    let mut names = BTreeSet::new();
    for family in ALL {
        assert!(names.insert(family.name), "{} twice", family.name);
        assert!(family.name.starts_with("chaperone_") || family.name.starts_with("process_"), "{}", family.name);
        assert_eq!(family.name.ends_with("_total"), family.kind == Kind::Counter, "{}", family.name);
        let suffixes = ["_bucket", "_sum", "_count"];
        assert!(!suffixes.iter().any(|suffix| family.name.ends_with(suffix)), "{}", family.name);
        let time = family.unit.split(' ').next() == Some("s");
        assert_eq!(time, family.name.contains("_seconds"), "{}: {}", family.name, family.unit);
        assert_eq!(family.unit == "bytes", family.name.contains("_bytes"), "{}", family.name);
        assert!(
            !family.help.is_empty() && !family.help.ends_with('.') && !family.help.contains('\n'),
            "{}",
            family.name
        );
        for label in family.labels {
            let process = ["version", "commit", "role", "kind", "outcome", "cause"];
            let place = ["cluster", "topic", "group", "partition", "from_stage", "to_stage", "stage", "application"];
            let truth = ["state", "verdict", "le"];
            assert!(process.contains(label) || place.contains(label) || truth.contains(label), "{label}");
        }
    }
}
