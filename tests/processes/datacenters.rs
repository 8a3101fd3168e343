//! Two datacenters in one process, each a stage with an audit topic of its own; one of them freezes. The other's reports
//! are read on, what needs the frozen one waits and is never called missing, and all is well afterwards.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_audit::kafka::AuditedProducer;
use chaperone_audit::{Clock, SystemClock, Width};
use chaperone_tests::{Bed, Cluster, Spec, api, eventually, figures, programs};
use rdkafka::config::FromClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::scene::{
    Folder, PATIENCE, Traffic, all_ok, becomes_ready, counts, difference, ready, send, topics, windows,
};

const EAST: &str = "kafka:east";
const WEST: &str = "kafka:west";
/// How long one is frozen: a whole window and its grace, and then some.
const FROZEN: Duration = Duration::from_secs(25);

/// What was seen while the other one was frozen.
struct Meanwhile {
    /// Messages that one datacenter had counted and the other had not: what counting alone would call missing.
    apart: u64,
    /// Windows that waited for the frozen one.
    waited: usize,
}

#[test]
fn a_frozen_datacenter_holds_up_nobody_elses_intake_and_is_never_called_loss() -> anyhow::Result<()> {
    let east = &Bed::get()?.regional;
    let west = Cluster::start(&Spec::new("west"))?;
    let (topic, east_audit) = topics(east, "datacenters", 3)?;
    west.create_topic(&topic, 3, &[])?;
    let west_audit = "west-audit";
    west.create_topic(west_audit, 3, &[("message.timestamp.type", "LogAppendTime")])?;
    let folder = Folder::new("datacenters")?;
    let mut text = format!(
        "data_dir = {:?}\n[web]\nlisten = \"127.0.0.1:0\"\n[pipeline.both]\ntopics = [{topic:?}]\n\
         stages = [\"producer\", {EAST:?}, {WEST:?}]\ncomplete = [\"producer\"]\ngrace = \"2s\"\n",
        folder.path("data").to_string_lossy()
    );
    for (name, cluster, audit) in [("east", east, east_audit.as_str()), ("west", &west, west_audit)] {
        use std::fmt::Write as _;
        write!(
            text,
            "[kafka.{name}]\ndatacenter = {name:?}\nbootstrap_servers = {:?}\n[kafka.{name}.tap]\n\
             topics = [{topic:?}]\nstart = \"earliest\"\ngroup = \"{topic}-taps\"\n[kafka.{name}.audit]\n\
             topic = {audit:?}\n",
            cluster.bootstrap_plain()
        )?;
    }
    let data_dir = folder.path("data");
    let mut program = programs::chaperone(&["run"], &folder.write(&text)?)?;
    let url = programs::listening(&mut program)?;
    becomes_ready(&url, || program.output())?;
    let recorder = folder.recorder(east, &east_audit)?;
    let producer = AuditedProducer::new(&east.exact_config(), recorder.clone())?;
    // The replicator between the datacenters: the same messages with the same times.
    let mut config = west.plain_config();
    config.set("enable.idempotence", "true").set("message.timeout.ms", "300000");
    let copy: ThreadedProducer<DefaultProducerContext> = ThreadedProducer::from_config(&config)?;
    let both = |number: u64, time_ms: i64| {
        send(&producer, &topic, number, time_ms)?;
        let (key, value) = (number.to_be_bytes(), format!("message {number}"));
        let record = BaseRecord::to(&topic).key(&key[..]).payload(&value).timestamp(time_ms);
        copy.send(record).map_err(|(e, _)| e.into())
    };
    let traffic = Traffic::default();
    let meanwhile = traffic.during(both, |traffic| {
        let sent = traffic.more(1_000)?;
        for stage in [EAST, WEST] {
            counts(&data_dir, &topic, stage, sent)?;
        }
        west.pause(1)?;
        let seen = frozen(&url, &topic, &data_dir, traffic);
        west.resume(1)?;
        let seen = seen.with_context(|| program.output())?;
        traffic.more(500)?;
        Ok(seen)
    })?;
    producer.flush(Duration::from_secs(60)).context("flush")?;
    copy.flush(Duration::from_secs(60)).context("flush")?;
    let closed = recorder.close(Duration::from_secs(20));
    ensure!(closed.unsent == 0, "{closed:?}");
    becomes_ready(&url, || program.output())?;
    let messages = traffic.sent();
    let mut differ = 0;
    for (stage, cluster) in [(EAST, east), (WEST, &west)] {
        counts(&data_dir, &topic, stage, messages)?;
        differ += difference(&data_dir, (cluster, &topic, messages), stage)?;
    }
    let judged = all_ok(&url, &topic)?;
    let Meanwhile { apart, waited } = meanwhile;
    println!("{messages} messages, {judged} windows ok; meanwhile {waited} windows waited, {apart} messages apart");
    program.process.terminate(Duration::from_secs(30))?;
    figures::record("processes", "datacenters_apart_meanwhile", apart)?;
    figures::record("processes", "datacenters_windows_waited", waited as u64)?;
    figures::record("processes", "datacenters_difference", differ)
}

/// While the western broker is frozen.
fn frozen(url: &str, topic: &str, data_dir: &std::path::Path, traffic: &Traffic) -> anyhow::Result<Meanwhile> {
    let (since, since_ms) = (Instant::now(), SystemClock.now_ms());
    let window = |ms| Width::TEN_SECONDS.window_of(ms).0;
    // The other one's reports are applied as before, all the time.
    while since.elapsed() < FROZEN {
        counts(data_dir, topic, EAST, traffic.more(1_000)?)?;
        let red: Vec<_> = windows(url, topic)?.into_iter().filter(|w| w.missing_min > 0 || w.surplus_min > 0).collect();
        ensure!(red.is_empty(), "a false verdict: {red:#?}");
    }
    let said = eventually(PATIENCE, "it says who does not answer", || {
        let (status, said) = ready(url)?;
        ensure!(status == 503 && said.contains("kafka.west"), "{status}: {said}");
        Ok(said)
    })?;
    ensure!(!said.contains("kafka.east"), "{said}");
    println!("{said}");
    // Windows of the freeze that have ended: counted in the east, and waiting.
    let begun = windows(url, topic)?.into_iter().filter(|w| w.to_stage == WEST && w.window_ms > window(since_ms));
    let ended: Vec<_> = begun.filter(|w| w.window_ms + w.width_ms + 4_000 < SystemClock.now_ms()).collect();
    ensure!(!ended.is_empty(), "no window of the freeze has ended");
    ensure!(ended.iter().all(|w| w.is_pending() || w.is_late()), "{ended:#?}");
    let of = |stage: &str| -> anyhow::Result<u64> {
        let counts = api::stage_counts(data_dir, topic, stage)?;
        Ok(ended.iter().map(|w| counts.get(&w.window_ms).copied().unwrap_or(0)).sum())
    };
    let apart = of(EAST)?.saturating_sub(of(WEST)?);
    ensure!(apart > 0, "counting alone finds nothing missing: the freeze showed nothing");
    Ok(Meanwhile { apart, waited: ended.len() })
}
