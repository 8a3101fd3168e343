//! Offsets that a tap could not read, and logs that are not the ones they were: *uncertain* in the right windows, never
//! *missing*, and everything else stays proven.

use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_tests::api::Window;
use chaperone_tests::{clients, eventually};
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedMessage;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Message, Offset, TopicPartitionList};
use rustix::process::Signal;

use crate::scene::{PATIENCE, Scene, Upstream, aborted};

const WAIT: Duration = Duration::from_secs(30);

/// Exactly these windows are uncertain, and say why; all others are proven.
fn only_uncertain(rows: &[Window], uncertain: &[i64]) -> anyhow::Result<()> {
    for w in rows {
        let expected = if uncertain.contains(&w.window_ms) { "uncertain" } else { "ok" };
        ensure!(w.verdict == expected, "{uncertain:?}: {w:?}");
        // Its neighbours may say so too: what was lost may have been stamped then. Their ids prove them all the same.
        let said = w.caveats.iter().any(|caveat| caveat.contains("unaudited"));
        ensure!(said || expected == "ok", "{w:?}");
    }
    ensure!(rows.len() > uncertain.len(), "nothing was proven: {rows:?}");
    Ok(())
}

#[test]
fn what_retention_ate_before_it_was_read_is_uncertain() -> anyhow::Result<()> {
    let scene = Scene::new("gap", 1, &[])?;
    let recorder = scene.recorder()?;
    let mut upstream = Upstream::new(&scene, &recorder)?;
    let mut tap = scene.tap()?;
    upstream.send_in_next_window(100)?;
    scene.counted(100)?;
    tap.process.terminate(WAIT)?;
    let eaten = upstream.send_in_next_window(100)?;
    scene.cluster.delete_records(&scene.topic, 0, 150)?;
    let mut tap = scene.tap()?;
    scene.counted(150)?;
    upstream.send_in_next_window(100)?;
    scene.counted(250)?;
    only_uncertain(&scene.verdicts()?, &[eaten])?;
    recorder.close(WAIT);
    tap.process.terminate(WAIT)?;
    Ok(())
}

#[test]
fn a_topic_made_anew_is_uncertain_where_its_messages_went_and_counted_from_its_beginning() -> anyhow::Result<()> {
    let scene = Scene::new("anew", 1, &[])?;
    let recorder = scene.recorder()?;
    let mut upstream = Upstream::new(&scene, &recorder)?;
    let mut tap = scene.tap()?;
    upstream.send_in_next_window(100)?;
    scene.counted(100)?;
    tap.process.terminate(WAIT)?;
    // Nobody counts these at the broker, and nobody ever will.
    let gone = upstream.send_in_next_window(50)?;
    scene.cluster.delete_topic(&scene.topic)?;
    eventually(PATIENCE, "the topic's name is free again", || scene.cluster.create_topic(&scene.topic, 1, &[]))?;
    let mut tap = scene.tap()?;
    tap.line("the new log is noticed", PATIENCE, |line| line.contains("log=1"))?;
    upstream.send_in_next_window(30)?;
    scene.counted(130)?;
    only_uncertain(&scene.verdicts()?, &[gone])?;
    recorder.close(WAIT);
    tap.process.terminate(WAIT)?;
    Ok(())
}

/// Makes the topic anew and puts these messages into it, to the last bit as they were.
fn make_anew(scene: &Scene, messages: &[OwnedMessage]) -> anyhow::Result<()> {
    scene.cluster.delete_topic(&scene.topic)?;
    eventually(PATIENCE, "the topic's name is free again", || scene.cluster.create_topic(&scene.topic, 1, &[]))?;
    let producer: ThreadedProducer<DefaultProducerContext> =
        ThreadedProducer::from_config(&scene.cluster.plain_config())?;
    for message in messages {
        let time_ms = message.timestamp().to_millis().context("a time")?;
        let record = BaseRecord::<[u8], [u8]>::to(&scene.topic).timestamp(time_ms);
        let record = record.key(message.key().unwrap_or_default()).payload(message.payload().unwrap_or_default());
        producer.send(record).map_err(|(e, _)| e)?;
    }
    Ok(producer.flush(WAIT)?)
}

fn messages(scene: &Scene, n: usize) -> anyhow::Result<Vec<OwnedMessage>> {
    clients::consume(&scene.cluster.plain_config(), &scene.topic, "messages", n, WAIT)
}

