//! What the tap says: intervals, marks and heartbeats, when, and what became of them; up to the last ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chaperone_audit::wire::{End, PartitionMark, TopicMark};

use super::{FLUSH_DEADLINE, IDENTIFY_DEADLINE, QUEUED_WINDOWS_MAX, SEND_EVERY, Worker};
use crate::kafka::asker::read_key;
use crate::kafka::stall::Broken;
use crate::metrics::meters::TopicBeat;
use crate::tap::partition::Partition;
use crate::tap::sender::Undelivered;
use crate::tap::{HEARTBEAT_LARGE, MANY_PARTITIONS, stalled_key};

impl Worker {
    pub(super) fn beat(&mut self, now: Instant) -> Result<(), Broken> {
        self.note_positions();
        let mut busy = 0;
        for partition in self.owned.values_mut().flat_map(BTreeMap::values_mut) {
            partition.cut();
            busy += usize::from(partition.take_traffic());
        }
        self.send_intervals(now);
        let marks = self.idle_marks(now);
        self.send_heartbeat(&marks, None);
        let period = if busy > MANY_PARTITIONS { HEARTBEAT_LARGE } else { self.settings.heartbeat };
        self.beat_at = now + period;
        let ask_ms = u64::try_from(period.as_millis() / 2).unwrap_or(1_000);
        self.asker.interest.period_ms.store(ask_ms, Ordering::Relaxed);
        self.compare_with_store()?;
        if self.partitions().any(Partition::is_spoilt) {
            self.assign()?;
        }
        self.watch();
        // What was cut just now leaves once the topics are known to be the same still.
        self.asker.nudge();
        self.tell_meter();
        self.notice_stall(now)
    }

    fn tell_meter(&mut self) {
        let mut topics: BTreeMap<String, TopicBeat> = BTreeMap::new();
        let mut queued = 0;
        for partition in self.owned.values_mut().flat_map(BTreeMap::values_mut) {
            queued += partition.queued_windows();
            let beat = partition.take_beat();
            match topics.get_mut(partition.topic()) {
                Some(topic) => topic.add(beat),
                None => drop(topics.insert(partition.topic().to_owned(), beat)),
            }
        }
        self.meter.beat(topics, queued, self.paused);
    }

    /// A lost wake-up inside the client looks like this; a topic that refuses us does too, and a new client would not
    /// help.
    pub(super) fn notice_stall(&self, now: Instant) -> Result<(), Broken> {
        let (cluster, patience) = (&self.settings.cluster.name, self.settings.stall_patience);
        if !self.owned.is_empty() && self.partitions().all(|p| !p.stall_lasts()) {
            self.shared.problems.clear(&stalled_key(cluster));
        }
        for (topic, partitions) in &self.owned {
            let stalled = partitions.iter().find(|(_, p)| p.is_stalled(now, patience));
            // With a cap, a partition may wait for long until it is its turn.
            let Some((number, _)) = stalled.filter(|_| !self.paused && self.budget.is_none()) else { continue };
            if !self.shared.problems.has(&read_key(cluster, topic)) {
                let seconds = patience.as_secs();
                let why = format!("{topic}/{number} was behind and did not move for {seconds} s");
                return Err(Broken::Stalled(why));
            }
        }
        Ok(())
    }

    /// One interval of each partition leaves, with the partition's mark if no other waits behind it.
    pub(super) fn send_intervals(&mut self, now: Instant) {
        let sent_ms = self.shared.clock.now_ms();
        for (topic, partitions) in &mut self.owned {
            for (number, partition) in partitions {
                let id = self.next_id;
                let Some((interval, last)) = partition.depart(id, now) else { continue };
                self.next_id += 1;
                let mark = if last { partition.mark(now) } else { None };
                let message = self.reporting.interval(sent_ms, interval, mark);
                // The data partition is the key: its intervals stay in order on one audit partition.
                if self.outlet.send(id, &format!("{}/{number}", partition.topic()), message) {
                    self.sent.insert(id, (topic.clone(), *number));
                } else {
                    partition.returned(id, now);
                }
            }
        }
    }

    pub(super) fn idle_marks(&mut self, now: Instant) -> Vec<PartitionMark> {
        let partitions = self.owned.values_mut().flat_map(BTreeMap::values_mut);
        partitions.filter(|p| p.is_settled()).filter_map(|p| p.mark(now)).collect()
    }

