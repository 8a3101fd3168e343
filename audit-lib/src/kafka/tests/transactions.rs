//! What a transaction's end means for its messages, with every kind of producer, against the mock cluster's coordinator.

use super::kinds::FutureProducer;
use super::*;

const COMMITTED: RDKafkaApiKey = RDKafkaApiKey::EndTxn;

fn transactional(cluster: &Mock) -> ClientConfig {
    let mut config = config(&cluster.bootstrap_servers());
    config.set("transactional.id", "t1").set("transaction.timeout.ms", "60000");
    config
}

/// A producer in its first transaction, which has `n` delivered messages.
fn begun(cluster: &Mock, n: u64) -> (AuditedProducer, Recorder) {
    let (producer, _) = producer(&transactional(cluster));
    producer.init_transactions(WAIT).expect("initialised");
    producer.begin_transaction().expect("begun");
    send(&producer, n);
    producer.flush(WAIT).expect("flushed");
    let recorder = producer.recorder().clone();
    (producer, recorder)
}

fn send<I: Inner<Host = DefaultProducerContext>>(producer: &Audited<I>, n: u64) {
    for i in 0..n {
        let value = i.to_le_bytes();
        assert!(producer.send(BaseRecord::to("orders").key("k").payload(&value[..])).is_ok());
    }
}

/// Commits three messages, aborts two, of which one is not even sent, and leaves one to its fate.
fn ends<I: Inner<Host = DefaultProducerContext>>(producer: &Audited<I>) {
    let recorder = producer.recorder();
    producer.init_transactions(WAIT).expect("initialised");
    producer.begin_transaction().expect("begun");
    send(producer, 3);
    producer.flush(WAIT).expect("flushed");
    assert_eq!(outcome(recorder.stats()), (3, 0, 0, 0), "delivered, and nobody will see them yet");
    assert_eq!(recorder.stats().in_flight, 3);
    producer.commit_transaction(WAIT).expect("committed");
    assert_eq!(outcome(recorder.stats()), (3, 3, 0, 0));
    producer.begin_transaction().expect("begun");
    send(producer, 1);
    producer.flush(WAIT).expect("flushed");
    send(producer, 1);
    producer.abort_transaction(WAIT).expect("aborted");
    assert_eq!(outcome(recorder.stats()), (5, 3, 2, 0));
    // Reported only while it is committed.
    producer.begin_transaction().expect("begun");
    send(producer, 1);
    producer.commit_transaction(WAIT).expect("committed");
    assert_eq!(outcome(recorder.stats()), (6, 4, 2, 0));
    let Err((error, _)) = producer.send(BaseRecord::<str, str>::to("orders").payload("x")) else { panic!("outside") };
    assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::State));
    assert_eq!(outcome(recorder.stats()), (7, 4, 3, 0), "outside of a transaction nothing is queued");
    producer.begin_transaction().expect("begun");
    send(producer, 1);
    producer.flush(WAIT).expect("flushed");
}

#[test]
fn every_kind_of_producer_counts_an_end_for_what_it_is() {
    let cluster = mock();
    let (threaded, _) = producer(&transactional(&cluster));
    ends(&threaded);
    let mut config = transactional(&cluster);
    config.set("transactional.id", "t2");
    let base = AuditedBaseProducer::new(&config, recorder("producer").0).expect("a producer");
    ends(&base);
    let recorders = [threaded.recorder().clone(), base.recorder().clone()];
    for recorder in &recorders {
        assert_eq!((outcome(recorder.stats()), recorder.stats().in_flight), ((8, 4, 3, 0), 1));
    }
    drop((threaded, base));
    for recorder in recorders {
        assert_eq!(outcome(recorder.stats()), (8, 4, 3, 1), "dropped: nobody will know");
    }
}

#[test]
fn a_future_resolves_when_delivered_and_counts_when_committed() {
    let cluster = mock();
    let (recorder, _) = recorder("producer");
    let producer = FutureProducer::new(&transactional(&cluster), recorder.clone()).expect("a producer");
    let inner = producer.producer();
    inner.init_transactions(WAIT).expect("initialised");
    inner.begin_transaction().expect("begun");
    let record = rdkafka::producer::FutureRecord::to("orders").key("k").payload("x");
    let delivery = producer.send_result(record).expect("queued");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    assert!(runtime.block_on(delivery).expect("a report").is_ok());
    assert_eq!(outcome(recorder.stats()), (1, 0, 0, 0));
    inner.commit_transaction(WAIT).expect("committed");
    assert_eq!(outcome(recorder.stats()), (1, 1, 0, 0));
}

#[test]
fn a_delivery_failure_leaves_only_the_abort() {
    let cluster = mock();
    let (producer, recorder) = begun(&cluster, 2);
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE];
    cluster.request_errors(RDKafkaApiKey::Produce, &refused);
    send(&producer, 1);
    let Err(KafkaError::Transaction(error)) = producer.commit_transaction(WAIT) else { panic!("committed") };
    assert!(error.txn_requires_abort(), "{error}");
    assert_eq!(outcome(recorder.stats()), (3, 0, 1, 0), "the refused one is proven, the others are held");
    producer.abort_transaction(WAIT).expect("aborted");
    assert_eq!(outcome(recorder.stats()), (3, 0, 3, 0));
}

