//! `chaperone demo` runs on, and takes no more than when it was young: CPU time of all its threads and processes, and
//! memory, minute by minute, read from the kernel.
//!
//! Minutes are compared in threes, because a minute with a stall or a killed stage differs from a quiet one.

mod usage;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_tests::demo::{Demo, Event};
use chaperone_tests::{eventually, figures};
use usage::Usage;

/// How long it is watched.
const MINUTES: usize = 20;
/// Its own time begins with the first message that came through; this is enough beyond the last look.
const DURATION_S: usize = MINUTES * 60 + 30;
const READY: Duration = Duration::from_secs(60);
/// From the last look to its end: what was injected is waited for.
const ENDS_WITHIN: Duration = Duration::from_secs(300);
/// By then the mock brokers are full.
const FULL: usize = 6;

/// CPU seconds a minute between two looks.
fn rate(looks: &[Usage], from: usize, to: usize) -> anyhow::Result<f64> {
    let [from_look, to_look] = [from, to].map(|at| looks.get(at));
    let (from_look, to_look) = from_look.zip(to_look).context("no such minute")?;
    Ok((to_look.cpu_s - from_look.cpu_s) / f64::from(u32::try_from(to - from)?))
}

/// To a thousandth.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// A look at the end of each minute, and one at the beginning.
fn watch(demo: &mut Demo) -> anyhow::Result<Vec<Usage>> {
    let begun = Instant::now();
    let mut looks = Vec::new();
    for minute in 0..=MINUTES {
        let at = Duration::from_mins(minute as u64);
        let look = eventually(at + READY, "the minute is over", || {
            if let Some(status) = demo.process.ended()? {
                return Ok(Err(anyhow::anyhow!("{status} in minute {minute}: {}", demo.told())));
            }
            ensure!(begun.elapsed() >= at, "minute {minute} goes on");
            Ok(Usage::of(demo.process.id()))
        })??;
        println!("minute {minute}: {look}");
        looks.push(look);
    }
    Ok(looks)
}

#[test]
fn a_demo_that_runs_on_takes_no_more_than_a_young_one() -> anyhow::Result<()> {
    let mut demo = Demo::start(&["--seed", "5", "--duration", &DURATION_S.to_string()])?;
    demo.first("it is ready", READY, |event| matches!(event, Event::Ready { .. }).then_some(()))?;
    let looks = watch(&mut demo)?;
    let status = demo.process.wait(ENDS_WITHIN)?;
    let Some(Event::End { injected, caught, invented, .. }) = demo.events()?.pop() else {
        anyhow::bail!("it did not say its end: {}", demo.told());
    };
    println!("{injected} injected, {caught} caught, {invented} invented");
    let (young, old) = (rate(&looks, 1, 4)?, rate(&looks, MINUTES - 3, MINUTES)?);
    let [full, last] = [looks.get(FULL), looks.last()].map(|look| look.map_or(f64::NAN, |look| look.memory_mib));
    figures::record("soak", "minutes", looks.len() - 1)?;
    figures::record("soak", "cpu_percent", rounded(old / 0.6))?;
    figures::record("soak", "cpu_growth", rounded(old / young))?;
    figures::record("soak", "memory_mib", rounded(last))?;
    figures::record("soak", "memory_growth", rounded(last / full))?;
    figures::record("soak", "caught_missing", injected - caught)?;
    figures::record("soak", "invented", invented)?;
    ensure!(status.success() && injected > 0, "{status}: {}", demo.told());
    let leftovers = demo.leftovers()?;
    ensure!(leftovers.is_empty(), "left behind: {leftovers:?}");
    Ok(())
}
