//! A scene with one of everything: a producer that died, a loss in the proxy, a masked loss, a stalled replicator, a
//! consumer that restarted, and fourteen quieter topics. The same on every run.

use chaperone_audit::Histogram;
use chaperone_collector::query::{HopWindow, PartitionState};
use chaperone_collector::{Caveat, CaveatKind, Counting, Doubt, Expected, Pipeline, Pipelines, Verdict};

use super::{FakeStore, NOW_MS, WIDTH_MS, account, hop, pipeline, seen, summary};

pub(crate) const TOPIC: &str = "rides.events";
pub(crate) const STAGES: [&str; 5] = ["producer", "proxy", "kafka:sjc", "kafka:agg", "consumer:billing"];
/// 12:20:00.
pub(crate) const START_MS: i64 = NOW_MS - 1_798_000;
const WINDOWS: i64 = 180;

/// When the window of that number begins.
pub(crate) const fn at(window: i64) -> i64 {
    START_MS + window * WIDTH_MS
}

pub(crate) fn pipelines() -> Pipelines {
    let topics = "^(rides|driver|payments|maps|fraud|identity|pricing|notify|search)\\..*";
    let main = Pipeline {
        owner: Some("trip-platform".to_owned()),
        runbook: Some("https://runbooks.example/audit/main".to_owned()),
        expected: vec![Expected { stage: "consumer:billing".into(), application: "billing".into(), at_least: 8 }],
        counting: Counting { time: "json:/meta/ts".into(), unit: "us".into(), ..Counting::default() },
        ..pipeline("main", "sjc", topics, &STAGES)
    };
    let mut eats =
        pipeline("eats", "phx", "^(eats|freight|support)\\..*", &["producer", "kafka:phx", "consumer:kitchen"]);
    eats.stages[0].complete = false;
    eats.stages[2].expect = "20%..40%".parse().expect("an expectation");
    Pipelines::from(vec![main, eats])
}

pub(crate) fn store() -> FakeStore {
    let mut store = FakeStore { lag: super::lag::scene(), ..FakeStore::default() };
    rides(&mut store);
    quiet(&mut store);
    store.reporters = super::reporters::scene();
    store.expected = super::reporters::expected();
    store.account = account::day();
    store.books = account::books();
    store.unbelieved = account::unbelieved();
    account::stands(&mut store);
    super::window::fill(&mut store);
    for stage in ["kafka:sjc", "kafka:agg"] {
        store.partitions.insert(stage.to_owned(), (0..32).map(partition).collect());
    }
    store
}

fn partition(partition: i32) -> PartitionState {
    PartitionState { topic: TOPIC.to_owned(), partition, log: 0, epoch: 1, next: 1_000, watermark_ms: Some(NOW_MS) }
}

/// A repeatable scatter, 0 to `below`.
fn scatter(seed: i64, below: i64) -> i64 {
    let x = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    ((x >> 33) ^ (x >> 17)).rem_euclid(below)
}

fn expected(window: i64) -> u64 {
    let tide = if window < 70 { 47_500 + window * 50 } else { 51_000 - (window - 70) * 60 };
    u64::try_from(tide + scatter(window, 1_100)).unwrap_or(0)
}

fn delays(n: u64, median_ms: i64, seed: i64) -> Histogram {
    let mut hist = Histogram::new();
    let shape = [(30, 1), (45, 6), (65, 20), (85, 26), (105, 22), (140, 14), (190, 7), (280, 3), (420, 1)];
    for (i, (percent, weight)) in shape.into_iter().enumerate() {
        let spread = median_ms * percent / 100;
        let ms = spread + scatter(seed + i64::try_from(i).unwrap_or(0), (spread / 3).max(2));
        hist.add_cell(chaperone_audit::histogram::cell_of(ms), n * weight / 100);
    }
    hist
}

/// What the replicator was late by when it stalled and caught up.
fn median_at_agg(window: i64) -> i64 {
    match window {
        54..=66 => (67 - window) * 10_000 + 400,
        67..=75 => 5_000 - (window - 67) * 500,
        _ => 410,
    }
}

fn rides(store: &mut FakeStore) {
    for w in 0..WINDOWS {
        let ms = at(w);
        let share = if w == 179 { 68 } else { 100 };
        let sent = expected(w) * share / 100;
        let lost = match w {
            128 => 23,
            129 => 14,
            _ => 0,
        };
        let stalled = match w {
            159 => sent * 11 / 100,
            160.. => sent * 38 / 100,
            _ => 0,
        };
        let re_read = [96, 233, 83].get(usize::try_from(w - 100).unwrap_or(99)).copied().unwrap_or(0);
        let at_agg = sent - lost - stalled;
        let totals = [sent, sent, sent - lost, at_agg, at_agg + re_read];
        for (i, (stage, n)) in STAGES.iter().zip(totals).enumerate() {
            let median = [3, 9, 60, median_at_agg(w), median_at_agg(w) + 120][i];
            let mut row = seen(TOPIC, stage, ms, n);
            row.hist = delays(n, median, w * 7 + median);
            if i == 0 {
                row.acked = if w == 37 { n - 3 } else { n };
            }
            store.counts.push(row);
        }
        for (i, pair) in STAGES.windows(2).enumerate() {
            let mut row = hop(TOPIC, (pair[0], pair[1]), ms, verdict(i, w));
            match row.verdict {
                Verdict::Missing => row.missing_min = lost,
                Verdict::Delayed => row.delayed = stalled,
                Verdict::ReRead => row.surplus_min = re_read,
                Verdict::Unproven => {
                    row.caveats =
                        vec![Caveat { kind: CaveatKind::ReporterGone, side: Doubt::Upstream, messages: Some(3) }];
                }
                _ => {}
            }
            row.why = why(&row, totals[i], totals[i + 1]);
            store.windows.push(row);
        }
    }
    let mut topic = summary(TOPIC, &STAGES, Verdict::Missing);
    (topic.missing_min, topic.surplus_min) = (37, 412);
    topic.delayed = store.windows.iter().map(|w| w.delayed).sum();
    topic.complete_through_ms = Some(at(159));
    store.topics.push(topic);
    store.windows.sort_by(|a, b| (&a.from_stage, a.window_ms).cmp(&(&b.from_stage, b.window_ms)));
}

