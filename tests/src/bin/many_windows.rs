//! Makes a store with many windows, to look at: `many-windows --path FILE [--windows 10000000] [--topics 1000] [--seed 1]`.

use std::path::PathBuf;

use chaperone_audit::{Clock, SystemClock};
use chaperone_tests::many_windows::{Size, make};
use clap::Parser;

/// Makes a store with many windows.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where; must not be there.
    #[arg(long)]
    path: PathBuf,
    /// Rows of totals.
    #[arg(long, default_value_t = 10_000_000)]
    windows: u64,
    /// Topics.
    #[arg(long, default_value_t = 1_000)]
    topics: u64,
    /// Of everything.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The time that it is; default: now.
    #[arg(long)]
    now_ms: Option<i64>,
}

fn main() -> anyhow::Result<()> {
    let a = Arguments::parse();
    let now_ms = a.now_ms.unwrap_or_else(|| SystemClock.now_ms());
    let made = make(&a.path, &Size { windows: a.windows, topics: a.topics, seed: a.seed, now_ms })?;
    println!("{made:?} in {}", a.path.display());
    Ok(())
}
