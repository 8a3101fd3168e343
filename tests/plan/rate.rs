//! A known rate is seen, and nothing is left behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_tests::clients::traces;
use chaperone_tests::{Acl, Bed, figures};
use serde_json::Value;

use crate::scene::{flush, plan, producer, send, steadily};

/// A burst a pace: 500 messages a second.
const EACH: u64 = 50;
const PACE: Duration = Duration::from_millis(100);
/// How long it looks.
const SECONDS: &str = "10";

fn line<'a>(answer: &'a Value, topic: &str) -> anyhow::Result<&'a Value> {
    let lines = answer["topics"].as_array().context("topics")?;
    lines.iter().find(|line| line["topic"] == topic).with_context(|| format!("{topic} is not in {answer}"))
}

#[test]
fn a_known_rate_is_seen_and_no_trace_is_left() -> anyhow::Result<()> {
    let cluster = &Bed::get()?.regional;
    let busy = cluster.fresh_topic("plan-busy", 4, &[])?;
    let few = cluster.fresh_topic("plan-few", 1, &[])?;
    let idle = cluster.fresh_topic("plan-idle", 2, &[])?;
    let producer = producer(cluster)?;
    // What was there before says nothing about the rate.
    send(&producer, (&idle, 2), 100, 50)?;
    flush(&producer)?;
    for topic in [&busy, &few, &idle] {
        cluster.add_acl(&Acl::allow("watch", "read", "topic", topic))?;
    }
    let before = traces(cluster)?;
    let (done, begun) = (AtomicBool::new(false), Instant::now());
    let (outcome, sent_in) = std::thread::scope(|scope| -> anyhow::Result<_> {
        let steady = scope.spawn(|| {
            steadily(&producer, (&busy, 4), (EACH, PACE), || done.load(Ordering::SeqCst))?;
            Ok::<_, anyhow::Error>(begun.elapsed())
        });
        let slow =
            scope.spawn(|| steadily(&producer, (&few, 1), (1, Duration::from_secs(2)), || done.load(Ordering::SeqCst)));
        let outcome = plan_of(cluster, &[&busy, &few, &idle]);
        done.store(true, Ordering::SeqCst);
        let panicked = |_| anyhow::anyhow!("a producer panicked");
        slow.join().map_err(panicked)??;
        let sent_in = steady.join().map_err(panicked)??;
        Ok((outcome?, sent_in))
    })?;
    flush(&producer)?;
    ensure!(traces(cluster)? == before, "it created something or joined a group");

    // The truth: what the partitions hold, over the time in which it was sent.
    let held: i64 = cluster.offsets(&busy)?.iter().map(|(first, next)| next - first).sum();
    let truth = f64::from(i32::try_from(held)?) / sent_in.as_secs_f64();
    let seen = line(&outcome, &busy)?;
    let rate = seen["cost"]["messages_per_s"].as_f64().context("a rate")?;
    let off = (rate - truth).abs() / truth;
    println!("seen {rate:.1}, truth {truth:.1}");
    ensure!(off <= 0.1, "seen {rate}, truth {truth}");
    let bytes = seen["sample"]["mean_bytes"].as_f64().context("a sample")?;
    ensure!((bytes - 200.0).abs() < 1.0, "{seen}");
    ensure!(
        seen["traffic"] == "seen" && seen["partitions_with_traffic"] == 4 && seen["width"]["width_s"] == 10,
        "{seen}"
    );
    let few = line(&outcome, &few)?;
    ensure!(few["traffic"] == "too_short" && few["cost"]["messages_per_s"].is_number(), "{few}");
    let idle = line(&outcome, &idle)?;
    ensure!(idle["traffic"] == "none" && idle["cost"].is_null() && idle["width"].is_null(), "{idle}");
    ensure!(outcome["sum"]["topics"] == 2 && outcome["sum"]["topics_unknown"] == 1, "{outcome}");
    figures::record("plan", "rate_off_by", (off * 1_000.0).round() / 1_000.0)
}

/// As a user who may read these topics and nothing else.
fn plan_of(cluster: &chaperone_tests::Cluster, topics: &[&str]) -> anyhow::Result<Value> {
    let settings = cluster.client_settings("watch")?;
    let properties: Vec<String> = settings
        .iter()
        .filter(|(key, _)| *key != "bootstrap.servers")
        .map(|(key, value)| format!("--property={key}={value}"))
        .collect();
    let mut arguments = vec!["--bootstrap", cluster.bootstrap_secure()?, "--for", SECONDS, "--json"];
    arguments.extend(properties.iter().map(String::as_str));
    arguments.push("--topics");
    arguments.extend(topics);
    let (code, out, err) = plan(&arguments)?;
    ensure!(code == Some(0), "{err}");
    ensure!(err.contains(&format!("looking at {} topics", topics.len())), "{err}");
    Ok(serde_json::from_str(&out)?)
}

#[test]
fn a_configuration_says_what_to_look_at_and_silence_is_said() -> anyhow::Result<()> {
    let cluster = &Bed::get()?.regional;
    let (topic, audit) = (cluster.fresh_topic("plan-file", 3, &[])?, cluster.fresh_topic("plan-file-audit", 1, &[])?);
    let dir = tempfile::TempDir::new()?;
    let file = dir.path().join("chaperone.toml");
    let text = format!(
        "data_dir = \"d\"\n[kafka.main]\nbootstrap_servers = {servers:?}\n[kafka.main.tap]\ntopics = [\"^plan-file-.*\"]\n\
         start = \"end\"\n[kafka.main.audit]\ntopic = {audit:?}\n",
        servers = cluster.bootstrap_plain(),
    );
    std::fs::write(&file, text)?;
    let before = traces(cluster)?;
    let (code, out, err) = plan(&["--config", &file.to_string_lossy(), "--for", "1"])?;
    ensure!(code == Some(0), "{err}");
    ensure!(traces(cluster)? == before, "it created something or joined a group");
    ensure!(!out.contains(&audit), "its own topic is not audited: {out}");
    let row = out.lines().find(|line| line.starts_with("main ")).context("a row")?;
    let cells: Vec<&str> = row.split_whitespace().collect();
    ensure!(cells == ["main", &topic, "3", "(0)", "-", "-", "-", "-", "-", "-", "-"], "{row}");
    ensure!(
        out.contains(&format!("{topic}: no traffic in 1 s")) && out.contains("1 of 1 topics had no traffic"),
        "{out}"
    );
    ensure!(!dir.path().join("d").exists(), "it makes no store");
    Ok(())
}
