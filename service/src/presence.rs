//! The processes that share a store: each says in it every [`BEAT_EVERY`] that it works and what is wrong with it, and
//! whoever judges or shows hears the others.
//!
//! So a page whose collector is down, frozen, or cannot write its store says so instead of showing the last good state
//! as if it were now. What one cannot write it cannot beat either: silence in the store is the one sign of all three.
//! Silence is told by a beat that does not change, not by comparing clocks. Limit: silence is known after
//! [`SILENT_AFTER`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chaperone_audit::Clock;
use chaperone_collector::query::{ProcessState, Trouble};
use chaperone_collector::{Store, StoreError};
use chaperone_web::Problem;
use chrono::{DateTime, Utc};
use tokio::sync::watch;
use uuid::Uuid;

use crate::problems::Problems;
use crate::share::{self, Share};

/// How often a process says that it works.
pub const BEAT_EVERY: Duration = Duration::from_secs(2);
/// A process that said nothing for so long is silent.
pub const SILENT_AFTER: Duration = Duration::from_secs(10);
/// How often the others are heard.
const HEAR_EVERY: Duration = Duration::from_secs(1);
/// How long a farewell may take.
const FAREWELL_DEADLINE: Duration = Duration::from_secs(2);
/// What is under these keys was heard, and is not said again.
const HEARD: &str = "process ";
/// Sentences of one process that others repeat.
const REPEATED: usize = 5;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Run,
    /// Intake and judge.
    Collect,
    /// Taps.
    Tap,
    /// The page.
    Web,
    /// Two taps and a page over a store of its own.
    Watch,
}

impl Role {
    /// Its verb.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Collect => "collect",
            Self::Tap => "tap",
            Self::Web => "web",
            Self::Watch => "watch",
        }
    }
    const fn beats(self) -> bool {
        matches!(self, Self::Run | Self::Collect | Self::Tap)
    }
    const fn hears(self) -> bool {
        matches!(self, Self::Run | Self::Collect | Self::Web)
    }
}

/// One process among those of a store.
pub struct Presence {
    role: Role,
    me: ProcessState,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    problems: Problems,
    others: Others,
    /// Where to say what is ours, if the work is shared.
    share: Option<watch::Sender<Share>>,
}

impl Presence {
    /// A process of this role with parts for these clusters.
    pub fn new(
        role: Role,
        clusters: &BTreeSet<String>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        problems: Problems,
    ) -> Self {
        let now_ms = clock.now_ms();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let me = ProcessState {
            id: Uuid::now_v7(),
            role: role.as_str().to_owned(),
            clusters: clusters.iter().map(String::as_str).collect::<Vec<_>>().join(","),
            reads: String::new(),
            host,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: now_ms,
            beat_ms: now_ms,
            problems: Vec::new(),
        };
        Self { role, others: Others::new(me.id, role), me, store, clock, problems, share: None }
    }

    /// Divides the audit topics that it `reads` (`CLUSTER/TOPIC`) with the others that do, and says so.
    #[must_use]
    pub fn sharing(mut self, reads: &BTreeSet<String>, share: watch::Sender<Share>) -> Self {
        self.me.reads = reads.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        self.others.shares = true;
        self.share = Some(share);
        self
    }

    /// Says and hears for the first time, so that nothing is shown before it is known who works.
    pub async fn first(&mut self) {
        self.beat().await;
        self.hear().await;
    }

    /// Goes on until dropped.
    pub async fn run(mut self) {
        let mut beats = tokio::time::interval(BEAT_EVERY);
        let mut hears = tokio::time::interval(HEAR_EVERY);
        for every in [&mut beats, &mut hears] {
            every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                _ = beats.tick() => self.beat().await,
                _ = hears.tick() => self.hear().await,
            }
        }
    }

    /// Who to say farewell for, once [`run`](Self::run) has been given up.
    pub fn id(&self) -> Option<Uuid> {
        self.role.beats().then_some(self.me.id)
    }

    async fn beat(&mut self) {
        if !self.role.beats() {
            return;
        }
        self.me.beat_ms = self.clock.now_ms();
        let own = self.problems.under(|key| !key.starts_with(HEARD));
        self.me.problems = own.into_iter().map(|p| Trouble { text: p.text, notice: p.notice }).collect();
        let said = self.store.beat(self.me.clone()).await;
        // The judge and intake say the same of a store that they cannot write; a tap has nobody else to say it.
        if self.role == Role::Tap {
            let sentence = |e: StoreError| {
                let advice = e.advice().map(|advice| format!(": {advice}")).unwrap_or_default();
                format!("{e}{advice}; it is tried again")
            };
            self.problems.note("store beat", said.err().map(sentence));
        } else if let Err(e) = said {
            tracing::debug!("{e}");
        }
    }

    async fn hear(&mut self) {
        if !self.role.hears() {
            return;
        }
        let heard = match self.store.processes().await {
            Ok(all) => {
                let heard = self.others.hear(&all, self.clock.now_ms(), Instant::now());
                if let Some(share) = &self.share {
                    let live: Vec<&ProcessState> = all.iter().filter(|p| self.others.lives(p.id)).collect();
                    let now = Share::of(&self.me, &live);
                    share.send_if_modified(|known| std::mem::replace(known, now.clone()) != now);
                }
                heard
            }
            Err(e) => {
                let advice = e.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
                let text = format!("the store cannot be read, nothing can be shown: {e}{advice}");
                BTreeMap::from([(format!("{HEARD}store"), Problem { text, notice: false })])
            }
        };
        self.problems.replace(|key| key.starts_with(HEARD), heard);
    }
}

