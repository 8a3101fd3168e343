//! SIGHUP amid the traffic: what takes effect, what is refused, and that the counts are those of the partitions.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_audit::kafka::AuditedProducer;
use chaperone_tests::programs::Program;
use chaperone_tests::{Bed, api, eventually, figures};
use rdkafka::producer::BaseRecord;
use rustix::process::Signal;

use crate::scene::Scene;

const STAGE: &str = "kafka:main";
/// Between two bursts of [`BURST`] messages.
const PACE: Duration = Duration::from_millis(20);
const BURST: u64 = 10;
/// A tap leaves its group, another joins it, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running `chaperone run` whose configuration changes.
struct Changing<'a> {
    scene: &'a Scene<'a>,
    program: Program,
    url: String,
    reloads: u64,
    refused: u64,
}

impl Changing<'_> {
    /// Writes a configuration, asks for a reload, and returns what the log says of it.
    fn reload(&mut self, text: &str) -> anyhow::Result<String> {
        self.scene.write(text)?;
        let nth = usize::try_from(self.reloads)?;
        self.program.process.signal(Signal::HUP)?;
        let said = eventually(PATIENCE, "the log tells of the reload", || {
            let output = self.program.output();
            let told = |line: &&str| line.contains("read again at") || line.contains("refused at");
            // A refusal is told again when it is solved.
            let mut lines = output.lines().filter(told).filter(|line| !line.contains("solved:"));
            lines.nth(nth).map(str::to_owned).with_context(|| format!("after {nth} reloads: {output}"))
        })?;
        println!("{said}");
        self.reloads += 1;
        Ok(said)
    }

    /// A reload that must take effect and exchange the tap.
    fn takes_effect(&mut self, text: &str) -> anyhow::Result<()> {
        let said = self.reload(text)?;
        ensure!(said.contains("read again at") && said.contains("taps exchanged: main"), "{said}");
        let (status, ready) = api::get(&format!("{}/readyz", self.url))?;
        ensure!(!ready.contains("configuration"), "{status}: {ready}");
        Ok(())
    }

    /// A reload that must be refused, saying all `words` in the log and at `/readyz`.
    fn is_refused(&mut self, text: &str, words: &[&str]) -> anyhow::Result<()> {
        let said = self.reload(text)?;
        // What is served is right all the same: only what has not connected yet may keep it from being ready.
        let ready = eventually(PATIENCE, "it is ready in spite of the refusal", || {
            let (status, ready) = api::get(&format!("{}/readyz", self.url))?;
            ensure!(status == 200, "{status}: {ready}");
            Ok(ready)
        })?;
        for word in words {
            ensure!(said.contains("refused at") && said.contains(word), "no '{word}': {said}");
            ensure!(ready.contains(word), "no '{word}': {ready}");
        }
        self.refused += 1;
        Ok(())
    }

    fn counted(&self, topic: &str) -> anyhow::Result<u64> {
        Ok(api::stage_counts(&self.scene.data_dir(), topic, STAGE)?.values().sum())
    }

    /// Waits until what has been sent by now is counted.
    fn catches_up(&self, topic: &str, sent: &AtomicU64) -> anyhow::Result<()> {
        let mark = sent.load(Ordering::SeqCst);
        eventually(PATIENCE, "the tap catches up", || {
            let counted = self.counted(topic)?;
            ensure!(counted >= mark, "{counted} of {mark}:\n{}", self.program.output());
            Ok(())
        })
    }
}

/// Sends to `topic` at a steady pace until told to stop.
fn traffic(producer: &AuditedProducer, topic: &str, stop: &AtomicBool, sent: &AtomicU64) -> anyhow::Result<()> {
    let begun = Instant::now();
    for burst in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let due = begun + PACE * burst;
        eventually(Duration::from_secs(60), "the next burst is due", || {
            ensure!(Instant::now() >= due, "not yet");
            Ok(())
        })?;
        send(producer, topic, BURST)?;
        sent.fetch_add(BURST, Ordering::SeqCst);
    }
    Ok(())
}

fn send(producer: &AuditedProducer, topic: &str, messages: u64) -> anyhow::Result<()> {
    for _ in 0..messages {
        let id = uuid::Uuid::now_v7().to_string();
        producer.send(BaseRecord::to(topic).key(&id).payload(&id)).map_err(|(e, _)| e)?;
    }
    Ok(())
}

