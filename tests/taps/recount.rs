//! `chaperone recount` reads Kafka again and agrees with the store, and says so where it cannot or does not.

use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_tests::programs::Program;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;

use chaperone_tests::tapped::{Scene, Upstream};

const WAIT: Duration = Duration::from_secs(60);
/// Messages in each of two windows.
const MESSAGES: u64 = 200;

/// Runs it; exit code and lines.
fn recount(scene: &Scene, more: &[&str]) -> anyhow::Result<(Option<i32>, Vec<Value>)> {
    let verb = ["recount", "--json", "--topic", &scene.topic];
    let arguments: Vec<&str> = verb.iter().chain(more).copied().collect();
    let mut program: Program = scene.verb(&arguments)?;
    let status = program.process.wait(WAIT)?;
    let end = program.line("its last line", WAIT, |line| line.contains("\"event\":\"end\"")).ok();
    let output = program.output();
    ensure!(end.is_some(), "{status}: {output}");
    let lines = output.lines().filter(|line| line.starts_with('{')).map(serde_json::from_str);
    Ok((status.code(), lines.collect::<Result<_, _>>()?))
}

/// How many rows came to this, of whole windows or of partitions.
fn rows(lines: &[Value], whole: bool, outcome: &str) -> usize {
    let of_kind = lines.iter().filter(|l| l["event"] == "row" && l["partition"].is_null() == whole);
    of_kind.filter(|l| l["outcome"] == outcome).count()
}

#[test]
fn what_was_counted_is_counted_again_and_a_difference_is_told() -> anyhow::Result<()> {
    let scene = Scene::new("recount", 2, &[])?;
    let recorder = scene.recorder()?;
    let mut upstream = Upstream::new(&scene, &recorder)?;
    let mut tap = scene.tap()?;
    let first = upstream.send_in_next_window(MESSAGES)?;
    upstream.send_in_next_window(MESSAGES)?;
    scene.counted(2 * MESSAGES)?;
    ensure!(scene.verdicts()?.iter().all(|w| w.verdict == "ok"));
    recorder.close(WAIT);
    tap.process.terminate(WAIT)?;

    let (code, lines) = recount(&scene, &[])?;
    let end = lines.last().context("no end")?;
    ensure!(code == Some(0) && end["messages"] == 2 * MESSAGES && end["differ"] == 0, "{code:?}: {lines:?}");
    ensure!(rows(&lines, true, "equal") == 2 && rows(&lines, false, "equal") == 4, "{lines:?}");

    // Retention takes the beginning of one partition: it cannot be compared, and that is no difference.
    scene.cluster.delete_records(&scene.topic, 0, 1)?;
    let (code, lines) = recount(&scene, &[])?;
    ensure!(code == Some(0) && rows(&lines, false, "gone") == 1 && rows(&lines, true, "gone") == 1, "{lines:?}");
    ensure!(rows(&lines, true, "equal") == 1 && rows(&lines, false, "equal") == 3, "{lines:?}");

    // Only some offsets of one partition: those of the second window lie behind them.
    let of_first = lines.iter().find(|l| l["partition"] == 1 && l["window_ms"] == first).context("no row")?;
    let last = of_first["offsets"][1].as_i64().context("no offsets")?;
    let (code, lines) = recount(&scene, &["--partition", "1", "--offsets", &format!("0..{last}")])?;
    ensure!(code == Some(0) && rows(&lines, false, "equal") == 1 && rows(&lines, false, "in_part") == 1, "{lines:?}");

    // The control: a store that says something else.
    scene.tamper(
        "UPDATE stage_window SET bytes = bytes + 1 WHERE stage = (SELECT id FROM name WHERE text = 'kafka:main')",
    )?;
    let (code, lines) = recount(&scene, &[])?;
    ensure!(code == Some(1) && rows(&lines, true, "differs") == 1, "{code:?}: {lines:?}");

    // Nothing is left on the cluster.
    let client: BaseConsumer = scene.cluster.plain_config().create()?;
    let groups = client.fetch_group_list(None, WAIT)?;
    ensure!(groups.groups().iter().all(|g| !g.name().starts_with("chaperone-recount")));
    Ok(())
}
