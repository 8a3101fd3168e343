//! `chaperone recover --dir DIR`: what dead processes counted and could not report.

use std::path::PathBuf;

use chaperone_audit::recorder::{Account, Survey, survey};
use chaperone_audit::wire::End;
use clap::Args;
use serde_json::json;

use super::print;
use crate::columns::columns;
use crate::exit::{Code, Failure};

/// Tells what dead processes counted and had not reported yet. Changes nothing.
#[derive(Debug, Args)]
pub struct Recover {
    /// A recorder's directory: with its log, its slot files, or both.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Prints one line of JSON.
    #[arg(long)]
    json: bool,
}

impl Recover {
    pub(super) fn run(self) -> Result<(), Failure> {
        let found = survey(&self.dir).map_err(|e| Failure::new(Code::Usage, e.to_string()))?;
        print(if self.json { line(&found) } else { table(&found) }.trim_end())?;
        if found.unreadable > 0 {
            let left = found.unreadable;
            return Err(Failure::new(
                Code::Differs,
                format!("{left} slots or entries cannot be read and are not in it"),
            ));
        }
        Ok(())
    }
}

fn line(found: &Survey) -> String {
    let sum = |of: fn(&Account) -> u64| found.dead().map(of).sum::<u64>();
    let (n, acked, failed) = (found.n(), sum(|a| a.sum.acked), sum(|a| a.sum.failed));
    json!({
        "n": n,
        "acked": acked,
        "failed": failed,
        "incarnations": found.dead().count(),
        "alive": found.accounts.iter().filter(|a| a.alive).count(),
        "unreadable": found.unreadable,
    })
    .to_string()
}

fn end_of(a: &Account) -> &'static str {
    match a.end {
        _ if a.alive => "alive",
        Some(End::Clean) => "goodbye",
        Some(End::Power) => "machine died",
        Some(End::Crash) | None => "died",
    }
}

fn table(found: &Survey) -> String {
    let head = ["incarnation", "stage", "application", "host", "pid", "end", "counted", "acked", "failed"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(found.accounts.iter().map(|a| {
        let counted = |n: u64| if a.alive { "-".to_owned() } else { n.to_string() };
        vec![
            a.incarnation.to_string(),
            a.stage.clone(),
            a.application.clone(),
            a.host.clone(),
            a.pid.to_string(),
            end_of(a).to_owned(),
            counted(a.sum.n),
            counted(a.sum.acked),
            counted(a.sum.failed),
        ]
    }));
    let (n, dead) = (found.n(), found.dead().count());
    columns(&rows, 6) + &format!("\n{n} messages counted by {dead} that are dead")
}
