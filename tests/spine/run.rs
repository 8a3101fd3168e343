//! The five-stage run: one message in, five counts out, faults told to the letter.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::{Clock, SystemClock};
use chaperone_tests::{eventually, figures};

use crate::consumer::Reader;
use crate::plan::{Plan, WINDOWS};
use crate::relay::Relay;
use crate::replicator::Replicator;
use crate::scene::{PARTITIONS, STAGES, Scene};
use crate::traffic::{self, Progress};
use crate::truth::{self, Totals};
use chaperone_tests::api::{self, Window};
use chaperone_tests::programs::{self, Program};

/// Messages of a run.
const MESSAGES: usize = 100_000;
/// From the last message to the last verdict, at most: generous, for a loaded machine; the figure is measured apart.
const SETTLED_WITHIN: Duration = Duration::from_secs(240);

/// A running `chaperone run`, restarted on demand.
struct Collector<'a> {
    scene: &'a Scene,
    verb: &'static [&'static str],
    program: Program,
    url: String,
}

impl<'a> Collector<'a> {
    fn start(scene: &'a Scene, verb: &'static [&'static str]) -> anyhow::Result<Self> {
        let mut program = programs::chaperone(verb, &scene.config(&scene.collected)?)?;
        let url = programs::listening(&mut program)?;
        Ok(Self { scene, verb, program, url })
    }
    fn kill_and_restart(&mut self) -> anyhow::Result<()> {
        self.program.process.kill()?;
        *self = Self::start(self.scene, self.verb)?;
        Ok(())
    }
    fn windows(&self, plan: &Plan) -> anyhow::Result<Vec<Window>> {
        let end = plan.window_ms(WINDOWS);
        api::windows(&self.url, &self.scene.topic, plan.base_ms, end)
    }
}

fn proxy(scene: &Scene) -> anyhow::Result<(Program, String)> {
    let mut environment = programs::example_settings(&scene.bed.regional, "proxy")?;
    let add = |key: &str, value: String| (key.to_owned(), value);
    environment.extend([
        add("LISTEN", "127.0.0.1:0".to_owned()),
        add("AUDIT_TOPIC", scene.audit.clone()),
        add("STAGE", "proxy".to_owned()),
        add("SEED", u64::from_str_radix(crate::scene::SEED, 16)?.to_string()),
        add("DATA_DIR", scene.folder("proxy")?.to_string_lossy().into_owned()),
        add("SLOTS_DIR", scene.folder("proxy")?.to_string_lossy().into_owned()),
        // Fewer than there are clients: some produces fail with queue-full, and must make no window mixed.
        add("KAFKA_QUEUE_BUFFERING_MAX_MESSAGES", (traffic::CLIENTS * 2 / 5).to_string()),
        add("KAFKA_LINGER_MS", "10".to_owned()),
    ]);
    let mut program = programs::example("proxy", &environment)?;
    let url = programs::listening(&mut program)?;
    Ok((program, url))
}

/// Runs all five stages; `disturb` is called while the traffic flows. Returns the sums and the plan.
fn five_stages(
    scene: &Scene,
    verb: &'static [&'static str],
    disturb: impl FnOnce(&mut Collector<'_>, &Arc<Progress>) -> anyhow::Result<()>,
) -> anyhow::Result<(Totals, Plan)> {
    let mut collector = Collector::start(scene, verb)?;
    let taps = if verb.contains(&"--no-taps") {
        Some(programs::chaperone(&["tap"], &scene.config(&scene.audit)?)?)
    } else {
        None
    };
    let plan = Arc::new(Plan::new(MESSAGES, SystemClock.now_ms()));
    let (mut proxy, proxy_url) = proxy(scene)?;
    let clients = [("regional", "replicator"), ("agg", "replicator"), ("agg", "consumer")];
    let [from, to, read] = clients.map(|(cluster, user)| scene.cluster(cluster).client_config(user));
    let replicator = Replicator::start(&from?, &to?, &scene.topic, PARTITIONS, Arc::clone(&plan))?;
    let reporter = scene.recorder("consumer", "consumer")?;
    let reader = Reader::start(&read?, &scene.group, &scene.topic, reporter.clone())?;
    let producer = scene.recorder("producer", "producer")?;

    let progress = Arc::new(Progress::default());
    let sender = {
        let (plan, producer, progress) = (Arc::clone(&plan), producer.clone(), Arc::clone(&progress));
        let topic = scene.topic.clone();
        std::thread::spawn(move || traffic::send(&plan, &proxy_url, &topic, &producer, &progress))
    };
    disturb(&mut collector, &progress)?;
    while !sender.is_finished() {
        truth::check_seen(&plan, &collector.windows(&plan)?).context("while the traffic flows")?;
    }
    sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    ensure!(
        progress.refused.load(Ordering::SeqCst) > 0,
        "no produce failed with queue-full: the run shows less than it must"
    );
    let copied: u64 = plan.replicated().values().sum();
    eventually(Duration::from_secs(120), "all messages are replicated and consumed", || {
        let (read, seen) = (replicator.read(), reader.seen());
        ensure!(read == MESSAGES as u64 && seen == copied, "replicator read {read}, consumer saw {seen} of {copied}");
        Ok(())
    })?;
    let totals = eventually(SETTLED_WITHIN, "every window is judged for good", || {
        let seen = collector.windows(&plan)?;
        truth::check_seen(&plan, &seen)?;
        truth::check_final(&plan, &seen)
    })
    .with_context(|| format!("collector:\n{}", tail(&collector.program.output())))?;
    check_counts(scene, &plan)?;
    check_page(scene, &collector)?;

    replicator.finish()?;
    reader.finish()?;
    for recorder in [producer, reporter] {
        let closed = recorder.close(Duration::from_secs(20));
        ensure!(closed.in_doubt == 0 && closed.unsent == 0, "not a clean stop: {closed:?}");
    }
    proxy.process.terminate(Duration::from_secs(30))?;
    if let Some(mut taps) = taps {
        taps.process.terminate(Duration::from_secs(30))?;
    }
    collector.program.process.terminate(Duration::from_secs(30))?;
    let plan = Arc::into_inner(plan).context("the plan is still shared")?;
    Ok((totals, plan))
}

/// The store's public view against the plan: every stage, every window.
fn check_counts(scene: &Scene, plan: &Plan) -> anyhow::Result<()> {
    for (i, stage) in STAGES.into_iter().enumerate() {
        let truth = if i < 3 { plan.sent() } else { plan.replicated() };
        let stored = api::stage_counts(&scene.data_dir(), &scene.topic, stage)?;
        ensure!(stored == truth, "{stage}: the store says {stored:?}, the truth is {truth:?}");
    }
    Ok(())
}

/// The page says what the API says.
fn check_page(scene: &Scene, collector: &Collector<'_>) -> anyhow::Result<()> {
    let url = format!("{}/t/regional/{}?from=now-1h&to=now%2B1m", collector.url, scene.topic);
    let (status, page) = api::get(&url)?;
    ensure!(status == 200, "{url}: {status}");
    for wanted in ["39 messages are missing", "mixed", "kafka:agg"] {
        ensure!(page.contains(wanted), "the page does not say '{wanted}'");
    }
    Ok(())
}

fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// The window of five lost and three doubled proves two missing; the others say 37 exactly.
fn check_totals(totals: &Totals, windows: &str) -> anyhow::Result<()> {
    let truth = Totals { missing: 37 + 2, surplus: 12, mixed: 1, ok: (WINDOWS * 4 - 7) as u64 };
    ensure!(*totals == truth, "{windows}: said {totals:?}, is {truth:?}");
    Ok(())
}

#[test]
fn losses_duplicates_and_masked_windows_are_told_to_the_letter() -> anyhow::Result<()> {
    let scene = Scene::new(false)?;
    let (totals, _) = five_stages(&scene, &["run"], |_, _| Ok(()))?;
    check_totals(&totals, "five stages")?;
    figures::record("spine", "missing", totals.missing - 2)?;
    figures::record("spine", "surplus", totals.surplus)?;
    // check_final has compared every other row with the truth.
    figures::record("spine", "invented", (WINDOWS * 4) as u64 - 7 - totals.ok)
}

#[test]
fn audit_records_thrice_in_random_order_and_a_killed_collector_change_nothing() -> anyhow::Result<()> {
    let scene = Scene::new(true)?;
    let relay = Relay::start(&scene)?;
    let mut kills = 0;
    let (totals, plan) = five_stages(&scene, &["run", "--no-taps"], |collector, progress| {
        for part in 1..=5 {
            traffic::reached(progress, part * MESSAGES as u64 / 6)?;
            collector.kill_and_restart()?;
            kills += 1;
        }
        Ok(())
    })?;
    check_totals(&totals, "relayed")?;
    let relayed = relay.finish()?;
    relayed.naive_counting_differs(&plan)?;
    figures::record("spine", "relayed_records", relayed.records)?;
    figures::record("spine", "collector_kills", kills)
}
