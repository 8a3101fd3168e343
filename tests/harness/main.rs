//! Is the bed what it claims to be? Real Apache Kafka 4, TLS, SCRAM logins, ACLs that bite.

use std::time::{Duration, Instant};

use anyhow::Context;
use chaperone_tests::{Acl, Bed, Cluster, Spec, clients, eventually, figures, skip};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

const DEADLINE: Duration = Duration::from_secs(30);

/// Asks for the broker's own configuration (`DescribeConfigs`), which a broker has and librdkafka's mock has not. The
/// same client puts the question to both, so that the client cannot be what makes the difference.
fn is_apache_kafka(cluster: &Cluster) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = cluster.plain_config().create()?;
    let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(5)));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let answers = runtime.block_on(admin.describe_configs(&[ResourceSpecifier::Broker(1)], &options))?;
    let answer = answers.into_iter().next().context("no answer")?.map_err(|code| anyhow::anyhow!("{code}"))?;
    let roles = answer.get("process.roles").and_then(|entry| entry.value.clone()).context("no process.roles")?;
    anyhow::ensure!(roles.contains("broker"), "process.roles={roles}");
    Ok(())
}

/// The level that the cluster has agreed on, from the broker's answer to `ApiVersions`: 22 is 4.0-IV0.
fn is_version_4(cluster: &Cluster) -> anyhow::Result<()> {
    let level = cluster.features()?.get("metadata.version").copied().context("no metadata.version")?;
    anyhow::ensure!(level >= 22, "metadata.version {level}");
    Ok(())
}

/// The bed; `None`, and said, on a cluster of someone else's, which has no logins and ACLs of ours.
fn bed(test: &str) -> anyhow::Result<Option<&'static Bed>> {
    let bed = Bed::get()?;
    if bed.regional.is_secure() {
        return Ok(Some(bed));
    }
    skip(test, "this cluster (CHAPERONE_TEST_BOOTSTRAP) has no logins and ACLs of ours")?;
    Ok(None)
}

#[test]
fn the_brokers_are_apache_kafka_4() -> anyhow::Result<()> {
    let Some(bed) = bed("brokers")? else { return Ok(()) };
    let clusters = [&bed.regional, &bed.agg];
    let mut mocks = 0;
    let mut majors = Vec::new();
    for cluster in clusters {
        if let Err(error) = is_apache_kafka(cluster) {
            eprintln!("{}: {error:#}", cluster.endpoints().name);
            mocks += 1;
        }
        is_version_4(cluster)?;
        let version = cluster.endpoints().version.as_deref().context("the broker's log gave no version")?;
        println!("cluster {} is Apache Kafka {version}", cluster.endpoints().name);
        majors.push(version.split('.').next().unwrap_or_default().parse::<u64>()?);
    }
    figures::record("harness", "mock_broker", mocks)?;
    figures::record("harness", "kafka_major", majors.into_iter().min().context("no cluster")?)?;
    assert_eq!(mocks, 0);
    Ok(())
}

#[test]
fn the_question_that_proves_it_has_no_answer_from_the_mock() -> anyhow::Result<()> {
    let mock: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1)?;
    let endpoints = chaperone_tests::kafka::Endpoints {
        name: "mock".to_owned(),
        plain: mock.bootstrap_servers(),
        secure: None,
        ca: None,
        version: None,
    };
    let cluster = Cluster::attach(endpoints);
    assert_eq!(
        clients::Probe::new(&cluster.plain_config())?.brokers(DEADLINE)?,
        1,
        "the mock is up and answers clients"
    );
    let error = is_apache_kafka(&cluster).expect_err("the mock passes for Kafka");
    println!("the mock's answer: {error:#}");
    Ok(())
}

#[test]
fn produce_and_consume_over_tls_with_scram_need_an_acl_and_lose_it_with_the_acl() -> anyhow::Result<()> {
    let Some(Bed { regional: cluster, .. }) = bed("access rules")? else { return Ok(()) };
    let topic = cluster.fresh_topic("harness-acl", 2, &[])?;
    let producer = cluster.client_config("producer")?;
    let consumer = cluster.client_config("consumer")?;
    let payloads: [&[u8]; 3] = [b"one", b"two", b"three"];

    let refused = clients::refusal(clients::produce(&producer, &topic, &payloads))?;
    assert_eq!(refused, RDKafkaErrorCode::TopicAuthorizationFailed);
    let refused = clients::refusal(clients::consume(&consumer, &topic, &topic, 1, DEADLINE))?;
    assert!(clients::is_refusal(refused), "{refused}");

    let write = Acl::allow("producer", "write", "topic", &topic);
    let read = Acl::allow("consumer", "read", "topic", &topic);
    let group = Acl::allow("consumer", "read", "group", &topic);
    let acls = [write.clone(), read.clone(), group.clone()];
    acls.iter().try_for_each(|acl| cluster.add_acl(acl))?;
    let listed = cluster.list_acls()?;
    assert!(acls.iter().all(|acl| listed.contains(acl)), "{listed:?}");

    clients::produce(&producer, &topic, &payloads)?;
    let messages = clients::consume(&consumer, &topic, &topic, 3, DEADLINE)?;
    let mut got = clients::payloads(&messages);
    got.sort_unstable();
    assert_eq!(got, [&b"one"[..], b"three", b"two"]);
    assert_eq!(cluster.offsets(&topic)?.iter().map(|(_, next)| next).sum::<i64>(), 3);

    acls.iter().try_for_each(|acl| cluster.remove_acl(acl))?;
    let refused = clients::refusal(clients::produce(&producer, &topic, &payloads))?;
    assert_eq!(refused, RDKafkaErrorCode::TopicAuthorizationFailed);
    let listed = cluster.list_acls()?;
    assert!(acls.iter().all(|acl| !listed.contains(acl)), "{listed:?}");
    cluster.delete_topic(&topic)
}

