//! `chaperone recover`, where it sends: a host's agent, and one directory of the dead, over the audit topic of a configuration.
//!
//! The work is the library's ([`Agent`], [`Courier`]); here are the topic and the process around it. The agent works on a
//! thread of its own until a signal.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::routing::get;
use chaperone_audit::kafka::KafkaSink;
use chaperone_audit::recorder::{Agent, AgentStats, Carried, Courier, Slots, abandoned};
use parking_lot::Mutex;
use tokio::net::TcpListener;

use crate::config::{Audit, Cluster, Config};
use crate::exit::{Code, Failure};
use crate::kafka;
use crate::metrics::exposition::Exposition;
use crate::metrics::families as f;
use crate::metrics::{self, Source, number};

/// How long one turn of the agent waits for something to do: so late it may notice the signal.
const TURN: Duration = Duration::from_millis(200);
/// How long an agent that ends waits for Kafka's word on what it has under way.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// How often it looks for what is not its own to take over.
const ELSEWHERE_EVERY: Duration = Duration::from_mins(1);

/// The audit topic that is sent to.
#[derive(Debug, Clone)]
pub struct Topic {
    cluster: Cluster,
    audit: Audit,
}

impl Topic {
    /// That of the cluster `name`, or the only one.
    ///
    /// # Errors
    /// [`Code::Usage`] where there is none, or several and no name; the message lists them.
    pub fn of(config: &Config, name: Option<&str>) -> Result<Self, Failure> {
        let mut all = config.clusters.iter().filter_map(|c| Some((c, c.audit.as_ref()?)));
        let named = |found: Option<(&Cluster, &Audit)>| {
            found.map(|(cluster, audit)| Self { cluster: cluster.clone(), audit: audit.clone() })
        };
        let wrong = |problem: &str| {
            let known: Vec<&str> = config.clusters.iter().filter(|c| c.audit.is_some()).map(|c| &*c.name).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Failure::new(Code::Usage, format!("{problem}; clusters with an audit topic: {known}"))
        };
        match name {
            Some(name) => named(all.find(|(c, _)| c.name == name))
                .ok_or_else(|| wrong(&format!("--audit '{name}': kafka.{name}.audit is not in the configuration"))),
            None => match (all.next(), all.next()) {
                (one, None) => named(one).ok_or_else(|| wrong("the configuration has no kafka.NAME.audit")),
                _ => Err(wrong("there are several audit topics: choose one with --audit NAME")),
            },
        }
    }

    fn sink(&self) -> Result<KafkaSink, Failure> {
        let wrong = |e: &dyn std::fmt::Display| {
            Failure::new(Code::Configuration, format!("kafka.{}.properties: librdkafka: {e}", self.cluster.name))
        };
        KafkaSink::new(&kafka::producer(&self.cluster), &self.audit.topic).map_err(|e| wrong(&e))
    }

    fn allows(&self) -> impl Fn(&str) -> bool + Send + Clone + 'static {
        let audit = self.audit.clone();
        move |stage: &str| audit.allows(stage)
    }
}

/// Sends what the dead left in one directory; whether Kafka has confirmed all of it within `patience`.
///
/// # Errors
/// [`Code::Configuration`].
pub fn deliver(dir: &Path, topic: &Topic, patience: Duration) -> Result<(Carried, bool), Failure> {
    let mut sink = topic.sink()?;
    let mut courier = Courier::new(Box::new(topic.allows()));
    let all = courier.deliver(&[dir.to_owned()], &mut sink, patience);
    Ok((courier.carried().clone(), all))
}

/// What a host's agent is to do.
#[derive(Debug)]
pub struct Watch {
    /// The directory that it serves.
    pub dir: PathBuf,
    /// Where it sends to.
    pub topic: Topic,
    /// How often it looks for the dead.
    pub every: Duration,
    /// Where it answers how it is.
    pub listen: Option<SocketAddr>,
}

/// Serves a host's directory until `stop`.
///
/// # Errors
/// [`Code::Configuration`]; [`Code::CannotWrite`] for the directory; [`Code::Unavailable`] for the address.
pub async fn run(watch: Watch, stop: impl Future<Output = ()>) -> Result<(), Failure> {
    let Watch { dir, topic, every, listen } = watch;
    let state = State::default();
    // Ends with the runtime.
    let answers = serve(listen, state.clone()).await?;
    let agent = Agent::open(&dir, Box::new(topic.sink()?), every, topic.allows());
    let mut agent = agent.map_err(|e| Failure::new(Code::CannotWrite, e.to_string()))?;
    let stopping = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stopping);
    let dir_of_agent = dir.clone();
    let mut working = tokio::task::spawn_blocking(move || {
        let mut elsewhere = Elsewhere::new(&dir_of_agent);
        while !told.load(Ordering::SeqCst) {
            agent.turn(TURN);
            elsewhere.look(Instant::now());
            *state.0.lock() = agent.stats();
        }
        let done = agent.stats();
        tracing::info!(relayed = done.relayed, recovered = done.carried.sent, "the agent ends");
        agent.close(CLOSE_DEADLINE);
    });
    crate::supervisor::ready();
    let listening = answers.map(|address| format!(", listening on http://{address}")).unwrap_or_default();
    crate::cli::say(&format!("chaperone {} agent serves {}{listening}", env!("CARGO_PKG_VERSION"), dir.display()));
    let ended = tokio::select! {
        () = stop => None,
        early = &mut working => Some(early),
    };
    crate::supervisor::stopping();
    stopping.store(true, Ordering::SeqCst);
    let ended = match ended {
        Some(early) => early,
        None => working.await,
    };
    ended.map_err(|e| Failure::new(Code::Software, format!("the agent: {e}")))
}

