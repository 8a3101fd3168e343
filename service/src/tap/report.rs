//! What a tap says on the audit topic.

use chaperone_audit::wire::{AuditMessage, End, Interval, PartitionMark, Reporter, TopicMark, VERSION};
use uuid::Uuid;

/// Marks, or topics, in one message: even with the longest names it stays below the largest audit message.
pub const MARKS_MAX: usize = 1_700;

/// Makes the messages of one incarnation.
#[derive(Debug)]
pub struct Reporting {
    incarnation: Uuid,
    seq: u64,
    reporter: Reporter,
    stage: String,
    cluster: String,
    datacenter: String,
}

impl Reporting {
    /// A new incarnation.
    pub fn new(stage: &str, cluster: &str, datacenter: &str) -> Self {
        Self {
            incarnation: Uuid::now_v7(),
            seq: 0,
            reporter: Reporter {
                host: host(),
                application: "chaperone-tap".to_owned(),
                library: concat!("chaperone ", env!("CARGO_PKG_VERSION")).to_owned(),
                pid: std::process::id(),
            },
            stage: stage.to_owned(),
            cluster: cluster.to_owned(),
            datacenter: datacenter.to_owned(),
        }
    }

    /// The incarnation.
    pub fn incarnation(&self) -> Uuid {
        self.incarnation
    }

    fn message(&mut self, sent_ms: i64) -> AuditMessage {
        let seq = self.seq;
        self.seq += 1;
        AuditMessage {
            v: VERSION,
            uuid: Uuid::now_v7(),
            incarnation: self.incarnation,
            seq,
            reporter: self.reporter.clone(),
            stage: self.stage.clone(),
            cluster: self.cluster.clone(),
            datacenter: self.datacenter.clone(),
            sent_ms,
            watermark_ms: None,
            audited_since_ms: None,
            slots: Vec::new(),
            merged: Vec::new(),
            intervals: Vec::new(),
            marks: Vec::new(),
            topics: Vec::new(),
            positions: Vec::new(),
            sum: None,
            cadence_ms: None,
            late: 0,
            dropped: chaperone_audit::wire::Dropped::default(),
            end: None,
        }
    }

    /// One partition's interval, with its mark if nothing waits behind it.
    pub fn interval(&mut self, sent_ms: i64, interval: Interval, mark: Option<PartitionMark>) -> AuditMessage {
        AuditMessage { intervals: vec![interval], marks: mark.into_iter().collect(), ..self.message(sent_ms) }
    }

    /// The marks of partitions without news, and how many partitions the topics have; at least one message, so that
    /// the tap is heard.
    pub fn heartbeat(
        &mut self,
        sent_ms: i64,
        marks: &[PartitionMark],
        topics: &[TopicMark],
        end: Option<End>,
    ) -> Vec<AuditMessage> {
        let mut messages = Vec::new();
        for chunk in marks.chunks(MARKS_MAX) {
            messages.push(AuditMessage { marks: chunk.to_vec(), ..self.message(sent_ms) });
        }
        for chunk in topics.chunks(MARKS_MAX) {
            messages.push(AuditMessage { topics: chunk.to_vec(), ..self.message(sent_ms) });
        }
        if messages.is_empty() {
            messages.push(self.message(sent_ms));
        }
        // The usual heartbeat is one message.
        if let [first, second] = messages.as_mut_slice()
            && first.marks.len() + second.topics.len() <= MARKS_MAX
        {
            first.topics = std::mem::take(&mut second.topics);
            messages.truncate(1);
            self.seq -= 1;
        }
        if let Some(last) = messages.last_mut() {
            last.end = end;
        }
        messages
    }
}

/// This machine's name.
fn host() -> String {
    let name = std::env::var("HOSTNAME").ok().or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok());
    let name = name.map(|n| n.trim().chars().filter(|c| !c.is_control()).take(200).collect::<String>());
    name.filter(|n| !n.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chaperone_audit::wire::MAX_BYTES;

    #[test]
    fn every_message_passes_the_readers_check_and_numbers_go_up() {
        let mut r = Reporting::new("kafka:k", "k", "");
        let mark = |p| PartitionMark {
            topic: "t".repeat(249),
            partition: p,
            log: 0,
            epoch: u64::MAX,
            position: i64::MAX,
            asked_ms: i64::MAX,
            frontier_ms: Some(i64::MAX),
            held_since_ms: Some(i64::MAX),
        };
        let marks: Vec<_> = (0..=i32::try_from(MARKS_MAX).expect("small")).map(mark).collect();
        let topics = [TopicMark { topic: "t".to_owned(), partitions: 3, asked_ms: 1 }];
        let messages = r.heartbeat(1, &marks, &topics, Some(End::Clean));
        assert_eq!(messages.iter().map(|m| m.seq).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(messages.iter().map(|m| m.end).collect::<Vec<_>>(), [None, None, Some(End::Clean)]);
        let longest = messages.iter().map(|m| m.encode().expect("json").len()).max();
        assert!(messages.iter().all(|m| m.check().is_ok()));
        assert!(longest.is_some_and(|l| l < MAX_BYTES), "{longest:?}");
        assert_eq!(r.heartbeat(1, &[], &[], None).iter().map(|m| m.seq).collect::<Vec<_>>(), [3]);
        let usual = r.heartbeat(1, &marks[..2], &topics, None);
        assert!(usual.len() == 1 && usual[0].marks.len() == 2 && usual[0].topics.len() == 1);
        assert_eq!(r.heartbeat(1, &[], &[], None)[0].seq, 5);
    }
}
