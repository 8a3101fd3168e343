//! `chaperone store rebuild`: arguments, and what it says.

use chaperone_audit::SystemClock;
use chrono::{DateTime, SecondsFormat};
use clap::Args;
use serde_json::{Value, json};

use super::super::{ConfigFile, block_on, print};
use crate::exit::{Code, Failure};
use crate::rebuild::compare::{Compared, Tally};
use crate::rebuild::target::Target;
use crate::rebuild::{Made, Progress, run};

/// What no audit topic tells.
const NOT_THERE: [&str; 4] = [
    "amendments, and when windows were settled: verdicts are as of now",
    "windows and slices older than the audit topics",
    "events and quarantine of records that are not on the audit topics any more",
    "lag of groups, until the collector has asked again",
];

/// Makes a store anew from the audit topics of the configuration, from their beginning to where they end now, beside the store that
/// there is, which is only read and then compared with. Joins no group; needs READ and DESCRIBE on the audit topics. Ends with 1
/// if the two stores differ.
#[derive(Debug, Args)]
pub(super) struct Rebuild {
    #[command(flatten)]
    file: ConfigFile,
    /// Where: a file that is not there yet, or the URL of a database without a store, reached as [store] says.
    #[arg(long, value_name = "FILE|URL")]
    to: String,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

impl Rebuild {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        let target = Target::of(&self.to, &config)?;
        block_on(async move {
            let made = run(&config, &target, &SystemClock, progress).await?;
            let place = config.store_place();
            if self.json {
                print(&told(&made).to_string())?;
            } else {
                print(text(&made, &place).trim_end())?;
            }
            match made.compared.as_ref().map_or(0, differences) {
                0 => Ok(()),
                n => Err(Failure::new(Code::Differs, format!("{n} rows of the new store are not those of {place}"))),
            }
        })
    }
}

/// On standard error: standard output is the answer's.
fn progress(p: Progress) {
    let share = p.done.saturating_mul(100).checked_div(p.of).unwrap_or(100);
    tracing::info!(reading = p.reading, of_readings = 2, records = p.done, percent = share, "reading the audit topics");
}

fn differences(compared: &Compared) -> u64 {
    compared.totals.differences() + compared.verdicts.differences()
}

fn told(made: &Made) -> Value {
    let mut told = json!(made);
    if let Some(object) = told.as_object_mut() {
        object.insert("not_there".to_owned(), json!(NOT_THERE));
    }
    told
}

fn time(ms: i64) -> String {
    let at = DateTime::from_timestamp_millis(ms);
    at.map_or_else(|| format!("{ms} ms"), |at| at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn text(made: &Made, place: &str) -> String {
    let a = &made.applied;
    let mut lines = vec![format!(
        "{}: made anew of {} records in {} s ({} applied, {} without news, {} of other claims, {} behind a hole, {} quarantined)",
        made.to,
        made.records,
        made.took_ms / 1_000,
        a.applied,
        a.noop,
        a.fenced,
        a.hole,
        a.quarantined
    )];
    lines.push(match made.whole_since_ms {
        None => "whole: nothing had been deleted of the audit topics".to_owned(),
        Some(since) => format!(
            "whole since {}: what was reported before was deleted; windows that begin earlier are never ok and never red",
            time(since)
        ),
    });
    let clients = |topic: &String| {
        format!(
            "{topic} has CreateTime: the clients' clocks stand for the broker's; set message.timestamp.type=LogAppendTime"
        )
    };
    lines.extend(made.client_times.iter().map(clients));
    lines.push(match (made.actions, &made.unread) {
        (Some(n), _) => format!("taken over from {place}: {n} actions, and since when partitions are audited"),
        (None, Some(why)) => format!("nothing taken over: {why}"),
        (None, None) => "nothing taken over".to_owned(),
    });
    lines.push(format!("not there: {}", NOT_THERE.join("; ")));
    if let Some(compared) = &made.compared {
        lines.extend(comparison(compared, place));
    }
    lines.push("how to put it in place of the other: docs/OPERATIONS.md, Rebuild".to_owned());
    lines.join("\n")
}

fn comparison(c: &Compared, place: &str) -> Vec<String> {
    if c.from_ms >= c.to_ms {
        return vec![format!("compared with {place}: no window that both have whole")];
    }
    let tally = |what: &str, t: &Tally| {
        format!("  {what}: {} equal, {} differ, {} only there, {} only here", t.equal, t.differ, t.only_old, t.only_new)
    };
    let mut lines = vec![
        format!("compared with {place}, windows from {} to {}:", time(c.from_ms), time(c.to_ms)),
        tally("totals", &c.totals),
        tally("verdicts", &c.verdicts),
    ];
    let none = || "nothing".to_owned();
    for d in &c.shown {
        let (old, new) = (d.old.clone().unwrap_or_else(none), d.new.clone().unwrap_or_else(none));
        lines.push(format!("  {}: there {old}; here {new}", d.row));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rebuild::compare::Difference;
    use chaperone_collector::Applied;

    #[test]
    fn what_is_not_whole_and_what_differs_is_said() {
        let shown = vec![Difference { row: "topic t, window_ms 0".into(), old: Some("n 1".into()), new: None }];
        let totals = Tally { equal: 3, only_old: 1, ..Tally::default() };
        let compared = Compared { from_ms: 0, to_ms: 10_000, totals, shown, ..Compared::default() };
        let made = Made {
            to: "new.sqlite".into(),
            records: 9,
            applied: Applied { applied: 8, fenced: 1, ..Applied::default() },
            whole_since_ms: Some(1_790_000_000_000),
            client_times: vec!["k/a".into()],
            actions: None,
            unread: Some("store old: gone".into()),
            compared: Some(compared),
            took_ms: 2_500,
        };
        let said = text(&made, "old.sqlite");
        for words in [
            "new.sqlite: made anew of 9 records in 2 s (8 applied, 0 without news, 1 of other claims",
            "whole since 2026-09-21T",
            "k/a has CreateTime",
            "nothing taken over: store old: gone",
            "totals: 3 equal, 0 differ, 1 only there, 0 only here",
            "topic t, window_ms 0: there n 1; here nothing",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        let told = told(&made);
        assert_eq!(
            (told["compared"]["totals"]["only_old"].as_u64(), told["not_there"][0].is_string()),
            (Some(1), true)
        );
        assert_eq!(differences(made.compared.as_ref().expect("compared")), 1);
    }
}
