//! Messages as odd as Kafka lets them be: a tap counts each one once, and finds the identity and time that the producer
//! found.

use std::time::Duration;

use anyhow::ensure;
use chaperone_audit::kafka::AuditedProducer;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use crate::scene::{Scene, aborted};

const WAIT: Duration = Duration::from_secs(30);
/// The largest message.
const LARGE: usize = 10 << 20;
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

type Record<'a> = BaseRecord<'a, [u8], [u8]>;

/// One of each kind.
fn odd<'a>(topic: &'a str, large: &'a [u8]) -> Vec<Record<'a>> {
    let record = || Record::to(topic);
    let twice = |value| Header { key: "again", value: Some(value) };
    let repeated = OwnedHeaders::new().insert(twice("one")).insert(twice("two"));
    let stamp = chaperone_audit::rule::stamp(chaperone_audit::MessageId(7), 1);
    // A stamp whose time is absurd, twice: the first counts, and it is out of range.
    let absurd = OwnedHeaders::new()
        .insert(Header { key: "chaperone", value: Some(&stamp) })
        .insert(Header { key: "chaperone", value: Some(&[1_u8]) });
    vec![
        record().key(b"key").payload(b"value"),
        record().key(b"key"),
        record().payload(b"no key"),
        record(),
        record().key(b"").payload(b""),
        record().key(b"repeated").payload(b"headers").headers(repeated),
        record().key(b"absurd").payload(b"stamp").headers(absurd),
        record()
            .key(b"null")
            .payload(b"header")
            .headers(OwnedHeaders::new().insert(Header { key: "ce_id", value: None::<&[u8]> })),
        record().key(b"large").payload(large),
    ]
}

#[test]
fn every_message_counts_once_whatever_it_is() -> anyhow::Result<()> {
    let scene = Scene::new("weather", 3, &[("max.message.bytes", "12582912")])?;
    let mut tap = scene.tap()?;
    let recorder = scene.recorder()?;
    // Incompressible, so that it is as large on the wire.
    let mut large = vec![0; LARGE];
    StdRng::seed_from_u64(1).fill(large.as_mut_slice());
    let mut sent = 0;
    for codec in CODECS {
        let mut config = scene.cluster.plain_config();
        config.set("compression.type", codec).set("message.max.bytes", "12582912").set("linger.ms", "50");
        let producer = AuditedProducer::new(&config, recorder.clone())?;
        for record in odd(&scene.topic, &large) {
            producer.send(record).map_err(|(e, _)| e)?;
            sent += 1;
        }
        for n in 0..200 {
            let value = format!("{codec} {n}");
            producer.send(Record::to(&scene.topic).payload(value.as_bytes())).map_err(|(e, _)| e)?;
            sent += 1;
        }
        producer.flush(WAIT)?;
    }
    // Nobody downstream ever sees these; they take offsets all the same.
    aborted(&scene, 20)?;
    let counted = recorder.stats();
    ensure!((counted.acked, counted.failed) == (sent, 0), "{counted:?}");
    // Those with an absurd stamp are counted apart, in the window of their arrival.
    scene.counted(sent)?;
    for w in scene.verdicts()? {
        ensure!(w.verdict == "ok", "{w:?}");
    }
    let closed = recorder.close(WAIT);
    ensure!(closed.unsent == 0, "{closed:?}");
    let status = tap.process.terminate(WAIT)?;
    ensure!(status.success(), "{status}: {}", tap.output());
    Ok(())
}
