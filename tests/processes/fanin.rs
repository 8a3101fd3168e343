//! Two datacenters, one with nine tenths of the traffic, flow into one aggregate, each a real cluster with a tap, in one
//! process. The small one's copies stand still: its windows are late, however far the aggregate has come with the other's, and never
//! missing. Then all of them come but some: those are missing where the datacenters meet, and nothing is wrong anywhere else.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::kafka::AuditedProducer;
use chaperone_audit::{Clock, SystemClock, Width};
use chaperone_tests::api::{self, Window};
use chaperone_tests::{Bed, Cluster, Spec, eventually, figures, programs};
use rdkafka::config::FromClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::scene::{Folder, PATIENCE, Traffic, becomes_ready, counts, difference, send, topics, windows};

const AGG: &str = "kafka:agg";
const GROUP: &str = "regional";
/// What is never copied.
const LOST: usize = 7;
/// Windows that must be late before the copies go on.
const LATE: usize = 2;

/// Copies from both datacenters to the aggregate, with the messages' own times.
struct Copier<'a> {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: &'a str,
    /// The western ones stand still.
    is_held: AtomicBool,
    held: Mutex<Vec<(u64, i64)>>,
}

impl Copier<'_> {
    fn copy(&self, number: u64, time_ms: i64) -> anyhow::Result<()> {
        let mut held = self.held.lock().map_err(|_| anyhow::anyhow!("a copier panicked"))?;
        if is_western(number) && self.is_held.load(Ordering::SeqCst) {
            held.push((number, time_ms));
            return Ok(());
        }
        self.send(number, time_ms)
    }

    fn send(&self, number: u64, time_ms: i64) -> anyhow::Result<()> {
        let (key, value) = (number.to_be_bytes(), format!("message {number}"));
        let record = BaseRecord::to(self.topic).key(&key[..]).payload(&value).timestamp(time_ms);
        self.producer.send(record).map_err(|(e, _)| e.into())
    }

    /// Copies what was held but the first of this window, in order, before anything that comes after it.
    fn go_on(&self, without_ms: i64) -> anyhow::Result<()> {
        let mut held = self.held.lock().map_err(|_| anyhow::anyhow!("a copier panicked"))?;
        let mut left = LOST;
        for (number, time_ms) in held.drain(..) {
            if left > 0 && window_of(time_ms) == without_ms {
                left -= 1;
                continue;
            }
            self.send(number, time_ms)?;
        }
        self.is_held.store(false, Ordering::SeqCst);
        ensure!(left == 0, "{left} of {LOST} were not there to be lost");
        Ok(())
    }
}

fn is_western(number: u64) -> bool {
    number.is_multiple_of(10)
}

fn window_of(ms: i64) -> i64 {
    Width::TEN_SECONDS.window_of(ms).0
}

#[test]
fn what_one_datacenter_has_not_copied_is_late_and_what_it_lost_is_missing_where_they_meet() -> anyhow::Result<()> {
    let bed = Bed::get()?;
    let (east, agg) = (&bed.regional, &bed.agg);
    let west = Cluster::start(&Spec::new("fanin-west"))?;
    let (topic, audit) = topics(east, "fanin", 2)?;
    west.create_topic(&topic, 2, &[])?;
    agg.create_topic(&topic, 2, &[])?;
    let folder = Folder::new("fanin")?;
    let data_dir = folder.path("data");
    let text = configuration(&data_dir, (&topic, &audit), [("east", east), ("west", &west), ("agg", agg)])?;
    let mut program = programs::chaperone(&["run"], &folder.write(&text)?)?;
    let url = programs::listening(&mut program)?;
    becomes_ready(&url, || program.output())?;
    let recorder = folder.recorder(east, &audit)?;
    let producers = [east, &west].map(|cluster| AuditedProducer::new(&cluster.plain_config(), recorder.clone()));
    let [eastern, western] = producers;
    let (eastern, western) = (eastern?, western?);
    let mut config = agg.plain_config();
    config.set("enable.idempotence", "true").set("message.timeout.ms", "300000");
    let producer = ThreadedProducer::from_config(&config)?;
    let copier = Copier { producer, topic: &topic, is_held: AtomicBool::new(false), held: Mutex::default() };
    let both = |number: u64, time_ms: i64| {
        send(if is_western(number) { &western } else { &eastern }, &topic, number, time_ms)?;
        copier.copy(number, time_ms)
    };
    let traffic = Traffic::default();
    let (late, lost_ms) = traffic.during(both, |traffic| {
        counts(&data_dir, &topic, AGG, traffic.more(5_000)?)?;
        let since_ms = window_of(SystemClock.now_ms()) + Width::TEN_SECONDS.ms();
        copier.is_held.store(true, Ordering::SeqCst);
        let late = late(&url, &topic, since_ms).with_context(|| program.output())?;
        let lost_ms = late.first().context("none is late")?.window_ms;
        copier.go_on(lost_ms)?;
        traffic.more(5_000)?;
        Ok((late, lost_ms))
    })?;
    for producer in [&eastern, &western] {
        producer.flush(Duration::from_secs(60)).context("flush")?;
    }
    copier.producer.flush(Duration::from_secs(60)).context("flush")?;
    let closed = recorder.close(Duration::from_secs(20));
    ensure!(closed.unsent == 0, "{closed:?}");

    let messages = traffic.sent();
    let western_messages = (0..messages).filter(|n| is_western(*n)).count() as u64;
    let lost = LOST as u64;
    let mut differ = 0;
    for (stage, cluster, n) in [
        ("kafka:east", east, messages - western_messages),
        ("kafka:west", &west, western_messages),
        (AGG, agg, messages - lost),
    ] {
        counts(&data_dir, &topic, stage, n)?;
        differ += difference(&data_dir, (cluster, &topic, n), stage)?;
    }
    let (judged, missing) = judged(&url, &topic, lost_ms)?;
    let alone = alone(&data_dir, &topic)?;
    println!(
        "{messages} messages, {judged} verdicts as they should be, {} were late; alone, {alone} windows differ",
        late.len()
    );
    program.process.terminate(Duration::from_secs(30))?;
    figures::record("processes", "fanin_windows_late", late.len() as u64)?;
    figures::record("processes", "fanin_missing", missing)?;
    figures::record("processes", "fanin_alone_differ", alone)?;
    figures::record("processes", "fanin_difference", differ)
}

