//! What the pages say that give account of the whole: who reports, what is configured, what was refused, the day, the books.

use anyhow::{Context, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::page::{Page, count};
use crate::scene::{FAULTS, OWNER, POISON, STAGES, Scene};
use crate::screens::{Fact, json, number, pick};

/// Who reports at each stage, and that nothing is wrong with what they count.
pub(crate) fn reporters(scene: &Scene, page: &Page) -> anyhow::Result<Vec<Fact>> {
    let answer = json(scene, "/api/v1/reporters")?;
    let mut facts = Vec::new();
    for (stage, application) in STAGES.iter().zip(["shop", "chaperone-tap", "shop"]) {
        let row = pick(&answer, "reporters", |row| row["stage"] == *stage)?;
        let told = row["application"].as_str().context("application")?;
        facts.push(Fact::new(format!("who reports {stage}"), page.cell(&[stage], "application")?, told, application));
        for (column, field) in [("late", "late"), ("no time", "no_time")] {
            let shown = page.cell(&[stage], column)?;
            facts.push(Fact::new(format!("{stage}: {column}"), shown, count(number(row, field)?), count(0)));
        }
    }
    Ok(facts)
}

/// Whose the pipeline is, its topics, its stages and who is there.
pub(crate) fn pipelines(scene: &Scene, page: &Page) -> anyhow::Result<Vec<Fact>> {
    let answer = json(scene, "/api/v1/pipelines")?;
    let shop = pick(&answer, "pipelines", |row| row["name"] == "shop")?;
    let found = |text: &str| if page.text.contains(text) { text.to_owned() } else { "not there".to_owned() };
    let mut facts =
        vec![Fact::new("owner", &found(OWNER), shop["owner"].as_str().context("owner")?.to_owned(), OWNER.to_owned())];
    for (topic, _) in scene.faults() {
        let listed = shop["topics"].as_array().is_some_and(|topics| topics.contains(&Value::from(topic)));
        let api = if listed { topic } else { "not there" };
        facts.push(Fact::new(topic, &found(topic), api, topic));
    }
    for stage in STAGES {
        let row = pick(shop, "stages", |row| row["name"] == stage)?;
        facts.push(Fact::new(format!("{stage}: who is there"), &found(stage), stage, stage));
        ensure!(number(row, "live")? == 1, "{stage}: {row}");
    }
    Ok(facts)
}

/// What was refused: its length and hash, and why; never its bytes.
pub(crate) fn quarantine(scene: &Scene, page: &Page) -> anyhow::Result<Vec<Fact>> {
    let answer = json(scene, "/api/v1/quarantine?format=json")?;
    let mut facts = Vec::new();
    for poison in POISON {
        let hash = hex::encode(Sha256::digest(poison));
        let row = pick(&answer, "quarantined", |row| row["sha256"] == *hash)?;
        let of = [hash.get(..12).context("hash")?];
        let length = poison.len().try_into()?;
        facts.push(Fact::new("bytes", page.cell(&of, "bytes")?, count(number(row, "length")?), count(length)));
        let reason = row["reason"].as_str().context("reason")?;
        facts.push(Fact::new("reason", page.cell(&of, "reason")?, reason, reason));
        let shown = if page.text.contains(poison) { "shown" } else { "" };
        facts.push(Fact::new(format!("the bytes of {poison}"), shown, "", ""));
    }
    let rows = answer["quarantined"].as_array().context("quarantined")?.len();
    let shown = page.rows("reason")?.to_string();
    facts.push(Fact::new("refused", &shown, rows.to_string(), POISON.len().to_string()));
    Ok(facts)
}

/// The sums of the day, which has nothing but the scene in it.
pub(crate) fn report(scene: &Scene, page: &Page) -> anyhow::Result<Vec<Fact>> {
    let totals = &json(scene, &format!("/api/v1/report?{}", scene.day()?))?["totals"];
    let sum = |of: fn(&(&str, crate::scene::Fault)) -> u64| FAULTS.iter().map(of).sum::<u64>();
    let lost = sum(|(_, fault)| fault.lost);
    let foreign = sum(|(_, fault)| fault.foreign);
    Ok(vec![
        Fact::new("missing", page.figure("missing")?, count(number(totals, "missing_min")?), count(lost)),
        Fact::new("surplus", page.figure("surplus")?, count(number(totals, "surplus_min")?), count(foreign)),
        Fact::new("windows", page.figure("windows, by hop")?, count(number(totals, "windows")?), count(16)),
    ])
}

/// The books of the audit topic's partitions balance, and have what was refused.
pub(crate) fn about(scene: &Scene, page: &Page) -> anyhow::Result<Vec<Fact>> {
    let answer = json(scene, "/api/v1/about")?;
    let books = &answer["books"];
    let (mut facts, mut refused, mut shown_refused) = (Vec::new(), 0, 0);
    for row in books["partitions"].as_array().context("partitions")? {
        let name = format!("{} / {}", scene.audit, row["partition"]);
        let of = |field: &str| number(row, field);
        let sum = of("applied")? + of("noop")? + of("fenced")? + of("hole")? + of("quarantined")?;
        ensure!(of("read")? == sum, "the books are wrong: {row}");
        refused += of("quarantined")?;
        facts.push(Fact::new(format!("{name}: difference"), page.cell(&[&name], "difference")?, "0", "0"));
        let shown = page.cell(&[&name], "quarantined")?;
        facts.push(Fact::new(format!("{name}: quarantined"), shown, count(of("quarantined")?), shown));
        // Narrow pages fold zeros away.
        shown_refused += shown.parse::<u64>().unwrap_or_default();
    }
    let truth = POISON.len().to_string();
    facts.push(Fact::new("refused", &shown_refused.to_string(), refused.to_string(), truth));
    Ok(facts)
}
