//! The producer stage: sends the plan's messages through the proxy over HTTP, counting with the function API.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_audit::message::NoHeaders;
use chaperone_audit::recorder::Recorder;
use chaperone_audit::{Clock, Message, SystemClock};
use chaperone_tests::eventually;

use crate::plan::Plan;

/// Concurrent requests; more than the proxy's queue holds, so that it refuses some of them.
pub(crate) const CLIENTS: usize = 64;

/// How far the producers are.
#[derive(Default)]
pub(crate) struct Progress {
    next: AtomicUsize,
    /// Messages that the proxy acknowledged.
    pub(crate) acked: AtomicU64,
    /// Requests that the proxy refused because its queue was full.
    pub(crate) refused: AtomicU64,
}

/// Sends every message of the plan; returns when all are acknowledged.
pub(crate) fn send(
    plan: &Plan,
    proxy: &str,
    topic: &str,
    recorder: &Recorder,
    progress: &Progress,
) -> anyhow::Result<()> {
    let url = format!("{proxy}/topics/{topic}");
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| client(plan, &url, topic, recorder, progress))).collect();
        clients.into_iter().try_for_each(|c| c.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
    })
}

fn client(plan: &Plan, url: &str, topic: &str, recorder: &Recorder, progress: &Progress) -> anyhow::Result<()> {
    let config =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60)));
    let agent: ureq::Agent = config.build().into();
    loop {
        let number = progress.next.fetch_add(1, Ordering::SeqCst);
        if number >= plan.messages {
            return Ok(());
        }
        let (key, value, event_ms) = (format!("k{}", number % 1000), plan.value(number), plan.event_ms(number));
        eventually(Duration::from_secs(60), "the event", || {
            ensure!(SystemClock.now_ms() >= event_ms, "not yet");
            Ok(())
        })?;
        eventually(Duration::from_secs(60), "the proxy takes the message", || {
            let message = Message {
                topic,
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                headers: &NoHeaders,
                timestamp_ms: Some(event_ms),
                broker_time: false,
            };
            let ticket = recorder.attempt(&message);
            let request = agent.post(url).header("X-Key", &key).header("X-Timestamp-Ms", event_ms.to_string());
            let response = request.send(value.as_bytes()).context("POST")?;
            match response.status().as_u16() {
                200 => ticket.acked(),
                503 => {
                    // The proxy says that it did not take it: provably not persisted.
                    ticket.failed();
                    progress.refused.fetch_add(1, Ordering::SeqCst);
                    anyhow::bail!("queue full");
                }
                other => anyhow::bail!("the proxy answered {other}"),
            }
            progress.acked.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })?;
    }
}

/// Waits until so many messages are acknowledged.
pub(crate) fn reached(progress: &Arc<Progress>, messages: u64) -> anyhow::Result<()> {
    eventually(Duration::from_secs(300), "the traffic reaches its mark", || {
        let acked = progress.acked.load(Ordering::SeqCst);
        anyhow::ensure!(acked >= messages, "{acked} of {messages} acknowledged");
        Ok(())
    })
}
