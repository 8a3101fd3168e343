//! A proxy: HTTP in, Kafka out, counted with the functions of the recorder instead of the wrappers.
//!
//! `POST /topics/{topic}` with the value as the body, and optionally the headers `X-Key` and `X-Timestamp-Ms` (event
//! time). Answers 200 `{"partition":…,"offset":…}` after Kafka's ack; 503 when the queue is full and 502 when the
//! message is proven not persisted (send it again); 504 when nobody knows (sending it again may double it).
//!
//! `LISTEN=127.0.0.1:8082 BOOTSTRAP=localhost:9092 cargo run --example proxy --features kafka`

mod common;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing::post};
use chaperone_audit::Message;
use chaperone_audit::kafka::{Grant, missing_grant, proves_not_persisted};
use chaperone_audit::message::NoHeaders;
use chaperone_audit::recorder::{Recorder, Ticket};
use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

/// What waits for a delivery report.
struct Waiting {
    ticket: Ticket,
    answer: oneshot::Sender<Result<(i32, i64), KafkaError>>,
}

/// Hands delivery reports to the audit and to the request that waits.
struct Delivery;
impl ClientContext for Delivery {}
impl ProducerContext for Delivery {
    type DeliveryOpaque = Box<Waiting>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Box<Waiting>) {
        let Waiting { ticket, answer } = *waiting;
        let result = match result {
            Ok(message) => {
                ticket.acked();
                Ok((message.partition(), message.offset()))
            }
            Err((error, _)) => {
                // Dropping the ticket leaves the message in doubt, which is the truth when nothing is proven.
                if proves_not_persisted(error) {
                    ticket.failed();
                }
                Err(error.clone())
            }
        };
        // The client may have gone away; the audit has its answer all the same.
        drop(answer.send(result));
    }
}

type Report = oneshot::Receiver<Result<(i32, i64), KafkaError>>;

struct Proxy {
    recorder: Recorder,
    producer: ThreadedProducer<Delivery>,
}

impl Proxy {
    /// Counts a message and hands it to Kafka; never blocks.
    fn hand_over(&self, topic: &str, key: Option<&str>, value: &[u8], timestamp_ms: i64) -> Result<Report, KafkaError> {
        let key = key.map(str::as_bytes);
        let message = Message {
            topic,
            key,
            value: Some(value),
            headers: &NoHeaders,
            timestamp_ms: Some(timestamp_ms),
            broker_time: false,
        };
        let ticket = self.recorder.attempt(&message);
        let (answer, report) = oneshot::channel();
        let mut record = BaseRecord::with_opaque_to(topic, Box::new(Waiting { ticket, answer }));
        record.key = key;
        match self.producer.send(record.payload(value).timestamp(timestamp_ms)) {
            Ok(()) => Ok(report),
            Err((error, refused)) => {
                // It was never queued, whatever the error.
                refused.delivery_opaque.ticket.failed();
                Err(error)
            }
        }
    }
}

async fn produce(
    State(proxy): State<Arc<Proxy>>,
    Path(topic): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name| headers.get(name).and_then(|v| v.to_str().ok());
    let Ok(timestamp_ms) = header("x-timestamp-ms").map(str::parse).transpose() else {
        return (StatusCode::BAD_REQUEST, "X-Timestamp-Ms must be milliseconds since 1970").into_response();
    };
    let timestamp_ms = timestamp_ms.unwrap_or_else(|| proxy.recorder.now_ms());
    let report = match proxy.hand_over(&topic, header("x-key"), &body, timestamp_ms) {
        Ok(report) => report,
        Err(error) => return refusal(&error, &topic),
    };
    match report.await {
        Ok(Ok((partition, offset))) => Json(Stored { partition, offset }).into_response(),
        Ok(Err(error)) => refusal(&error, &topic),
        Err(_) => (StatusCode::GATEWAY_TIMEOUT, "in doubt: no delivery report").into_response(),
    }
}

/// The answer to a message that is persisted.
#[derive(serde::Serialize)]
struct Stored {
    partition: i32,
    offset: i64,
}

fn refusal(error: &KafkaError, topic: &str) -> Response {
    let text = match missing_grant(error, Grant::WriteTopic(topic)) {
        Some(text) => {
            eprintln!("{text}");
            text
        }
        None => error.to_string(),
    };
    if *error == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
        (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], text).into_response()
    } else if proves_not_persisted(error) {
        (StatusCode::BAD_GATEWAY, text).into_response()
    } else {
        (StatusCode::GATEWAY_TIMEOUT, format!("in doubt: {text}")).into_response()
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let recorder = common::recorder("proxy", "example-proxy")?;
    let producer = ThreadedProducer::from_config_and_context(&common::kafka(), Delivery)?;
    let proxy = Arc::new(Proxy { recorder, producer });

    let app = Router::new().route("/topics/{topic}", post(produce)).with_state(Arc::clone(&proxy));
    let listener = tokio::net::TcpListener::bind(common::setting("LISTEN", "127.0.0.1:8082")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(common::stop_signal()).await?;

    // First the delivery reports, then the goodbye: this order leaves nothing in doubt.
    tokio::task::spawn_blocking(move || {
        proxy.producer.flush(Duration::from_mins(1)).ok();
        let closed = proxy.recorder.close(Duration::from_secs(10));
        println!("{} messages in doubt, {} audit messages left for the next start", closed.in_doubt, closed.unsent);
    })
    .await?;
    Ok(())
}