/// A topic is another one by its id alone: grown past the tap's position between two looks, and with the same messages at
/// the same offsets while the tap was down.
#[test]
fn a_topic_made_anew_that_looks_like_the_old_one_is_counted_from_its_beginning() -> anyhow::Result<()> {
    let scene = Scene::new("twin", 1, &[])?;
    let recorder = scene.recorder()?;
    let mut upstream = Upstream::new(&scene, &recorder)?;
    let mut tap = scene.tap()?;
    upstream.send_in_next_window(100)?;
    scene.counted(100)?;
    let first = messages(&scene, 100)?;
    // The control: a consumer at the tap's position.
    let control: BaseConsumer = BaseConsumer::from_config(scene.cluster.plain_config().set("group.id", "control"))?;
    let mut at = TopicPartitionList::new();
    at.add_partition_offset(&scene.topic, 0, Offset::Offset(100))?;
    control.assign(&at)?;
    let quiet = control.poll(Duration::from_secs(2));
    ensure!(quiet.is_none(), "{quiet:?}");
    // Frozen, the tap asks nothing; when it goes on, its position lies within the new log, three times as long.
    tap.process.signal(Signal::STOP)?;
    // Nor does the control: a log that is shorter than its position for a moment would tell it.
    control.pause(&at)?;
    let thrice: Vec<OwnedMessage> = first.iter().cycle().take(300).cloned().collect();
    make_anew(&scene, &thrice)?;
    control.resume(&at)?;
    tap.process.signal(Signal::CONT)?;
    tap.line("the new log is noticed", PATIENCE, |line| line.contains("claimed") && line.contains("log=1"))?;
    scene.counted(400)?;
    eventually(PATIENCE, "the control reads on as if nothing had happened", || {
        let next = control.poll(Duration::from_millis(100)).context("nothing")??;
        ensure!(next.offset() == 100, "offset {}", next.offset());
        Ok(())
    })?;
    tap.process.terminate(WAIT)?;
    // Down, the tap sees nothing; the message that it recognises the log by is there again.
    make_anew(&scene, &[thrice.as_slice(), &first].concat())?;
    let again = messages(&scene, 400)?;
    ensure!(again[299].payload() == thrice[299].payload(), "the control: the anchor is not there");
    ensure!(again[299].timestamp() == thrice[299].timestamp(), "the control: the anchor has another time");
    let mut tap = scene.tap()?;
    scene.counted(800)?;
    let said: Vec<_> = scene.unaudited()?.into_iter().map(|u| (u.log, u.from, u.cause)).collect();
    let made_anew = || "the topic was re-created".to_owned();
    ensure!(said == [(0, 100, made_anew()), (1, 300, made_anew())], "{said:?}");
    recorder.close(WAIT);
    tap.process.terminate(WAIT)?;
    Ok(())
}

/// A topic that is compacted as soon as its segment is closed.
const COMPACTED: [(&str, &str); 5] = [
    ("cleanup.policy", "compact"),
    ("segment.ms", "1000"),
    ("min.cleanable.dirty.ratio", "0.001"),
    ("max.compaction.lag.ms", "1000"),
    ("delete.retention.ms", "0"),
];

