//! The benches beside rivals: the suite `perf` runs them, docs/PERFORMANCE.md is what they printed.
//!
//! A bench prints Markdown, and lines `figure NAME = VALUE` for the section `perf`. A new bench is a row of [`BENCHES`].

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::figures::{self, Figures};
use crate::promises::{self, Promises, State};
use crate::{paths, process};

/// One bench.
#[derive(Debug)]
pub struct Bench {
    /// Of its file in `target/performance`.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What is measured and how.
    pub about: &'static str,
    package: &'static str,
    features: &'static str,
    target: &'static str,
    args: &'static [&'static str],
}

/// All of them, in the order of the document.
pub const BENCHES: &[Bench] = &[
    Bench {
        name: "count",
        title: "Counting one message",
        about: "Nanoseconds a message, for each of the threads; the median of 60 rounds of 100,000 messages, by turns. All \
                rivals, and counters of a topic, have identity and delay as numbers; the recorder reads a clock and finds \
                them in a header.",
        package: "chaperone-audit",
        features: "rivals",
        target: "count",
        args: &[],
    },
    Bench {
        name: "producer",
        title: "Around a bare producer",
        about: "Nanoseconds of CPU time that a message costs the thread that sends it, to librdkafka's mock cluster: rdkafka's \
                ThreadedProducer and the audited one by turns, 41 turns of 10,000 messages; medians, and the median of each \
                pair's ratio.",
        package: "chaperone-audit",
        features: "rivals,kafka",
        target: "producer",
        args: &[],
    },
    Bench {
        name: "scan",
        title: "Finding the time in a JSON payload",
        about: "Nanoseconds a document, the key first / in the middle / last. All ways take turns, 101 turns of 200 documents \
                each; medians.",
        package: "chaperone-audit",
        features: "rivals",
        target: "scan",
        args: &["--table"],
    },
    Bench {
        name: "wal",
        title: "Write-ahead log",
        about: "Appends of 1 KB, each durable before it returns. All engines stay open and take turns of 150 ms, 31 of them; \
                medians. The disk itself has one appender in every column.",
        package: "chaperone-wal",
        features: "rivals",
        target: "rivals",
        args: &[],
    },
    Bench {
        name: "replay",
        title: "Opening a log",
        about: "15 times each, by turns; medians.",
        package: "chaperone-wal",
        features: "",
        target: "replay",
        args: &[],
    },
];

/// Sections of promises that the document's first table shows.
const SECTIONS: [&str; 4] = ["perf", "instructions", "bench_tap", "bench_store"];

/// Runs its arguments before others (in real time, else nice) where that is allowed: who waits for the disk is else woken
/// late on a busy machine, and a flush of 100 µs takes 3 ms.
const FIRST: &str = "chrt -r 1 true 2>/dev/null && exec chrt -r 1 \"$@\"; exec nice -n -20 \"$@\"";

fn file(bench: &Bench) -> PathBuf {
    paths::target().join("performance").join(bench.name).with_extension("md")
}

/// Runs a bench, records its figures and keeps what it printed.
pub fn run(bench: &Bench) -> anyhow::Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = ["bench", "-p", bench.package, "--features", bench.features, "--bench", bench.target];
    let built = process::command(&cargo).current_dir(paths::root()).args(arguments).arg("--no-run").status()?;
    ensure!(built.success(), "cargo bench --no-run ended with {built}");
    let mut command = process::command("sh");
    command.args(["-c", FIRST, "sh", &cargo]).args(arguments).arg("--").args(bench.args);
    let machine = machine()?;
    let output = command.current_dir(paths::root()).stderr(Stdio::inherit()).output()?;
    let printed = String::from_utf8(output.stdout)?;
    print!("{printed}");
    ensure!(output.status.success(), "{} ended with {}", bench.name, output.status);
    let (figures, text): (Vec<&str>, Vec<&str>) = printed.lines().partition(|line| line.starts_with("figure "));
    ensure!(!figures.is_empty(), "{} gave no figure", bench.name);
    for figure in figures {
        let (name, value) =
            figure.trim_start_matches("figure ").split_once(" = ").context("a figure without a value")?;
        figures::record("perf", name, value.parse::<f64>()?)?;
    }
    let (commit, date) = figures::stamp();
    let text = format!("{}\n\n{}\n\nCommit {commit}, {date}, {machine}.\n", bench.about, text.join("\n").trim());
    fs::create_dir_all(paths::target().join("performance"))?;
    Ok(fs::write(file(bench), text)?)
}

