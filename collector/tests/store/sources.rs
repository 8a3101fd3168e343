//! Which audit topics a verdict waits for: those that are read, and on which one of its stages may report.

use chaperone_collector::{AuditPartition, AuditSource, StageKind, TopicPattern, Verdict};

use crate::sim::{Audit, Msg, START, SimReporter, memory, pipelines, stage, verdicts};

fn audit_source(cluster: &str, topic: &str, stages: &[&str]) -> AuditSource {
    let stages = stages.iter().map(|name| TopicPattern::Name((*name).to_owned())).collect();
    AuditSource { cluster: cluster.to_owned(), topic: topic.to_owned(), stages }
}

/// The verdict of a clean window while another cluster's audit topic stands still, or has never been read.
async fn verdict(sources: Vec<AuditSource>, other_is_known: bool) -> (Verdict, String) {
    let store = memory();
    let mut audit = Audit::default();
    let mut pipelines = pipelines(vec![stage("producer", StageKind::Client), stage("consumer", StageKind::Client)]);
    pipelines.sources = sources;
    if other_is_known {
        let other = AuditPartition { cluster: "other".into(), topic: "reports".into(), partition: 0 };
        store.audit_through(vec![(other, START).into()]).await.expect("through");
    }
    let mut producer = SimReporter::new(1, "producer", "h", START - 1);
    let mut consumer = SimReporter::new(2, "consumer", "h", START - 1).seeing();
    let m = Msg { id: 1, topic: "orders", event_ms: START };
    producer.arrive(&m, START);
    producer.acked(&m);
    consumer.arrive(&m, START);
    let at = START + 30_000;
    let beats = vec![producer.beat(at), consumer.beat(at)];
    audit.send(&*store, beats, at).await;
    store.judge(at, &pipelines).await.expect("judge");
    let row = verdicts(&*store, "orders").await.remove(0);
    (row.verdict, row.why)
}

#[tokio::test]
async fn a_verdict_waits_for_every_audit_topic_that_may_carry_its_reports() {
    let ours = || audit_source("c", "chaperone-audit", &[]);
    let (told, why) = verdict(vec![], true).await;
    assert!(told == Verdict::Settling && why.contains("reports/0"), "all that the store knows: {why}");
    let (told, why) = verdict(vec![ours(), audit_source("other", "reports", &[])], true).await;
    assert!(told == Verdict::Settling && why.contains("reports/0"), "any stage may report there: {why}");
    let (told, why) = verdict(vec![ours(), audit_source("other", "reports", &["consumer"])], true).await;
    assert!(told == Verdict::Settling && why.contains("reports/0"), "the consumer may: {why}");
    let (told, why) = verdict(vec![ours(), audit_source("other", "reports", &["consumer"])], false).await;
    assert!(told == Verdict::Settling && why.contains("audit topic reports of kafka.other"), "never read: {why}");
}

#[tokio::test]
async fn a_verdict_does_not_wait_for_an_audit_topic_that_cannot_carry_its_reports_or_is_no_longer_read() {
    let ours = || audit_source("c", "chaperone-audit", &["producer", "consumer"]);
    let elsewhere = audit_source("other", "reports", &["kafka:other"]);
    for (sources, known) in
        [(vec![ours()], true), (vec![ours(), elsewhere.clone()], true), (vec![ours(), elsewhere], false)]
    {
        let (told, why) = verdict(sources, known).await;
        assert_eq!(told, Verdict::Ok, "{why}");
    }
}
