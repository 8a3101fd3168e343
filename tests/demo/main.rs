//! `chaperone demo` as a stranger runs it: what it injects is seen, nothing else is claimed, nothing is left behind.
//!
//! The built binary, several at once, with random seeds, kinds, hops and counts (printed). Its own account is checked
//! against the store that it leaves, read as people read it, and against the machine: files, processes, shared memory.
//! This is the one suite on librdkafka's mock, because the demo is made of it.

mod account;
mod batches;
mod rule;
mod usage;

use std::sync::Mutex;
use std::time::Duration;

use account::Account;
use anyhow::{Context, ensure};
use chaperone_tests::demo::{Demo, Event};
use chaperone_tests::{api, eventually, figures};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rustix::process::Signal;

/// Random specifications.
const RANDOM_RUNS: u64 = 4;
/// From start to end, at most; generous, for a loaded machine.
const DEADLINE: Duration = Duration::from_secs(400);
/// In which a demo that is told to end must be gone.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// A kind, the hops where it may be, and how many messages it may touch.
const KINDS: [(&str, &[u8], u64); 5] = [
    ("loss", &[1, 2, 3, 4], 500),
    ("dup", &[1, 2, 3, 4], 500),
    ("masked", &[1, 2, 3, 4], 250),
    ("stall", &[3, 4], 500),
    ("kill", &[1, 4], 500),
];

/// What all runs together came to.
#[derive(Default)]
struct Total {
    injected: u64,
    caught: u64,
    invented: u64,
    leftovers: Vec<String>,
}

/// Three to five faults; kinds, hops and counts at random, small counts as often as large ones.
fn specification(random: &mut StdRng) -> String {
    let mut kinds = KINDS.to_vec();
    kinds.shuffle(random);
    kinds.truncate(random.random_range(3..=5));
    let fault = |(kind, hops, most): &(&str, &[u8], u64), random: &mut StdRng| {
        let hop = hops.choose(random).copied().unwrap_or(3);
        let most = if random.random() { 10 } else { *most };
        format!("{kind}:hop={hop},count={}", random.random_range(1..=most))
    };
    let faults: Vec<String> = kinds.iter().map(|kind| fault(kind, random)).collect();
    faults.join(";")
}

/// A run with faults that ends by itself when all are seen.
fn random_faults(seed: u64) -> anyhow::Result<(Account, Vec<String>)> {
    let spec = specification(&mut StdRng::seed_from_u64(seed));
    println!("demo --seed {seed} --faults '{spec}'");
    let mut demo = Demo::start(&["--seed", &seed.to_string(), "--faults", &spec])?;
    // While it runs: the page of the first fault that was seen, and the store.
    let url = demo.first("the first fault is caught", DEADLINE, |event| match event {
        Event::Caught { url, .. } => Some(url.clone()),
        _ => None,
    })?;
    let (status, page) = api::get(&url)?;
    ensure!(status == 200 && page.contains("kafka:aggregate"), "{url}: {status}");
    ensure!(
        !api::stage_counts(&demo.data_dir(), "orders", "producer")?.is_empty(),
        "the store shows nothing while it runs"
    );
    let status = demo.process.wait(DEADLINE)?;
    // First: who reads the store with mode=ro leaves its -shm and -wal behind.
    let leftovers = demo.leftovers()?;
    let account = Account::of(&demo)?;
    ensure!(status.success(), "{status}: {}", demo.told());
    ensure!(account.specification() == spec, "it injected {}", account.specification());
    Ok((account, leftovers))
}

/// A loss on every hop, on a machine that does little else: how long until each is on the page.
fn every_hop() -> anyhow::Result<f64> {
    let spec = "loss:hop=1,count=3;loss:hop=2,count=5;loss:hop=3,count=7;loss:hop=4,count=9";
    let mut demo = Demo::start(&["--faults", spec])?;
    rule::finds(&demo, &[("producer", 3), ("proxy", 5), ("kafka:regional", 7), ("kafka:aggregate", 9)])?;
    let status = demo.process.wait(DEADLINE)?;
    let account = Account::of(&demo)?;
    ensure!(status.success() && account.caught == 4, "{status}: {}", demo.told());
    println!("every hop: {account}");
    Ok(account.slowest())
}

/// Without `--faults`: a mix of its own.
fn mix(seed: u64) -> anyhow::Result<(Account, Vec<String>)> {
    println!("demo --seed {seed} --duration 120");
    let mut demo = Demo::start(&["--seed", &seed.to_string(), "--duration", "120"])?;
    let status = demo.process.wait(DEADLINE)?;
    let leftovers = demo.leftovers()?;
    let account = Account::of(&demo)?;
    ensure!(status.success(), "{status}: {}", demo.told());
    ensure!(account.kinds() >= 4, "only {} kinds: {}", account.kinds(), demo.told());
    Ok((account, leftovers))
}

