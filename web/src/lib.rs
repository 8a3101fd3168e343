//! Where loss and delay stand out: pages and JSON over the collector.
//!
//! One request, one path: parameters → query → rows of the store → view struct → askama template. The modules that
//! decide anything (`range`, `zone`, `format`, `look`, `strip`, `topic::*`) are pure and know neither HTTP nor store.
//!
//! Invariants: every view is a URL, a CSV and a JSON of the same query; nothing is written but the log of actions; every
//! route has its least role in one table ([`ROUTES`]) and is asked for it in one place; nothing is green; what is not known
//! is never drawn or printed as zero; every text from outside is escaped where it is printed; no response leaves without
//! the security headers. Limits: [`WebConfig`], [`Connections`], ranges of 400 days, answers of 10,000 rows.

#![forbid(unsafe_code)]

mod about;
mod access;
mod actions;
mod api;
mod assets;
mod bins;
mod compress;
mod csv;
mod error;
mod events;
mod format;
mod frame;
mod guard;
mod health;
mod lag;
mod listen;
mod look;
mod openapi;
mod overview;
mod page;
mod params;
mod pipelines;
mod quarantine;
mod range;
mod rate;
mod report;
mod reporters;
mod routes;
mod strip;
mod topic;
mod window;
mod zone;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use access::session::Sessions;
pub use access::token;
pub use access::{Access, Role, SESSION, Sso, Token};
use axum::http::HeaderMap;
use chaperone_audit::clock::Clock;
use chaperone_collector::{Pipelines, Store};
pub use listen::{Certificate, Connections, Peer, certificate, serve};
use rate::Buckets;
pub use rate::Rate;
pub use routes::{Face, ROUTES, Route};
use tokio::sync::{Semaphore, mpsc, watch};

/// A range of event time as the pages take it, in ms since 1970, `[from, to)`, for those who do not come by HTTP.
///
/// # Errors
/// Which end could not be understood, and what is allowed.
pub fn time_range(from: &str, to: &str, now_ms: i64) -> Result<(i64, i64), String> {
    match range::Range::parse(Some(from), Some(to), now_ms, zone::Zone::utc()) {
        Ok(range) => Ok((range.from_ms, range.to_ms)),
        Err(e) => Err(format!("{} {}: allowed: {}", e.field, e.value, e.allowed)),
    }
}

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
    /// What the product is made of, and what it promises.
    pub build: Arc<Build>,
    /// Asks the process to read its configuration again; none where there is nothing to read.
    pub reload: Option<mpsc::Sender<()>>,
}

/// What a build knows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Build {
    /// Names and versions of what it is made of, beside the product's own.
    pub parts: Vec<(&'static str, String)>,
    /// Promises with the last figures that were measured, in their order.
    pub promises: Vec<Promise>,
}

/// A promise in numbers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Promise {
    /// `section.name`.
    pub name: String,
    /// What is promised: `≥ 10`, `= 0`.
    pub promised: String,
    /// What was measured.
    pub measured: String,
    /// Whether that is what is promised; absent: not measured.
    pub holds: Option<bool>,
    /// In which run: `ci`, `full`.
    pub run: String,
    /// At which commit; with a `+`, changes lay on top of it.
    pub commit: String,
    /// When.
    pub date: String,
}

impl Promise {
    /// Reads the table of docs/EVIDENCE.md; lines of another shape say nothing. What is broken is in bold there.
    pub fn table(markdown: &str) -> Vec<Self> {
        let rows = markdown.lines().map(|line| line.trim().trim_matches('|').split('|').map(str::trim).collect());
        rows.filter_map(|cells: Vec<&str>| match cells.as_slice() {
            [name, promised, measured, holds @ ("yes" | "no" | "**no**" | "not measured"), run, commit, date, _] => {
                Some(Self {
                    name: (*name).to_owned(),
                    promised: (*promised).to_owned(),
                    measured: (*measured).to_owned(),
                    holds: (*holds != "not measured").then_some(*holds == "yes"),
                    run: (*run).to_owned(),
                    commit: (*commit).to_owned(),
                    date: (*date).to_owned(),
                })
            }
            _ => None,
        })
        .collect()
    }
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
    /// Who may come in, now; what its sender replaces takes effect at once.
    pub access: watch::Receiver<Arc<Access>>,
    /// Requests of one client; more are refused with 429. Health, assets and what an event stream sends are free.
    pub rate: Rate,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            allowed_hosts: ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec(),
            max_sse_clients: 200,
            max_in_flight: 64,
            request_timeout: Duration::from_secs(10),
            event_interval: Duration::from_secs(1),
            access: Access::default().fixed(),
            rate: Rate { per_second: 100, burst: 500 },
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
    follows: Arc<events::Follows>,
    in_flight: Semaphore,
    sessions: Sessions,
    rates: Buckets,
    log_ins: Buckets,
    config: WebConfig,
}

/// Log-ins that one client may try.
const LOG_INS: Rate = Rate { per_second: 1, burst: 20 };

impl App {
    fn new(state: WebState, config: WebConfig) -> Self {
        Self {
            state,
            streams: Arc::new(Semaphore::new(config.max_sse_clients)),
            follows: Arc::default(),
            in_flight: Semaphore::new(config.max_in_flight),
            sessions: Sessions::default(),
            rates: Buckets::new(config.rate),
            log_ins: Buckets::new(LOG_INS),
            config,
        }
    }
    fn access(&self) -> Arc<Access> {
        Arc::clone(&self.config.access.borrow())
    }
    /// The client's address, as far as it is known.
    fn client(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Option<IpAddr> {
        access::client(&self.access(), headers, peer)
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
