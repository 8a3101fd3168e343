//! Everybody who works on the set: threads of this process and the two stage processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chaperone_audit::recorder::Recorder;

use super::child::StageProcess;
use super::director::Cast;
use super::event::Event;
use super::plan::generator;
use super::producer::Producer;
use super::replicator::Replicator;
use super::scene::Scene;
use super::tamper::Tamper;
use super::wire::Stage;
use super::{RATE, retention, stage, watch};
use crate::exit::{Code, Failure};
use crate::threads;

/// How long everybody may take to end.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Running threads; dropped, they are told to end and waited for.
#[derive(Default)]
pub struct Crew {
    stop: Arc<AtomicBool>,
    /// Where the watcher begins, ms.
    pub from_ms: Arc<AtomicI64>,
    threads: Vec<(&'static str, JoinHandle<()>)>,
    recorder: Option<Recorder>,
}

impl Crew {
    /// Starts everybody. What they are told is decided by `seed`.
    ///
    /// # Errors
    /// A process or thread cannot be started, or librdkafka refuses.
    pub fn start(
        &mut self,
        scene: &Scene,
        seed: u64,
        url: &str,
        events: &Sender<Event>,
        from_ms: i64,
    ) -> Result<Cast, Failure> {
        let tamper = |purpose| Tamper::new(generator(seed, purpose), RATE);
        self.from_ms.store(from_ms, Ordering::SeqCst);
        let (to_producer, armed) = mpsc::channel();
        let (to_replicator, orders) = mpsc::channel();
        let (from, to) = (scene.regional(), scene.aggregate());
        let replicator = Replicator::new(&from, &to, tamper(3), orders, events.clone())?;
        self.spawn("demo-replicator", move |stop| replicator.run(stop))?;
        let consumer = StageProcess::start(scene.stage(Stage::Consumer, seed ^ 4), events.clone())?;
        let proxy = StageProcess::start(scene.stage(Stage::Proxy, seed ^ 2), events.clone())?;
        let recorder = stage::recorder("producer", &scene.log_dir("producer"), scene.identity_seed, &from)?;
        self.recorder = Some(recorder.clone());
        let (link, run) = (proxy.link(), scene.identity_seed);
        let producer = Producer { recorder, link, tamper: tamper(5), armed, events: events.clone(), run };
        self.spawn("demo-producer", move |stop| producer.run(stop))?;
        let (url, from_ms, events) = (url.to_owned(), Arc::clone(&self.from_ms), events.clone());
        self.spawn("demo-watcher", move |stop| watch::watch(&url, &from_ms, &events, stop))?;
        let watched = scene.watched();
        self.spawn("demo-retention", move |stop| retention::watch(&watched, stop))?;
        Ok(Cast { producer: to_producer, proxy, replicator: to_replicator, consumer })
    }

    fn spawn(&mut self, name: &'static str, work: impl FnOnce(&AtomicBool) + Send + 'static) -> Result<(), Failure> {
        let stop = Arc::clone(&self.stop);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&stop))
            .map_err(|e| Failure::new(Code::Software, format!("cannot start thread {name}: {e}")))?;
        self.threads.push((name, thread));
        Ok(())
    }

    /// Sends everybody home, with a deadline. Blocks; not for a runtime's thread.
    pub fn dismiss(mut self, cast: Cast) {
        self.stop.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + STOP_DEADLINE;
        // Both at once; the producer may be waiting for the proxy to read.
        cast.proxy.link().disconnect();
        cast.consumer.link().disconnect();
        cast.proxy.stop(deadline);
        cast.consumer.stop(deadline);
        self.end(deadline);
    }

    fn end(&mut self, deadline: Instant) {
        self.stop.store(true, Ordering::SeqCst);
        for (name, thread) in self.threads.drain(..) {
            threads::join(name, thread, deadline);
        }
        if let Some(recorder) = self.recorder.take() {
            recorder.close(stage::CLOSE_DEADLINE);
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.end(Instant::now() + STOP_DEADLINE);
    }
}
