//! `GET /events`: tells a page that there is something new; the page then fetches itself again.
//!
//! Events carry the store's revision and nothing else. What happens within [`WebConfig::event_interval`] is one event,
//! so a slow reader misses none that matters. Limits: [`WebConfig::max_sse_clients`] streams; a reader that takes no
//! event for [`SLOW_AFTER`] is dropped. A stream ends when the sender of `problems` is gone.
//!
//! [`WebConfig::event_interval`]: crate::WebConfig::event_interval
//! [`WebConfig::max_sse_clients`]: crate::WebConfig::max_sse_clients

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::App;
use crate::error::WebError;

const SLOW_AFTER: Duration = Duration::from_mins(1);
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(crate) async fn stream(State(app): State<Arc<App>>) -> Response {
    let Ok(permit) = Arc::clone(&app.streams).try_acquire_owned() else {
        return WebError::Busy { what: "too many pages are live" }.into_problem();
    };
    let (events, receiver) = mpsc::channel(1);
    tokio::spawn(announce(app, permit, events));
    let stream = ReceiverStream::new(receiver).map(Ok::<_, Infallible>);
    let mut response = Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // Proxies that collect answers before they pass them on would make live look dead.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

async fn announce(app: Arc<App>, permit: OwnedSemaphorePermit, events: mpsc::Sender<Event>) {
    let mut revisions = app.state.store.revisions();
    let mut problems = app.state.problems.clone();
    let interval = app.config.event_interval;
    // The task outlives the request by the life of its stream and must not keep the rest of the process alive.
    drop(app);
    loop {
        let revision = *revisions.borrow_and_update();
        let wrong = problems.borrow_and_update().len();
        let event = Event::default().event("revision").id(revision.to_string()).data(format!("{revision} {wrong}"));
        if events.send_timeout(event, SLOW_AFTER).await.is_err() {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = events.closed() => break,
        }
        tokio::select! {
            changed = revisions.changed() => if changed.is_err() { break },
            changed = problems.changed() => if changed.is_err() { break },
            () = events.closed() => break,
        }
    }
    drop(permit);
}
