//! `chaperone inspect`

use std::io;
use std::path::PathBuf;

use chaperone_audit::{Clock, Recipe, Rule, SystemClock};
use clap::{Args, Subcommand};

use crate::exit::{Code, Failure};
use crate::inspect::{answer_lines, count, intervals, join, rule, verdict};

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
    /// Counts made-up messages with the real recorder and sends nothing: kill it, and see what `chaperone recover` finds.
    Count(Count),
}

#[derive(Debug, Args)]
struct Count {
    /// Directory of the log and the slot file.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Keeps the counts in the process's own memory, where its death loses them.
    #[arg(long)]
    heap: bool,
    /// Threads that count, 1 to 1024.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    threads: u64,
    /// How many messages all threads count together. Without it until killed.
    #[arg(long)]
    messages: Option<u64>,
    /// Does not write a byte after each message.
    #[arg(long)]
    quiet: bool,
    /// Hands the counts to the host's agent that serves this directory, instead of keeping all of them.
    #[arg(long, value_name = "DIR")]
    agent: Option<PathBuf>,
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
            What::Count(Count { dir, heap, threads, messages, quiet, agent }) => {
                return count::run(&count::Work { dir, heap, threads, messages, quiet, agent });
            }
        };
        let bad = answer_lines(io::stdin().lock(), io::stdout().lock(), io::stderr().lock(), answer)
            .map_err(|e| Failure::new(Code::Unavailable, format!("standard input or output: {e}")))?;
        // Every bad line was named when it was read.
        if bad > 0 { Err(Failure::new(Code::Usage, "")) } else { Ok(()) }
    }
}