fn verdict(hop: usize, window: i64) -> Verdict {
    match (hop, window) {
        (_, 179) => Verdict::Open,
        (_, 176..=178) | (3, 159..) => Verdict::Settling,
        (0, 37) => Verdict::Unproven,
        (1, 128 | 129) => Verdict::Missing,
        (2, 83) => Verdict::Mixed,
        (2, 159..) => Verdict::Delayed,
        (3, 100..=102) => Verdict::ReRead,
        _ => Verdict::Ok,
    }
}

fn why(row: &HopWindow, up: u64, down: u64) -> String {
    match row.verdict {
        Verdict::Missing => format!(
            "acked {up} upstream, {down} seen downstream: at least {} missing; the hop has passed this window",
            row.missing_min
        ),
        Verdict::Delayed => format!(
            "acked {up} upstream, {down} seen downstream: {} absent, and the hop has not passed them yet",
            row.delayed
        ),
        Verdict::Mixed => {
            format!(
                "counts agree ({down}) but ids do not: at least one message was lost and as many others are too many"
            )
        }
        Verdict::Unproven => format!(
            "3 messages in doubt (attempted {up}, acked {}, failed 0), downstream {down}: between {} and {up} is consistent, and ids prove neither end",
            up - 3,
            up - 3
        ),
        Verdict::ReRead => format!(
            "attempted {up} less failed 0 upstream, {down} seen downstream: at least {} re-read",
            row.surplus_min
        ),
        Verdict::Open => "the window has not ended; messages may still arrive".to_owned(),
        Verdict::Settling => "the window has ended; awaited: the tap of kafka:agg, to be read to the end".to_owned(),
        _ => format!("{up} messages acked upstream, {down} seen downstream, and the ids are the same"),
    }
}

fn quiet(store: &mut FakeStore) {
    let phx = ["producer", "kafka:phx", "consumer:kitchen"];
    let topics: [(&str, &[&str], Verdict, std::ops::Range<i64>); 14] = [
        ("eats.orders", &phx, Verdict::NoReport, 120..180),
        ("driver.locations", &STAGES, Verdict::Delayed, 159..176),
        ("payments.captured", &STAGES, Verdict::Mixed, 110..111),
        ("support.tickets", &phx, Verdict::Unproven, 125..127),
        ("payments.refunds", &STAGES, Verdict::Ok, 0..0),
        ("maps.eta-updates", &STAGES, Verdict::Ok, 0..0),
        ("rides.receipts", &STAGES, Verdict::Ok, 0..0),
        ("eats.menus", &phx, Verdict::Partial, 0..176),
        ("fraud.signals", &STAGES, Verdict::Ok, 0..0),
        ("identity.logins", &STAGES, Verdict::Ok, 0..0),
        ("search.queries", &STAGES, Verdict::ReRead, 130..133),
        ("pricing.surge", &STAGES, Verdict::Ok, 0..0),
        ("freight.loads", &phx, Verdict::Uncertain, 0..120),
        ("notify.push", &STAGES, Verdict::Overdue, 170..176),
    ];
    for (name, stages, worst, bad) in topics {
        let mut topic = summary(name, stages, worst);
        for w in 0..WINDOWS {
            for (i, pair) in stages.windows(2).enumerate() {
                let verdict = match w {
                    _ if bad.contains(&w) && i == stages.len() - 2 => worst,
                    179 => Verdict::Open,
                    176..=178 => Verdict::Settling,
                    _ => Verdict::Ok,
                };
                let mut row = hop(name, (pair[0], pair[1]), at(w), verdict);
                match verdict {
                    Verdict::Delayed | Verdict::Overdue => row.delayed = 25_000 / 17,
                    Verdict::ReRead => row.surplus_min = 402,
                    Verdict::Uncertain => row.caveats = vec![Caveat::new(CaveatKind::NotAuditedYet, Doubt::Upstream)],
                    _ => {}
                }
                if w >= 90 {
                    topic.delayed += row.delayed;
                    topic.surplus_min += row.surplus_min;
                }
                store.windows.push(row);
            }
            for stage in stages.iter().filter(|s| **s != "consumer:kitchen" || name != "eats.orders") {
                let mut row = seen(name, stage, at(w), 900 + u64::try_from(scatter(w, 90)).unwrap_or(0));
                row.hist = delays(row.n, 90, w);
                store.counts.push(row);
            }
        }
        store.topics.push(topic);
    }
}
