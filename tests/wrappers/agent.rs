//! A process without a Kafka client, its host's agent, and Kafka: process and agent are killed amid counting, and what
//! comes to the audit topic is what was counted.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::recorder::survey;
use chaperone_audit::wire::End;
use chaperone_tests::programs::{self, Program};
use chaperone_tests::witness::{Watched, in_memory};
use chaperone_tests::{Bed, eventually, figures};
use rustix::process::Signal;

use crate::sender::{WAIT, stored, told};

/// Threads of a process: each may have counted one message more than it told.
const THREADS: u64 = 2;
const MOMENT: Duration = Duration::from_millis(300);

fn counts(host: &Path) -> anyhow::Result<Watched> {
    let (host, app) = (host.to_string_lossy(), host.join("app"));
    let threads = THREADS.to_string();
    let arguments = ["inspect", "count", "--dir", &*app.to_string_lossy(), "--agent", &*host, "--threads", &*threads];
    Watched::start(&programs::built("chaperone"), &arguments)
}

fn agent(host: &Path, config: &Path) -> anyhow::Result<Program> {
    programs::chaperone(&["recover", "--watch", &host.to_string_lossy(), "--every", "1"], config)
}

#[test]
fn an_agent_brings_what_the_living_and_the_dead_counted_to_kafka_once() -> anyhow::Result<()> {
    let cluster = &Bed::get()?.agg;
    let (scratch, audit) = (in_memory()?, cluster.fresh_topic("wrappers-agent", 1, &[])?);
    let (host, config) = (scratch.path().join("host"), scratch.path().join("chaperone.toml"));
    let text = format!(
        "data_dir = 'unused'\n[kafka.agg]\nbootstrap_servers = {servers:?}\n[kafka.agg.audit]\ntopic = {audit:?}\n\
         [pipeline.all]\ntopics = ['orders']\nstages = ['inspect-count', 'consumer']\n",
        servers = cluster.bootstrap_plain(),
    );
    std::fs::write(&config, text)?;
    let mut first_agent = agent(&host, &config)?;
    let mut lives = vec![counts(&host)?];
    eventually(WAIT, "counts of a living process come through", || {
        ensure!(stored(cluster, &audit)? > 0 && told(cluster, &audit)?.n() > 0, "{}", first_agent.output());
        Ok(())
    })?;
    first_agent.process.kill()?;
    // It counts on without an agent and dies; so does the next, which takes over from it.
    lives.push(counts(&host)?);
    let mut ends = Vec::new();
    for life in lives {
        life.begun();
        ensure!(!life.live(MOMENT), "it ended by itself");
        ends.push(life.end_by(Signal::KILL)?);
    }
    let left = survey(&host.join("app"))?.n();
    let before = told(cluster, &audit)?.n();
    let second_agent = agent(&host, &config)?;
    let all = eventually(WAIT, "all of it is in Kafka, and nothing is left", || {
        let left = survey(&host.join("app"))?;
        ensure!((left.n(), left.unreadable) == (0, 0), "{left:?}: {}", second_agent.output());
        let all = told(cluster, &audit)?;
        ensure!(all.lives.values().all(|life| life.end.is_some()), "{all:?}");
        Ok(all)
    })?;
    ensure!(all.contradictions.is_empty(), "{:?}", all.contradictions);
    let mut wrong = 0;
    for ended in &ends {
        let life = all.lives.values().find(|life| life.pid == ended.pid).context("a process that nobody told of")?;
        let (n, known) = (life.counts().0, ended.told.len() as u64);
        println!("process {}: {known} told, {n} in Kafka, {:?}", ended.pid, life.end);
        wrong += u64::from(!(known..=known + THREADS).contains(&n) || life.end != Some(End::Crash));
    }
    figures::record("wrappers", "agent_wrong", wrong)?;
    ensure!((wrong, all.lives.len()) == (0, ends.len()), "{all:?}");
    // The control: without the agent it would have stayed where it was.
    ensure!(left > 0 && before < all.n(), "{left} left, {before} of {} told before", all.n());
    Ok(())
}