/// Says that a process has ended as it should; a store that does not answer is left alone.
pub async fn farewell(store: &dyn Store, id: Uuid) {
    match tokio::time::timeout(FAREWELL_DEADLINE, store.farewell(id)).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::warn!("{e}; others will find this process silent"),
        Err(_) => tracing::warn!("the store does not answer; others will find this process silent"),
    }
}

/// What the processes of a store say to one of them. Pure but for the monotonic clock that is handed in.
struct Others {
    me: Uuid,
    role: Role,
    /// Collectors divide the work.
    shares: bool,
    seen: BTreeMap<Uuid, Seen>,
    live: BTreeSet<Uuid>,
}

struct Seen {
    beat_ms: i64,
    /// How old the beat was when it was first seen, by both clocks; 0 where it was seen to change.
    age: Duration,
    at: Instant,
}

impl Others {
    fn new(me: Uuid, role: Role) -> Self {
        Self { me, role, shares: false, seen: BTreeMap::new(), live: BTreeSet::new() }
    }

    /// Whether it was not silent when last heard.
    fn lives(&self, id: Uuid) -> bool {
        self.live.contains(&id)
    }

    /// The problems that follow, by key.
    fn hear(&mut self, all: &[ProcessState], now_ms: i64, now: Instant) -> BTreeMap<String, Problem> {
        self.seen.retain(|id, _| all.iter().any(|p| p.id == *id));
        let (mut live, mut silent) = (Vec::new(), Vec::new());
        let me = self.me;
        for process in all.iter().filter(|p| p.id != me) {
            if self.is_silent(process, now_ms, now) { silent.push(process) } else { live.push(process) }
        }
        self.live = live.iter().map(|p| p.id).collect();
        let mut heard = BTreeMap::new();
        self.collectors(&live, &silent, &mut heard);
        for tap in unreplaced(&live, &silent) {
            let text = format!(
                "chaperone tap on {} (process {}) is silent since {}: other taps of its cluster take its partitions \
                 over; where there are none, windows wait for it: start it again",
                tap.host,
                tap.pid,
                clock(tap.beat_ms)
            );
            heard.insert(format!("{HEARD}{}", tap.id), Problem { text, notice: true });
        }
        for process in live {
            for (i, trouble) in process.problems.iter().take(REPEATED).enumerate() {
                let text = format!("chaperone {} on {}: {}", process.role, process.host, trouble.text);
                heard.insert(format!("{HEARD}{} {i}", process.id), Problem { text, notice: trouble.notice });
            }
        }
        heard
    }

    fn is_silent(&mut self, process: &ProcessState, now_ms: i64, now: Instant) -> bool {
        let first = |age| Seen { beat_ms: process.beat_ms, age, at: now };
        let seen = self.seen.entry(process.id).or_insert_with(|| {
            // A beat of the future says as little as an old one: whose clock is wrong shows when it changes.
            first(Duration::from_millis(now_ms.abs_diff(process.beat_ms)))
        });
        if seen.beat_ms != process.beat_ms {
            *seen = first(Duration::ZERO);
        }
        seen.age.saturating_add(now.saturating_duration_since(seen.at)) >= SILENT_AFTER
    }

    fn collectors(&self, live: &[&ProcessState], silent: &[&ProcessState], heard: &mut BTreeMap<String, Problem>) {
        let collects = |p: &&&ProcessState| share::collects(p);
        let key = format!("{HEARD}collector");
        if self.role != Role::Web {
            if let Some(other) = live.iter().find(collects).filter(|_| !self.shares) {
                let text = format!(
                    "chaperone {} on {} (process {}) collects into the same store: one is enough, stop the other (on \
                     PostgreSQL several share the work)",
                    other.role, other.host, other.pid
                );
                heard.insert(key, Problem { text, notice: true });
            }
            return;
        }
        if live.iter().any(|p| collects(&p)) {
            return;
        }
        let text = match silent.iter().filter(collects).max_by_key(|p| p.beat_ms) {
            Some(p) => format!(
                "the collector (chaperone {} on {}, process {}) is silent since {}: it is down, or cannot write to the \
                 store; what is shown stands still until it goes on: see its log, start it again",
                p.role,
                p.host,
                p.pid,
                clock(p.beat_ms)
            ),
            None => {
                "no collector works on this store: what is shown stands still; start `chaperone collect`".to_owned()
            }
        };
        heard.insert(key, Problem { text, notice: false });
    }
}

/// Silent taps that no other of the same clusters has been started in place of since: one start replaces one.
fn unreplaced<'a>(live: &[&ProcessState], silent: &[&'a ProcessState]) -> Vec<&'a ProcessState> {
    let tap = |p: &&&ProcessState| p.role == Role::Tap.as_str();
    let mut starts: Vec<&ProcessState> = live.iter().filter(tap).copied().collect();
    starts.sort_unstable_by_key(|p| p.started_ms);
    let mut missing: Vec<&ProcessState> = silent.iter().filter(|p| p.role == Role::Tap.as_str()).copied().collect();
    missing.sort_unstable_by_key(|p| p.beat_ms);
    missing.retain(|gone| {
        let successor = starts.iter().position(|p| p.clusters == gone.clusters && p.started_ms >= gone.beat_ms);
        successor.map(|at| starts.remove(at)).is_none()
    });
    missing
}

fn clock(ms: i64) -> String {
    let time = DateTime::<Utc>::from_timestamp_millis(ms).unwrap_or_default();
    time.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
