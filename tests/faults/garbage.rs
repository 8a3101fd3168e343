//! Garbage on the audit topic: quarantined with its reason, never believed, never in the way.

use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::message::NoHeaders;
use chaperone_audit::{Clock, Message, SystemClock};
use chaperone_tests::{Bed, api, clients, eventually, figures};
use rand::RngCore;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::scene::Scene;

/// A record that an honest reporter could have written, to be spoilt.
fn honest(stage: &str, topic: &str) -> Value {
    let id = "01990000-0000-7000-8000-000000000001";
    json!({
        "v": 1, "uuid": id, "incarnation": id, "seq": 0, "stage": stage, "sent_ms": SystemClock.now_ms(),
        "reporter": {"host": "h", "application": "a", "library": "l", "pid": 1},
        "slots": [{"id": 0, "topic": topic, "window_ms": 1_790_000_000_000_i64, "width_ms": 10_000, "class": "bare",
                   "rule": "0000000000000000", "n": 5, "bytes": 5, "acked": 5, "failed": 0, "sketch_n": null, "flags": []}]
    })
}

/// Each piece with a word that its reason must contain.
fn pieces(topic: &str) -> Vec<(&'static str, Vec<u8>)> {
    let spoilt = |change: &dyn Fn(&mut Value)| {
        let mut record = honest("producer", topic);
        change(&mut record);
        record.to_string().into_bytes()
    };
    let mut random = vec![0; 4096];
    rand::rng().fill_bytes(&mut random);
    let whole = honest("producer", topic).to_string();
    vec![
        ("", random),
        ("", whole.as_bytes()[..whole.len() / 2].to_vec()),
        ("", Vec::new()),
        ("", vec![b'['; 100_000]),
        ("bytes", vec![b'['; 20_000_000]),
        ("", br#"{"v":1}"#.to_vec()),
        ("version", spoilt(&|r| r["v"] = json!(2))),
        ("", spoilt(&|r| r["slots"][0]["n"] = json!(-5))),
        ("slots.n", spoilt(&|r| r["slots"][0]["n"] = json!(u64::MAX))),
        ("", spoilt(&|r| r["slots"][0]["n"] = json!(1e300))),
        ("window_ms", spoilt(&|r| r["slots"][0]["window_ms"] = json!(1_790_000_000_001_i64))),
        ("topic", spoilt(&|r| r["slots"][0]["topic"] = json!("a/b"))),
        ("stage", spoilt(&|r| r["stage"] = json!("consumer:forged"))),
        ("", spoilt(&|r| r["uuid"] = json!("not-a-uuid"))),
    ]
}

/// Reasons of the quarantined records, in order of arrival.
fn reasons(scene: &Scene<'_>) -> anyhow::Result<Vec<String>> {
    let file = scene.data_dir().join("chaperone.sqlite");
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(Duration::from_secs(10))?;
    let mut query = db.prepare("SELECT reason FROM quarantine WHERE topic = ?1 AND length(sha256) = 64")?;
    let rows = query.query_map([&scene.audit], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[test]
fn each_piece_is_quarantined_with_its_reason_and_counting_goes_on() -> anyhow::Result<()> {
    let bed = Bed::get()?;
    let scene = Scene::new(&bed.regional, &[("max.message.bytes", "33554432"), ("segment.bytes", "67108864")])?;
    let (mut program, _url) = scene.run()?;
    let recorder = scene.recorder()?;
    let mut config = scene.cluster.plain_config();
    config.set("message.max.bytes", "33554432");
    let pieces = pieces(&scene.topic);
    for (number, (word, piece)) in pieces.iter().enumerate() {
        clients::produce(&config, &scene.audit, &[piece])?;
        let found = eventually(Duration::from_secs(60), "the piece is quarantined", || {
            let reasons = reasons(&scene)?;
            ensure!(reasons.len() > number, "{} in quarantine: {}", reasons.len(), program.output());
            Ok(reasons)
        })?;
        ensure!(found.len() == number + 1, "{} pieces, {} in quarantine: {found:?}", number + 1, found.len());
        ensure!(found.iter().all(|r| !r.is_empty()), "a reason is empty: {found:?}");
        ensure!(found.iter().any(|r| r.contains(word)), "no reason speaks of '{word}': {found:?}");
        // A good message after each: counting goes on.
        let value = format!("good {number}");
        let message = Message {
            topic: &scene.topic,
            key: None,
            value: Some(value.as_bytes()),
            headers: &NoHeaders,
            timestamp_ms: Some(SystemClock.now_ms()),
            broker_time: false,
        };
        recorder.attempt(&message).acked();
        let counted = number as u64 + 1;
        eventually(Duration::from_secs(60), "the good message is counted", || {
            let n: u64 = api::stage_counts(&scene.data_dir(), &scene.topic, "producer")?.values().sum();
            ensure!(n == counted, "{n} of {counted}");
            Ok(())
        })?;
    }
    ensure!(program.process.ended()?.is_none(), "chaperone ended: {}", program.output());
    recorder.close(Duration::from_secs(10));
    program.process.terminate(Duration::from_secs(30)).context("a clean stop")?;
    figures::record("faults", "garbage", pieces.len() as u64)?;
    let quarantined = reasons(&scene)?.len();
    figures::record("faults", "garbage_believed", pieces.len().abs_diff(quarantined) as u64)
}
