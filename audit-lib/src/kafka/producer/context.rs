//! The delivery callback: the ticket is handed in, then the host hears.
//!
//! Invariants: our part cannot panic outwards (it would end the thread that polls, and with it all delivery reports);
//! it takes locks for a push and nothing else; what the host's own callback does is the
//! host's, as with rdkafka alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::ProducerContext;
use rdkafka::statistics::Statistics;

use super::pending::{Boxes, Pending};
use super::transaction::Transactions;
use crate::kafka::error::proves_not_persisted;
use crate::kafka::grant::{Grant, missing_grant};
use crate::recorder::Ticket;

/// The host's context, with the ticket handed in before its own delivery callback.
pub struct AuditedContext<C> {
    host: C,
    /// Of a producer with a `transactional.id`.
    pub(super) transactions: Option<Transactions>,
    /// That id.
    pub(super) transactional_id: Option<String>,
    pub(super) boxes: Boxes,
    /// A missing ACL is said once, not for every message.
    refused: Once,
}

impl<C> AuditedContext<C> {
    pub(super) fn new(host: C, transactional_id: Option<&str>) -> Self {
        Self {
            host,
            transactions: transactional_id.map(|_| Transactions::default()),
            transactional_id: transactional_id.map(str::to_owned),
            boxes: Boxes::default(),
            refused: Once::new(),
        }
    }

    /// The host's own context.
    pub fn host(&self) -> &C {
        &self.host
    }

    fn hand_in(&self, ticket: Ticket, error: Option<&KafkaError>) {
        match (error, &self.transactions) {
            (None, None) => ticket.acked(),
            (None, Some(transactions)) => transactions.hold(ticket),
            // Of a transaction that never commits, sent before or not.
            (Some(error), Some(_)) if is_purged(error) => ticket.failed(),
            // Whatever becomes of its transaction.
            (Some(error), _) if proves_not_persisted(error) => ticket.failed(),
            (Some(_), _) => drop(ticket),
        }
    }

    /// After a fatal error no transaction of this producer ends by its own word: nothing to wait for.
    pub(super) fn die(&self) {
        if let Some(transactions) = &self.transactions {
            guarded("the end of a transaction by a fatal error", || transactions.die());
        }
    }

    /// Our part of a delivery report.
    fn hear(&self, result: &DeliveryResult<'_>, ticket: Option<Ticket>) {
        let error = result.as_ref().err();
        if let Some(ticket) = ticket {
            self.hand_in(ticket, error.map(|(error, _)| error));
        }
        if let Some((error, message)) = error
            && let Some(said) = missing_grant(error, Grant::WriteTopic(message.topic()))
        {
            self.refused.call_once(|| tracing::error!("{said}"));
        }
    }
}

/// Purged from the queue: by an abort or by the end of its producer, and either way its transaction is never committed.
fn is_purged(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::PurgeQueue)
}

/// Does what must not panic outwards, the host's log included.
pub(super) fn guarded(what: &'static str, act: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(act)).is_err() {
        drop(catch_unwind(|| tracing::error!("panicked: {what}")));
    }
}

impl<C: ProducerContext + 'static> ProducerContext for AuditedContext<C> {
    type DeliveryOpaque = Box<Pending<C::DeliveryOpaque>>;

    fn delivery(&self, result: &DeliveryResult<'_>, mut pending: Self::DeliveryOpaque) {
        let (ticket, host) = pending.empty();
        self.boxes.put(pending);
        guarded("the audit of a delivery report; its message is in doubt", || self.hear(result, ticket));
        if let Some(host) = host {
            self.host.delivery(result, host);
        }
    }
}

impl<C: ClientContext> ClientContext for AuditedContext<C> {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = C::ENABLE_REFRESH_OAUTH_TOKEN;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.host.log(level, facility, text);
    }
    fn stats(&self, statistics: Statistics) {
        self.host.stats(statistics);
    }
    fn stats_raw(&self, statistics: &[u8]) {
        self.host.stats_raw(statistics);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        // librdkafka names what was fatal and not that it was; being fenced always is. Others are told by the next call.
        let fatal = matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::Fatal | RDKafkaErrorCode::Fenced));
        if fatal {
            self.die();
        }
        self.host.error(error, reason);
    }
    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.host.generate_oauth_token(config)
    }
}