/// All that happens while the traffic flows. Ends with both topics tapped under another seed.
fn changes(c: &mut Changing<'_>, late: &str, sent: &AtomicU64, producer: &AuditedProducer) -> anyhow::Result<()> {
    let (scene, text) = (c.scene, c.scene.text());
    let steady = scene.topic.as_str();
    let one = format!("topics = [\"{steady}\"]");
    let both = text.replace(&one, &format!("topics = [\"{steady}\", \"{late}\"]"));
    c.catches_up(steady, sent)?;

    let bad = text.replace(&one, "topics = [\"^(\"]");
    c.is_refused(&bad, &["kafka.main.tap.topics[0]", "pipeline.faults.topics[0]", "regular expression"])?;
    c.catches_up(steady, sent)?;
    let elsewhere = both.replace("/chaperone\"", "/elsewhere\"").replace(&scene.audit, "another");
    let restart = ["data_dir takes effect at a restart only", "kafka.main.audit.topic takes effect at a restart only"];
    c.is_refused(&elsewhere, &restart)?;
    c.catches_up(steady, sent)?;
    ensure!(c.counted(late)? == 0, "a refused topic is not tapped");

    send(producer, late, 500)?;
    c.takes_effect(&both)?;
    eventually(PATIENCE, "the new topic's windows appear", || {
        let windows = api::windows_by(&c.url, &format!("topic={late}&from=now-1h&to=now%2B1m"))?;
        ensure!(!windows.is_empty() && c.counted(late)? == 500, "{windows:?}");
        Ok(())
    })?;
    let wide = both.replace("grace =", "width = \"60s\"\ngrace =");
    for next in [&text, &both, &wide, &both] {
        send(producer, late, 100)?;
        c.takes_effect(next)?;
        c.catches_up(steady, sent)?;
    }
    eventually(PATIENCE, "windows are proven in spite of it all", || {
        let windows = api::windows_by(&c.url, &format!("topic={steady}&from=now-1h&to=now%2B1m"))?;
        ensure!(windows.iter().any(|w| w.verdict == "ok"), "{windows:?}");
        Ok(())
    })?;
    let seeded = both.replacen("[web]", "seed = \"00000000000000ff\"\n[web]", 1);
    c.takes_effect(&seeded)?;
    c.catches_up(steady, sent)?;
    eventually(PATIENCE, "the new rule shows", || {
        let windows = api::windows_by(&c.url, &format!("topic={steady}&from=now-1h&to=now%2B1m"))?;
        let differ = |w: &api::Window| w.caveats.iter().any(|caveat| caveat.starts_with("rules differ"));
        ensure!(windows.iter().any(differ), "{windows:?}");
        let red = windows.iter().find(|w| ["missing", "surplus", "mixed"].contains(&w.verdict.as_str()));
        ensure!(red.is_none(), "{red:?}");
        Ok(())
    })
}

#[test]
fn a_configuration_changed_amid_the_traffic_loses_and_doubles_nothing() -> anyhow::Result<()> {
    let cluster = &Bed::get()?.regional;
    let scene = Scene::new(cluster, &[])?;
    let late = cluster.fresh_topic("faults", 2, &[])?;
    let (program, url) = scene.run()?;
    let recorder = scene.recorder()?;
    let producer = AuditedProducer::new(&cluster.exact_config(), recorder.clone())?;
    let mut changing = Changing { scene: &scene, program, url, reloads: 0, refused: 0 };
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let sender = scope.spawn(|| traffic(&producer, &scene.topic, &stop, &sent));
        let outcome = changes(&mut changing, &late, &sent, &producer);
        stop.store(true, Ordering::SeqCst);
        sender.join().map_err(|_| anyhow::anyhow!("the producer panicked"))??;
        outcome.with_context(|| changing.program.output())
    })?;
    producer.flush(Duration::from_secs(60))?;
    let held = |topic: &str| -> anyhow::Result<u64> {
        let offsets = cluster.offsets(topic)?;
        Ok(offsets.iter().map(|(first, next)| (next - first).unsigned_abs()).sum())
    };
    let topics = [(scene.topic.as_str(), held(&scene.topic)?), (late.as_str(), held(&late)?)];
    ensure!(topics[0].1 == sent.load(Ordering::SeqCst), "the partitions hold what was sent");
    eventually(PATIENCE, "everything is counted", || {
        for (topic, held) in topics {
            let counted = changing.counted(topic)?;
            ensure!(counted >= held, "{topic}: {counted} of {held}");
        }
        Ok(())
    })?;
    changing.program.process.terminate(Duration::from_secs(60)).context("a clean stop")?;
    let mut difference = 0;
    for (topic, held) in topics {
        let counted = changing.counted(topic)?;
        println!("{topic}: counted {counted}, held {held}");
        difference += counted.abs_diff(held);
    }
    recorder.close(Duration::from_secs(20));
    figures::record("faults", "reloads", changing.reloads)?;
    figures::record("faults", "reloads_refused", changing.refused)?;
    figures::record("faults", "reload_difference", difference)
}
