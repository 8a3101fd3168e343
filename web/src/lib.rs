//! Where loss and delay stand out: pages and JSON over the collector.
//!
//! One request, one path: parameters → query → rows of the store → view struct → askama template. The modules that
//! decide anything (`range`, `zone`, `format`, `look`, `strip`, `topic::*`) are pure and know neither HTTP nor store.
//!
//! Invariants: every view is a URL, a CSV and a JSON of the same query; nothing is written; nothing is green; what is
//! not known is never drawn or printed as zero; every text from outside is escaped where it is printed; no response
//! leaves without the security headers. Limits: [`WebConfig`], ranges of 400 days, answers of 10,000 rows.

#![forbid(unsafe_code)]

mod api;
mod assets;
mod csv;
mod error;
mod events;
mod format;
mod frame;
mod guard;
mod health;
mod look;
mod overview;
mod params;
mod range;
mod routes;
mod strip;
mod topic;
mod zone;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chaperone_audit::clock::Clock;
use chaperone_collector::{Pipelines, Store};
use tokio::sync::{Semaphore, watch};

/// What is wrong with this process, in one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The sentence.
    pub text: String,
    /// It wants somebody's attention, and what the pages say is right and recent all the same.
    pub notice: bool,
}

/// What `/metrics` answers.
pub trait Metrics: Send + Sync {
    /// The figures of this moment, in Prometheus' text format 0.0.4.
    fn text(&self) -> Pin<Box<dyn Future<Output = String> + Send + '_>>;
}

/// What the pages read. Everything is shared with the rest of the process; nothing is written through it.
#[derive(Clone)]
pub struct WebState {
    /// Truth at rest.
    pub store: Arc<dyn Store>,
    /// The pipelines as configured now.
    pub pipelines: watch::Receiver<Arc<Pipelines>>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// What is wrong; nothing but notices means ready. Event streams end when its sender is dropped, so that a graceful
    /// shutdown does not wait for browsers.
    pub problems: watch::Receiver<Vec<Problem>>,
    /// Figures for programs.
    pub metrics: Arc<dyn Metrics>,
    /// The product's version, printed at the foot of each page.
    pub version: &'static str,
}

/// Limits of the listener, and whom it answers.
#[derive(Debug, Clone)]
pub struct WebConfig {
    /// Hosts that a request may name. `*` allows every host, `name` allows any port, `name:port` only that one. Any other host is refused
    /// with 421, so that a foreign page cannot read this one through a name that resolves to a loopback address.
    pub allowed_hosts: Vec<String>,
    /// Open event streams; more are refused with 503.
    pub max_sse_clients: usize,
    /// Requests answered at the same time; more are refused with 503.
    pub max_in_flight: usize,
    /// A request that takes longer is answered with 503.
    pub request_timeout: Duration,
    /// Least time between two events of one stream; what happens in between is one event.
    pub event_interval: Duration,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            allowed_hosts: ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec(),
            max_sse_clients: 200,
            max_in_flight: 64,
            request_timeout: Duration::from_secs(10),
            event_interval: Duration::from_secs(1),
        }
    }
}

/// The routes, ready to be served.
pub fn app(state: WebState, config: WebConfig) -> axum::Router {
    routes::router(Arc::new(App::new(state, config)))
}

/// Only whether the process lives and can be believed, and its figures: for processes without pages.
pub fn health(state: WebState, config: WebConfig) -> axum::Router {
    routes::only_health(Arc::new(App::new(state, config)))
}

/// What every handler shares.
struct App {
    state: WebState,
    streams: Arc<Semaphore>,
    in_flight: Semaphore,
    config: WebConfig,
}

impl App {
    fn new(state: WebState, config: WebConfig) -> Self {
        Self {
            state,
            streams: Arc::new(Semaphore::new(config.max_sse_clients)),
            in_flight: Semaphore::new(config.max_in_flight),
            config,
        }
    }
    fn now_ms(&self) -> i64 {
        self.state.clock.now_ms()
    }
    fn pipelines(&self) -> Arc<Pipelines> {
        Arc::clone(&self.state.pipelines.borrow())
    }
    fn problems(&self) -> Vec<Problem> {
        self.state.problems.borrow().clone()
    }
    /// The problems as a page may print them: their texts name what others named.
    fn problems_shown(&self) -> Vec<Problem> {
        let shown = |p: &Problem| Problem { text: format::name(&p.text), notice: p.notice };
        self.state.problems.borrow().iter().map(shown).collect()
    }
}
