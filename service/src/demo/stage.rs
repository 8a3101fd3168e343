//! A stage in a process of its own (`chaperone demo-stage`, hidden): so that a SIGKILL is a real one.
//!
//! It ends when its standard input ends. It is told what to do and tells what it did; see [`super::wire`].

pub mod consumer;
pub mod proxy;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chaperone_audit::SystemClock;
use chaperone_audit::kafka::KafkaSink;
use chaperone_audit::recorder::{Config, Recorder, Slots};
use rdkafka::ClientConfig;

use super::wire::{Said, Settings, Stage, Stand, line};
use super::{AUDIT_TOPIC, GRACE};
use crate::exit::{Code, Failure};

/// How long the last reports of a stage may take.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Runs the stage that `settings` (JSON) describes until its input ends.
///
/// # Errors
/// The settings cannot be read, the log cannot be opened, or librdkafka refuses.
pub fn run(settings: &str) -> Result<(), Failure> {
    let settings: Settings = serde_json::from_str(settings)
        .map_err(|e| Failure::new(Code::Usage, format!("demo-stage is started by chaperone demo only: {e}")))?;
    match settings.stage {
        Stage::Proxy => proxy::run(&settings),
        Stage::Consumer => consumer::run(&settings),
    }
}

/// Starts the recorder of a stage.
///
/// # Errors
/// The log cannot be opened, or librdkafka refuses.
pub fn recorder(stage: &str, data_dir: &Path, identity_seed: u64, audit_brokers: &str) -> Result<Recorder, Failure> {
    let mut brokers = ClientConfig::new();
    brokers.set("bootstrap.servers", audit_brokers);
    let wrong = |e: &dyn std::fmt::Display| Failure::new(Code::Software, format!("the demo's stage {stage}: {e}"));
    let sink = KafkaSink::new(&brokers, AUDIT_TOPIC).map_err(|e| wrong(&e))?;
    let config = Config {
        data_dir: Some(data_dir.to_owned()),
        // With mapped slots a killed process loses nothing, and there would be nothing to see: the fault `kill` shows what it
        // looks like where counts are lost. It also asks for no memory outside of the process.
        slots: Slots::Heap,
        seed: identity_seed,
        grace: GRACE,
        ..Config::new(stage, "demo")
    };
    Recorder::start(config, Box::new(sink), Arc::new(SystemClock)).map_err(|e| wrong(&e))
}

/// Says something to the demo. When it does not listen any more, the input ends as well.
fn say(said: &Said) {
    let written = line(said).and_then(|text| {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    });
    if let Err(e) = written {
        tracing::debug!("the demo does not listen: {e}");
    }
}

/// Counts towards a last stand; `true` when it is reached.
#[derive(Debug, Default)]
struct Countdown(Option<Stand>);

impl Countdown {
    fn order(&mut self, stand: Stand) {
        self.0 = Some(stand);
    }
    /// A message of that event time was counted.
    fn counted(&mut self, event_ms: i64) -> Option<Stand> {
        let stand = self.0.as_mut()?;
        if event_ms < stand.from_ms {
            return None;
        }
        stand.count = stand.count.saturating_sub(1);
        if stand.count == 0 { self.0.take() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_begins_with_the_last_message_asked_for() {
        let mut countdown = Countdown::default();
        assert_eq!(countdown.counted(5), None);
        countdown.order(Stand { id: 3, from_ms: 10, count: 2 });
        assert_eq!(countdown.counted(9), None, "too early");
        assert_eq!(countdown.counted(10), None);
        assert_eq!(countdown.counted(11).map(|s| s.id), Some(3));
        assert_eq!(countdown.counted(12), None);
    }
}
