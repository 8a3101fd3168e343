//! The table of the suites. A new suite is a row here and a `[[test]]` in `tests/Cargo.toml`.

use std::fmt;

use serde::Deserialize;

/// When a suite runs by itself, and which run shows a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// At every run, in CI too. All of them together stay below 40 minutes from a fresh clone.
    Ci,
    /// With `--full` only.
    Full,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Ci => "ci",
            Mode::Full => "full",
        })
    }
}

/// What a suite needs beside cargo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The shared clusters ([`crate::Bed`]).
    Kafka,
    /// TLS, logins and ACLs on them, which a `CHAPERONE_TEST_BOOTSTRAP` does not have.
    Acls,
    /// `PostgreSQL`'s server programs.
    Postgres,
    /// A Chromium with its driver, and axe-core.
    Chromium,
    /// `pngquant`, for pictures.
    Pngquant,
    /// Valgrind, to count instructions.
    Valgrind,
    /// A nightly toolchain with Miri and the library's sources.
    Miri,
    /// A C++ compiler, for libFuzzer.
    Cpp,
    /// `strace`, and leave to trace.
    Strace,
    /// Prometheus' `promtool`.
    Promtool,
    /// The program `sqlite3`.
    Sqlite,
    /// The workspace's binaries in `target/ci`, up to date.
    Binaries,
    /// The machine to itself: it measures times, or shares of the processor.
    Quiet,
}

/// One row.
#[derive(Debug)]
pub struct Suite {
    /// By which it is called.
    pub name: &'static str,
    /// When it runs.
    pub mode: Mode,
    /// About how long, in CI, with another suite beside it, once everything is compiled. Three times that (at least 20
    /// minutes) and it is killed.
    pub minutes: u64,
    /// Without which it is skipped.
    pub needs: &'static [Need],
    /// The sections of figures that it records.
    pub figures: &'static [&'static str],
    /// The test target; none: all that `cargo test` runs when it is not told which.
    pub test: Option<&'static str>,
    /// Its arguments, beside those that all have.
    pub args: &'static [&'static str],
}

impl Suite {
    /// Whether nothing else may run beside it.
    pub fn alone(&self) -> bool {
        self.needs.contains(&Need::Quiet)
    }

    /// Arguments for cargo. `--workspace` always: else features resolve differently and the C libraries build twice.
    pub fn command(&self) -> Vec<&'static str> {
        let mut command = vec!["test", "--profile", "ci", "--workspace"];
        match self.test {
            Some(test) => command.extend(["--test", test, "--", "--nocapture"]),
            None => command.push("--no-fail-fast"),
        }
        command.extend(self.args);
        command
    }
}

/// How many suites run at once, but for those that are [alone](Suite::alone). More would have to share two cores.
pub const LANES: usize = 2;

