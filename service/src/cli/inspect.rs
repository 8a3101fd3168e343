//! `chaperone inspect`

use std::io;

use clap::{Args, Subcommand};

use crate::exit::{Code, Failure};
use crate::inspect::{answer_lines, intervals, join, verdict};

/// Answers what chaperone makes of a line of JSON: one object a line on standard input, one answer a line.
#[derive(Debug, Args)]
pub struct Inspect {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Merges two reports of one slot.
    Join,
    /// Judges one hop in one window.
    Verdict,
    /// Plays claims and intervals of one partition.
    Intervals,
}

impl Inspect {
    pub(super) fn run(self) -> Result<(), Failure> {
        let answer = match self.what {
            What::Join => join::answer,
            What::Verdict => verdict::answer,
            What::Intervals => intervals::answer,
        };
        let bad = answer_lines(io::stdin().lock(), io::stdout().lock(), io::stderr().lock(), answer)
            .map_err(|e| Failure::new(Code::Unavailable, format!("standard input or output: {e}")))?;
        // Every bad line was named when it was read.
        if bad > 0 { Err(Failure::new(Code::Usage, "")) } else { Ok(()) }
    }
}
