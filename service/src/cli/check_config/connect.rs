//! The Kafka part of `check-config --connect`: what `run` will need from each cluster, tried without changing anything.
//!
//! Nothing is committed, produced or created, and no group is joined. So one ACL cannot be told: WRITE on the audit
//! topic; and of READ on the group only that it may be described. A broker that is asked for a group makes
//! `__consumer_offsets` if there is none: where that is seen, groups are not asked for. Limits: [`TOPICS_MAX`] topics a
//! cluster are read; where we may not see whether there is such a topic, groups are asked for.

mod topics;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use super::report::Report;
use crate::config::{Audit, Cluster, Config, Isolation, Tap};
use crate::exit::{Code, Failure};
use crate::ffi::groups::committed;
use crate::kafka::ear::{Ear, Existence, existence, reach};
use crate::kafka::refusal::{self, Need};
use crate::kafka::{ASK_TIMEOUT, asking, create, member, topic};
use topics::Topics;

/// Most topics of a cluster that are read from.
const TOPICS_MAX: usize = 50;

/// Why a group is not asked for.
const NO_GROUPS: &str =
    "no consumer has ever committed there, and the question would make Kafka's internal topic for it; not tried";

/// Checks every cluster.
pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    for cluster in &config.clusters {
        if let Err(failure) = check_cluster(config, cluster, report) {
            report.fail(failure.code, failure.message);
        }
    }
}

/// Ends at the first failure that makes all others pointless.
fn check_cluster(config: &Config, cluster: &Cluster, report: &mut Report<'_>) -> Result<(), Failure> {
    let name = &cluster.name;
    let ear = Ear::default();
    let isolation = cluster.tap.as_ref().map_or(Isolation::default(), |t| t.isolation);
    let client: BaseConsumer<Ear> = create(cluster, &asking(cluster, isolation), ear.clone())?;
    let metadata = reach(cluster, &client, &ear)?;
    report.ok(format!("kafka.{name}: {} brokers at {}", metadata.brokers().len(), cluster.bootstrap_servers));
    if let Some(user) = login(cluster) {
        report.ok(format!("kafka.{name}: {user} is accepted"));
    }
    let no_groups = matches!(existence(&client, "__consumer_offsets"), Existence::Absent);
    if let Some(tap) = &cluster.tap {
        let own: BTreeSet<String> =
            config.clusters.iter().filter_map(|c| Some(c.audit.as_ref()?.topic.clone())).collect();
        let topics = Topics::find(cluster, tap, own, &client, &metadata, report);
        topics.check(report);
        group(cluster, tap, topics.first(), no_groups, report);
    }
    if let Some(lag) = &cluster.lag {
        let named: Vec<String> = lag.named().into_iter().collect();
        if no_groups {
            for group in &named {
                report.unknown(format!("kafka.{name}: DESCRIBE on group '{group}': {NO_GROUPS}"));
            }
        } else {
            lagging(name, &named, &client, report);
        }
    }
    if let Some(audit) = &cluster.audit {
        audit_topic(cluster, audit, &client, report);
    }
    Ok(())
}

/// How we log in, if we do.
fn login(cluster: &Cluster) -> Option<String> {
    let value = |key: &str| cluster.properties.0.get(key);
    let protocol = value("security.protocol")?;
    if protocol.to_ascii_lowercase().starts_with("sasl") {
        let mechanism = value("sasl.mechanisms").or(value("sasl.mechanism")).map_or("GSSAPI", String::as_str);
        return Some(format!("the login ({protocol}, {mechanism})"));
    }
    let certificate = ["ssl.certificate.location", "ssl.certificate.pem", "ssl.keystore.location"];
    certificate.into_iter().any(|key| value(key).is_some()).then(|| "the client certificate".to_owned())
}

/// Asks for the group's offsets, which those may that may join it; joins nothing.
fn group(cluster: &Cluster, tap: &Tap, topic: Option<&str>, no_groups: bool, report: &mut Report<'_>) {
    let name = &cluster.name;
    if no_groups {
        report.unknown(format!("kafka.{name}: READ on group '{}': {NO_GROUPS}", tap.group));
        return;
    }
    let need = Need::ReadGroup(tap.group.clone());
    let Some(topic) = topic else {
        report.unknown(format!("kafka.{name}: READ on group '{}': there is no topic to ask with", tap.group));
        return;
    };
    let ear = Ear::default();
    let asked = create(cluster, &member(cluster, &tap.group), ear.clone()).map(|client: BaseConsumer<Ear>| {
        let answer = ask_for_offsets(&client, topic);
        ear.listen(&client);
        answer
    });
    match asked {
        Err(failure) => report.fail(failure.code, failure.message),
        Ok(_) if ear.heard(RDKafkaErrorCode::GroupAuthorizationFailed) => {
            let code = RDKafkaErrorCode::GroupAuthorizationFailed;
            report.fail(Code::NotAuthorised, refusal::sentence(name, &need, code));
        }
        Ok(Some(code)) if refusal::is_authorisation(code) => {
            report.fail(Code::NotAuthorised, refusal::sentence(name, &need, code));
        }
        Ok(Some(code)) => report.unknown(format!("kafka.{name}: READ on group '{}': {code}", tap.group)),
        Ok(None) => report.ok(format!("kafka.{name}: group '{}' may be asked for", tap.group)),
    }
}

