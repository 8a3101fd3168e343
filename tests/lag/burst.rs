//! The burst: ten times the rate for a while, the consumer at twice the base rate. From its end until its last message is
//! consumed the message lag falls while the time lag still rises; both are held against what really was.

use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_tests::figures;

use crate::scene::{Row, Scene, every, now_ms};

/// Messages a second before and after.
const BASE: u64 = 50;
const BURST: u64 = 10 * BASE;
const CONSUMER: u64 = 2 * BASE;
/// By how much the clock of a look may differ from that of an append on one machine: a look's questions take time.
const SLACK_MS: i64 = 1_500;

/// How long each part takes.
struct Size {
    before: u64,
    burst: u64,
    after: u64,
    every: &'static str,
    section: &'static str,
}

#[test]
fn message_lag_falls_while_time_lag_rises() -> anyhow::Result<()> {
    burst(&Size { before: 6, burst: 10, after: 14, every: "2s", section: "lag" })
}

#[test]
fn full_size_message_lag_falls_while_time_lag_rises() -> anyhow::Result<()> {
    burst(&Size { before: 30, burst: 60, after: 270, every: "5s", section: "lag_full" })
}

fn burst(size: &Size) -> anyhow::Result<()> {
    let scene =
        Scene::new("burst", 1, size.every, |_, topic, _, consumer| crate::scene::commit(consumer, topic, 0, 0))?;
    // From the first look on, so that all arrivals are bracketed.
    scene.row(0, "the first look", |row| row.end == Some(0))?;
    let (mut sent, mut committed) = (0_u64, 0_u64);
    let mut commits: Vec<(i64, i64, i64)> = Vec::new();
    let mut rows: Vec<Row> = Vec::new();
    let total = Duration::from_secs(size.before + size.burst + size.after);
    every(Duration::from_millis(100), total, |elapsed| {
        let due = due(size, elapsed);
        scene.send(0, due - sent, false)?;
        sent = due;
        // It reads what is there, at its own rate, and commits it.
        let end = u64::try_from(scene.end(0)?)?;
        let pace = CONSUMER * u64::try_from(elapsed.as_millis())? / 1_000;
        let next = end.min(pace).max(committed);
        if next > committed {
            let asked = now_ms();
            scene.commit(0, i64::try_from(next)?)?;
            commits.push((asked, now_ms(), i64::try_from(next)?));
            committed = next;
        }
        let newest = rows.last().map_or(0, |row| row.at_ms);
        rows.extend(scene.rows()?.into_iter().filter(|row| row.at_ms > newest));
        Ok(())
    })?;
    scene.send(0, 0, true)?;
    let appended = scene.appended(0, 0, usize::try_from(sent)?)?;
    let told = judge(&rows, &appended, &commits)?;
    println!(
        "{} rows, both ways at {}; time lag off by at most {} ms, the truth outside its bound by {} ms; a guess by rate off by {} ms",
        rows.len(),
        told.both_ways,
        told.off_ms,
        told.outside_ms,
        told.guess_off_ms
    );
    // Everything is sent and committed: message lag is exact.
    let last = i64::try_from(committed)?;
    let row =
        scene.row(0, "the last look", |row| row.committed == Some(last) && row.end == Some(sent.cast_signed()))?;
    let off = row.messages.context("unknown")? - (i64::try_from(sent)? - last);
    figures::record(size.section, "messages_off", off.unsigned_abs())?;
    figures::record(size.section, "error_ms", told.off_ms.unsigned_abs())?;
    figures::record(size.section, "outside_bound_ms", told.outside_ms.unsigned_abs())?;
    figures::record(size.section, "messages_falling_time_rising", told.both_ways)?;
    figures::record(size.section, "guess_by_rate_off_ms", told.guess_off_ms.unsigned_abs())?;
    ensure!(told.guess_off_ms > 10_000, "the control must be worse than the bound: {} ms", told.guess_off_ms);
    Ok(())
}

/// How many messages are due by then.
fn due(size: &Size, elapsed: Duration) -> u64 {
    let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let (before, burst) = (size.before * 1_000, size.burst * 1_000);
    let slow = ms.min(before) + ms.saturating_sub(before + burst);
    let fast = ms.saturating_sub(before).min(burst);
    (slow * BASE + fast * BURST) / 1_000
}

#[derive(Default)]
struct Told {
    both_ways: u64,
    off_ms: i64,
    outside_ms: i64,
    guess_off_ms: i64,
}

/// Every row against when its oldest message was really appended, and how many really were there.
fn judge(rows: &[Row], appended: &[i64], commits: &[(i64, i64, i64)]) -> anyhow::Result<Told> {
    let mut told = Told::default();
    let mut before: Option<&Row> = None;
    for row in rows.iter().filter(|row| row.committed.is_some() && row.messages.is_some()) {
        let (committed, messages) = (row.committed.context("no commit")?, row.messages.context("unknown")?);
        in_force(row, committed, commits)?;
        let at = usize::try_from(committed)?;
        let by = |ms: i64| appended.partition_point(|time| *time <= ms).saturating_sub(at);
        let (least, most) = (i64::try_from(by(row.at_ms - SLACK_MS))?, i64::try_from(by(row.at_ms + SLACK_MS))?);
        ensure!((least..=most).contains(&messages), "{least} to {most} messages: {row:?}");
        if messages == 0 {
            continue;
        }
        let truth = row.at_ms - appended.get(at).context("not appended")?;
        let (lag, error) = (row.lag_ms.context("unknown")?, row.error_ms.context("no error")?);
        ensure!(!row.at_least, "{row:?}");
        told.off_ms = told.off_ms.max((lag - truth).abs());
        told.outside_ms = told.outside_ms.max(truth - lag).max(lag - error - truth);
        if let Some(last) = before {
            told.both_ways += u64::from(row.messages < last.messages && row.lag_ms > last.lag_ms);
            // The control: how long what is left takes at the rate at which messages come now.
            let came = row.end.zip(last.end).map_or(0, |(end, before)| end - before);
            let guess = messages * (row.at_ms - last.at_ms) / came.max(1);
            told.guess_off_ms = told.guess_off_ms.max((guess - truth).abs());
        }
        before = Some(row);
    }
    ensure!(rows.len() > 5, "only {} looks", rows.len());
    Ok(told)
}

/// What the row says was committed was, at about that time.
fn in_force(row: &Row, committed: i64, commits: &[(i64, i64, i64)]) -> anyhow::Result<()> {
    let of = commits.iter().position(|(_, _, offset)| *offset == committed);
    let since = of.and_then(|at| commits.get(at)).map_or(i64::MIN, |(asked, ..)| *asked);
    let until = of.map_or(commits.first(), |at| commits.get(at + 1)).map_or(i64::MAX, |(_, done, _)| *done);
    ensure!(since <= row.at_ms && row.at_ms - SLACK_MS <= until, "committed {since} to {until}: {row:?}");
    Ok(())
}
