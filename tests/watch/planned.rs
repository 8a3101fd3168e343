//! `chaperone plan` looks at both clusters amid their traffic, reads a sample of it, and leaves nothing behind.

use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_tests::clients::traces;
use chaperone_tests::programs::{self, Program};
use chaperone_tests::{Cluster, eventually, figures};
use serde_json::Value;

use crate::scene::{Scene, TOPICS};

/// Of each topic; some 250 a second are sent.
const AT_LEAST: u64 = 300;

/// Both at once: each looks for a few seconds, and most of that is waiting.
pub(crate) fn by_plans(scene: &Scene) -> anyhow::Result<()> {
    let before = [traces(&scene.from)?, traces(&scene.to)?];
    // On a busy machine the traffic is thin at times.
    eventually(Duration::from_secs(90), "both plans rest on enough messages", || {
        let [from, to] = [plan(&scene.from, None)?, plan(&scene.to, Some("watch"))?];
        [from, to].into_iter().try_for_each(sampled)
    })?;
    let after = [traces(&scene.from)?, traces(&scene.to)?];
    println!("before plans: {before:?}\nafter plans: {after:?}");
    let created = before.iter().zip(&after).map(|(before, after)| after.difference(before).count()).sum::<usize>();
    figures::record("watch", "plan_created", created)
}

fn plan(cluster: &Cluster, user: Option<&str>) -> anyhow::Result<Program> {
    let settings = user.map(|user| cluster.client_settings(user)).transpose()?.unwrap_or_default();
    let properties = settings.iter().filter(|(key, _)| *key != "bootstrap.servers");
    let properties: Vec<String> = properties.map(|(key, value)| format!("--property={key}={value}")).collect();
    let servers = if user.is_some() { cluster.bootstrap_secure()? } else { cluster.bootstrap_plain() };
    let mut arguments = vec!["--bootstrap", servers, "--for", "5", "--json", "--topics"];
    arguments.extend(TOPICS);
    arguments.extend(properties.iter().map(String::as_str));
    programs::chaperone_verb("plan", &arguments)
}

/// It ends well, and its answer rests on messages that it has read.
fn sampled(mut program: Program) -> anyhow::Result<()> {
    let status = program.process.wait(Duration::from_secs(60))?;
    ensure!(status.code() == Some(0), "{status}: {}", program.output());
    let answer = program.line("the plan", Duration::from_secs(5), |line| line.starts_with('{'))?;
    let answer: Value = serde_json::from_str(&answer)?;
    for topic in TOPICS {
        let topics = answer["topics"].as_array().context("no topics")?;
        let seen = topics.iter().find(|seen| seen["topic"] == topic).context("not looked at")?;
        ensure!(seen["sample"]["messages"].as_u64() >= Some(AT_LEAST), "{seen}");
        // A key of 5 or 6 bytes, `orders-eu message 123`.
        let bytes = seen["sample"]["mean_bytes"].as_f64().context("no mean")?;
        ensure!((20.0..=35.0).contains(&bytes), "{seen}");
    }
    Ok(())
}
