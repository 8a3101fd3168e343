//! The process wired together: the only file that names every part.
//!
//! [`App::build`] opens the store, takes the port and starts intake and taps; [`App::run`] serves and judges until told
//! to stop. Everything from outside is a parameter (configuration, clock, shutdown), so that a demo or a test can run
//! it inside its own process.

use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chaperone_audit::Clock;
use chaperone_collector::{Pipelines, SqliteStore, Store};
use chaperone_web::{Problem, WebConfig, WebState};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::config::Config;
use crate::exit::{Code, Failure};
use crate::intake::{self, Intake};
use crate::lag::{self, Lags};
use crate::problems::Problems;
use crate::reload::{Reached, Reload};
use crate::tap::{self, Shared};
use crate::taps::{Taps, Which};

/// How often windows are judged.
const JUDGE_EVERY: Duration = Duration::from_millis(500);
/// How long intake may take to apply what it read.
const INTAKE_DEADLINE: Duration = Duration::from_secs(8);
/// How long a question about groups may take that is under way at the end.
const LAG_DEADLINE: Duration = Duration::from_secs(1);
/// How long open pages may take to be answered at the end.
const WEB_DEADLINE: Duration = Duration::from_secs(2);

/// Which parts run in this process.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    /// Taps as well; `false` where they run in processes of their own.
    pub taps: bool,
}

/// What a process is made of.
pub struct Blueprint {
    /// Where the dashboard listens.
    pub listen: SocketAddr,
    /// Truth at rest.
    pub store: Arc<dyn Store>,
    /// What is compared with what.
    pub pipelines: Arc<Pipelines>,
    /// Audit topics to read.
    pub intakes: Vec<intake::Settings>,
    /// Topics to count.
    pub taps: Vec<tap::Settings>,
    /// Clusters whose groups are asked for their lag.
    pub lags: Vec<lag::Settings>,
}

/// A process that is ready to serve.
pub struct App {
    shared: Shared,
    problems: watch::Receiver<Vec<Problem>>,
    pipelines: watch::Sender<Arc<Pipelines>>,
    listener: TcpListener,
    address: SocketAddr,
    intakes: Vec<Intake>,
    taps: Taps,
    lags: Lags,
}

impl App {
    /// Opens, binds and starts. Brokers are not waited for.
    ///
    /// # Errors
    /// [`Code::CannotWrite`] for the store, [`Code::Unavailable`] for the port, [`Code::Configuration`] for librdkafka.
    pub async fn build(config: Config, clock: Arc<dyn Clock>, parts: Parts) -> Result<Self, Failure> {
        let listener = listen(config.listen).await?;
        let store: Arc<dyn Store> = Arc::new(open_store(&config)?);
        let which = if parts.taps { Which::All } else { Which::None };
        let blueprint = Blueprint {
            listen: config.listen,
            store,
            pipelines: Arc::clone(&config.pipelines),
            intakes: intake::Settings::of(&config),
            taps: which.settings(&config),
            lags: lag::Settings::of(&config),
        };
        Self::start(blueprint, listener, clock, which)
    }

