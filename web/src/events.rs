//! `GET /events`: tells a page that there is something new; the page then fetches itself again.
//!
//! Events carry the store's revision and nothing else. What happens within [`WebConfig::event_interval`] is one event,
//! so a slow reader misses none that matters. With `topic` (and `from`, `to`, as the page has them) only what changes verdicts or
//! counts of that topic in that range is told, and what is wrong with the process; where that cannot be asked, every
//! change is. Streams that show the same share what is asked for it (`follow`). Limits: [`WebConfig::max_sse_clients`] streams; [`LOOKED_AT`] rows of the topic, newest first; a reader that takes no
//! event for [`SLOW_AFTER`] is dropped. A stream ends when the sender of `problems` is gone.
//!
//! [`WebConfig::event_interval`]: crate::WebConfig::event_interval
//! [`WebConfig::max_sse_clients`]: crate::WebConfig::max_sse_clients

mod follow;

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use chaperone_audit::clock::Clock;
use chaperone_collector::Store;
use chaperone_collector::query::WindowQuery;
pub(crate) use follow::Follows;
use follow::{Follower, Kind, Mark};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::App;
use crate::error::WebError;
use crate::params::Params;
use crate::range::Range;
use crate::zone::Zone;

const SLOW_AFTER: Duration = Duration::from_mins(1);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Rows of a topic that tell whether there is news: verdicts, and counts.
const LOOKED_AT: u32 = 2_000;

pub(crate) async fn stream(State(app): State<Arc<App>>, uri: Uri) -> Response {
    let filter = match Filter::of(&app, &uri) {
        Ok(filter) => filter,
        Err(error) => return error.into_problem(),
    };
    let Ok(permit) = Arc::clone(&app.streams).try_acquire_owned() else {
        return WebError::Busy { what: "too many pages are live" }.into_problem();
    };
    let (events, receiver) = mpsc::channel(1);
    let follower = filter.map(|filter| follow(&app, filter));
    tokio::spawn(announce(app, follower, permit, events));
    let stream = ReceiverStream::new(receiver).map(Ok::<_, Infallible>);
    let mut response = Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // Proxies that collect answers before they pass them on would make live look dead.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

fn follow(app: &App, filter: Filter) -> Follower {
    let kind = filter.kind.clone();
    let filter = Arc::new(filter);
    let look = move || {
        let filter = Arc::clone(&filter);
        async move { filter.mark().await }
    };
    app.follows.follow(kind, look, app.state.store.revisions(), app.config.event_interval)
}

/// What a page is about: one topic in a range that may move with the clock.
struct Filter {
    kind: Kind,
    zone: Zone,
    clock: Arc<dyn Clock>,
    /// The stream must not keep the store alive.
    store: Weak<dyn Store>,
}

impl Filter {
    /// `None`: everything is news.
    fn of(app: &App, uri: &Uri) -> Result<Option<Self>, WebError> {
        let params = Params::of(uri);
        let zone = params.zone()?;
        params.range(app.now_ms(), zone)?;
        let Some(topic) = params.get("topic")?.filter(|t| !t.is_empty()) else { return Ok(None) };
        let text = |name| Ok::<_, WebError>(params.get(name)?.map(str::to_owned));
        let (from, to, offset_ms) = (text("from")?, text("to")?, zone.offset_ms());
        Ok(Some(Self {
            kind: Kind { topic: topic.to_owned(), from, to, offset_ms },
            zone,
            clock: Arc::clone(&app.state.clock),
            store: Arc::downgrade(&app.state.store),
        }))
    }

    /// Looks at the store.
    async fn mark(&self) -> Mark {
        let store = self.store.upgrade()?;
        let Kind { topic, from, to, .. } = &self.kind;
        let range = Range::parse(from.as_deref(), to.as_deref(), self.clock.now_ms(), self.zone).ok()?;
        let topic = Some(topic.clone());
        let query = WindowQuery { topic, from_ms: range.from_ms, to_ms: range.to_ms, limit: Some(LOOKED_AT) };
        let (windows, counts) = tokio::try_join!(store.windows(query.clone()), store.stage_windows(query)).ok()?;
        let mut hash = DefaultHasher::new();
        for w in &windows {
            (w.window_ms, &w.from_stage, &w.to_stage, w.verdict.as_str(), &w.why, &w.caveats).hash(&mut hash);
            (w.missing_min, w.surplus_min, w.delayed, w.settled_ms, w.amendments).hash(&mut hash);
        }
        for c in &counts {
            (c.window_ms, &c.stage, c.n, c.acked, c.failed, c.last_ms).hash(&mut hash);
        }
        Some(hash.finish())
    }
}

async fn announce(
    app: Arc<App>,
    mut follower: Option<Follower>,
    permit: OwnedSemaphorePermit,
    events: mpsc::Sender<Event>,
) {
    let mut revisions = app.state.store.revisions();
    let mut problems = app.state.problems.clone();
    let interval = app.config.event_interval;
    // The task outlives the request by the life of its stream and must not keep the rest of the process alive.
    drop(app);
    let mut told = None;
    loop {
        let mark = match &mut follower {
            Some(follower) => tokio::select! {
                mark = follower.mark() => match mark {
                    Some(mark) => mark,
                    None => break,
                },
                () = events.closed() => break,
            },
            None => None,
        };
        let revision = *revisions.borrow_and_update();
        let wrong = problems.borrow_and_update().len();
        let now = mark.map(|mark| (mark, wrong));
        if now.is_none() || now != told {
            told = now;
            let event = Event::default().event("revision").id(revision.to_string()).data(format!("{revision} {wrong}"));
            if events.send_timeout(event, SLOW_AFTER).await.is_err() {
                break;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = events.closed() => break,
        }
        let news = async {
            match &mut follower {
                Some(follower) => follower.changed().await,
                None => revisions.changed().await.is_ok(),
            }
        };
        tokio::select! {
            goes_on = news => if !goes_on { break },
            changed = problems.changed() => if changed.is_err() { break },
            () = events.closed() => break,
        }
    }
    drop((follower, permit));
}