#[test]
fn a_wrong_password_is_refused() -> anyhow::Result<()> {
    let Some(Bed { regional: cluster, .. }) = bed("passwords")? else { return Ok(()) };
    let mut config = cluster.client_config("producer")?;
    config.set("sasl.password", "wrong");
    let error = clients::Probe::new(&config)?.error(DEADLINE, clients::is_refusal);
    assert_eq!(error, Some(RDKafkaErrorCode::Authentication));
    Ok(())
}

#[test]
fn a_certificate_of_another_authority_is_refused() -> anyhow::Result<()> {
    let Some(bed) = bed("certificates")? else { return Ok(()) };
    let mut config = bed.regional.client_config("admin")?;
    config.set("ssl.ca.location", bed.agg.ca_pem()?.display().to_string());
    let error = clients::Probe::new(&config)?.error(DEADLINE, |code| code == RDKafkaErrorCode::SSL);
    assert_eq!(error, Some(RDKafkaErrorCode::SSL));
    Ok(())
}

#[test]
fn topics_are_not_created_by_writing_to_them() -> anyhow::Result<()> {
    let Some(bed) = bed("unknown topics")? else { return Ok(()) };
    let mut config = bed.regional.client_config("admin")?;
    config.set("topic.metadata.propagation.max.ms", "1000");
    let refused = clients::refusal(clients::produce(&config, "harness-never-created", &[b"x"]))?;
    assert!(matches!(refused, RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition), "{refused}");
    Ok(())
}

#[test]
fn a_cluster_of_ones_own_survives_kill_stop_and_freeze() -> anyhow::Result<()> {
    let cluster = Cluster::start(&Spec::new("own").config("log.retention.check.interval.ms", "1000"))?;
    cluster.create_topic("kept", 1, &[("retention.ms", "3600000")])?;
    let config = cluster.client_config("admin")?;
    clients::produce(&config, "kept", &[b"before"])?;
    cluster.kill_broker(1)?;
    cluster.start_broker(1)?;
    cluster.stop_broker(1)?;
    cluster.start_broker(1)?;
    clients::produce(&config, "kept", &[b"after"])?;
    assert_eq!(clients::consume(&config, "kept", "g", 2, DEADLINE)?.len(), 2);

    let probe = clients::Probe::new(&cluster.plain_config())?;
    let patience = Duration::from_secs(1);
    eventually(DEADLINE, "the broker answers", || probe.brokers(patience))?;
    cluster.pause(1)?;
    assert!(probe.brokers(patience).is_err(), "a frozen broker answered");
    cluster.resume(1)?;
    eventually(DEADLINE, "the broker answers again", || probe.brokers(patience))?;
    cluster.delete_records("kept", 0, 1)?;
    assert_eq!(cluster.offsets("kept")?, [(1, 2)]);
    Ok(())
}

#[test]
fn of_three_brokers_any_one_may_be_killed_and_come_back() -> anyhow::Result<()> {
    let cluster = Cluster::start(&Spec::new("three").brokers(3))?;
    cluster.create_topic("safe", 3, &[("min.insync.replicas", "2")])?;
    let mut config = cluster.client_config("admin")?;
    config.set("acks", "all");
    for broker in 1..=3 {
        cluster.kill_broker(broker)?;
        clients::produce(&config, "safe", &[b"x"])?;
        cluster.start_broker(broker)?;
        // The next one may go only when this one has caught up.
        eventually(DEADLINE, "all replicas are in sync", || {
            let fewest = cluster.in_sync("safe")?.into_iter().min().unwrap_or_default();
            anyhow::ensure!(fewest == 3, "{fewest} in sync");
            Ok(())
        })?;
    }
    assert_eq!(clients::consume(&config, "safe", "g", 3, DEADLINE)?.len(), 3);
    Ok(())
}

#[test]
fn access_rules_change_fast() -> anyhow::Result<()> {
    let Some(Bed { agg: cluster, .. }) = bed("speed of access rules")? else { return Ok(()) };
    let acls: Vec<Acl> =
        (0..15).map(|n| Acl::allow("nobody", "read", "topic", &format!("fast-{n}")).prefixed()).collect();
    // The first question starts the helper.
    cluster.list_acls()?;
    let begun = Instant::now();
    acls.iter().try_for_each(|acl| cluster.add_acl(acl))?;
    acls.iter().try_for_each(|acl| cluster.remove_acl(acl))?;
    let time = begun.elapsed();
    println!("15 ACLs added and removed one by one in {time:?}");
    figures::record("harness", "acl_change_ms", (time.as_secs_f64() * 1000.0 / 30.0).round())?;
    Ok(())
}
