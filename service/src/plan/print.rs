//! An estimate as people read it. What is not known is `-`, never 0.

use std::fmt::Write as _;

use super::estimate::{Cost, Estimate, Line, MESSAGES_ENOUGH, Traffic};
use crate::columns::columns;

const HEAD: [&str; 10] = [
    "cluster",
    "topic",
    "partitions",
    "messages/s",
    "bytes/s",
    "cores",
    "audit records/s",
    "rows/day",
    "GB/day",
    "width",
];

/// The table, and what must be known to read it.
pub fn text(estimate: &Estimate, seconds: u64, hosts: u32) -> String {
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    rows.extend(estimate.topics.iter().map(row));
    rows.push(sum_row(estimate));
    let mut out = columns(&rows, 2);
    out.push('\n');
    for line in &estimate.topics {
        remark(line, &mut out);
    }
    let sum = &estimate.sum;
    if sum.topics_unknown > 0 {
        let (n, all) = (sum.topics_unknown, estimate.topics.len());
        say(
            &mut out,
            &format!("{n} of {all} topics had no traffic in {seconds} s, or did not answer: they are not in the sum."),
        );
    }
    if sum.topics_without_sample > 0 {
        let n = sum.topics_without_sample;
        say(
            &mut out,
            &format!(
                "Topics of which no message could be read in time: {n}; their bytes and cores are not in the sum."
            ),
        );
    }
    if let (Some(records), Some(cost)) = (sum.reporter_records_per_s, &sum.cost) {
        let slots = figure(cost.reporter_slots_per_s);
        say(
            &mut out,
            &format!(
                "Linked processes, {hosts} at each stage without a tap: {} more audit records/s with {slots} slot states/s.",
                figure(records)
            ),
        );
    }
    say(
        &mut out,
        &format!(
            "Messages are offsets of {seconds} s; bytes, cores and widths rest on a sample of the newest messages. Only read: \
             nothing was created, no group was joined. The formulae: docs/CAPACITY.md."
        ),
    );
    out
}

fn row(line: &Line) -> Vec<String> {
    let partitions = format!("{} ({})", line.partitions, line.partitions_with_traffic);
    let width = line.width.as_ref().map_or_else(|| "-".to_owned(), |w| format!("{} s", w.width_s));
    let mut row = vec![line.cluster.clone(), line.topic.clone(), partitions];
    row.extend(cells(line.cost.as_ref()));
    row.push(width);
    row
}

fn sum_row(estimate: &Estimate) -> Vec<String> {
    let partitions: usize = estimate.topics.iter().map(|line| line.partitions).sum();
    let busy: usize = estimate.topics.iter().map(|line| line.partitions_with_traffic).sum();
    let mut row = vec!["sum".to_owned(), format!("{} topics", estimate.sum.topics), format!("{partitions} ({busy})")];
    row.extend(cells(estimate.sum.cost.as_ref()));
    row.push(String::new());
    row
}

fn cells(cost: Option<&Cost>) -> [String; 6] {
    let some = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), figure);
    [
        some(cost.map(|c| c.messages_per_s)),
        some(cost.and_then(|c| c.bytes_per_s)),
        some(cost.and_then(|c| c.cores)),
        some(cost.map(|c| c.tap_records_per_s)),
        some(cost.map(|c| c.rows_per_day)),
        some(cost.map(|c| c.store_gb_per_day)),
    ]
}

fn remark(line: &Line, out: &mut String) {
    let topic = &line.topic;
    let (messages, seconds) = (line.messages, line.seconds);
    match line.traffic {
        Traffic::NoAnswer => say(out, &format!("{topic}: no partition answered; what it costs is unknown.")),
        Traffic::None => {
            say(out, &format!("{topic}: no traffic in {seconds:.0} s; what it costs is unknown."));
        }
        Traffic::TooShort => {
            let enough = format!("{MESSAGES_ENOUGH} are needed for 10 %; look --for longer");
            say(out, &format!("{topic}: too short: only {messages} messages in {seconds:.0} s, {enough}."));
        }
        Traffic::Seen => {}
    }
    if line.partitions_unanswered > 0 && line.partitions > 0 {
        let n = line.partitions_unanswered;
        say(out, &format!("{topic}: {n} partitions did not answer; they are in no figure."));
    }
    if let Some(width) = &line.width {
        say(out, &format!("{topic}: windows of {} s: {}.", width.width_s, width.why));
    }
    match &line.sample {
        Some(sample) if sample.without_time > 0 => say(
            out,
            &format!(
                "{topic}: {} of {} sampled messages have no event time that can be used.",
                sample.without_time, sample.messages
            ),
        ),
        _ => {}
    }
}

/// Writing to a text cannot fail.
fn say(out: &mut String, sentence: &str) {
    writeln!(out, "{sentence}").unwrap_or_default();
}

/// Three digits that matter, with thousands separated.
fn figure(value: f64) -> String {
    if value < 0.001 {
        return if value > 0.0 { "<0.001".to_owned() } else { "0".to_owned() };
    }
    let decimals = match value {
        v if v < 1.0 => 3,
        v if v < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let digits = whole.len();
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (digits - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::estimate::{Sample, Seen, estimate};

    fn seen(topic: &str, arrived: Vec<u64>, sample: bool) -> Seen {
        let sample = sample.then_some(Sample { messages: 10, mean_bytes: 200.0, without_time: 1, disorder_ms: 0 });
        Seen {
            cluster: "k".into(),
            topic: topic.into(),
            arrived,
            unanswered: 0,
            seconds: 60.0,
            sample,
            stages: 2,
            taps: 1,
        }
    }

    #[test]
    fn figures_have_thousands_and_are_never_a_zero_that_is_none() {
        let table = [
            (0.0, "0"),
            (0.0001, "<0.001"),
            (0.25, "0.250"),
            (7.25, "7.2"),
            (99.5, "99.5"),
            (100.4, "100"),
            (1_234.5, "1,234"),
            (12_345_678.0, "12,345,678"),
        ];
        for (value, expected) in table {
            assert_eq!(figure(value), expected);
        }
    }

    #[test]
    fn what_is_not_known_is_said_and_shown_as_a_dash() {
        let all = [seen("idle", vec![0, 0], false), seen("few", vec![7], true), seen("blind", vec![60_000], false)];
        let said = text(&estimate(&all, 1), 60, 1);
        for words in [
            "idle: no traffic in 60 s",
            "few: too short: only 7 messages",
            "few: 1 of 10 sampled messages have no event time",
            "Topics of which no message could be read in time: 1",
            "1 of 3 topics had no traffic",
            "no group was joined",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        let idle = said.lines().find(|l| l.starts_with('k') && l.contains(" idle ")).expect("a row");
        assert_eq!(idle.split_whitespace().collect::<Vec<_>>()[4..], ["-", "-", "-", "-", "-", "-", "-"], "{idle}");
        let sum = said.lines().find(|l| l.starts_with("sum")).expect("a row");
        assert!(sum.contains("1,000"), "{sum}");
    }
}
