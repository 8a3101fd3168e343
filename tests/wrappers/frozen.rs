//! A broker that answers no more, and then does what it was asked meanwhile: what was reported as timed out is in the
//! topic after all. In doubt is what the counts say; that it failed, the control, would be false.

use std::time::Duration;

use anyhow::ensure;
use chaperone_tests::{Cluster, Spec, eventually, figures};

use crate::sender::{Delivered, KINDS, Sender, WAIT, recorder, stored, wrong};

#[test]
fn what_timed_out_is_in_doubt_and_may_be_stored() -> anyhow::Result<()> {
    let cluster = Cluster::start(&Spec::new("frozen"))?;
    let mut config = cluster.plain_config();
    config.set("message.timeout.ms", "1500").set("linger.ms", "1");
    let mut all = Vec::new();
    for kind in KINDS {
        let topic = cluster.fresh_topic("frozen", 1, &[])?;
        let recorder = recorder()?;
        let sender = Sender::new(kind, &config, Delivered::default(), &recorder)?;
        sender.send_all(&topic, 500, 100);
        sender.flush()?;
        ensure!(recorder.stats().acked == 500, "{kind:?}: {:?}", recorder.stats());
        all.push((kind, topic, recorder, sender));
    }
    cluster.pause(1)?;
    for (_, topic, _, sender) in &all {
        sender.send_all(topic, 200, 100);
    }
    eventually(WAIT, "every message is given up", || {
        for (.., sender) in &all {
            sender.poll();
        }
        let waiting: u64 = all.iter().map(|(_, _, recorder, _)| recorder.stats().in_flight).sum();
        ensure!(waiting == 0, "{waiting} in flight");
        Ok(())
    })?;
    cluster.resume(1)?;
    let (mut false_counts, mut after_all) = (0, 0);
    for (kind, topic, recorder, _) in &all {
        let stats = recorder.stats();
        ensure!((stats.acked, stats.failed, stats.in_doubt) == (500, 0, 200), "{kind:?}: {stats:?}");
        let held = eventually(Duration::from_secs(20), "the broker does what it was asked", || {
            let held = stored(&cluster, topic)?;
            ensure!(held > stats.acked, "{kind:?}: {held} stored");
            Ok(held)
        })?;
        false_counts += wrong(&stats, held);
        after_all += held - stats.acked;
    }
    figures::record("wrappers", "false_counts_frozen", false_counts)?;
    figures::record("wrappers", "timed_out_but_stored", after_all)
}
