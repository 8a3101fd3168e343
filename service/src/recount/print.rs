//! What a recount found, for people and for scripts.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use super::{Outcome, Row, Summary};
use crate::columns::columns;

const HEAD: [&str; 6] = ["window", "partition", "result", "offsets", "stored", "recounted"];

/// The table, and what it comes to.
pub fn text(rows: &[Row], summary: &Summary, messages: u64) -> String {
    let mut table = vec![HEAD.map(str::to_owned).to_vec()];
    table.extend(rows.iter().map(cells));
    let Summary { equal, differ, not_compared } = summary;
    let mut out = columns(&table, 3);
    out.push('\n');
    say(
        &mut out,
        format_args!("{equal} equal, {differ} differ, {not_compared} not compared; {messages} messages read"),
    );
    let mut said: Vec<Outcome> = rows.iter().map(|row| row.outcome).collect();
    said.sort_unstable();
    said.dedup();
    for outcome in said.into_iter().filter(|o| !matches!(o, Outcome::Equal)) {
        say(&mut out, format_args!("{}: {}", word(outcome), meaning(outcome)));
    }
    out
}

/// Writing to a text cannot fail.
fn say(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").unwrap_or_default();
}

fn cells(row: &Row) -> Vec<String> {
    let window = DateTime::from_timestamp_millis(row.window_ms)
        .map_or_else(|| row.window_ms.to_string(), |at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
    vec![
        window,
        row.partition.map_or_else(|| "all".to_owned(), |p| p.to_string()),
        word(row.outcome).to_owned(),
        row.offsets.map_or_else(String::new, |(first, last)| format!("{first}..{last}")),
        row.stored.to_string(),
        row.recounted.to_string(),
    ]
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Equal => "equal",
        Outcome::Differs => "differs",
        Outcome::Gone => "gone",
        Outcome::Truncated => "truncated",
        Outcome::OtherLog => "other log",
        Outcome::OtherRule => "other rule",
        Outcome::InPart => "in part",
        Outcome::Unknown => "unknown",
    }
}

const fn meaning(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Equal => "the same messages",
        Outcome::Differs => {
            "Kafka now has other messages at these offsets than were counted: compaction after counting, or a fault of ours"
        }
        Outcome::Gone => "retention has removed some of these offsets since they were counted",
        Outcome::Truncated => "the log ends before these offsets: it was truncated, or the topic was made anew",
        Outcome::OtherLog => "counted in an earlier topic of that name",
        Outcome::OtherRule => "counted by another rule or under another seed; it cannot be compared",
        Outcome::InPart => "only a part of these offsets was asked for",
        Outcome::Unknown => {
            "the store does not know where all of these messages lie: still being counted, or proven more than a week ago"
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    Row(&'a Row),
    End {
        messages: u64,
        #[serde(flatten)]
        summary: &'a Summary,
    },
}

/// A line for each row, then one for the end.
///
/// # Errors
/// None in practice: numbers and short texts.
pub fn json(rows: &[Row], summary: &Summary, messages: u64) -> serde_json::Result<String> {
    let mut lines = rows.iter().map(|row| serde_json::to_string(&Event::Row(row))).collect::<Result<Vec<_>, _>>()?;
    lines.push(serde_json::to_string(&Event::End { messages, summary })?);
    Ok(lines.join("\n"))
}
