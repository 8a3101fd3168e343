//! The audit topic is deleted and made anew amid the traffic, with a partition less, while the collector stands still: what
//! it had not read is gone. It goes on by itself, says so, counts what a recount finds; and windows that were told of in what
//! is gone are *uncertain*, never *missing*, and what came later is proven.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_audit::{Clock, SystemClock, Width};
use chaperone_tests::api::{self, Window};
use chaperone_tests::tapped::{PATIENCE, Scene, Setup, Upstream};
use chaperone_tests::{Cluster, eventually, figures, recount};
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};
use rustix::process::Signal;

const WAIT: Duration = Duration::from_secs(30);
/// Records that must be gone, and messages between two looks.
const GONE: i64 = 12;
const SOME: u64 = 100;

/// Red verdicts, of which there must be none; which windows of the hop ever had one.
fn red(rows: &[Window], ever: &mut BTreeSet<i64>) {
    ever.extend(
        rows.iter().filter(|w| w.missing_min > 0 || w.surplus_min > 0 || w.verdict == "mixed").map(|w| w.window_ms),
    );
}

/// Sends until told to stop; returns how many.
fn traffic(scene: &Scene, upstream: &mut Upstream<'_>, stop: &AtomicBool) -> anyhow::Result<u64> {
    eventually(PATIENCE * 3, "the end of the traffic", || {
        upstream.send(1)?;
        ensure!(stop.load(Ordering::SeqCst), "on");
        Ok(())
    })?;
    ensure!(upstream.sent() > SOME, "{} of {}", upstream.sent(), scene.topic);
    Ok(upstream.sent())
}

fn end(cluster: &Cluster, audit: &str) -> anyhow::Result<i64> {
    Ok(cluster.offsets(audit)?.iter().map(|(_, end)| end).sum())
}

/// The control: reads on from where the collector stood, and from nowhere else; returns how many records it sees of those
/// that the collector has read by now.
fn control(scene: &Scene, stood: &BTreeMap<i32, i64>, next: &BTreeMap<i32, i64>) -> anyhow::Result<i64> {
    let mut config = scene.cluster.plain_config();
    config.set("group.id", "control").set("auto.offset.reset", "error");
    let control: BaseConsumer = BaseConsumer::from_config(&config)?;
    let mut list = TopicPartitionList::new();
    for (partition, at) in stood.iter().filter(|(partition, _)| next.contains_key(*partition)) {
        list.add_partition_offset(&scene.audit, *partition, Offset::Offset(*at))?;
    }
    control.assign(&list)?;
    let (mut seen, until) = (0, Instant::now() + Duration::from_secs(3));
    while Instant::now() < until {
        if let Some(Ok(record)) = control.poll(Duration::from_millis(100)) {
            seen += i64::from(next.get(&record.partition()).is_some_and(|next| record.offset() < *next));
        }
    }
    Ok(seen)
}

/// Freezes the collector until the last word about a window waits for it, and takes that away.
fn take_away(scene: &Scene) -> anyhow::Result<BTreeMap<i32, i64>> {
    scene.run.process.signal(Signal::STOP)?;
    let stood = end(scene.cluster, &scene.audit)?;
    // Of the window that is open now: its end, grace, and reports.
    let told_ms = Width::TEN_SECONDS.window_of(SystemClock.now_ms()).end_ms(Width::TEN_SECONDS) + 6_000;
    eventually(PATIENCE, "reports that nobody has read", || {
        let waits = end(scene.cluster, &scene.audit)? - stood;
        ensure!(waits >= GONE && SystemClock.now_ms() > told_ms, "{waits}");
        Ok(())
    })?;
    let stood = api::audit_next(&scene.data_dir(), &scene.audit)?;
    scene.cluster.delete_topic(&scene.audit)?;
    eventually(PATIENCE, "the topic's name is free again", || {
        scene.cluster.create_topic(&scene.audit, 2, &[("message.timestamp.type", "LogAppendTime")])
    })?;
    scene.run.process.signal(Signal::CONT)?;
    Ok(stood)
}

