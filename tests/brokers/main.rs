//! Taps in the weather of brokers: three of them are restarted, killed, out of reach; a transaction stays open, a
//! partition is added, batches are corrupt on disk, the audit topic is deleted and made anew.
//!
//! One cluster for all tests, which run one after the other. The witness is a plain consumer's recount.

mod anew;
mod born;
mod corrupt;
mod held;
mod linked;
mod rack;
mod reach;
mod rolling;

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use anyhow::Context;
use chaperone_tests::{Cluster, Spec};

/// Three brokers in three racks, every partition on all of them; taps may reach them by proxies.
fn cluster() -> anyhow::Result<&'static Cluster> {
    // A static is never dropped: the brokers die by the kernel's hand, with this process.
    static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
    let spec = || Spec::new("brokers").brokers(3).config("min.insync.replicas", "2").severable().racks();
    let cluster = CLUSTER.get_or_init(|| Cluster::start(&spec()).map_err(|error| format!("{error:#}")));
    cluster.as_ref().map_err(|error| anyhow::anyhow!("no cluster: {error}"))
}

/// Whoever takes a broker out of reach, or counts what brokers give, has the proxies for itself.
static PROXIES: Mutex<()> = Mutex::new(());

#[test]
fn restarted_and_killed_brokers_change_no_count() -> anyhow::Result<()> {
    rolling::run(cluster()?, &rolling::Size { section: "brokers", at_least: Duration::ZERO })
}

/// Nothing happens to the brokers meanwhile (only one test's taps lose sight of one), so these run side by side.
#[test]
fn what_cannot_be_known_is_waited_for_or_said() -> anyhow::Result<()> {
    let cluster = cluster()?;
    let tests = [
        ("held", held::run as fn(_) -> _),
        ("anew", anew::run),
        ("born", born::run),
        ("linked", linked::run),
        ("rack", rack::run),
        ("reach", reach::run),
        ("corrupt", corrupt::run),
    ];
    std::thread::scope(|scope| {
        let running = tests.map(|(name, run)| (name, scope.spawn(move || run(cluster))));
        running.into_iter().try_for_each(|(name, thread)| {
            let outcome: anyhow::Result<()> = thread.join().map_err(|_| anyhow::anyhow!("{name} panicked"))?;
            outcome.context(name)
        })
    })
}
