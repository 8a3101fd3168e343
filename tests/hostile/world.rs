//! A store in which everything that anybody outside names is called by one name: what every page shows somewhere.

use chaperone_collector::query::{ReporterState, WindowDetail};
use chaperone_collector::{Pipeline, Verdict};

use crate::fake::{self, FakeStore, NOW_MS, hop, lag, pipeline, seen, summary};

/// One of everything, and the pipeline that it runs through.
pub(crate) fn of(name: &str) -> (FakeStore, Pipeline) {
    let stages = [format!("{name} 1"), format!("kafka:{name}"), name.to_owned()];
    let [first, second, third] = [&*stages[0], &*stages[1], &*stages[2]];
    let mut store = FakeStore::default();
    for n in 1..6_i64 {
        let at = (NOW_MS / 10_000 - n) * 10_000;
        for (from, to) in [(first, second), (second, third)] {
            let verdict = if n % 2 == 0 { Verdict::Missing } else { Verdict::Ok };
            let mut row = hop(name, (from, to), at, verdict);
            row.missing_min = if n % 2 == 0 { 3 } else { 0 };
            name.clone_into(&mut row.why);
            store.windows.push(row);
        }
        store.counts.extend([first, second, third].map(|stage| seen(name, stage, at, 100)));
    }
    store.topics.push(summary(name, &[first, second, third], Verdict::Missing));
    for stage in &stages {
        store.reporters.push(ReporterState {
            incarnation: uuid::Uuid::from_u128(1),
            stage: stage.clone(),
            host: name.to_owned(),
            application: name.to_owned(),
            library: name.to_owned(),
            state: "gone".to_owned(),
            watermark_ms: None,
            last_ms: NOW_MS - 100_000,
            datacenter: name.to_owned(),
            ..Default::default()
        });
    }
    let mut row = lag::row(name, name, 0, 7, 7_000);
    name.clone_into(&mut row.cluster);
    store.lag = lag::report(vec![row]);
    name.clone_into(&mut store.lag.rounds[0].cluster);
    day(&mut store, name, &stages);
    books(&mut store, name);
    stands(&mut store, name, &stages);
    window(&mut store, name, &stages);
    let mut pipeline = pipeline(name, name, "^(?s:.*)", &[first, second, third]);
    pipeline.owner = Some(name.to_owned());
    name.clone_into(&mut pipeline.counting.id);
    name.clone_into(&mut pipeline.counting.time);
    (store, pipeline)
}

/// The scene's day.
fn day(store: &mut FakeStore, name: &str, stages: &[String; 3]) {
    let mut day = fake::account::day();
    for hop in &mut day.hops {
        (hop.topic, hop.from_stage, hop.to_stage) = (name.into(), stages[0].clone(), stages[1].clone());
    }
    for stage in &mut day.stages {
        (stage.topic, stage.stage) = (name.into(), stages[0].clone());
    }
    for amended in &mut day.amended {
        (amended.topic, amended.cause) = (name.into(), name.into());
        (amended.from_stage, amended.to_stage) = (stages[0].clone(), stages[1].clone());
    }
    for silent in &mut day.silent {
        (silent.stage, silent.application, silent.host) = (name.into(), name.into(), name.into());
    }
    store.account = day;
}

/// The scene's books, and what is not believed.
fn books(store: &mut FakeStore, name: &str) {
    store.books = fake::account::books();
    store.books.overflowed = vec![name.to_owned()];
    store.books.oddities = [(name.to_owned(), 1)].into();
    for book in &mut store.books.partitions {
        (book.cluster, book.topic) = (name.into(), name.into());
    }
    store.unbelieved = fake::account::unbelieved();
    for refused in &mut store.unbelieved.quarantined {
        (refused.cluster, refused.topic, refused.reason) = (name.into(), name.into(), name.into());
    }
    for lost in &mut store.unbelieved.audit_lost {
        (lost.cluster, lost.topic, lost.cause) = (name.into(), name.into(), name.into());
    }
    for gap in &mut store.unbelieved.unaudited {
        (gap.stage, gap.topic, gap.cause) = (name.into(), name.into(), name.into());
    }
    for oddity in &mut store.unbelieved.oddities {
        (oddity.kind, oddity.text) = (name.into(), name.into());
    }
}

/// Who is expected, how far hops are, by which rules was counted.
fn stands(store: &mut FakeStore, name: &str, stages: &[String; 3]) {
    store.expected = fake::reporters::expected();
    for expected in &mut store.expected {
        (expected.stage, expected.application) = (stages[0].clone(), name.to_owned());
    }
    fake::account::stands(store);
    for hop in &mut store.hops {
        (hop.topic, hop.from_stage, hop.to_stage) = (name.into(), stages[0].clone(), stages[1].clone());
    }
    for rule in &mut store.rules {
        (rule.topic, rule.stage) = (name.into(), stages[0].clone());
    }
}

/// Who counted the windows, where they lie, what became of their verdicts.
fn window(store: &mut FakeStore, name: &str, stages: &[String; 3]) {
    for n in 1..6_i64 {
        let at = (NOW_MS / 10_000 - n) * 10_000;
        let mut shares = vec![fake::window::share(&stages[0], 1, 1, 100, 0)];
        for share in &mut shares {
            (share.host, share.application) = (name.into(), name.into());
            (share.datacenter, share.library) = (name.into(), name.into());
        }
        let mut amendment = fake::window::amended(at);
        (amendment.from_stage, amendment.to_stage) = (stages[0].clone(), stages[1].clone());
        name.clone_into(&mut amendment.cause);
        let detail = WindowDetail { shares, amendments: vec![amendment], cut: false };
        store.details.insert((name.to_owned(), at), detail);
        store.offsets.entry(stages[1].clone()).or_default().extend(fake::window::spread(at, n, 100, 0));
    }
}