    /// The same from parts that are chosen one by one.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub async fn assemble(blueprint: Blueprint, clock: Arc<dyn Clock>) -> Result<Self, Failure> {
        let listener = listen(blueprint.listen).await?;
        Self::start(blueprint, listener, clock, Which::None)
    }

    fn start(
        blueprint: Blueprint,
        listener: TcpListener,
        clock: Arc<dyn Clock>,
        which: Which,
    ) -> Result<Self, Failure> {
        let address = listener.local_addr().map_err(|e| cannot_listen(blueprint.listen, &e))?;
        let (problems_list, problems) = Problems::new();
        let store = blueprint.store;
        let shared = Shared { store, runtime: Handle::current(), clock, problems: problems_list };
        let intakes =
            blueprint.intakes.into_iter().map(|s| Intake::start(s, shared.clone())).collect::<Result<_, _>>()?;
        let taps = Taps::start(blueprint.taps, which, shared.clone())?;
        let lags = Lags::start(blueprint.lags, shared.clone())?;
        let (pipelines, _) = watch::channel(blueprint.pipelines);
        Ok(Self { shared, problems, pipelines, listener, address, intakes, taps, lags })
    }

    /// Where the dashboard is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
    /// Truth at rest.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.shared.store)
    }
    /// What is wrong now.
    pub fn problems(&self) -> watch::Receiver<Vec<Problem>> {
        self.problems.clone()
    }

    /// Serves and judges until `shutdown`, then stops in order: taps, intake, judge, dashboard.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Failure> {
        self.run_with(shutdown, None).await
    }

    /// Like [`run`](Self::run); reads the configuration again whenever `reload` is asked to. Only for what
    /// [`build`](Self::build) made: a blueprint has no configuration.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn run_reloading(self, shutdown: impl Future<Output = ()>, reload: Reload) -> Result<(), Failure> {
        self.run_with(shutdown, Some(reload)).await
    }

    async fn run_with(mut self, shutdown: impl Future<Output = ()>, mut reload: Option<Reload>) -> Result<(), Failure> {
        let judge = tokio::spawn(judge(self.shared.clone(), self.pipelines.subscribe()));
        let (stop_web, stopping) = watch::channel(false);
        let state = WebState {
            store: Arc::clone(&self.shared.store),
            pipelines: self.pipelines.subscribe(),
            clock: Arc::clone(&self.shared.clock),
            problems: self.problems,
            version: env!("CARGO_PKG_VERSION"),
        };
        let served = serve(self.listener, state, stopping);
        let mut web = tokio::spawn(served);
        crate::supervisor::ready();
        let mut shutdown = pin!(shutdown);
        let ended = loop {
            tokio::select! {
                () = &mut shutdown => break None,
                early = &mut web => break Some(early),
                reload = asked(&mut reload) => {
                    let problems = &self.shared.problems;
                    let (taps, lags) = (&mut self.taps, Some(&mut self.lags));
                    let mut reached = Reached { taps, lags, pipelines: Some(&self.pipelines), problems };
                    tokio::task::block_in_place(|| reload.act(&mut reached));
                }
            }
        };
        crate::supervisor::stopping();
        tracing::info!("stopping");
        self.lags.stop();
        stop_parts(self.taps, self.intakes).await;
        let lags = self.lags;
        let joined = tokio::task::spawn_blocking(move || lags.join(Instant::now() + LAG_DEADLINE));
        if let Err(e) = joined.await {
            tracing::error!("stopping: {e}");
        }
        judge.abort();
        // Event streams end when nobody can report problems any more.
        drop(self.shared);
        stop_web.send_replace(true);
        let ended = match ended {
            Some(early) => Some(early),
            None => tokio::time::timeout(WEB_DEADLINE, &mut web).await.ok(),
        };
        let Some(result) = ended else {
            // A browser that does not hang up does not hold up the end.
            web.abort();
            return Ok(());
        };
        match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(Failure::new(Code::Unavailable, format!("the dashboard: {e}"))),
            Err(e) => Err(Failure::new(Code::Software, format!("the dashboard: {e}"))),
        }
    }
}

/// Waits until a reload is asked for; for ever where there is nothing to reload.
async fn asked(reload: &mut Option<Reload>) -> &mut Reload {
    match reload {
        Some(reload) => {
            reload.asked().await;
            reload
        }
        None => std::future::pending().await,
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|e| cannot_listen(address, &e))
}

fn cannot_listen(address: SocketAddr, e: &std::io::Error) -> Failure {
    Failure::new(Code::Unavailable, format!("web.listen {address}: {e}; choose another port"))
}

async fn serve(listener: TcpListener, state: WebState, mut stopping: watch::Receiver<bool>) -> std::io::Result<()> {
    let router = chaperone_web::app(state, WebConfig::default());
    let stop = async move {
        // An error means that the sender is gone: the end as well.
        if stopping.wait_for(|stop| *stop).await.is_err() {
            tracing::debug!("the dashboard's owner is gone");
        }
    };
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn judge(shared: Shared, pipelines: watch::Receiver<Arc<Pipelines>>) {
    let mut every = tokio::time::interval(JUDGE_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let current = Arc::clone(&pipelines.borrow());
        let judged = shared.store.judge(shared.clock.now_ms(), &current).await;
        shared.problems.note("store judge", judged.err().map(|e| format!("{e}; verdicts wait")));
    }
}

/// Opens the store, making its directory if need be.
///
/// # Errors
/// [`Code::CannotWrite`], naming what cannot be written.
pub fn open_store(config: &Config) -> Result<SqliteStore, Failure> {
    make_private(&config.data_dir)?;
    SqliteStore::open(config.store_path()).map_err(|e| Failure::new(Code::CannotWrite, e.to_string()))
}

fn make_private(dir: &Path) -> Result<(), Failure> {
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .map_err(|e| Failure::new(Code::CannotWrite, format!("data_dir {}: cannot make it: {e}", dir.display())))
}

/// Stops taps, then intake, each with a deadline.
pub async fn stop_parts(taps: Taps, intakes: Vec<Intake>) {
    let stopped = tokio::task::spawn_blocking(move || {
        taps.stop();
        intakes.iter().for_each(Intake::stop);
        let deadline = Instant::now() + INTAKE_DEADLINE;
        for intake in intakes {
            intake.join(deadline);
        }
    });
    if let Err(e) = stopped.await {
        tracing::error!("stopping: {e}");
    }
}
