//! Two taps, a collector and a page as processes of their own, the collector killed amid the traffic: the page says so
//! meanwhile, and the totals equal a recount.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::kafka::AuditedProducer;
use chaperone_tests::programs::{self, Program};
use chaperone_tests::{Bed, api, eventually, figures};
use rustix::process::Signal;

use crate::scene::{
    Folder, PATIENCE, Traffic, all_ok, becomes_ready, counted, counts, difference, metric, ready, says, send, topics,
};

const STAGE: &str = "kafka:main";
const ANY: &str = "127.0.0.1:0";

struct Apart {
    folder: Folder,
    topic: String,
    audit: String,
}

impl Apart {
    fn new(bed: &Bed) -> anyhow::Result<Self> {
        let (topic, audit) = topics(&bed.regional, "apart", 8)?;
        let apart = Self { folder: Folder::new("apart")?, topic, audit };
        apart.write(bed, "2s")?;
        Ok(apart)
    }
    fn write(&self, bed: &Bed, grace: &str) -> anyhow::Result<()> {
        let (topic, audit) = (&self.topic, &self.audit);
        let text = format!(
            "data_dir = {data:?}\n[web]\nlisten = \"{ANY}\"\n[kafka.main]\nbootstrap_servers = {servers:?}\n\
             [kafka.main.tap]\ntopics = [{topic:?}]\nstart = \"earliest\"\ngroup = \"{topic}-taps\"\n\
             [kafka.main.audit]\ntopic = {audit:?}\n[pipeline.apart]\ntopics = [{topic:?}]\n\
             stages = [\"producer\", {STAGE:?}]\ncomplete = [\"producer\"]\ngrace = {grace:?}\n",
            data = self.data_dir().to_string_lossy(),
            servers = bed.regional.bootstrap_plain(),
        );
        self.folder.write(&text).map(drop)
    }
    fn data_dir(&self) -> std::path::PathBuf {
        self.folder.path("data")
    }
    /// Starts a verb that listens somewhere; returns its URL too.
    fn start(&self, verb: &[&str]) -> anyhow::Result<(Program, String)> {
        let mut program = programs::chaperone(verb, &self.folder.path("chaperone.toml"))?;
        let url = programs::listening(&mut program)?;
        Ok((program, url))
    }
    fn collect(&self) -> anyhow::Result<(Program, String)> {
        self.start(&["collect", "--listen", ANY])
    }
    fn tap(&self) -> anyhow::Result<(Program, String)> {
        self.start(&["tap", "--listen", ANY])
    }
}

#[test]
fn the_page_says_that_the_collector_is_away_and_the_totals_equal_a_recount() -> anyhow::Result<()> {
    let bed = Bed::get()?;
    let apart = Apart::new(bed)?;
    let (mut web, page) = apart.start(&["web"])?;
    // Before there is a store, in words that say what to do.
    says(&page, &["there is no store yet", "chaperone collect"], PATIENCE)?;
    ensure!(!apart.data_dir().exists(), "a page makes no store");
    let recorder = apart.folder.recorder(&bed.regional, &apart.audit)?;
    let producer = AuditedProducer::new(&bed.regional.exact_config(), recorder.clone())?;
    let traffic = Traffic::default();
    let one = |n, ms| send(&producer, &apart.topic, n, ms);
    let (mut programs, behind) = traffic.during(one, |traffic| disturb(bed, &apart, (&page, &mut web), traffic))?;
    producer.flush(Duration::from_secs(60)).context("flush")?;
    let closed = recorder.close(Duration::from_secs(20));
    ensure!(closed.unsent == 0, "{closed:?}");
    let messages = traffic.sent();
    counts(&apart.data_dir(), &apart.topic, STAGE, messages)?;
    counts(&apart.data_dir(), &apart.topic, "producer", messages)?;
    let difference = difference(&apart.data_dir(), (&bed.regional, &apart.topic, messages), STAGE)?;
    let judged = all_ok(&page, &apart.topic)?;
    println!("{messages} messages, {judged} windows ok, {behind} behind while the collector was away");
    only_reads(&web, &apart.data_dir())?;
    for program in &mut programs {
        let status = program.process.terminate(Duration::from_secs(30))?;
        ensure!(status.success(), "{status}: {}", program.output());
    }
    // A clean end is told too, at once and without a silence to wait for.
    says(&page, &["no collector works on this store"], PATIENCE)?;
    ensure!(web.process.terminate(Duration::from_secs(30))?.success(), "{}", web.output());
    figures::record("processes", "apart_behind_meanwhile", behind)?;
    figures::record("processes", "apart_difference", difference)
}