/// All suites. Those that may have company begin first, the longest first; then the others, in this order.
pub const SUITES: &[Suite] = &[
    Suite { name: "unit", mode: Mode::Ci, minutes: 3, needs: &[], figures: &[], test: None, args: &[] },
    Suite { name: "tidy", mode: Mode::Ci, minutes: 1, needs: &[], figures: &[], test: Some("tidy"), args: &[] },
    Suite {
        name: "alerts",
        mode: Mode::Ci,
        // Seconds.
        minutes: 0,
        needs: &[Need::Promtool],
        figures: &[],
        test: Some("alerts"),
        args: &[],
    },
    Suite {
        name: "hostile",
        mode: Mode::Ci,
        minutes: 1,
        needs: &[],
        figures: &["hostile"],
        test: Some("hostile"),
        args: &["--test-threads=1"],
    },
    Suite {
        name: "budget",
        mode: Mode::Ci,
        minutes: 1,
        needs: &[],
        figures: &["budget"],
        test: Some("budget"),
        args: &["--test-threads=1", "--skip", "full_size"],
    },
    Suite {
        name: "budget-full",
        mode: Mode::Full,
        minutes: 15,
        needs: &[],
        figures: &["budget_full"],
        test: Some("budget"),
        args: &["--test-threads=1", "full_size"],
    },
    Suite { name: "disk", mode: Mode::Ci, minutes: 1, needs: &[], figures: &["disk"], test: Some("disk"), args: &[] },
    Suite {
        name: "slots",
        mode: Mode::Ci,
        minutes: 1,
        needs: &[],
        figures: &["slots"],
        test: Some("slots"),
        args: &["--test-threads=1", "--skip", "full_size"],
    },
    Suite {
        name: "slots-full",
        mode: Mode::Full,
        minutes: 2,
        needs: &[],
        figures: &["slots_full"],
        test: Some("slots"),
        args: &["full_size"],
    },
    Suite {
        name: "miri",
        mode: Mode::Full,
        minutes: 8,
        needs: &[Need::Miri],
        figures: &["miri"],
        test: Some("miri"),
        args: &["--test-threads=1"],
    },
    Suite {
        name: "fuzz",
        mode: Mode::Full,
        minutes: 10,
        needs: &[Need::Cpp],
        figures: &["fuzz"],
        test: Some("fuzz"),
        args: &[],
    },
    Suite { name: "scan", mode: Mode::Ci, minutes: 1, needs: &[], figures: &["scan"], test: Some("scan"), args: &[] },
    Suite {
        name: "postgres",
        mode: Mode::Ci,
        minutes: 1,
        needs: &[Need::Postgres],
        figures: &["postgres"],
        test: Some("postgres"),
        args: &["--skip", "full_size"],
    },
    Suite {
        name: "postgres-full",
        mode: Mode::Full,
        minutes: 60,
        needs: &[Need::Postgres],
        figures: &["postgres_full"],
        test: Some("postgres"),
        args: &["full_size"],
    },
    Suite {
        name: "histories",
        mode: Mode::Full,
        minutes: 25,
        needs: &[],
        figures: &["histories"],
        test: Some("histories"),
        args: &["full_size"],
    },
    Suite {
        name: "instructions",
        mode: Mode::Ci,
        minutes: 1,
        needs: &[Need::Valgrind],
        figures: &["instructions"],
        test: Some("instructions"),
        args: &["--test-threads=1"],
    },
    Suite {
        name: "crash",
        mode: Mode::Ci,
        minutes: 1,
        needs: &[Need::Binaries],
        figures: &["crash"],
        test: Some("crash"),
        args: &["--test-threads=1", "--skip", "full_size"],
    },
    Suite {
        name: "crash-full",
        mode: Mode::Full,
        minutes: 6,
        // And a memory cgroup that may be written.
        needs: &[Need::Binaries],
        figures: &["crash_full"],
        test: Some("crash"),
        args: &["full_size"],
    },
    Suite {
        name: "syscall",
        mode: Mode::Ci,
        minutes: 2,
        needs: &[Need::Strace, Need::Binaries, Need::Quiet],
        figures: &["syscall", "host"],
        test: Some("syscall"),
        args: &["--test-threads=1", "--skip", "full_size"],
    },
    Suite {
        name: "syscall-full",
        mode: Mode::Full,
        minutes: 2,
        needs: &[Need::Strace, Need::Binaries, Need::Quiet],
        figures: &["syscall_full"],
        test: Some("syscall"),
        args: &["full_size"],
    },
    Suite {
        name: "harness",
        mode: Mode::Ci,
        minutes: 1,
        needs: &[Need::Kafka, Need::Acls, Need::Quiet],
        figures: &["harness"],
        test: Some("harness"),
        args: &[],
    },
    Suite {
        name: "spine",
        mode: Mode::Ci,
        minutes: 7,
        needs: &[Need::Kafka, Need::Acls, Need::Binaries],
        figures: &["spine"],
        test: Some("spine"),
        args: &["--test-threads=1"],
    },
    Suite {
        name: "faults",
        mode: Mode::Ci,
        minutes: 4,
        needs: &[Need::Kafka, Need::Acls, Need::Binaries],
        figures: &["faults"],
        test: Some("faults"),
        args: &["--test-threads=1"],
    },
    Suite {
        name: "wrappers",
        mode: Mode::Ci,
        // Half a minute.
        minutes: 0,
        // And one cluster of its own.
        needs: &[Need::Kafka, Need::Acls, Need::Binaries],
        figures: &["wrappers"],
        test: Some("wrappers"),
        args: &["--test-threads=2"],
    },
    Suite {
        name: "taps",
        mode: Mode::Ci,
        minutes: 2,
        needs: &[Need::Kafka, Need::Binaries],
        figures: &["taps"],
        test: Some("taps"),
        args: &["--test-threads=3", "--skip", "thousand"],
    },
    Suite {
        name: "thousand",
        mode: Mode::Ci,
        minutes: 1,
        needs: &[Need::Kafka, Need::Binaries, Need::Quiet],
        figures: &["thousand"],
        // By itself: it measures what a tap takes, and how late.
        test: Some("taps"),
        args: &["thousand"],
    },
    Suite {
        name: "brokers",
        mode: Mode::Ci,
        minutes: 4,
        // A cluster of its own.
        needs: &[Need::Kafka, Need::Acls, Need::Binaries],
        figures: &["brokers"],
        test: Some("brokers"),
        args: &["--test-threads=1"],
    },
    Suite {
        name: "lag",
        mode: Mode::Ci,
        minutes: 1,
        needs: &[Need::Kafka, Need::Binaries, Need::Quiet],
        figures: &["lag"],
        test: Some("lag"),
        args: &["--test-threads=2", "--skip", "full_size"],
    },
    Suite {
        name: "lag-full",
        mode: Mode::Full,
        minutes: 7,
        needs: &[Need::Kafka, Need::Binaries, Need::Quiet],
        figures: &["lag_full"],
        test: Some("lag"),
        args: &["full_size"],
    },
    Suite {
        name: "processes",
        mode: Mode::Ci,
        minutes: 2,
        // One cluster of its own.
        needs: &[Need::Kafka, Need::Postgres, Need::Strace, Need::Sqlite, Need::Binaries],
        figures: &["processes"],
        test: Some("processes"),
        args: &["--test-threads=4"],
    },
    Suite {
        name: "plan",
        mode: Mode::Ci,
        minutes: 1,
        needs: &[Need::Kafka, Need::Acls, Need::Binaries, Need::Quiet],
        figures: &["plan"],
        test: Some("plan"),
        args: &["--test-threads=1"],
    },
    Suite {
        name: "watch",
        mode: Mode::Ci,
        minutes: 2,
        // Clusters of its own.
        needs: &[Need::Kafka, Need::Acls, Need::Binaries],
        figures: &["watch"],
        test: Some("watch"),
        args: &[],
    },
    Suite {
        name: "browser",
        mode: Mode::Ci,
        minutes: 1,
        needs: &[Need::Kafka, Need::Chromium, Need::Binaries],
        figures: &["browser"],
        test: Some("browser"),
        args: &["--test-threads=1", "--skip", "pictures"],
    },
    Suite {
        name: "pictures",
        mode: Mode::Full,
        minutes: 2,
        needs: &[Need::Chromium, Need::Pngquant, Need::Binaries],
        figures: &[],
        test: Some("browser"),
        args: &["pictures"],
    },
    Suite {
        name: "bench-web",
        mode: Mode::Full,
        minutes: 6,
        needs: &[Need::Binaries, Need::Quiet],
        figures: &["bench_web"],
        test: Some("bench-web"),
        args: &[],
    },
    Suite {
        name: "mm2",
        mode: Mode::Ci,
        minutes: 2,
        needs: &[Need::Kafka, Need::Binaries],
        figures: &["mm2"],
        test: Some("mm2"),
        args: &[],
    },
    Suite {
        name: "demo",
        mode: Mode::Ci,
        minutes: 2,
        needs: &[Need::Sqlite, Need::Binaries, Need::Quiet],
        figures: &["demo"],
        test: Some("demo"),
        args: &[],
    },
    Suite {
        name: "perf",
        mode: Mode::Full,
        minutes: 5,
        needs: &[Need::Strace, Need::Quiet],
        figures: &["perf"],
        test: Some("perf"),
        args: &["--test-threads=1"],
    },
    Suite {
        name: "bench-tap",
        mode: Mode::Full,
        minutes: 4,
        needs: &[Need::Kafka, Need::Binaries, Need::Quiet],
        figures: &["bench_tap"],
        test: Some("bench-tap"),
        args: &[],
    },
    Suite {
        name: "bench-store",
        mode: Mode::Full,
        minutes: 9,
        needs: &[Need::Postgres, Need::Quiet],
        figures: &["bench_store"],
        test: Some("bench-store"),
        args: &["--test-threads=1"],
    },
    Suite {
        name: "soak",
        mode: Mode::Full,
        minutes: 22,
        needs: &[Need::Binaries, Need::Quiet],
        figures: &["soak"],
        test: Some("soak"),
        args: &[],
    },
    Suite {
        name: "storm",
        mode: Mode::Full,
        minutes: 10,
        needs: &[Need::Kafka, Need::Acls, Need::Binaries],
        figures: &["storm_taps", "storm_brokers"],
        test: Some("storm"),
        args: &["--test-threads=1"],
    },
];