    pub(super) fn send_heartbeat(&mut self, marks: &[PartitionMark], end: Option<End>) {
        let asked_ms = self.topics_asked_ms;
        let names = &self.settings.tap.names;
        let topic_mark = |(kafka, n): (&String, &i32)| {
            let topic = names.audited(kafka).ok()?.into_owned();
            Some(TopicMark { topic, partitions: *n, asked_ms })
        };
        let topics: Vec<TopicMark> = self.topics.iter().filter_map(topic_mark).collect();
        let key = self.reporting.incarnation().to_string();
        for message in self.reporting.heartbeat(self.shared.clock.now_ms(), marks, &topics, end) {
            // A heartbeat that does not leave is followed by the next.
            let id = self.next_id;
            self.next_id += 1;
            self.outlet.send(id, &key, message);
        }
    }

    pub(super) fn note_deliveries(&mut self) {
        let now = Instant::now();
        for (id, result) in self.outlet.poll() {
            self.delivered(id, result, now);
        }
    }

    pub(super) fn delivered(&mut self, id: u64, result: Result<(i32, i64), Undelivered>, now: Instant) {
        let Some((topic, number)) = self.sent.remove(&id) else { return };
        let Some(partition) = self.owned.get_mut(&topic).and_then(|t| t.get_mut(&number)) else { return };
        match result {
            Ok((audit_partition, audit_offset)) => partition.arrived(id, audit_partition, audit_offset),
            Err(why) => {
                tracing::debug!(topic, partition = number, "report not delivered: {why}");
                partition.returned(id, now);
            }
        }
    }

    /// Too much waits for the audit topic: reading pauses until half of it has left.
    pub(super) fn balance_queues(&mut self) -> Result<(), String> {
        let queued: usize = self.partitions().map(Partition::queued_windows).sum();
        let now = Instant::now();
        if queued > 0 && now >= self.send_at {
            self.send_intervals(now);
            self.send_at = now + SEND_EVERY;
        }
        let pause = if self.paused { queued > QUEUED_WINDOWS_MAX / 2 } else { queued > QUEUED_WINDOWS_MAX };
        if pause == self.paused {
            return Ok(());
        }
        let done = if pause { self.reader.pause() } else { self.reader.resume() };
        done.map_err(|e| format!("pause or resume: {e}"))?;
        tracing::warn!(cluster = self.settings.cluster.name, pause, queued, "reports wait for the audit topic");
        self.paused = pause;
        if pause {
            self.watch();
            self.asker.nudge();
        }
        Ok(())
    }

    /// Sends what was counted, as far as it goes within the deadline. What does not get through is read again by
    /// whoever claims next.
    pub(super) fn hand_over(&mut self) {
        let deadline = Instant::now() + FLUSH_DEADLINE;
        self.note_positions();
        for partition in self.owned.values_mut().flat_map(BTreeMap::values_mut) {
            partition.cut();
        }
        self.identify_now();
        while self.partitions().any(Partition::is_sending) && Instant::now() < deadline {
            self.send_intervals(Instant::now());
            let left = deadline.saturating_duration_since(Instant::now());
            let now = Instant::now();
            for (id, result) in self.outlet.flush(left.min(Duration::from_millis(200))) {
                self.delivered(id, result, now);
            }
        }
    }

    /// Asks at once whether the topics are still the same; what is not known then is read again by whoever claims next.
    fn identify_now(&mut self) {
        let topics: BTreeSet<&str> = self.owned.keys().map(String::as_str).collect();
        match self.asker.client.ids(&topics, IDENTIFY_DEADLINE) {
            Ok(ids) => {
                for (topic, partitions) in &mut self.owned {
                    for partition in partitions.values_mut() {
                        partition.identify(ids.get(topic).copied(), partition.next());
                    }
                }
            }
            Err(e) => tracing::debug!(cluster = self.settings.cluster.name, "topic ids: {e}"),
        }
    }

    pub(super) fn finish(mut self) {
        self.hand_over();
        let marks = self.idle_marks(Instant::now());
        self.send_heartbeat(&marks, Some(End::Clean));
        self.outlet.flush(FLUSH_DEADLINE);
        self.reader.close(&format!("tap-{}", self.settings.cluster.name));
    }
}