/// Page and `/readyz` say it, as a note: what is shown is right.
fn says(scene: &Scene) -> anyhow::Result<()> {
    let words = format!("audit topic &#39;{}&#39;", scene.audit);
    eventually(PATIENCE, "it is said", || {
        let (status, ready) = api::get(&format!("{}/readyz", scene.url))?;
        ensure!(status == 200 && ready.contains("the topic was deleted and made anew"), "{status}: {ready}");
        let (_, page) = api::get(&format!("{}/", scene.url))?;
        let page = page.replace("&#x27;", "&#39;").replace('\'', "&#39;");
        ensure!(page.contains(&words) && page.contains("deleted and made anew"), "the page does not: {page}");
        Ok(())
    })
}

/// See the module's head.
pub(crate) fn run(cluster: &'static Cluster) -> anyhow::Result<()> {
    let lines = "complete = [\"producer\"]\nsilent_after = \"6s\"\n";
    let mut scene = Setup::on(cluster).pipeline(lines).scene("anew", 3)?;
    let recorder = scene.recorder()?;
    let mut tap = scene.tap()?;
    let (stop, mut ever) = (AtomicBool::new(false), BTreeSet::new());
    let mut upstream = Upstream::new(&scene, &recorder)?;
    let (scene_ref, stop_ref) = (&scene, &stop);
    let (sent, later) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| traffic(scene_ref, &mut upstream, stop_ref));
        let acted = act(scene_ref, &mut ever);
        stop.store(true, Ordering::SeqCst);
        let sent = sending.join().map_err(|_| anyhow::anyhow!("the traffic panicked"))?;
        Ok::<_, anyhow::Error>((sent.context("traffic")?, acted?))
    })?;
    drop(upstream);
    recorder.close(WAIT);
    scene.counted(sent)?;
    let truth = recount::by_window(cluster, &scene.topic, sent)?;
    let counts = scene.counts()?;
    let windows: BTreeSet<&i64> = truth.keys().chain(counts.keys()).collect();
    let of = |counts: &BTreeMap<i64, u64>, w: &i64| counts.get(w).copied().unwrap_or(0);
    let difference: u64 = windows.into_iter().map(|w| of(&truth, w).abs_diff(of(&counts, w))).sum();
    let rows = scene.verdicts()?;
    red(&rows, &mut ever);
    let uncertain: Vec<&Window> = rows.iter().filter(|w| w.verdict != "ok").collect();
    for w in &uncertain {
        let said = w.caveats.iter().any(|c| c == "audit log lost upstream");
        ensure!(w.verdict == "uncertain" && said && w.window_ms < later, "{w:?}");
    }
    ensure!(scene.run.process.child().try_wait()?.is_none(), "the collector ended: {}", scene.run.output());
    tap.process.terminate(WAIT)?;
    println!("{sent} messages, {} windows, {} uncertain", rows.len(), uncertain.len());
    figures::record("brokers", "anew_difference", difference)?;
    figures::record("brokers", "anew_red", ever.len())?;
    figures::record("brokers", "anew_uncertain", uncertain.len())
}

/// Returns a window that began when all was over, and is proven.
fn act(scene: &Scene, ever: &mut BTreeSet<i64>) -> anyhow::Result<i64> {
    let mut look = |what: &str, enough: &dyn Fn(&[Window]) -> Option<i64>| {
        eventually(PATIENCE * 2, what, || {
            let rows = scene.windows()?;
            red(&rows, ever);
            enough(&rows).with_context(|| format!("{rows:#?}\n{}", scene.run.output()))
        })
    };
    let ok = |rows: &[Window], after: i64| {
        rows.iter().filter(|w| w.verdict == "ok" && w.window_ms > after).map(|w| w.window_ms).min()
    };
    look("a window is proven", &|rows| ok(rows, i64::MIN))?;
    let stood = take_away(scene)?;
    says(scene)?;
    let newest = scene.windows()?.iter().map(|w| w.window_ms).max().context("no window")?;
    let later = look("a window of later is proven", &|rows| ok(rows, newest))?;
    let mut next = api::audit_next(&scene.data_dir(), &scene.audit)?;
    next.retain(|partition, _| *partition < 2);
    let unseen = next.values().sum::<i64>() - control(scene, &stood, &next)?;
    figures::record("brokers", "anew_control_unseen", unseen)?;
    let lost = api::audit_lost(&scene.data_dir(), &scene.audit)?;
    let anew = lost.iter().filter(|l| l.1 == 1 && l.3.contains("made anew")).count();
    ensure!(lost.len() == 3 && anew == 3, "{lost:?}");
    Ok(later)
}