/// The suite of that name.
pub fn find(name: &str) -> Option<&'static Suite> {
    SUITES.iter().find(|suite| suite.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promises;

    #[test]
    fn every_promise_has_a_suite_of_its_mode_that_gives_the_figure() -> anyhow::Result<()> {
        for (section, names) in promises::load()? {
            for (name, promise) in names {
                let given = |suite: &Suite| suite.mode == promise.mode && suite.figures.contains(&section.as_str());
                assert!(SUITES.iter().any(given), "no {} suite gives {section}.{name}", promise.mode);
            }
        }
        Ok(())
    }

    #[test]
    fn names_are_unique_and_the_fast_set_stays_below_forty_minutes() {
        // Compiling everything once on two cores, as measured from an empty target folder.
        let compiling = 14;
        let (alone, together): (Vec<&Suite>, Vec<&Suite>) =
            SUITES.iter().filter(|suite| suite.mode == Mode::Ci).partition(|suite| suite.alone());
        let sum = |suites: &[&Suite]| suites.iter().map(|suite| suite.minutes).sum::<u64>();
        let minutes = compiling + sum(&alone) + sum(&together).div_ceil(LANES as u64);
        assert!(minutes <= 40, "{minutes}");
        for suite in SUITES {
            assert_eq!(SUITES.iter().filter(|other| other.name == suite.name).count(), 1, "{}", suite.name);
        }
    }
}
