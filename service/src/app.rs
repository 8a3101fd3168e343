//! The process wired together: the only file that names every part.
//!
//! [`App::build`] opens the store, takes the port and starts what its verb has of intake and taps; [`App::run`] serves and
//! judges until told to stop. Everything from outside is a parameter (configuration, clock, shutdown), so that a demo or a test can run
//! it inside its own process.

mod stores;

use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chaperone_audit::Clock;
use chaperone_collector::query::Action;
use chaperone_collector::{Pipelines, Retention, Store, StoreError};
use chaperone_web::{Connections, Problem, WebConfig, WebState};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::config::{Config, Web};
use crate::door::{Door, Opened};
use crate::exit::{Code, Failure};
use crate::intake::{self, Intake};
use crate::lag::{self, Lags};
use crate::metrics::Metrics;
use crate::metrics::meters::Meters;
use crate::presence::{Presence, Role, farewell};
use crate::problems::Problems;
use crate::rebuild::target::refuse_half_made;
use crate::reload::{Reached, Reload};
use crate::share::{self, Share};
use crate::tap::{self, Shared};
use crate::taps::{Taps, Which};
pub(crate) use stores::unavailable;
pub use stores::{View, open_store, open_view};

/// How often windows are judged.
const JUDGE_EVERY: Duration = Duration::from_millis(500);
/// How long intake may take to apply what it read.
const INTAKE_DEADLINE: Duration = Duration::from_secs(8);
/// How long a question about groups may take that is under way at the end.
const LAG_DEADLINE: Duration = Duration::from_secs(1);
/// Longest sentence in the log of actions, characters.
const ACTION_TEXT_MAX: usize = 500;
/// How long open pages may take to be answered at the end.
const WEB_DEADLINE: Duration = Duration::from_secs(2);

/// Which parts run in this process.
#[derive(Debug, Clone)]
pub struct Parts {
    /// What the process is to the others of its store. Intake and judge: [`Role::Run`] and [`Role::Collect`];
    /// [`Role::Web`] only reads the store.
    pub role: Role,
    /// Which taps.
    pub taps: Which,
    /// What it answers over HTTP.
    pub serves: Serves,
}

/// What a process answers over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// Everything, where the configuration says.
    Page,
    /// `/healthz`, `/readyz` and `/metrics` here.
    Health(SocketAddr),
    /// Nothing.
    Nothing,
}

/// What a process is made of.
pub struct Blueprint {
    /// Where the dashboard listens, and for whom.
    pub web: Web,
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
    /// As configured.
    pipelines: watch::Sender<Arc<Pipelines>>,
    /// And with those that were discovered.
    in_effect: watch::Sender<Arc<Pipelines>>,
    retention: watch::Sender<Retention>,
    role: Role,
    listener: Option<TcpListener>,
    serves: Serves,
    door: Door,
    intakes: Vec<Intake>,
    taps: Taps,
    lags: Lags,
    presence: Option<Presence>,
    /// The store if it is only read.
    view: Option<View>,
}

impl App {
    /// Opens, binds and starts. Brokers are not waited for.
    ///
    /// # Errors
    /// [`Code::CannotWrite`] for the store, [`Code::Unavailable`] for the port, [`Code::Configuration`] for librdkafka.
    pub async fn build(config: Config, clock: Arc<dyn Clock>, parts: Parts) -> Result<Self, Failure> {
        let listener = match parts.serves {
            Serves::Page => Some(listen("web.listen", config.web.listen).await?),
            Serves::Health(address) => Some(listen("--listen", address).await?),
            Serves::Nothing => None,
        };
        let (store, view): (Arc<dyn Store>, _) = if parts.role == Role::Web {
            let view = open_view(&config)?;
            view.follow(&config.pipelines);
            (view.store(), Some(view))
        } else {
            // A database may take a while to answer.
            let store = tokio::task::block_in_place(|| open_store(&config))?;
            refuse_half_made(&*store, &config.store_place()).await?;
            (store, None)
        };
        let collects = matches!(parts.role, Role::Run | Role::Collect);
        let blueprint = Blueprint {
            web: config.web.clone(),
            store,
            pipelines: Arc::clone(&config.pipelines),
            intakes: if collects { intake::Settings::of(&config) } else { Vec::new() },
            taps: parts.taps.settings(&config),
            lags: if collects { lag::Settings::of(&config) } else { Vec::new() },
        };
        let of_taps = blueprint.taps.iter().map(|t| t.cluster.name.clone());
        let clusters = blueprint.intakes.iter().map(|i| i.cluster.name.clone()).chain(of_taps).collect();
        let reads: BTreeSet<String> = blueprint.intakes.iter().map(intake::Settings::source).collect();
        // One file has one collector.
        let (tell, told) = watch::channel(Share::default());
        let tell = (collects && config.store.is_some()).then_some(tell);
        let mut app = Self::start(blueprint, listener, clock, (parts, told))?;
        app.view = view;
        app.retention.send_replace(config.retention);
        let Shared { store, clock, problems, .. } = app.shared.clone();
        let mut presence = Presence::new(app.role, &clusters, store, clock, problems);
        if let Some(tell) = tell {
            presence = presence.sharing(&reads, tell);
        }
        presence.first().await;
        app.presence = Some(presence);
        Ok(app)
    }