/// Without faults nothing is claimed; and what the brokers keep does not grow for long.
fn nothing() -> anyhow::Result<(Account, Vec<String>)> {
    let mut demo = Demo::start(&["--faults", "none", "--duration", "40"])?;
    batches::few_and_full(&mut demo)?;
    let status = demo.process.wait(DEADLINE)?;
    let leftovers = demo.leftovers()?;
    let account = Account::of(&demo)?;
    rule::finds(&demo, &[])?;
    ensure!(status.success(), "{status}: {}", demo.told());
    ensure!(account.injected() == 0 && account.settled_ok > 0, "{}", demo.told());
    Ok((account, leftovers))
}

/// Interrupted in the middle of a stall and of a reporter's death.
fn interrupted(signal: Signal) -> anyhow::Result<Vec<String>> {
    let mut demo = Demo::start(&["--faults", "stall:hop=3;kill:hop=1;loss:hop=2"])?;
    demo.first("two faults are injected", DEADLINE, |event| match event {
        Event::Injected { id: 2, .. } => Some(()),
        _ => None,
    })?;
    ensure!(demo.stages()?.len() <= 2, "more stage processes than stages");
    demo.process.signal(signal)?;
    let status = demo.process.wait(ENDS_WITHIN)?;
    let Some(Event::End { injected, caught, invented, .. }) = demo.events()?.pop() else {
        anyhow::bail!("it did not say its end: {}", demo.told());
    };
    let whole = caught == injected && invented == 0;
    ensure!(status.code() == Some(if whole { 0 } else { 70 }), "{status}: {}", demo.told());
    demo.leftovers()
}

/// SIGKILL leaves it no time; its processes end all the same.
fn killed() -> anyhow::Result<()> {
    let mut demo = Demo::start(&["--faults", "none"])?;
    eventually(DEADLINE, "both stages run", || {
        let stages = demo.stages()?;
        ensure!(stages.len() == 2, "{stages:?}");
        Ok(())
    })?;
    demo.process.kill()?;
    eventually(ENDS_WITHIN, "the stages end with the demo", || {
        let stages = demo.stages()?;
        ensure!(stages.is_empty(), "{stages:?}");
        Ok(())
    })
}

#[test]
fn what_is_injected_is_caught_nothing_is_invented_and_nothing_is_left() -> anyhow::Result<()> {
    figures::record("demo", "loss_seconds", every_hop()?)?;
    let first: u64 = rand::rng().random_range(0..1_000_000_000);
    let total = Mutex::new(Total::default());
    let add = |what: &str, account: Option<Account>, leftovers: Vec<String>| -> anyhow::Result<()> {
        let mut total = total.lock().ok().context("another run panicked")?;
        if let Some(account) = account {
            total.injected += account.injected();
            total.caught += account.caught;
            total.invented += account.invented;
            println!("{what}: {account}");
        }
        total.leftovers.extend(leftovers);
        Ok(())
    };
    std::thread::scope(|scope| {
        let mut runs = Vec::new();
        for seed in first..first + RANDOM_RUNS {
            runs.push(
                scope.spawn(move || random_faults(seed).and_then(|(a, l)| add(&format!("seed {seed}"), Some(a), l))),
            );
        }
        runs.push(scope.spawn(|| mix(first).and_then(|(a, l)| add("mix", Some(a), l))));
        runs.push(scope.spawn(|| nothing().and_then(|(a, l)| add("none", Some(a), l))));
        runs.push(scope.spawn(|| interrupted(Signal::INT).and_then(|l| add("SIGINT", None, l))));
        runs.push(scope.spawn(|| interrupted(Signal::TERM).and_then(|l| add("SIGTERM", None, l))));
        runs.push(scope.spawn(killed));
        runs.into_iter().try_for_each(|run| run.join().map_err(|_| anyhow::anyhow!("a run panicked"))?)
    })?;
    let total = total.into_inner().ok().context("a run panicked")?;
    figures::record("demo", "injected", total.injected)?;
    figures::record("demo", "caught_missing", total.injected - total.caught)?;
    figures::record("demo", "invented", total.invented)?;
    figures::record("demo", "leftovers", total.leftovers.len())?;
    ensure!(total.leftovers.is_empty(), "left behind: {:?}", total.leftovers);
    Ok(())
}
