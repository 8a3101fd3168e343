//! Transactions of every kind of producer: committed, aborted, refused in the middle, dropped, fenced, killed. What is
//! acked is what a reader of committed messages finds; delivery reports alone, the control, say more.

use std::sync::atomic::Ordering;

use anyhow::{Context, ensure};
use chaperone_tests::{Bed, figures, programs, recount, skip};
use rdkafka::error::KafkaError;

use crate::sender::{Delivered, KINDS, Kind, Sender, WAIT, recorder};

/// Messages of a transaction.
const SIZE: u64 = 200;

fn committed(topic: &str) -> anyhow::Result<u64> {
    Ok(recount::committed(&Bed::get()?.regional, topic)?.values().sum())
}

/// Every end that a transaction can have; returns what a reader finds beyond what is acked, or too little, and by how much
/// a count of the delivery reports is off (none for the kind that has no callback of the host's).
fn every_end(kind: Kind) -> anyhow::Result<(u64, Option<u64>)> {
    let cluster = &Bed::get()?.regional;
    let topic = cluster.fresh_topic("wrappers-tx", 3, &[("max.message.bytes", "20000")])?;
    let mut config = cluster.plain_config();
    config.set("transactional.id", &topic).set("message.max.bytes", "50000").set("batch.size", "10000");
    let (recorder, delivered) = (recorder()?, Delivered::default());
    let first = Sender::new(kind, &config, delivered.clone(), &recorder)?;
    first.init()?;
    for commit in [true, false, true, false] {
        first.begin()?;
        first.send_all(&topic, SIZE, 50);
        // What is aborted is half delivered, half not even sent.
        first.flush()?;
        first.send_all(&topic, SIZE, 50);
        if commit {
            first.commit()?;
        } else {
            first.abort()?;
        }
    }
    // Dropped amid one; its successor ends it and is fenced amid another.
    first.begin()?;
    first.send_all(&topic, SIZE, 50);
    first.flush()?;
    drop(first);
    ensure!(recorder.stats().in_doubt == SIZE, "{kind:?}: {:?}", recorder.stats());
    let second = Sender::new(kind, &config, delivered.clone(), &recorder)?;
    second.init()?;
    second.begin()?;
    second.send_all(&topic, SIZE, 50);
    second.commit()?;
    second.begin()?;
    second.send_all(&topic, SIZE, 50);
    second.flush()?;
    let third = Sender::new(kind, &config, delivered.clone(), &recorder)?;
    third.init()?;
    let Err(KafkaError::Transaction(error)) = second.commit() else { anyhow::bail!("{kind:?}: a fenced commit") };
    ensure!(error.is_fatal(), "{kind:?}: {error}");
    // One message refused: the others were delivered, and nobody will ever see them.
    third.begin()?;
    third.send_all(&topic, SIZE, 50);
    third.flush()?;
    third.send_all(&topic, 1, 30_000);
    let Err(KafkaError::Transaction(error)) = third.commit() else { anyhow::bail!("{kind:?}: committed") };
    ensure!(error.txn_requires_abort(), "{kind:?}: {error}");
    third.abort()?;

    let (stats, found) = (recorder.stats(), committed(&topic)?);
    ensure!((stats.in_flight, stats.in_doubt) == (0, 2 * SIZE), "{kind:?}: {stats:?}");
    ensure!((stats.acked, stats.failed) == (5 * SIZE, 5 * SIZE + 1), "{kind:?}: {stats:?}");
    ensure!(stats.counted == stats.acked + stats.failed + stats.in_doubt, "{kind:?}: {stats:?}");
    recorder.close(WAIT);
    let reports = delivered.0.load(Ordering::SeqCst);
    Ok((found.abs_diff(stats.acked), (kind != Kind::Future).then(|| found.abs_diff(reports))))
}

#[test]
fn what_is_acked_is_what_readers_of_committed_messages_find() -> anyhow::Result<()> {
    let mut false_counts = 0;
    for kind in KINDS {
        let (wrong, control) = every_end(kind)?;
        ensure!(control.is_none_or(|off| off >= 4 * SIZE), "{kind:?}: delivery reports alone are off by {control:?}");
        false_counts += wrong;
    }
    figures::record("wrappers", "false_counts_transactions", false_counts)
}

#[test]
fn a_missing_right_to_a_transactional_id_is_named() -> anyhow::Result<()> {
    let cluster = &Bed::get()?.regional;
    if !cluster.is_secure() {
        return skip("a missing right to a transactional id", "it needs the ACLs of the test bed");
    }
    let topic = cluster.fresh_topic("wrappers-refused", 1, &[])?;
    let mut environment = programs::example_settings(cluster, "nobody")?;
    let folder = tempfile::tempdir()?;
    for (key, value) in [("TOPIC", &*topic), ("SLOTS_DIR", &folder.path().to_string_lossy())] {
        environment.push((key.to_owned(), value.to_owned()));
    }
    let mut program = programs::example("transactions", &environment)?;
    let wanted = format!("WRITE on transactional-id 'example-{topic}'");
    program.line(&wanted, WAIT, |line| line.contains(&wanted))?;
    Ok(())
}

#[test]
fn a_process_killed_before_its_commit_has_acked_nothing_of_it() -> anyhow::Result<()> {
    let cluster = &Bed::get()?.regional;
    if !cluster.is_secure() {
        return skip("a process killed amid a transaction", "the example needs the listeners of the test bed");
    }
    let topic = cluster.fresh_topic("wrappers-killed", 1, &[])?;
    let audit = cluster.fresh_topic("wrappers-audit", 1, &[])?;
    let mut environment = programs::example_settings(cluster, "admin")?;
    let slots = tempfile::tempdir()?;
    environment.push(("SLOTS_DIR".to_owned(), slots.path().to_string_lossy().into_owned()));
    for (key, value) in [("TOPIC", &*topic), ("AUDIT_TOPIC", &*audit), ("COUNT", "100"), ("TRANSACTIONS", "3")] {
        environment.push((key.to_owned(), value.to_owned()));
    }
    let mut program = programs::example("transactions", &environment)?;
    let line = program.line("a transaction is open", WAIT, |line| line.starts_with("open: "))?;
    program.process.kill()?;
    let figure = |name: &str| -> anyhow::Result<u64> {
        let word = line.split([',', ':']).find_map(|part| part.trim().strip_suffix(name)).context("no such figure")?;
        Ok(word.trim().parse()?)
    };
    ensure!(figure("held")? == 100, "{line}");
    ensure!(figure("acked")? == committed(&topic)?, "{line}: {} found", committed(&topic)?);
    ensure!((figure("acked")?, figure("failed")?) == (200, 100), "{line}");
    Ok(())
}