fn configuration(
    data_dir: &Path,
    (topic, audit): (&str, &str),
    clusters: [(&str, &Cluster); 3],
) -> anyhow::Result<String> {
    use std::fmt::Write as _;
    let mut text = format!(
        "data_dir = {:?}\n[web]\nlisten = \"127.0.0.1:0\"\n[pipeline.fanin]\ntopics = [{topic:?}]\n\
         stages = [\"producer\", {GROUP:?}, {AGG:?}]\ngroups = {{ {GROUP} = [\"kafka:east\", \"kafka:west\"] }}\n\
         complete = [\"producer\"]\ngrace = \"2s\"\n",
        data_dir.to_string_lossy()
    );
    for (name, cluster) in clusters {
        write!(
            text,
            "[kafka.{name}]\nbootstrap_servers = {:?}\n[kafka.{name}.tap]\ntopics = [{topic:?}]\nstart = \"earliest\"\n\
             group = \"{topic}-taps\"\n",
            cluster.bootstrap_plain()
        )?;
    }
    writeln!(text, "[kafka.east.audit]\ntopic = {audit:?}")?;
    Ok(text)
}

/// Windows that began after the west's copies stood still, once some are judged: they lack what the west holds, nothing is
/// lost, and the group has all of it.
fn late(url: &str, topic: &str, since_ms: i64) -> anyhow::Result<Vec<Window>> {
    eventually(PATIENCE, "windows without the west", || {
        let all = windows(url, topic)?;
        let red: Vec<_> = all.iter().filter(|w| w.missing_min > 0 || w.surplus_min > 0).collect();
        // Red is final: no reason to wait for more.
        if !red.is_empty() {
            return Ok(Err(anyhow::anyhow!("a false verdict: {red:#?}")));
        }
        let mut late: Vec<Window> =
            all.into_iter().filter(|w| w.to_stage == AGG && w.window_ms >= since_ms && w.is_late()).collect();
        late.sort_by_key(|w| w.window_ms);
        ensure!(late.len() >= LATE && late.iter().all(|w| w.delayed > 0), "{late:#?}");
        Ok(Ok(late))
    })?
}

/// How many verdicts there are once all are *ok* but that on what was lost, and how many it says are missing.
fn judged(url: &str, topic: &str, lost_ms: i64) -> anyhow::Result<(u64, u64)> {
    eventually(PATIENCE, "every window has its verdict", || {
        let all = windows(url, topic)?;
        let is_lost = |w: &&Window| w.to_stage == AGG && w.window_ms == lost_ms;
        let (lost, others): (Vec<&Window>, Vec<&Window>) = all.iter().partition(|w| is_lost(w));
        let bad: Vec<_> = others.iter().filter(|w| w.verdict != "ok").collect();
        ensure!(bad.is_empty() && !others.is_empty(), "{bad:#?}");
        ensure!(lost.iter().all(|w| w.verdict == "missing" && w.from_stage == GROUP), "{lost:#?}");
        Ok((all.len() as u64, lost.iter().map(|w| w.missing_min).sum()))
    })
}

/// The control: in how many windows one datacenter alone has not what the aggregate has, for the one of which that is fewer.
fn alone(data_dir: &Path, topic: &str) -> anyhow::Result<u64> {
    let agg = api::stage_counts(data_dir, topic, AGG)?;
    let differ = |stage: &str| -> anyhow::Result<u64> {
        let own: BTreeMap<i64, u64> = api::stage_counts(data_dir, topic, stage)?;
        Ok(agg.iter().filter(|(window, n)| own.get(*window) != Some(*n)).count() as u64)
    };
    Ok(differ("kafka:east")?.min(differ("kafka:west")?))
}
