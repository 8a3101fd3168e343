//! A day, the books, and what is not believed.

use std::collections::BTreeMap;

use chaperone_audit::{Histogram, RuleId};
use chaperone_collector::Verdict;
use chaperone_collector::account::{
    Account, Amended, AuditLost, Book, Books, HopStand, HopSum, Oddity, PARTS, Silenced, StageRule, StageSum,
    Unaudited, Unbelieved,
};
use chaperone_collector::query::Quarantined;
use uuid::Uuid;

use super::scene::{STAGES, TOPIC};
use super::{FakeStore, NOW_MS};

/// A hop of a day at 10 s, all proven.
pub(crate) fn proven(topic: &str, from: &str, to: &str) -> HopSum {
    HopSum {
        topic: topic.into(),
        from_stage: from.into(),
        to_stage: to.into(),
        verdicts: BTreeMap::from([(Verdict::Ok, 8_640)]),
        parts: (0..PARTS).map(|part| (part, Verdict::Ok)).collect(),
        ..HopSum::default()
    }
}

fn hops() -> Vec<HopSum> {
    let mut all = Vec::new();
    for (from, to) in STAGES.iter().zip(STAGES.iter().skip(1)) {
        all.push(proven(TOPIC, from, to));
    }
    let proxy = &mut all[1];
    proxy.verdicts = BTreeMap::from([(Verdict::Ok, 8_638), (Verdict::Missing, 2)]);
    proxy.missing_min = 37;
    proxy.amendments = 1;
    proxy.parts.insert(12, Verdict::Missing);
    let replicator = &mut all[2];
    replicator.verdicts = BTreeMap::from([(Verdict::Ok, 8_610), (Verdict::Delayed, 30)]);
    replicator.delayed = 1_204;
    replicator.parts.insert(12, Verdict::Delayed);
    let consumer = &mut all[3];
    consumer.verdicts =
        BTreeMap::from([(Verdict::Ok, 8_600), (Verdict::ReRead, 3), (Verdict::Unproven, 2), (Verdict::NoReport, 35)]);
    consumer.surplus_min = 412;
    consumer.parts.insert(11, Verdict::NoReport);
    for topic in ["driver.locations", "maps.eta-updates", "payments.captured"] {
        all.push(proven(topic, "kafka:sjc", "kafka:agg"));
    }
    let quiet = all.last_mut().expect("pushed");
    quiet.parts.retain(|part, _| (7..20).contains(part));
    all
}

fn delays(median_ms: i64, n: u64) -> Histogram {
    let mut hist = Histogram::new();
    for (percent, weight) in [(60, 20), (100, 60), (300, 15), (900, 5)] {
        hist.add_cell(chaperone_audit::histogram::cell_of(median_ms * percent / 100), n * weight / 100);
    }
    hist
}

pub(crate) fn day() -> Account {
    let stage = |topic: &str, stage: &str, n, untimed, median| StageSum {
        topic: topic.into(),
        stage: stage.into(),
        n,
        untimed,
        bytes: n * 211,
        delay: delays(median, n),
    };
    let mut stages: Vec<StageSum> =
        STAGES.iter().zip([3, 9, 60, 410, 530]).map(|(s, median)| stage(TOPIC, s, 410_220_417, 0, median)).collect();
    stages[0].untimed = 12;
    stages.push(stage("driver.locations", "kafka:sjc", 88_000_000, 0, 55));
    Account {
        hops: hops(),
        stages,
        amended: vec![Amended {
            topic: TOPIC.into(),
            from_stage: "proxy".into(),
            to_stage: "kafka:sjc".into(),
            window_ms: NOW_MS - 518_000,
            at_ms: NOW_MS - 300_000,
            old_verdict: "unproven".into(),
            new_verdict: "missing".into(),
            missing: (0, 14),
            cause: "a reporter came back".into(),
        }],
        silent: vec![Silenced {
            stage: "producer".into(),
            application: "dispatch".into(),
            host: "dispatch-sjc-03".into(),
            last_ms: NOW_MS - 678_000,
        }],
        audit_lost: 0,
        unaudited: 1,
        ..Account::default()
    }
}

