//! `chaperone watch` between two real clusters, one of them secured, neither ever seen by a consumer before: what is lost
//! and doubled on the way is found, nothing else is said, and the clusters are left as they were: no topic, no group.
//! And what cannot be watched is refused in words, with the exit code for it.

mod planned;
mod scene;
mod traffic;
mod transactions;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_tests::clients::traces;
use chaperone_tests::figures;
use chaperone_tests::programs::{self, Program};
use rustix::process::Signal;
use serde_json::Value;

use scene::Scene;
use traffic::Traffic;

/// Lost on the way, in one window of the first topic.
const LOST: u64 = 7;
/// Doubled on the way, in one window of the second topic.
const DOUBLED: u64 = 3;
/// A window, its grace and the reports, on a busy machine.
const VERDICT_DEADLINE: Duration = Duration::from_secs(120);

/// The verdict events so far: the last one of each topic and window.
fn verdicts(program: &Program) -> anyhow::Result<BTreeMap<(String, i64), Value>> {
    let mut last = BTreeMap::new();
    for line in program.output().lines().filter(|line| line.starts_with('{')) {
        let event: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        if event["event"] == "verdict" {
            let topic = event["topic"].as_str().context("no topic")?.to_owned();
            last.insert((topic, event["window_ms"].as_i64().context("no window")?), event);
        }
    }
    Ok(last)
}

/// Waits for the final verdict about a window.
fn verdict(program: &mut Program, topic: &str, window_ms: i64) -> anyhow::Result<Value> {
    chaperone_tests::eventually(VERDICT_DEADLINE, &format!("a verdict on {topic} at {window_ms}"), || {
        let found = verdicts(program)?.remove(&(topic.to_owned(), window_ms));
        let found = found.filter(|v| !matches!(v["verdict"].as_str(), Some("delayed" | "overdue")));
        found.with_context(|| format!("said only:\n{}", program.output()))
    })
}

#[test]
fn what_is_lost_between_two_clusters_is_found_and_nothing_is_left_on_them() -> anyhow::Result<()> {
    let scene = Scene::start()?;
    let before = [traces(&scene.from)?, traces(&scene.to)?];
    checked(&scene)?;
    let mut traffic = Traffic::start(&scene)?;
    let begun = Instant::now();
    let mut watch = scene.watch(&["--topics", "orders-.*", "--port", "0", "--json"])?;
    planned::by_plans(&scene)?;
    let first =
        watch.line("the first verdict", Duration::from_secs(90), |line| line.contains("\"event\":\"verdict\""))?;
    let first_s = begun.elapsed().as_secs() + 1;
    println!("within {first_s} s: {first}");
    let (lost_in, doubled_in) = traffic.spoil(LOST, DOUBLED);
    let missing = verdict(&mut watch, scene::TOPICS[0], lost_in)?;
    let surplus = verdict(&mut watch, scene::TOPICS[1], doubled_in)?;
    traffic.stop()?;

    let (mut invented, mut uncertain) = (0, 0);
    for ((topic, window_ms), said) in verdicts(&watch)? {
        if topic == scene::REWRITTEN && said["caveats"].to_string().contains("time rewritten downstream") {
            uncertain += u64::from(said["verdict"] == "uncertain");
            invented += u64::from(!matches!(said["verdict"].as_str(), Some("uncertain" | "ok")));
            continue;
        }
        let truth = traffic.truth(&topic, window_ms);
        let said = (
            said["verdict"].as_str().unwrap_or_default().to_owned(),
            said["missing_min"].as_u64().unwrap_or_default(),
            said["surplus_min"].as_u64().unwrap_or_default(),
        );
        if said != truth {
            println!("invented: {topic} at {window_ms}: said {said:?}, is {truth:?}");
            invented += 1;
        }
    }
    ensure!(uncertain > 0, "nothing was said to be uncertain: {}", watch.output());
    let page = ureq::get(missing["url"].as_str().context("no url")?).call()?.body_mut().read_to_string()?;
    ensure!(page.contains(scene::TOPICS[0]), "the deep link shows another page");
    watch.process.signal(Signal::INT)?;
    let status = watch.process.wait(Duration::from_secs(20))?;
    ensure!(status.code() == Some(0), "{status}: {}", watch.output());
    watch.line("the end", Duration::from_secs(5), |line| line.contains("\"event\":\"end\""))?;

    let after = [traces(&scene.from)?, traces(&scene.to)?];
    println!("before: {before:?}\nafter: {after:?}");
    let created = before.iter().zip(&after).map(|(b, a)| a.difference(b).count() as u64).sum::<u64>();
    figures::record("watch", "first_verdict_seconds", first_s)?;
    figures::record("watch", "missing", missing["missing_min"].as_u64().context("no number")?)?;
    figures::record("watch", "surplus", surplus["surplus_min"].as_u64().context("no number")?)?;
    figures::record("watch", "invented", invented)?;
    figures::record("watch", "created", created)?;
    ensure!(!scene::a_group_reads(&scene.from)?.is_subset(&after[0]), "a consumer with a group leaves nothing behind");
    refusals(&scene)
}

/// `check-config --connect`, which reads from every topic that would be counted, leaves nothing behind either.
fn checked(scene: &Scene) -> anyhow::Result<()> {
    let before = traces(&scene.from)?;
    let config = scene.config()?;
    let mut check = programs::chaperone(&["check-config", "--connect"], &config)?;
    let status = check.process.wait(Duration::from_secs(60))?;
    ensure!(status.code() == Some(0), "{status}: {}", check.output());
    for words in ["READ on topic 'orders-eu'", "READ on group", "no consumer has ever committed"] {
        check.line(words, Duration::from_secs(5), |line| line.contains(words))?;
    }
    let created = traces(&scene.from)?.difference(&before).count();
    figures::record("watch", "check_config_created", created)
}

/// On the same clusters: they take a while to start.
fn refusals(scene: &Scene) -> anyhow::Result<()> {
    let from = format!("a={}", scene.from.bootstrap_plain());
    let secure = scene.to.bootstrap_secure()?;
    let mut wrong = scene.to.client_settings("watch")?;
    wrong.iter_mut().filter(|(key, _)| *key == "sasl.password").for_each(|(_, value)| "not it".clone_into(value));
    let wrong = scene.properties("wrong.properties", &wrong)?;
    let right = scene.properties("right.properties", &scene.to.client_settings("watch")?)?;
    let cases: [(&[&str], i32, &str); 6] = [
        (&["--to", "127.0.0.1:1", "--topics", "o"], 69, "--to 127.0.0.1:1: no broker answers"),
        (&["--to", secure, "--to-config", &wrong, "--topics", "o"], 77, "refuses our credentials"),
        (&["--to", secure, "--to-config", &right, "--topics", "("], 64, "--topics '('"),
        (&["--to", "b", "--topics", "o"], 64, "--to 'b': 'b' is not host:port"),
        (&["--to", "a=h:1", "--topics", "o"], 64, "both called 'a'"),
        (&["--to", "h:1", "--to-property", "group.id=g", "--topics", "o"], 64, "group.id is chaperone's own"),
    ];
    for (arguments, code, words) in cases {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--from", &from, "--port", "0", "--duration", "1"]);
        let mut refused = programs::chaperone_verb("watch", &arguments)?;
        let status = refused.process.wait(Duration::from_secs(60))?;
        refused.line(words, Duration::from_secs(5), |line| line.contains(words))?;
        ensure!(status.code() == Some(code), "{arguments:?}: {status}: {}", refused.output());
        ensure!(!refused.output().contains("panicked"), "{}", refused.output());
    }
    Ok(())
}
