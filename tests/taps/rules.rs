//! Event time and identity in JSON fields: a linked producer and a tap find the same ones in each message, also where the
//! value was written anew in between, with decoys. All are proven by ids, one that is lost is missing in its window, and a
//! process that was linked without the topic's rules is told so and never makes anything red.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::kafka::AuditedProducer;
use chaperone_audit::message::NoHeaders;
use chaperone_audit::recorder::Recorder;
use chaperone_audit::{Clock, Message, SystemClock, TopicRule, Width};
use chaperone_tests::api::{self, Window};
use chaperone_tests::{Bed, eventually, figures};
use rdkafka::config::FromClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use uuid::Uuid;

use crate::scene::{PATIENCE, STAGE, Scene, Setup};

const WAIT: Duration = Duration::from_secs(30);
const TIME: &str = "json:/meta/ts";
const UNIT: &str = "us";
const ID: &str = "json:/meta/id";
/// In each of two windows; as many of the process without rules.
const MESSAGES: u64 = 60;
const WIDTH_MS: i64 = 10_000;

/// What is in one message: its number, which is its identity, and when it happened.
#[derive(Clone, Copy)]
struct Event(u64, i64);

impl Event {
    fn id(self) -> Uuid {
        Uuid::from_u128(u128::from(self.0) << 64 | 0xabcd)
    }
    /// As the process wrote it.
    fn written(self) -> String {
        let (Self(n, at_ms), id) = (self, self.id());
        format!(r#"{{"ts":0,"note":"\"meta\":{{\"ts\":1}}","meta":{{"id":"{id}","ts":{at_ms}123}},"n":{n}}}"#)
    }
    /// As something on the way wrote it anew.
    fn rewritten(self) -> String {
        let (Self(n, at_ms), id) = (self, self.id().to_string().to_uppercase());
        format!(r#"{{ "n" : {n}, "m\u0065ta" : {{ "ts" : {at_ms}123, "ts" : 5, "id" : "{id}" }}, "meta" : {{}} }}"#)
    }
}

fn event_ms(window: i64, n: u64) -> anyhow::Result<i64> {
    Ok(window + i64::try_from(n)? * 100)
}

/// Counts a message, and has it acknowledged whatever becomes of it.
fn count(recorder: &Recorder, topic: &str, event: Event) {
    let (value, timestamp_ms) = (event.written(), Some(SystemClock.now_ms()));
    let value = Some(value.as_bytes());
    recorder
        .attempt(&Message { topic, key: None, value, headers: &NoHeaders, timestamp_ms, broker_time: false })
        .acked();
}

/// Half of them as they are, half of them written anew on the way, for two windows; the last one is lost. Returns what is
/// on the topic.
fn send(scene: &Scene, recorder: &Recorder, windows: [i64; 2]) -> anyhow::Result<u64> {
    let config = scene.cluster.plain_config();
    let linked = AuditedProducer::new(&config, recorder.clone())?;
    let plain: ThreadedProducer<DefaultProducerContext> = ThreadedProducer::from_config(&config)?;
    let to = || BaseRecord::<str, str>::to(&scene.topic);
    let all = 2 * MESSAGES;
    for n in 0..all {
        let event = Event(n, event_ms(windows[usize::from(n >= MESSAGES)], n % MESSAGES)?);
        if n % 2 == 0 {
            linked.send(to().payload(&event.written())).map_err(|(e, _)| e)?;
            continue;
        }
        count(recorder, &scene.topic, event);
        if n + 1 < all {
            plain.send(to().payload(&event.rewritten())).map_err(|(e, _)| e)?;
        }
    }
    plain.flush(WAIT)?;
    linked.flush(WAIT)?;
    Ok(all - 1)
}

/// What happened in the second window, sent in the first by somebody who counts by the default rule.
fn send_without_rules(scene: &Scene, recorder: &Recorder, window: i64) -> anyhow::Result<()> {
    let producer = AuditedProducer::new(&scene.cluster.exact_config(), recorder.clone())?;
    for n in 0..MESSAGES {
        let value = Event(n, event_ms(window, n)?).written();
        producer.send(BaseRecord::<str, str>::to(&scene.beside).payload(&value)).map_err(|(e, _)| e)?;
    }
    Ok(producer.flush(WAIT)?)
}

/// The next window, once it has begun.
fn next_window() -> anyhow::Result<i64> {
    let window = || Width::TEN_SECONDS.window_of(SystemClock.now_ms()).0;
    let before = window();
    eventually(WAIT, "the next window", || {
        ensure!(window() > before, "not yet");
        Ok(window())
    })
}

fn is_red(w: &Window) -> bool {
    matches!(w.verdict.as_str(), "missing" | "surplus" | "mixed")
}

/// Looks until both windows of both topics are judged; windows of the second that were red meanwhile go to `red`.
fn judged(scene: &Scene, windows: [i64; 2], red: &mut BTreeSet<i64>) -> anyhow::Result<[Vec<Window>; 2]> {
    eventually(PATIENCE, "all windows are judged", || {
        let mut rows = [scene.windows_of(&scene.topic)?, scene.windows_of(&scene.beside)?];
        red.extend(rows[1].iter().filter(|w| is_red(w)).map(|w| w.window_ms));
        for rows in &mut rows {
            rows.sort_by_key(|w| w.window_ms);
            let at: Vec<i64> = rows.iter().map(|w| w.window_ms).collect();
            let waiting = rows.iter().any(|w| w.is_pending() || w.is_late() || w.verdict == "no_report");
            ensure!(at == windows && !waiting, "{rows:#?}");
        }
        Ok(rows)
    })
}

#[test]
fn a_json_field_is_the_same_time_and_identity_at_both_stages() -> anyhow::Result<()> {
    let pipeline = format!("complete = [\"producer\"]\ntime = {TIME:?}\nunit = {UNIT:?}\nid = {ID:?}\n");
    let scene = Setup::on(&Bed::get()?.regional).pipeline(&pipeline).beside().scene("rules", 2)?;
    let rule = TopicRule::new(&scene.topic)?.with(Some(TIME), Some(UNIT), Some(ID))?;
    let (ruled, unruled) = (scene.recorder_by("ruled", vec![rule])?, scene.recorder_by("unruled", Vec::new())?);
    let mut tap = scene.tap()?;
    let first = next_window()?;
    let windows = [first, first + WIDTH_MS];
    let held = send(&scene, &ruled, windows)?;
    send_without_rules(&scene, &unruled, windows[1])?;
    let late = SystemClock.now_ms() >= windows[1];
    ensure!(!late, "the machine is too slow: the window ended while sending");

    let mut red = BTreeSet::new();
    let [rows, beside] = judged(&scene, windows, &mut red)?;
    let upstream = api::stage_counts(&scene.data_dir(), &scene.topic, "producer")?;
    ensure!(upstream == BTreeMap::from(windows.map(|w| (w, MESSAGES))), "{upstream:?}");
    let counted = BTreeMap::from([(windows[0], MESSAGES), (windows[1], held - MESSAGES)]);
    ensure!(scene.counts()? == counted, "{:?}, not {counted:?}", scene.counts()?);
    ensure!(rows.iter().all(|w| w.caveats.is_empty()), "{rows:#?}");
    ensure!(rows[0].verdict == "ok" && rows[0].why.contains("the ids are the same"), "{:?}", rows[0]);
    ensure!(rows[1].verdict == "missing" && rows[1].surplus_min == 0, "{:?}", rows[1]);

    // Each stage has put them into another window, and neither is a loss or a surplus.
    let without = |stage| api::stage_counts(&scene.data_dir(), &scene.beside, stage);
    ensure!(without("producer")? == BTreeMap::from([(windows[0], MESSAGES)]), "{:?}", without("producer")?);
    ensure!(without(STAGE)? == BTreeMap::from([(windows[1], MESSAGES)]), "{:?}", without(STAGE)?);
    let told = beside.iter().filter(|w| w.verdict == "uncertain" && w.caveats == ["rules differ"]).count();
    ensure!(told == beside.len(), "{beside:#?}");
    for recorder in [ruled, unruled] {
        recorder.close(WAIT);
    }
    tap.process.terminate(WAIT).context("the tap")?;
    figures::record("taps", "rules_missing", rows.iter().map(|w| w.missing_min).sum::<u64>())?;
    figures::record("taps", "rules_differ_red", red.len())
}