/// Slot files of the dead where recorders put them by default, which is not below the agent's directory: only those that a
/// log below it points to are the agent's to take over. The others are said, when they become more.
struct Elsewhere {
    dir: Option<PathBuf>,
    due: Option<Instant>,
    files: u64,
}

impl Elsewhere {
    fn new(agents: &Path) -> Self {
        Self { dir: Slots::default().dir().filter(|dir| !dir.starts_with(agents)), due: None, files: 0 }
    }

    fn look(&mut self, now: Instant) {
        let Some(dir) = self.dir.as_deref().filter(|_| self.due.is_none_or(|due| now >= due)) else { return };
        // Not at once: what logs point to is taken over first.
        let first = self.due.replace(now + ELSEWHERE_EVERY).is_none();
        if first {
            return;
        }
        let found = abandoned(dir);
        if let Some(advice) = found.advice(dir).filter(|_| found.files > self.files) {
            tracing::warn!("{advice}");
        }
        self.files = found.files;
    }
}

/// How the agent is.
#[derive(Clone, Default)]
pub(crate) struct State(Arc<Mutex<AgentStats>>);

impl State {
    /// What is wrong, each in one sentence.
    fn problems(&self) -> Vec<String> {
        let stats = self.0.lock();
        let left = stats.carried.left.iter().map(|(path, why)| format!("{}: left as it is: {why}", path.display()));
        let failing = stats.failing_since.map(|since| {
            let s = since.elapsed().as_secs();
            format!("Kafka has stored nothing for {s} s; what was counted stays with who counted it, and is sent again")
        });
        failing.into_iter().chain(left).collect()
    }
}

impl Source for State {
    fn write(&self, out: &mut Exposition) {
        let stats = self.0.lock();
        out.sample(&f::AGENT_CONNECTIONS, &[], number(stats.connected));
        for (kind, outcome, n) in [
            ("living", "stored", stats.relayed),
            ("living", "refused", stats.refused),
            ("dead", "stored", stats.carried.sent),
        ] {
            out.sample(&f::AGENT_MESSAGES, &[("kind", kind), ("outcome", outcome)], number(n));
        }
        out.sample(&f::AGENT_LEFT, &[], number(stats.carried.left.len()));
        let failing = stats.failing_since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        out.sample(&f::AGENT_FAILING, &[], failing);
    }
}

/// Answers `/healthz`, `/readyz` and `/metrics`, if there is an address; which one it is.
async fn serve(listen: Option<SocketAddr>, state: State) -> Result<Option<SocketAddr>, Failure> {
    let Some(address) = listen else { return Ok(None) };
    let wrong = |e| Failure::new(Code::Unavailable, format!("--listen {address}: {e}; choose another port"));
    let listener = TcpListener::bind(address).await.map_err(wrong)?;
    let ready = |extract::State(state): extract::State<State>| async move {
        let problems = state.problems();
        let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, if problems.is_empty() { "ready\n".to_owned() } else { problems.join("\n") + "\n" })
    };
    let metrics = |extract::State(state): extract::State<State>| async move {
        let text = metrics::storeless("agent", state.problems().len(), &state);
        ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
    };
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(state);
    let bound = listener.local_addr().ok();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::System;

    fn config(audits: &[&str]) -> Config {
        let cluster = |name: &str| {
            let audit = if audits.contains(&name) {
                format!("[kafka.{name}.audit]\ntopic = \"a-{name}\"\n")
            } else {
                String::new()
            };
            format!("[kafka.{name}]\nbootstrap_servers = \"127.0.0.1:1\"\n{audit}")
        };
        let text = format!("data_dir = \"unused\"\n{}{}", cluster("east"), cluster("west"));
        Config::parse(&text, &System).expect("a configuration")
    }

    #[test]
    fn the_audit_topic_is_the_only_one_or_the_one_that_is_named() {
        let topic = |audits, name| Topic::of(&config(audits), name).map(|t| t.audit.topic).map_err(|e| e.message);
        assert_eq!(topic(&["west"], None), Ok("a-west".to_owned()));
        assert_eq!(topic(&["east", "west"], Some("east")), Ok("a-east".to_owned()));
        for (audits, name, words) in [
            (&["east", "west"][..], None, "choose one with --audit NAME; clusters with an audit topic: east, west"),
            (
                &["west"],
                Some("east"),
                "kafka.east.audit is not in the configuration; clusters with an audit topic: west",
            ),
        ] {
            let said = topic(audits, name).expect_err("no topic");
            assert!(said.contains(words), "{said}");
        }
    }
}