    /// A whole process from parts that are chosen one by one; nobody else works on its store.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub async fn assemble(blueprint: Blueprint, clock: Arc<dyn Clock>) -> Result<Self, Failure> {
        let listener = listen("web.listen", blueprint.web.listen).await?;
        let parts = Parts { role: Role::Watch, taps: Which::None, serves: Serves::Page };
        Self::start(blueprint, Some(listener), clock, (parts, share::everything()))
    }

    fn start(
        blueprint: Blueprint,
        listener: Option<TcpListener>,
        clock: Arc<dyn Clock>,
        (parts, share): (Parts, watch::Receiver<Share>),
    ) -> Result<Self, Failure> {
        let (problems_list, problems) = Problems::new();
        let shared = Shared {
            store: blueprint.store,
            runtime: Handle::current(),
            clock,
            problems: problems_list,
            meters: Meters::default(),
            share,
        };
        let intakes =
            blueprint.intakes.into_iter().map(|s| Intake::start(s, shared.clone())).collect::<Result<_, _>>()?;
        let taps = Taps::start(blueprint.taps, parts.taps, shared.clone())?;
        let lags = Lags::start(blueprint.lags, shared.clone())?;
        let (pipelines, _) = watch::channel(Arc::clone(&blueprint.pipelines));
        let (in_effect, _) = watch::channel(blueprint.pipelines);
        let Parts { role, serves, .. } = parts;
        let door = Door::new(blueprint.web, serves)?;
        Ok(Self {
            shared,
            problems,
            pipelines,
            in_effect,
            retention: watch::channel(Retention::default()).0,
            role,
            listener,
            serves,
            door,
            intakes,
            taps,
            lags,
            presence: None,
            view: None,
        })
    }

    /// Where it answers; empty if it does not.
    pub fn url(&self) -> String {
        let address = self.listener.as_ref().and_then(|l| l.local_addr().ok());
        let scheme = if self.door.is_encrypted() { "https" } else { "http" };
        address.map(|address| format!("{scheme}://{address}")).unwrap_or_default()
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
        let judges = matches!(self.role, Role::Run | Role::Collect | Role::Watch);
        let judge = judges.then(|| tokio::spawn(judge(self.shared.clone(), self.in_effect.subscribe())));
        let sweep = judges.then(|| tokio::spawn(crate::sweep::run(self.shared.clone(), self.retention.subscribe())));
        let discovery = crate::discovery::run(self.shared.clone(), self.pipelines.subscribe(), self.in_effect.clone());
        let discovery = tokio::spawn(discovery);
        let (stop_web, stopping) = watch::channel(false);
        let (ask, mut asks) = mpsc::channel(1);
        let state = self.web_state(reload.is_some().then_some(ask));
        let mut web = tokio::spawn(serve(self.listener.take(), self.serves, self.door.opened(), state, stopping));
        let beating = self.presence.take().map(|presence| (presence.id(), tokio::spawn(presence.run())));
        crate::supervisor::ready();
        let mut shutdown = pin!(shutdown);
        let ended = loop {
            tokio::select! {
                () = &mut shutdown => break None,
                early = &mut web => break Some(early),
                reload = asked(&mut reload, &mut asks) => {
                    let problems = &self.shared.problems;
                    // Whoever does not collect asks nobody for lag.
                    let (taps, lags) = (&mut self.taps, judges.then_some(&mut self.lags));
                    let (pipelines, retention) = (Some(&self.pipelines), &self.retention);
                    let mut reached = Reached { taps, lags, pipelines, retention, door: &self.door, problems };
                    let came_of_it = tokio::task::block_in_place(|| reload.act(&mut reached));
                    self.record(came_of_it).await;
                    if let Some(view) = &self.view {
                        view.follow(&self.pipelines.borrow());
                    }
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
        discovery.abort();
        // It holds what event streams wait for.
        drop(discovery.await);
        for task in [judge, sweep].into_iter().flatten() {
            task.abort();
        }
        if let Some((id, beating)) = beating {
            beating.abort();
            // The task holds what event streams wait for.
            drop(beating.await);
            if let Some(id) = id {
                farewell(&*self.shared.store, id).await;
            }
        }
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

    /// A reload is in the log of actions too; what cannot be recorded there is in the process's own log.
    async fn record(&self, outcome: crate::reload::Outcome) {
        let action = Action {
            at_ms: self.shared.clock.now_ms(),
            who: String::new(),
            role: String::new(),
            address: String::new(),
            action: "reload".to_owned(),
            what: outcome.said.chars().take(ACTION_TEXT_MAX).collect(),
            outcome: if outcome.done { "done" } else { "refused" }.to_owned(),
        };
        if let Err(e) = self.shared.store.note_action(action).await {
            tracing::warn!("the reload is recorded in this log only: {e}");
        }
    }

    fn web_state(&self, reload: Option<mpsc::Sender<()>>) -> WebState {
        let metrics = Metrics {
            store: Arc::clone(&self.shared.store),
            problems: self.problems.clone(),
            meters: self.shared.meters.clone(),
            clock: Arc::clone(&self.shared.clock),
            role: self.role.as_str(),
        };
        WebState {
            store: Arc::clone(&self.shared.store),
            pipelines: self.in_effect.subscribe(),
            clock: Arc::clone(&self.shared.clock),
            problems: self.problems.clone(),
            metrics: Arc::new(metrics),
            version: env!("CARGO_PKG_VERSION"),
            build: Arc::new(crate::cli::version::build()),
            reload,
        }
    }
}

/// Waits until a reload is asked for; for ever where there is nothing to reload.
async fn asked<'a>(reload: &'a mut Option<Reload>, asks: &mut mpsc::Receiver<()>) -> &'a mut Reload {
    match reload {
        Some(reload) => {
            tokio::select! {
                () = reload.asked() => {}
                Some(()) = asks.recv() => {}
            }
            reload
        }
        None => std::future::pending().await,
    }
}

async fn listen(key: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    let wrong = |e| Failure::new(Code::Unavailable, format!("{key} {address}: {e}; choose another port"));
    TcpListener::bind(address).await.map_err(wrong)
}

async fn serve(
    listener: Option<TcpListener>,
    serves: Serves,
    door: Opened,
    state: WebState,
    mut stopping: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let stop = async move {
        // An error means that the sender is gone: the end as well.
        if stopping.wait_for(|stop| *stop).await.is_err() {
            tracing::debug!("the dashboard's owner is gone");
        }
    };
    let Some(listener) = listener else {
        drop(state);
        stop.await;
        return Ok(());
    };
    let router = match serves {
        Serves::Health(address) if !address.ip().is_loopback() => {
            // Whoever opens it to other machines is asked for by names that we do not know; there are no pages to protect.
            chaperone_web::health(state, WebConfig { allowed_hosts: vec!["*".to_owned()], ..door.config })
        }
        Serves::Health(_) => chaperone_web::health(state, door.config),
        _ => chaperone_web::app(state, door.config),
    };
    chaperone_web::serve(listener, door.certificate, router, Connections::default(), stop).await
}

async fn judge(shared: Shared, pipelines: watch::Receiver<Arc<Pipelines>>) {
    let mut every = tokio::time::interval(JUDGE_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if !shared.share.borrow().leads {
            // What is wrong with the store is said by intake.
            shared.problems.clear("store judge");
            continue;
        }
        let current = Arc::clone(&pipelines.borrow());
        let began = Instant::now();
        let judged = shared.store.judge(shared.clock.now_ms(), &current).await;
        if judged.is_ok() {
            shared.meters.judged(began.elapsed());
        }
        let sentence = |e: StoreError| {
            let advice = e.advice().map(|advice| format!(": {advice}")).unwrap_or_default();
            format!("{e}{advice}; verdicts wait, and go on by themselves")
        };
        shared.problems.note("store judge", judged.err().map(sentence));
    }
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
