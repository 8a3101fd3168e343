//! Transactions of every kind of producer: committed, aborted, refused in the middle, dropped, fenced, killed. What is
//! acked is what a reader of committed messages finds; delivery reports alone, the control, say more.

use std::sync::atomic::Ordering;

use anyhow::{Context, ensure};
use chaperone_audit::wire::End;
use chaperone_tests::programs::{self, Program};
use chaperone_tests::witness::in_memory;
use chaperone_tests::{Bed, Cluster, eventually, figures, recount, skip};
use rdkafka::error::KafkaError;
use tempfile::TempDir;

use crate::sender::{Delivered, KINDS, Kind, Sender, WAIT, recorder, stored, told};

/// Messages of a transaction.
const SIZE: u64 = 200;
/// Those of the example program.
const OF_THE_EXAMPLE: u64 = 100;
/// Processes that are started until one is not refused.
const PROCESSES: usize = 3;

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

/// The example program with a recorder whose counts survive it, on topics of its own.
struct Place {
    cluster: &'static Cluster,
    topic: String,
    audit: String,
    scratch: TempDir,
}

impl Place {
    fn new() -> anyhow::Result<Self> {
        let cluster = &Bed::get()?.regional;
        let (topic, audit) =
            (cluster.fresh_topic("wrappers-killed", 1, &[])?, cluster.fresh_topic("wrappers-audit", 1, &[])?);
        Ok(Self { cluster, topic, audit, scratch: in_memory()? })
    }

    fn start(&self, transactions: &str) -> anyhow::Result<Program> {
        let mut environment = programs::example_settings(self.cluster, "admin")?;
        let dir = self.scratch.path().to_string_lossy().into_owned();
        let (count, settings) = (OF_THE_EXAMPLE.to_string(), [("TOPIC", &*self.topic), ("AUDIT_TOPIC", &*self.audit)]);
        let others = [("COUNT", &*count), ("TRANSACTIONS", transactions), ("DATA_DIR", &*dir), ("SLOTS_DIR", &*dir)];
        let settings = settings.into_iter().chain(others);
        environment.extend(settings.map(|(key, value)| (key.to_owned(), value.to_owned())));
        programs::example("transactions", &environment)
    }

    /// Starts the next one, which ends what the dead one left open and tells its last words: (n, acked, failed), what
    /// readers of committed messages find, and whether the dead one's end is told as it was.
    fn counts_of(&self, dead: u32) -> anyhow::Result<((u64, u64, u64), u64)> {
        let mut next = self.start("0")?;
        next.line("a transaction of the next one is open", WAIT, |line| line.starts_with("open: "))?;
        let found = committed(&self.topic)?;
        next.process.terminate(WAIT)?;
        let all = told(self.cluster, &self.audit)?;
        ensure!(all.contradictions.is_empty(), "{:?}", all.contradictions);
        let life = all.lives.values().find(|life| life.pid == dead).context("nobody told of it")?;
        ensure!(life.end == Some(End::Crash) && life.sum.is_some(), "{life:?}");
        Ok((life.counts(), found))
    }
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
    if !Bed::get()?.regional.is_secure() {
        return skip("a process killed amid a transaction", "the example needs the listeners of the test bed");
    }
    let place = Place::new()?;
    let mut program = place.start("3")?;
    let line = program.line("a transaction is open", WAIT, |line| line.starts_with("open: "))?;
    program.process.kill()?;
    let figure = |name: &str| -> anyhow::Result<u64> {
        let word = line.split([',', ':']).find_map(|part| part.trim().strip_suffix(name)).context("no such figure")?;
        Ok(word.trim().parse()?)
    };
    let said = (figure("held")?, figure("acked")?, figure("failed")?);
    ensure!(said == (OF_THE_EXAMPLE, 2 * OF_THE_EXAMPLE, OF_THE_EXAMPLE), "{line}");
    let (counts, found) = place.counts_of(program.process.id())?;
    // What was open when it died is in doubt: neither acked nor failed.
    ensure!(counts == (4 * OF_THE_EXAMPLE, 2 * OF_THE_EXAMPLE, OF_THE_EXAMPLE), "{counts:?}, {line}");
    ensure!(found == counts.1, "{counts:?}, {found} found");
    Ok(())
}

/// A process that has stored more than so many messages, and goes on. One that a busy broker answered too late and then
/// refused ends by itself: that is Kafka's to say, and another is started.
fn amid(messages: u64) -> anyhow::Result<(Place, Program)> {
    let mut left = PROCESSES;
    loop {
        let place = Place::new()?;
        let program = place.start("1000000")?;
        let busy = eventually(WAIT, "transactions", || {
            let stored = stored(place.cluster, &place.topic)?;
            ensure!(stored > messages, "{stored} stored: {}", program.output());
            Ok(())
        });
        left -= 1;
        match busy {
            Ok(()) => return Ok((place, program)),
            Err(why) if left > 0 && program.output().contains("in an invalid state") => println!("refused: {why:#}"),
            Err(why) => return Err(why),
        }
    }
}

/// Killed at any moment of many transactions, its commits too: what is acked was committed, what failed was not, and of
/// what is neither there is one transaction at most.
#[test]
fn a_process_killed_amid_transactions_is_sure_of_nothing_that_it_cannot_know() -> anyhow::Result<()> {
    const KILLS: u64 = 3;
    if !Bed::get()?.regional.is_secure() {
        return skip("processes killed amid transactions", "the example needs the listeners of the test bed");
    }
    let (mut wrong, mut in_doubt) = (0, 0);
    for turn in 1..=KILLS {
        let (place, mut program) = amid(turn * 7 * OF_THE_EXAMPLE / 2)?;
        program.process.kill()?;
        let ((n, acked, failed), found) = place.counts_of(program.process.id())?;
        let doubt = n - acked - failed;
        println!("{n} attempted, {acked} acked, {failed} failed, {found} committed");
        let sure = (acked..=acked + doubt).contains(&found) && doubt <= OF_THE_EXAMPLE && acked > 0;
        wrong += u64::from(!sure || found % OF_THE_EXAMPLE != 0);
        in_doubt += u64::from(doubt > 0);
    }
    figures::record("wrappers", "killed_in_doubt", in_doubt)?;
    figures::record("wrappers", "killed_wrong", wrong)?;
    ensure!(wrong == 0, "{wrong} of {KILLS} say what is not so");
    Ok(())
}
