//! `chaperone demo`: the whole product on a machine without Kafka, with faults that are announced and then seen.
//!
//! Two librdkafka mock clusters in this process; five stages (producer → proxy → regional → aggregate → consumer), of
//! which proxy and consumer are processes of their own; a real chaperone (taps, intake, store, judge, dashboard) with a
//! configuration as a user would write it. A client that reads only HTTP looks for what was injected.
//!
//! Time runs from the first message that came through. `after_s` is from the injection to the sight: a fault falls into
//! the first half of its 10 s window, and no window is judged before its end, 2 s of grace and the reports of all
//! stages. No fault is injected that could not be seen before `--duration` ends; what was injected and is still unseen
//! then is waited for [`director::OVERTIME`] longer. The faults of one window never share a hop, nor do they come where
//! a stall or a dead reporter leaves doubt.
//!
//! Invariants: nothing is left behind, whatever the way to end it (but SIGKILL, which leaves the temporary directory):
//! no file, no process, no shared memory. Limits: everything that is kept is bounded or for minutes only, so it may run
//! for days at what it takes after four minutes; the mock keeps 5 MiB or 100,000 batches a partition, deletes silently
//! ([`retention`] watches) and is the slower the more batches it keeps ([`batches`]).

pub mod batches;
pub mod child;
pub mod crew;
pub mod director;
pub mod event;
pub mod ledger;
pub mod link;
pub mod plan;
pub mod print;
pub mod producer;
pub mod replicator;
pub mod retention;
pub mod scene;
pub mod spec;
pub mod stage;
pub mod tamper;
pub mod watch;
pub mod wire;

use std::future::Future;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use chaperone_audit::{Clock, SystemClock};
use chaperone_collector::Store;

use crate::app::{App, Parts, Serves};
use crate::exit::{Code, Failure};
use crate::presence::Role;
use crate::taps::Which;
use crew::Crew;
use director::{Course, Director};
use ledger::Sums;
use plan::generator;
use print::{Printer, Voice};
use scene::Scene;
use spec::Faults;

/// Stages, upstream first.
pub const STAGES: &[&str] = &["producer", "proxy", "kafka:regional", "kafka:aggregate", "consumer"];
/// The topic.
pub const TOPIC: &str = "orders";
/// Its partitions on both clusters.
pub const PARTITIONS: i32 = 4;
/// Where reports go, on the regional cluster.
pub const AUDIT_TOPIC: &str = "chaperone-audit";
/// Messages a second.
pub const RATE: u32 = 200;
/// How long a verdict waits for late messages.
pub const GRACE: Duration = Duration::from_secs(2);
/// After this silence a reporter is not waited for.
pub const SILENT_AFTER: Duration = Duration::from_secs(6);
/// What takes longer to a stage is shown as late.
pub const OBJECTIVE: Duration = Duration::from_secs(5);

/// How long the store may be in use after the dashboard's end.
const STORE_DEADLINE: Duration = Duration::from_secs(5);
/// With less time than this, faults are injected as soon as they can be.
const SPREAD_MIN: Duration = Duration::from_secs(180);

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// One JSON object a line.
    pub json: bool,
    /// Faults to inject.
    pub faults: Faults,
    /// Decides hops, counts and messages.
    pub seed: u64,
    /// Ends after so long.
    pub duration: Option<Duration>,
    /// The dashboard's port; 0 takes a free one.
    pub port: u16,
    /// Where the store is kept.
    pub data_dir: Option<PathBuf>,
}

impl Options {
    fn course(&self) -> Result<Course, Failure> {
        let chosen = matches!(self.faults, Faults::These(_));
        let spread = !chosen && self.duration.is_none_or(|d| d >= SPREAD_MIN);
        if let (Faults::These(wishes), Some(duration)) = (&self.faults, self.duration) {
            let takes_s = plan::takes_ms(wishes, spread).unsigned_abs().div_ceil(1_000);
            if duration.as_secs() < takes_s {
                let words = format!("--duration {}: these faults take up to {takes_s} s", duration.as_secs());
                return Err(Failure::new(Code::Usage, words));
            }
        }
        let until_seen = self.json && chosen && self.duration.is_none();
        Ok(Course { faults: self.faults.clone(), duration: self.duration, until_seen, spread })
    }