/// Returns what runs at the end, and by how much the counts differed while the collector was away: the control.
fn disturb(
    bed: &Bed,
    apart: &Apart,
    (page, web): (&str, &mut Program),
    traffic: &Traffic,
) -> anyhow::Result<(Vec<Program>, u64)> {
    let (mut collect, health) = apart.collect()?;
    let ((mut first, first_url), (second, second_url)) = (apart.tap()?, apart.tap()?);
    becomes_ready(page, || web.output())?;
    becomes_ready(&health, || collect.output())?;
    counts(&apart.data_dir(), &apart.topic, STAGE, traffic.more(1_000)?)?;
    eventually(PATIENCE, "both taps count", || {
        for url in [&first_url, &second_url] {
            let label = format!("topic=\"{}\"", apart.topic);
            ensure!(metric(url, "chaperone_tap_messages_total", &label)? > 0.0, "{url}");
            ensure!(metric(url, "chaperone_tap_partitions", &label)? >= 1.0, "{url}");
        }
        Ok(())
    })?;
    ensure!(metric(&health, "chaperone_intake_records_total", "outcome=\"applied\"")? > 0.0, "nothing was applied");
    ensure!(metric(page, "chaperone_store_heartbeat_age_seconds", "role=\"collect\"")? < 10.0, "no beat");
    // What another process writes is news on the page.
    let before = revision(page)?;
    eventually(PATIENCE, "the page's revision moves", || {
        let now = revision(page)?;
        ensure!(now > before, "{now}");
        Ok(())
    })?;
    reloads(bed, apart, [&*web, &collect, &first, &second])?;

    collect.process.kill()?;
    let gone = says(page, &["the collector", "is silent since", "start it again"], Duration::from_secs(30))?;
    println!("{gone}");
    let stood = counted(&apart.data_dir(), &apart.topic, STAGE);
    let sent = traffic.more(1_000)?;
    let now = counted(&apart.data_dir(), &apart.topic, STAGE);
    ensure!(now == stood, "somebody else collects: {stood}, then {now}");
    let behind = difference(&apart.data_dir(), (&bed.regional, &apart.topic, sent), STAGE)?;
    ensure!(behind > 0, "the control found no difference");
    // A tap ends and another begins meanwhile: claims need the store, not the collector.
    first.process.kill()?;
    let (third, third_url) = apart.tap()?;
    let (collect, health) = apart.collect()?;
    becomes_ready(page, || web.output())?;
    counts(&apart.data_dir(), &apart.topic, STAGE, traffic.more(1_000)?)?;
    ensure!(ready(&health)?.0 == 200 && ready(&third_url)?.0 == 200, "{}{}", collect.output(), third.output());
    Ok((vec![second, third, collect], behind))
}

fn revision(page: &str) -> anyhow::Result<u64> {
    let (status, body) = api::get(&format!("{page}/api/v1/status"))?;
    ensure!(status == 200, "{status}: {body}");
    let status: serde_json::Value = serde_json::from_str(&body)?;
    status.get("revision").and_then(serde_json::Value::as_u64).context("no revision")
}

/// Every verb reads the configuration again.
fn reloads(bed: &Bed, apart: &Apart, programs: [&Program; 4]) -> anyhow::Result<()> {
    apart.write(bed, "3s")?;
    for program in programs {
        program.process.signal(Signal::HUP)?;
        eventually(PATIENCE, "it reads the configuration again", || {
            let log = program.output();
            ensure!(log.contains("read again at") && log.contains("pipeline.apart.grace"), "{log}");
            Ok(())
        })?;
    }
    Ok(())
}

/// The kernel's word on how the page has the database open.
fn only_reads(web: &Program, data_dir: &Path) -> anyhow::Result<()> {
    let (store, id) = (data_dir.join("chaperone.sqlite").canonicalize()?, web.process.id());
    let mut opened = 0;
    for entry in std::fs::read_dir(format!("/proc/{id}/fd"))? {
        let entry = entry?;
        if std::fs::read_link(entry.path()).is_ok_and(|to| to == store) {
            let info = std::fs::read_to_string(format!("/proc/{id}/fdinfo/{}", entry.file_name().to_string_lossy()))?;
            let flags = info.lines().find_map(|l| l.strip_prefix("flags:")).context("flags")?.trim();
            // The last two bits are the access: zero for reading only.
            ensure!(
                u32::from_str_radix(flags, 8)?.is_multiple_of(4),
                "the page has the store open for writing: {info}"
            );
            opened += 1;
        }
    }
    ensure!(opened > 0, "the page does not have the store open; nothing was shown");
    Ok(())
}