/// What it is measured on.
fn machine() -> anyhow::Result<String> {
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = processor.lines().filter(|line| line.starts_with("processor")).count();
    let load = fs::read_to_string("/proc/loadavg")?;
    let disk = Command::new("stat").args(["-f", "-c", "%T"]).arg(paths::target()).output()?;
    let uname = rustix::system::uname();
    Ok(format!(
        "{} × {cores}, Linux {}, {}; load at the start {}",
        model.trim_start_matches([' ', '\t', ':']),
        uname.release().to_string_lossy(),
        String::from_utf8_lossy(&disk.stdout).trim(),
        load.split(' ').next().unwrap_or_default()
    ))
}

/// Writes docs/PERFORMANCE.md from what the benches printed last, the promises and the figures of this checkout.
pub fn write() -> anyhow::Result<()> {
    let printed: Vec<Option<String>> = BENCHES.iter().map(|bench| fs::read_to_string(file(bench)).ok()).collect();
    let text = render(&promises::load()?, &figures::load()?, &printed);
    Ok(fs::write(paths::root().join("docs/PERFORMANCE.md"), text)?)
}

fn render(promises: &Promises, figures: &Figures, printed: &[Option<String>]) -> String {
    let mut text = String::from(
        "# Performance\n\nMade by `tests/run perf && tests/run --performance`; do not edit. Absolute figures are those of one machine and drift; what \
         is promised is a ratio to a baseline of the same run, or a count of instructions. A `+` after the commit: measured \
         with changes on top of it.\n\n## Goals\n\n| goal | promised | measured | holds |\n| --- | --- | --- | --- |\n",
    );
    for finding in promises::check(promises, figures, |section, _| SECTIONS.contains(&section)) {
        let (holds, measured) = match finding.state {
            State::Kept(value) => ("yes", value.to_string()),
            State::Broken(value) => ("**no**", value.to_string()),
            State::Missing => ("not measured", String::new()),
        };
        // Writing to a String cannot fail.
        writeln!(text, "| {} | {} | {measured} | {holds} |", finding.name, finding.promise).ok();
    }
    text.push_str("\nWhat they mean stands beside them in `tests/promises.toml`.\n");
    for (bench, printed) in BENCHES.iter().zip(printed) {
        let printed = printed.as_deref().unwrap_or("Not measured in this checkout.\n");
        write!(text, "\n## {}\n\n{printed}", bench.title).ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_has_a_row_and_every_bench_a_section() -> anyhow::Result<()> {
        let promises = promises::parse(
            "[perf]\nfast = { min = 3, mode = \"full\", issue = 5 }\nlost = { min = 3, mode = \"full\", issue = 5 }\n\
             [spine]\nmissing = { eq = 37, mode = \"ci\", issue = 2 }",
        )?;
        let figures = serde_json::from_str(r#"{"perf":{"fast":{"value":2.5,"commit":"abc","date":"D"}}}"#)?;
        let mut printed = vec![None; BENCHES.len()];
        printed[0] = Some("| a table |\n".to_owned());
        let text = render(&promises, &figures, &printed);
        assert!(text.contains("| perf.fast | ≥ 3 | 2.5 | **no** |"), "{text}");
        assert!(text.contains("| perf.lost | ≥ 3 |  | not measured |"), "{text}");
        assert!(!text.contains("spine"), "{text}");
        assert!(text.contains(&format!("## {}\n\n| a table |", BENCHES[0].title)), "{text}");
        assert!(BENCHES.iter().all(|bench| text.contains(bench.title)), "{text}");
        Ok(())
    }
}