    fn voice(&self) -> Voice {
        match (self.json, std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()) {
            (true, _) => Voice::Json,
            (false, false) => Voice::Plain,
            (false, true) => Voice::Coloured,
        }
    }
}

/// Runs the demo until its course is run or `stop`, and leaves nothing behind.
///
/// # Errors
/// [`Code::Unavailable`] when the port is taken, [`Code::CannotWrite`] for directories, [`Code::Usage`] for a duration
/// that is too short, [`Code::Software`] when a fault was not seen, a verdict was invented, or a part failed.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> Result<(), Failure> {
    let course = options.course()?;
    let scene = Scene::build(&options, rand::random())?;
    let played = play(&options, course, &scene, stop).await;
    let closed = scene.close();
    let sums = played?;
    closed?;
    if sums.caught == sums.injected && sums.invented == 0 {
        return Ok(());
    }
    let (unseen, injected, invented) = (sums.injected - sums.caught, sums.injected, sums.invented);
    let words = format!("not seen: {unseen} of {injected} faults; invented: {invented} verdicts");
    Err(Failure::new(Code::Software, words))
}

async fn play(
    options: &Options,
    course: Course,
    scene: &Scene,
    stop: impl Future<Output = ()>,
) -> Result<Sums, Failure> {
    let parts = Parts { role: Role::Run, taps: Which::All, serves: Serves::Page };
    let app = App::build(scene.config()?, Arc::new(SystemClock), parts).await.map_err(|f| {
        if f.code != Code::Unavailable {
            return f;
        }
        let words = format!("{}\nthe demo's dashboard: --port N takes another port, --port 0 a free one", f.message);
        Failure::new(f.code, words)
    })?;
    let url = app.url();
    let store = app.store();
    let (end_app, app_ends) = tokio::sync::oneshot::channel::<()>();
    let app = tokio::spawn(app.run(async move { drop(app_ends.await) }));
    let result = direct(options, course, scene, &url, stop).await;
    // It ends by itself only when it fails, and then nobody listens.
    end_app.send(()).ok();
    let ended = app.await;
    close(store).await;
    match ended {
        Ok(ended) => ended?,
        Err(e) => return Err(Failure::new(Code::Software, format!("the dashboard: {e}"))),
    }
    result
}

/// Closes the store once nobody else has it: only then is it one file, without a log beside it.
async fn close(store: Arc<dyn Store>) {
    let deadline = Instant::now() + STORE_DEADLINE;
    while Arc::strong_count(&store) > 1 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    if Arc::strong_count(&store) > 1 {
        tracing::warn!("the store is still in use and is not closed");
    }
    // Its end waits for what is being written.
    if let Err(e) = tokio::task::spawn_blocking(move || drop(store)).await {
        tracing::warn!("closing the store: {e}");
    }
}

async fn direct(
    options: &Options,
    course: Course,
    scene: &Scene,
    url: &str,
    stop: impl Future<Output = ()>,
) -> Result<Sums, Failure> {
    let (events, inbox) = mpsc::channel();
    let mut crew = Crew::default();
    let cast = crew.start(scene, options.seed, url, &events, SystemClock.now_ms())?;
    let mut printer = Printer::new(std::io::stdout(), options.voice(), url.to_owned());
    if printer.ready(options.seed).is_err() {
        tracing::debug!("nobody reads");
    }
    let director = Director::new(course, cast, printer, inbox, Arc::clone(&crew.from_ms), generator(options.seed, 1));
    let stopping = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stopping);
    let mut directed = tokio::task::spawn_blocking(move || director.run(&stopped));
    let ended = tokio::select! {
        ended = &mut directed => ended,
        () = stop => {
            stopping.store(true, Ordering::SeqCst);
            directed.await
        }
    };
    let (cast, result) = ended.map_err(|e| Failure::new(Code::Software, format!("the demo's director: {e}")))?;
    let dismissed = tokio::task::spawn_blocking(move || crew.dismiss(cast)).await;
    dismissed.map_err(|e| Failure::new(Code::Software, format!("the demo's end: {e}")))?;
    result
}
