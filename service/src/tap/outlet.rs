//! Where a tap's reports go: to an audit topic ([`Sender`]), or straight into the store of this process ([`Direct`]).
//!
//! Both promise the same: a report handed over is told of once, delivered or not; one that was not leaves again.

use std::time::Duration;

use chaperone_audit::wire::AuditMessage;
use chaperone_collector::{AuditPartition, AuditThrough, Batch, Content, Item};

use super::sender::{Delivery, Sender, Undelivered};
use super::{Reports, Settings, Shared};
use crate::exit::Failure;
use crate::tap::claims::STORE_KEY;

/// See the module's head.
pub enum Outlet {
    /// An audit topic.
    Topic(Box<Sender>),
    /// The store.
    Store(Direct),
}

impl Outlet {
    /// Where the settings say.
    ///
    /// # Errors
    /// When librdkafka refuses a property.
    pub fn new(settings: &Settings, shared: &Shared) -> Result<Self, Failure> {
        Ok(match &settings.reports {
            Reports::Topic { cluster, topic } => Self::Topic(Box::new(Sender::new(cluster, topic, &shared.problems)?)),
            Reports::Store => Self::Store(Direct::new(settings, shared)),
        })
    }

    /// Hands a report over; what becomes of it is told by [`poll`](Self::poll). `false`: it was not taken.
    pub fn send(&mut self, id: u64, key: &str, message: AuditMessage) -> bool {
        match self {
            Self::Topic(sender) => match message.encode() {
                Ok(payload) => sender.send(id, key, &payload),
                Err(e) => {
                    tracing::error!("a report cannot be written: {e}");
                    false
                }
            },
            Self::Store(direct) => {
                direct.waiting.push((id, message));
                true
            }
        }
    }

    /// What became of reports since the last call.
    pub fn poll(&mut self) -> Vec<Delivery> {
        match self {
            Self::Topic(sender) => sender.poll(),
            Self::Store(direct) => direct.apply(),
        }
    }

    /// Waits until everything handed over was told of, at most for `deadline`.
    pub fn flush(&mut self, deadline: Duration) -> Vec<Delivery> {
        match self {
            Self::Topic(sender) => sender.flush(deadline),
            Self::Store(direct) => direct.apply(),
        }
    }
}

/// Reports as if an audit topic had carried them: the same batches, the same rules, offsets counted here.
pub struct Direct {
    source: AuditPartition,
    shared: Shared,
    waiting: Vec<(u64, AuditMessage)>,
    /// The next offset; `None` until the store has said where it stands.
    next: Option<i64>,
}

impl Direct {
    fn new(settings: &Settings, shared: &Shared) -> Self {
        let (cluster, topic) = settings.reports.source(&settings.tap.stage);
        Self {
            source: AuditPartition { cluster, topic, partition: 0 },
            shared: shared.clone(),
            waiting: Vec::new(),
            next: None,
        }
    }

    fn apply(&mut self) -> Vec<Delivery> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let reports = std::mem::take(&mut self.waiting);
        let ids: Vec<u64> = reports.iter().map(|(id, _)| *id).collect();
        // Everything handed over before this moment is in the batch.
        let now_ms = self.shared.clock.now_ms();
        let messages = reports.into_iter().map(|(_, message)| message).collect();
        match self.shared.runtime.clone().block_on(self.store(messages, now_ms)) {
            Ok(first) => {
                self.shared.problems.clear(STORE_KEY);
                ids.into_iter().zip(first..).map(|(id, offset)| (id, Ok((0, offset)))).collect()
            }
            Err(e) => {
                self.next = None;
                self.shared.problems.set(STORE_KEY, format!("{e}; taps wait and try again"));
                ids.into_iter().map(|id| (id, Err(Undelivered::Store))).collect()
            }
        }
    }

    /// Returns the first one's offset.
    async fn store(
        &mut self,
        messages: Vec<AuditMessage>,
        now_ms: i64,
    ) -> Result<i64, chaperone_collector::StoreError> {
        let store = &self.shared.store;
        let first = if let Some(next) = self.next {
            next
        } else {
            let stands = store.audit_stands(&self.source.cluster, &self.source.topic).await?;
            stands.iter().find(|stand| stand.partition == 0).map_or(0, |stand| stand.next)
        };
        let item = |(offset, message)| Item {
            offset,
            append_ms: now_ms,
            received_ms: now_ms,
            content: Content::Message(Box::new(message)),
        };
        let items: Vec<Item> = (first..).zip(messages).map(item).collect();
        let next = items.last().map_or(first, |last| last.offset + 1);
        store.apply(Batch { source: self.source.clone(), log: 0, from: Some(first), items, next }).await?;
        self.next = Some(next);
        let through = AuditThrough { source: self.source.clone(), next: Some(next), through_ms: now_ms };
        store.audit_through(vec![through]).await?;
        Ok(first)
    }
}