/// The offsets that a partition holds messages at.
fn offsets(scene: &Scene) -> anyhow::Result<Vec<i64>> {
    let (_, end) = scene.cluster.offsets(&scene.topic)?[0];
    let mut config = scene.cluster.plain_config();
    config.set("group.id", "offsets").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = BaseConsumer::from_config(&config)?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(&scene.topic, 0, Offset::Beginning)?;
    consumer.assign(&from)?;
    let mut found = Vec::new();
    eventually(PATIENCE, "the partition is read", || {
        while let Some(read) = consumer.poll(Duration::from_millis(100)) {
            match read {
                Ok(message) => found.push(message.offset()),
                Err(KafkaError::PartitionEOF(_)) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
        anyhow::bail!("read up to {:?} of {end}", found.last())
    })?;
    Ok(found)
}

/// Sends messages, one a window, until a cleaner has left one a key of all before; the segment in use is never
/// compacted. Returns the offsets that hold messages, and how many messages were sent.
fn compact(scene: &Scene, upstream: &mut Upstream<'_>) -> anyhow::Result<(Vec<i64>, u64)> {
    let mut sent = 0;
    eventually(PATIENCE, "the log is compacted", || {
        upstream.send_in_next_window(1)?;
        sent += 1;
        eventually(Duration::from_secs(5), "a cleaner has been there", || {
            let left = offsets(scene)?;
            ensure!(left.len() < 40, "{} are left", left.len());
            Ok((left, sent))
        })
    })
}

/// Again and again under a tap that runs: it lives, and counts each of them from its beginning. (A member of a group that
/// read its partitions itself was ended by librdkafka at one in six.)
#[test]
fn a_topic_made_anew_under_a_running_tap_does_not_end_it() -> anyhow::Result<()> {
    const ROUNDS: u64 = 8;
    let scene = Scene::new("under", 3, &[])?;
    let recorder = scene.recorder()?;
    let mut tap = scene.tap()?;
    for round in 1..=ROUNDS {
        let mut upstream = Upstream::new(&scene, &recorder)?;
        upstream.send(40)?;
        scene.counted(40 * round)?;
        if round < ROUNDS {
            scene.cluster.delete_topic(&scene.topic)?;
            eventually(PATIENCE, "the topic's name is free again", || {
                scene.cluster.create_topic(&scene.topic, 3, &[])
            })?;
        }
    }
    ensure!(tap.process.child().try_wait()?.is_none(), "the tap ended: {}", tap.output());
    ensure!(scene.windows()?.iter().all(|w| w.missing_min == 0 && w.surplus_min == 0));
    recorder.close(WAIT);
    tap.process.terminate(WAIT)?;
    Ok(())
}

/// Compaction removes what was counted: counts stay, and a tap that starts again is not misled.
#[test]
fn compaction_after_counting_changes_nothing() -> anyhow::Result<()> {
    let scene = Scene::new("compact", 1, &COMPACTED)?;
    let recorder = scene.recorder()?;
    let mut upstream = Upstream::new(&scene, &recorder)?;
    let mut tap = scene.tap()?;
    upstream.send_in_next_window(100)?;
    scene.counted(100)?;
    tap.process.terminate(WAIT)?;
    let (_, more) = compact(&scene, &mut upstream)?;
    let mut sent = 100 + more;
    let mut tap = scene.tap()?;
    upstream.send_in_next_window(20)?;
    sent += 20;
    scene.counted(sent)?;
    only_uncertain(&scene.verdicts()?, &[])?;
    ensure!(scene.unaudited()?.is_empty(), "{:?}", scene.unaudited()?);
    recorder.close(WAIT);
    tap.process.terminate(WAIT)?;
    Ok(())
}

/// What a partition held between these and holds no more, as ranges; offsets that hold nothing next to each other are one.
fn holes(left: &[i64], from: i64, to: i64) -> Vec<(i64, i64)> {
    let mut holes: Vec<(i64, i64)> = Vec::new();
    for offset in (from..to).filter(|offset| !left.contains(offset)) {
        match holes.last_mut() {
            Some(last) if last.1 == offset => last.1 += 1,
            _ => holes.push((offset, offset + 1)),
        }
    }
    holes
}

/// Compaction removes what was not counted yet, before a tap's first start and while it is stopped. Messages at the head
/// are counted before any cleaner comes, and what a transaction leaves in the offsets there is no gap.
#[test]
fn what_compaction_removed_before_it_was_counted_is_uncertain() -> anyhow::Result<()> {
    let scene = Scene::new("eaten", 1, &COMPACTED)?;
    let recorder = scene.recorder()?;
    let mut upstream = Upstream::new(&scene, &recorder)?;
    let first = upstream.send_in_next_window(100)?;
    let (before, more) = compact(&scene, &mut upstream)?;
    let eaten_first = holes(&before, 0, before.last().copied().unwrap_or(0));
    let mut tap = scene.tap()?;
    let mut counted = u64::try_from(before.len())?;
    scene.counted(counted)?;
    // The head: a tap sees every message, whatever becomes of it later.
    upstream.send_in_next_window(100)?;
    aborted(&scene, 5)?;
    upstream.send_in_next_window(1)?;
    counted += 101;
    scene.counted(counted)?;
    tap.process.terminate(WAIT)?;
    let stood = scene.cluster.offsets(&scene.topic)?[0].1;
    let second = upstream.send_in_next_window(100)?;
    let (after, _) = compact(&scene, &mut upstream)?;
    let eaten_second = holes(&after, stood, after.last().copied().unwrap_or(0));
    let mut tap = scene.tap()?;
    counted += u64::try_from(after.iter().filter(|offset| **offset >= stood).count())?;
    scene.counted(counted)?;
    upstream.send_in_next_window(20)?;
    scene.counted(counted + 20)?;
    let rows = scene.verdicts()?;
    only_uncertain(&rows, &[first, second])?;
    // The control: by count alone, both windows lack messages.
    let counts = scene.counts()?;
    for window in [first, second] {
        let n = counts.get(&window).copied().unwrap_or(0);
        ensure!(n < 100, "nothing was removed from {window}: {n} of 100; the run showed nothing");
    }
    let said = scene.unaudited()?;
    ensure!(said.iter().all(|u| u.cause.contains("compaction") && u.log == 0), "{said:?}");
    let ranges: Vec<(i64, Option<i64>)> = said.iter().map(|u| (u.from, u.to)).collect();
    let span = |holes: &[(i64, i64)]| Some((holes.first()?.0, Some(holes.last()?.1)));
    let expected = [span(&eaten_first), span(&eaten_second)];
    ensure!(
        ranges.iter().copied().map(Some).eq(expected),
        "{ranges:?}, {eaten_first:?} and {eaten_second:?}; {more} more"
    );
    recorder.close(WAIT);
    tap.process.terminate(WAIT)?;
    Ok(())
}
