//! `chaperone inspect`

use std::io;

use chaperone_audit::{Clock, Recipe, Rule, SystemClock};
use clap::{Args, Subcommand};

use crate::exit::{Code, Failure};
use crate::inspect::{answer_lines, intervals, join, rule, verdict};

/// Answers what chaperone makes of a line of JSON: one object a line on standard input, one answer a line.
#[derive(Debug, Args)]
pub struct Inspect {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Finds a message's event time and identity.
    Rule(Find),
    /// Merges two reports of one slot.
    Join,
    /// Judges one hop in one window.
    Verdict,
    /// Plays claims and intervals of one partition.
    Intervals,
}

#[derive(Debug, Args)]
struct Find {
    /// Where the event time is: `default`, `timestamp`, `cloudevents`, `header:NAME` or `json:/POINTER`.
    #[arg(long, value_name = "RULE")]
    time: String,
    /// Where the identity is: `default` (if not given), `content`, `cloudevents`, `header:NAME` or `json:/POINTER`.
    #[arg(long, value_name = "RULE")]
    id: Option<String>,
    /// What the time is written in: `ms` (if not given), `s`, `us`, `ns` or `rfc3339`.
    #[arg(long)]
    unit: Option<String>,
}

/// From a line to its answer, or what is wrong with it.
type Answer = dyn Fn(&str) -> Result<String, String>;

impl Inspect {
    pub(super) fn run(self) -> Result<(), Failure> {
        let answer: Box<Answer> = match self.what {
            What::Rule(find) => {
                let recipe = Recipe::parse(Some(&find.time), find.unit.as_deref(), find.id.as_deref());
                let found = Rule::with(0, recipe.map_err(|e| Failure::new(Code::Usage, e.to_string()))?);
                Box::new(move |line| rule::answer(&found, SystemClock.now_ms(), line))
            }
            What::Join => Box::new(join::answer),
            What::Verdict => Box::new(verdict::answer),
            What::Intervals => Box::new(intervals::answer),
        };
        let bad = answer_lines(io::stdin().lock(), io::stdout().lock(), io::stderr().lock(), answer)
            .map_err(|e| Failure::new(Code::Unavailable, format!("standard input or output: {e}")))?;
        // Every bad line was named when it was read.
        if bad > 0 { Err(Failure::new(Code::Usage, "")) } else { Ok(()) }
    }
}