pub(crate) fn books() -> Books {
    let book = |partition: i32, read: u64| Book {
        cluster: "sjc".into(),
        topic: "chaperone-audit".into(),
        partition,
        log: 0,
        closed: false,
        next: i64::try_from(read).unwrap_or(0),
        applied_through_ms: Some(NOW_MS - 900),
        read,
        applied: read - 41,
        noop: 40,
        fenced: 0,
        hole: 0,
        quarantined: 1,
    };
    Books {
        partitions: (0..6).map(|p| book(p, 1_204_332 + 417 * u64::from(p.unsigned_abs()))).collect(),
        store_bytes: 2_640_117_760,
        overflowed: vec!["producer".into()],
        oddities: BTreeMap::from([("divergent".to_owned(), 1)]),
    }
}

pub(crate) fn unbelieved() -> Unbelieved {
    let refused = |partition: i32, offset, length, reason: &str| Quarantined {
        cluster: "sjc".into(),
        topic: "chaperone-audit".into(),
        partition,
        offset,
        received_ms: NOW_MS - 4_000_000 - offset,
        length,
        sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
        reason: reason.into(),
    };
    Unbelieved {
        quarantined: vec![
            refused(2, 48_211, 1_204, "stage 'billing' may not report on this audit topic"),
            refused(0, 9_120, 17, "not JSON: expected value at line 1 column 1"),
        ],
        audit_lost: vec![AuditLost {
            cluster: "sjc".into(),
            topic: "chaperone-audit".into(),
            partition: 3,
            from_offset: 1_000,
            to_offset: Some(1_412),
            from_ms: Some(NOW_MS - 90_000_000),
            to_ms: NOW_MS - 88_000_000,
            at_ms: NOW_MS - 86_000_000,
            cause: "they were deleted before they were read".into(),
        }],
        unaudited: vec![Unaudited {
            stage: "kafka:sjc".into(),
            topic: "rides.events".into(),
            partition: 7,
            from_offset: 881_204,
            to_offset: None,
            from_event_ms: Some(NOW_MS - 7_200_000),
            to_event_ms: None,
            at_ms: NOW_MS - 7_100_000,
            cause: "offsets were gone before they could be read".into(),
        }],
        oddities: vec![Oddity {
            at_ms: NOW_MS - 600_000,
            kind: "divergent".into(),
            incarnation: Some(Uuid::from_u128(0x0199_0a2b_3c4d_7e5f_8899_aabb_ccdd_eeff)),
            text: "slot 17 (rides.events, window 1795264000000)".into(),
        }],
        kept: [10_000, 1, 1, 1],
    }
}

/// Where hops stand, and by which rules was counted.
pub(crate) fn stands(store: &mut FakeStore) {
    let hop = |topic: &str, from: &str, to: &str, behind_ms: i64| HopStand {
        topic: topic.into(),
        from_stage: from.into(),
        to_stage: to.into(),
        complete_through_ms: NOW_MS - behind_ms,
    };
    for topic in [TOPIC, "driver.locations", "payments.captured", "maps.eta-updates"] {
        for (i, (from, to)) in STAGES.iter().zip(STAGES.iter().skip(1)).enumerate() {
            let behind_ms = if topic == TOPIC && i == 2 { 208_000 } else { 38_000 };
            store.hops.push(hop(topic, from, to, behind_ms));
        }
        store.rules.extend(STAGES.iter().map(|stage| StageRule {
            topic: topic.into(),
            stage: (*stage).into(),
            rule: RuleId(if topic == "maps.eta-updates" && *stage == "proxy" { 7 } else { 0x9f3a_11c0_2244_88ee }),
            first_ms: NOW_MS - 90_000_000,
            last_ms: NOW_MS - 600_000,
        }));
    }
    for (from, to) in [("producer", "kafka:phx"), ("kafka:phx", "consumer:kitchen")] {
        store.hops.push(hop("eats.orders", from, to, 41_000));
    }
    store.hops.push(hop("audit.trail", "kafka:sjc", "kafka:agg", 44_000));
}
