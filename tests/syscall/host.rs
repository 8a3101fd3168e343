//! What counting asks of the threads of its host: no call to the system, no allocation, no wait for a slow disk, bounded memory.

use std::path::Path;

use anyhow::{Context, ensure};
use chaperone_tests::witness::{in_memory, victim};
use chaperone_tests::{figures, paths};

use super::trace::{self, calls};

/// The number behind a word at the beginning of a line.
fn number(text: &str, word: &str) -> anyhow::Result<u64> {
    let found = text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    Ok(found.with_context(|| format!("no '{word}' in {text}"))?.parse()?)
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// 400,000 counts on known lines with the system's clock; the controls write a byte for each message, and open lines.
#[test]
fn counting_makes_no_system_call_and_no_allocation() -> anyhow::Result<()> {
    let scratch = in_memory()?;
    let (dir, log) = (scratch.path().join("data"), scratch.path().join("trace"));
    let went = trace::run(&log, &[], &victim(), &["calls", text(&dir)?])?;
    ensure!(went.code == 0, "{}: {}", went.code, went.err);
    let calls = calls(&log)?;
    let mark = |what: &str| calls.iter().position(|call| call.text.contains(what)).with_context(|| what.to_owned());
    let thread = calls.get(mark("\"begin")?).context("the first mark")?.thread;
    let between = |from: usize, to: usize| calls[from + 1..to].iter().filter(|call| call.thread == thread).count();
    let made = between(mark("\"begin")?, mark("\"end")?);
    let control = between(mark("\"control")?, mark("\"over")?);
    figures::record("host", "syscalls", made)?;
    figures::record("host", "syscalls_control", control)?;
    figures::record("host", "allocations", number(&went.out, "allocations")?)?;
    figures::record("host", "allocations_control", number(&went.out, "allocations_control")?)
}

/// Every flush of the device takes ten seconds, by `strace`; the same without is the control. Both are traced, by turns.
#[test]
fn a_disk_that_stalls_holds_up_no_count() -> anyhow::Result<()> {
    const TURNS: usize = 4;
    const SECONDS: &str = "1";
    let mut p999: [Vec<u64>; 2] = Default::default();
    for _ in 0..TURNS {
        for (which, inject) in [(0, None), (1, Some("inject=fdatasync,fsync:delay_enter=10000000:when=4+"))] {
            let scratch = tempfile::tempdir_in(paths::scratch("stall")?)?;
            let (dir, log) = (scratch.path().join("data"), scratch.path().join("trace"));
            let mut strace = vec!["-e", "trace=fdatasync,fsync,writev"];
            strace.extend(inject.iter().flat_map(|inject| ["-e", inject]));
            let went = trace::run(&log, &strace, &victim(), &["stall", text(&dir)?, SECONDS])?;
            ensure!(went.code == 0, "{}: {}", went.code, went.err);
            let trace = std::fs::read_to_string(&log)?;
            let within = trace.split("begin").nth(1).and_then(|rest| rest.split("\"end").next()).unwrap_or_default();
            // The first slow one is begun and not over; without delay some are.
            let last = within.lines().rfind(|line| line.contains("sync(")).unwrap_or_default();
            let hangs = last.contains("<unfinished");
            ensure!(if which == 1 { hangs } else { within.contains("sync") }, "{trace}");
            println!("{which}: {}", went.out.replace('\n', " "));
            p999[which].push(number(&went.out, "p999")?);
        }
    }
    // The best turn of each: whatever else the machine does only adds.
    let least = |of: &[u64]| of.iter().copied().min().unwrap_or(u64::MAX);
    let (calm, stalled) = (least(&p999[0]), least(&p999[1]));
    figures::record("host", "p999_ns", calm)?;
    figures::record("host", "p999_stalled_ns", stalled)?;
    let exactly = |ns: u64| u32::try_from(ns).map(f64::from).context("more than four seconds");
    figures::record("host", "stalled_ratio", exactly(stalled)? / exactly(calm)?)
}

/// A thousand topics, three windows, four threads, Kafka away: with room for all of them, and with the default table, where
/// some go to the overflow slots; every message is counted in both.
#[test]
fn memory_is_bounded_with_a_thousand_topics() -> anyhow::Result<()> {
    for (max_slots, section) in [("4096", "memory_kib"), ("32768", "memory_roomy_kib")] {
        let scratch = in_memory()?;
        let went = trace::plain(&victim(), &["memory", text(&scratch.path().join("data"))?, max_slots])?;
        ensure!(went.code == 0, "{}: {}", went.code, went.err);
        println!("{max_slots}: {}", went.out.replace('\n', " "));
        ensure!(number(&went.out, "counted")? == 4 * 1000 * 3 * 10, "{}", went.out);
        ensure!(number(&went.out, "slots")? <= 3000 + 8, "{}", went.out);
        figures::record("host", section, number(&went.out, "grown_kib")?)?;
    }
    Ok(())
}
