//! What the made-up store knows of some windows beyond their totals: who counted them, where they lie, what became of their
//! verdicts. The parts add up to the totals.

use chaperone_collector::Verdict;
use chaperone_collector::query::{Amendment, Offsets, ReporterShare, WindowDetail};
use uuid::Uuid;

use super::scene::{STAGES, TOPIC, at};
use super::{FakeStore, NOW_MS, WIDTH_MS};

/// Windows of the scene that are known in detail: in doubt, mixed, lost, amended, delayed.
const WINDOWS: [i64; 5] = [37, 83, 128, 129, 170];
const PARTITIONS: i32 = 32;

pub(crate) fn fill(store: &mut FakeStore) {
    for window in WINDOWS {
        let ms = at(window);
        let n = |stage: &str| {
            store
                .counts
                .iter()
                .find(|c| c.topic == TOPIC && c.stage == stage && c.window_ms == ms)
                .map_or((0, 0), |c| (c.n, c.acked))
        };
        let [producer, proxy, sjc, agg, billing] = STAGES.map(n);
        let mut shares = Vec::new();
        for (stage, (n, acked), hosts) in
            [("producer", producer, 24), ("proxy", proxy, 6), ("consumer:billing", billing, 8)]
        {
            let doubt = if acked > 0 { n - acked } else { 0 };
            shares.extend((0..hosts).map(|i| share(stage, i, hosts, n, if i == 3 { doubt } else { 0 })));
        }
        for (stage, total, short) in [("kafka:sjc", sjc.0, 0), ("kafka:agg", agg.0, sjc.0 - agg.0)] {
            let lost = if window < 150 { 0 } else { short };
            store.offsets.entry(stage.to_owned()).or_default().extend(spread(ms, window, total, lost));
        }
        let amendments = if window == 129 { vec![amended(ms)] } else { Vec::new() };
        store.details.insert((TOPIC.to_owned(), ms), WindowDetail { shares, amendments, cut: false });
    }
}

pub(crate) fn share(stage: &str, host: u64, hosts: u64, total: u64, doubt: u64) -> ReporterShare {
    let n = total / hosts + u64::from(host < total % hosts);
    let gone = stage == "producer" && host == 3;
    ReporterShare {
        stage: stage.to_owned(),
        incarnation: Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 + u128::from(host)),
        host: format!("{}-{host:02}", stage.replace(':', "-")),
        application: stage.split(':').next_back().unwrap_or(stage).to_owned(),
        datacenter: if host.is_multiple_of(2) { "sjc-1" } else { "sjc-2" }.to_owned(),
        library: "chaperone-audit 0.1.0".to_owned(),
        n,
        acked: n - doubt,
        failed: 0,
        bytes: n * 200,
        last_ms: Some(NOW_MS - 500_000),
        open: false,
        watermark_ms: Some(if gone { NOW_MS - 1_400_000 } else { NOW_MS - 2_000 }),
        heard_ms: if gone { NOW_MS - 1_400_000 } else { NOW_MS - 1_000 },
        last_seq: 118_204 + host,
        untold: u64::from(gone),
        ended: None,
    }
}

/// Evenly, but for what a few partitions lack.
pub(crate) fn spread(ms: i64, window: i64, total: u64, short: u64) -> Vec<Offsets> {
    let whole = total + short;
    let stalled = 12;
    (0..PARTITIONS)
        .map(|p| {
            let i = u64::from(p.unsigned_abs());
            let even = whole / 32 + u64::from(i < whole % 32);
            let lack = if i < stalled { short / stalled + u64::from(i < short % stalled) } else { 0 };
            let first = 8_114_020 + window * 1_600 + i64::from(p) * 90_000;
            let n = even.saturating_sub(lack);
            let last = first + i64::try_from(n).unwrap_or(0) + 11;
            Offsets { window_ms: ms, width_ms: WIDTH_MS, partition: p, log: 0, n, first, last }
        })
        .collect()
}

pub(crate) fn amended(ms: i64) -> Amendment {
    Amendment {
        at_ms: ms + 95_000,
        from_stage: "proxy".to_owned(),
        to_stage: "kafka:sjc".to_owned(),
        old_verdict: Verdict::Missing,
        new_verdict: Verdict::Missing,
        old_missing: 19,
        new_missing: 14,
        old_surplus: 0,
        new_surplus: 0,
        cause: "a late record: acked 48,136 upstream, 48,122 seen downstream: at least 14 missing".to_owned(),
    }
}