/// Whether those may be asked for their lag that are listed by name; others show only what we may see.
fn lagging(name: &str, groups: &[String], client: &BaseConsumer<Ear>, report: &mut Report<'_>) {
    for (group, answer) in groups.iter().zip(committed(client, groups, ASK_TIMEOUT)) {
        match answer.map_err(|e| refusal::code_of(&e)) {
            Ok(_) => report.ok(format!("kafka.{name}: group '{group}' may be asked for its lag")),
            Err(code) if refusal::is_authorisation(code) => {
                let need = Need::DescribeGroup(group.clone());
                report.fail(Code::NotAuthorised, refusal::sentence(name, &need, code));
            }
            Err(code) => report.unknown(format!("kafka.{name}: DESCRIBE on group '{group}': {code}")),
        }
    }
}

/// Asks for the group's offsets, again while the cluster is still choosing who answers for the group.
fn ask_for_offsets(client: &BaseConsumer<Ear>, topic: &str) -> Option<RDKafkaErrorCode> {
    let until = Instant::now() + ASK_TIMEOUT;
    loop {
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, 0);
        let code = refusal::code_of(&client.committed_offsets(list, ASK_TIMEOUT).err()?);
        let choosing = matches!(
            code,
            RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::CoordinatorLoadInProgress
        );
        if !choosing || Instant::now() >= until {
            return Some(code);
        }
        // Serves the client's queue, and is the pause between two questions.
        drop(client.poll(Duration::from_millis(200)));
    }
}

/// The audit topic is there and readable, or we may create it.
fn audit_topic(cluster: &Cluster, audit: &Audit, client: &BaseConsumer<Ear>, report: &mut Report<'_>) {
    let (name, topic) = (&cluster.name, &audit.topic);
    let path = format!("kafka.{name}.audit.topic");
    match existence(client, topic) {
        Existence::There(partitions) => {
            report.ok(format!("{path}: '{topic}' exists with {partitions} partitions"));
            topics::read(cluster, Isolation::ReadCommitted, &[(topic.clone(), partitions)], report);
        }
        Existence::Absent if audit.create => report.put(may_create(cluster, audit)),
        Existence::Absent => report.fail(
            Code::Configuration,
            format!("{path}: '{topic}' does not exist, and kafka.{name}.audit.create is false: create it or write create = true"),
        ),
        Existence::Refused(code) => {
            let need = Need::ReadTopic(topic.clone());
            report.fail(Code::NotAuthorised, refusal::sentence(name, &need, code));
        }
        Existence::Untold(code) => report.unknown(format!("{path}: '{topic}': {code}")),
    }
    report.unknown(format!(
        "kafka.{name}: WRITE on topic '{topic}': shows only by writing; `chaperone run` says so if it is missing"
    ));
}

/// Asks the broker whether it would create the topic.
fn may_create(cluster: &Cluster, audit: &Audit) -> Result<String, Failure> {
    let path = format!("kafka.{}.audit", cluster.name);
    let software = |e: std::io::Error| Failure::new(Code::Software, format!("cannot start a runtime: {e}"));
    let admin: AdminClient<Ear> = create(cluster, &asking(cluster, Isolation::default()), Ear::default())?;
    let properties = topic::properties(audit);
    let mut new =
        NewTopic::new(&audit.topic, audit.partitions, TopicReplication::Fixed(audit.replication.unwrap_or(-1)));
    for (key, value) in &properties {
        new = new.set(key, value);
    }
    let options = AdminOptions::new().request_timeout(Some(ASK_TIMEOUT)).validate_only(true);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(software)?;
    let code = match runtime.block_on(admin.create_topics([&new], &options)) {
        Err(e) => Some(refusal::code_of(&e)),
        Ok(answers) => answers.into_iter().find_map(|a| a.err().map(|(_, code)| code)),
    };
    let code = match code {
        None | Some(RDKafkaErrorCode::TopicAlreadyExists) => {
            return Ok(format!("{path}.topic: '{}' does not exist and may be created", audit.topic));
        }
        Some(code) => code,
    };
    let need = Need::CreateTopic(audit.topic.clone());
    Err(match code {
        _ if refusal::is_authorisation(code) => {
            Failure::new(Code::NotAuthorised, refusal::sentence(&cluster.name, &need, code))
        }
        _ if refusal::is_unreachable(code) => {
            Failure::new(Code::Unavailable, refusal::sentence(&cluster.name, &need, code))
        }
        RDKafkaErrorCode::InvalidReplicationFactor => {
            Failure::new(Code::Configuration, format!("{path}.replication: the cluster has fewer brokers than that"))
        }
        _ => Failure::new(
            Code::Configuration,
            format!("{path}.topic: the broker would not create '{}': {code}", audit.topic),
        ),
    })
}