#[test]
fn a_commit_that_may_be_repeated_is_no_end() {
    let cluster = mock();
    let (producer, recorder) = begun(&cluster, 2);
    cluster.broker_down(1).expect("down");
    let Err(KafkaError::Transaction(error)) = producer.commit_transaction(Duration::from_millis(300)) else {
        panic!("committed without a broker")
    };
    assert!(error.is_retriable(), "{error}");
    assert_eq!((outcome(recorder.stats()), recorder.stats().in_flight), ((2, 0, 0, 0), 2));
    let Err(KafkaError::Transaction(error)) = producer.abort_transaction(WAIT) else { panic!("aborted amid a commit") };
    assert!(error.is_retriable(), "{error}");
    cluster.broker_up(1).expect("up");
    until("the commit", || producer.commit_transaction(Duration::from_secs(5)).is_ok());
    assert_eq!(outcome(recorder.stats()), (2, 2, 0, 0));
}

#[test]
fn a_fenced_producer_knows_nothing() {
    let cluster = mock();
    let (producer, recorder) = begun(&cluster, 2);
    cluster.request_errors(COMMITTED, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_PRODUCER_FENCED]);
    let Err(KafkaError::Transaction(error)) = producer.commit_transaction(WAIT) else { panic!("committed") };
    assert!(error.is_fatal(), "{error}");
    assert_eq!(outcome(recorder.stats()), (2, 0, 0, 2));
    let Err((error, _)) = producer.send(BaseRecord::<str, str>::to("orders").payload("x")) else { panic!("sent") };
    assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::Fatal));
    assert_eq!(outcome(recorder.stats()), (3, 0, 1, 2), "never queued");
}

#[test]
fn an_abort_by_a_new_epoch_does_not_tell_how_the_old_one_ended() {
    let cluster = mock();
    let (producer, recorder) = begun(&cluster, 2);
    cluster.request_errors(COMMITTED, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID]);
    let Err(KafkaError::Transaction(error)) = producer.commit_transaction(WAIT) else { panic!("committed") };
    assert!(error.txn_requires_abort(), "{error}");
    assert_eq!((outcome(recorder.stats()), recorder.stats().in_flight), ((2, 0, 0, 0), 2));
    producer.abort_transaction(WAIT).expect("aborted");
    assert_eq!(outcome(recorder.stats()), (2, 0, 0, 2));
    // And the next transaction is as any other.
    producer.begin_transaction().expect("begun");
    send(&producer, 1);
    producer.abort_transaction(WAIT).expect("aborted");
    assert_eq!(outcome(recorder.stats()), (3, 0, 1, 2));
}

#[test]
fn a_report_that_proves_nothing_stays_without_proof() {
    let cluster = mock();
    let mut config = transactional(&cluster);
    config.set("message.timeout.ms", "1000");
    let (producer, _) = producer(&config);
    producer.init_transactions(WAIT).expect("initialised");
    producer.begin_transaction().expect("begun");
    send(&producer, 2);
    producer.flush(WAIT).expect("flushed");
    cluster.broker_down(1).expect("down");
    send(&producer, 1);
    until("the report", || producer.recorder().stats().in_doubt == 1);
    cluster.broker_up(1).expect("up");
    until("the abort", || producer.abort_transaction(Duration::from_secs(5)).is_ok());
    assert_eq!(outcome(producer.recorder().stats()), (3, 0, 2, 1));
}

#[test]
fn a_fatal_error_ends_the_waiting() {
    let cluster = mock();
    let (producer, recorder) = begun(&cluster, 2);
    let fenced = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH];
    cluster.request_errors(RDKafkaApiKey::Produce, &fenced);
    send(&producer, 1);
    until("nothing is waited for", || recorder.stats().in_flight == 0);
    let (counted, acked, failed, in_doubt) = outcome(recorder.stats());
    assert_eq!((counted, acked, failed + in_doubt), (3, 0, 3));
    assert!(in_doubt >= 2, "{in_doubt}: the two that are in the log");
}

#[test]
fn offsets_are_part_of_the_transaction() {
    let cluster = mock();
    let (producer, recorder) = begun(&cluster, 2);
    let mut config = config(&cluster.bootstrap_servers());
    config.set("group.id", "g").set("enable.auto.commit", "false");
    let consumer = AuditedConsumer::new(&config, super::recorder("consumer").0).expect("a consumer");
    let group = consumer.group_metadata().expect("a group");
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset("orders", 0, Offset::Offset(2)).expect("listed");
    producer.send_offsets_to_transaction(&offsets, &group, WAIT).expect("sent");
    assert_eq!((outcome(recorder.stats()), recorder.stats().in_flight), ((2, 0, 0, 0), 2));
    producer.commit_transaction(WAIT).expect("committed");
    assert_eq!(outcome(recorder.stats()), (2, 2, 0, 0));
}
