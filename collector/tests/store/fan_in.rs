//! Groups in random histories: pipelines in which up to four datacenters flow together, messages that are lost, doubled, late and
//! in doubt on the way, reports that are lost, doubled and re-ordered, collectors that die, a judge that is at work amid it all.
//! In the end the rows of groups, of their hops and of their members are those of the model, which keeps the messages
//! themselves, by id, and compares them by the design's rules.
//!
//! The controls: a model that leaves out one member of a group, and one that adds up what members reported, have other rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use chaperone_audit::WindowStart;
use chaperone_collector::{Pipelines, Stage, Store};
use rand::Rng;

use crate::flow::{Flow, TOPICS, Told};
use crate::model::message;
use crate::place::Place;
use crate::sim::{Msg, WIDTH};
use crate::way::{Way, lived};

const ROWS: &str = "SELECT topic, from_stage, to_stage, window_ms, verdict, missing_min, surplus_min, delayed
     FROM v_hop_window ORDER BY topic, from_stage, to_stage, window_ms";
const MEMBERS: &str = "SELECT pipeline, of_group, stage FROM v_stage_group ORDER BY pipeline, of_group, stage";
const COUNTS: &str = "SELECT topic, stage, window_ms, n, acked, failed, bytes
     FROM v_stage_window ORDER BY topic, stage, window_ms";

type Rows = Vec<Vec<String>>;

fn ids(all: &[Msg]) -> Vec<u128> {
    let mut ids: Vec<u128> = all.iter().map(|m| m.id).collect();
    ids.sort_unstable();
    ids
}

/// What a hop's row says: the verdict and how many are missing and too many, by the messages themselves.
fn compared(up: &Told, down: &Told) -> (&'static str, usize, usize) {
    let arrived = ids(&down.acked);
    let acked = ids(&up.acked);
    let mut not_failed = ids(&up.seen);
    for failed in ids(&up.failed) {
        let at = not_failed.binary_search(&failed).expect("it was seen");
        not_failed.remove(at);
    }
    let (least, n, most) = (acked.len(), arrived.len(), not_failed.len());
    match () {
        () if arrived == acked || arrived == not_failed => ("ok", 0, 0),
        () if n < least => ("missing", least - n, 0),
        () if n > most => ("surplus", 0, n - most),
        () if least == most => ("mixed", 0, 0),
        () => ("unproven", 0, 0),
    }
}

/// The rows of the hops, by the model. `left_out`: a member of the group at this place is not counted.
fn hops(flows: &[Flow], left_out: Option<usize>) -> Rows {
    let mut rows = Rows::new();
    for flow in flows {
        let sides: Vec<BTreeMap<WindowStart, Told>> =
            (flow.stages.iter().enumerate()).map(|(at, stage)| side(flow, stage, left_out == Some(at))).collect();
        for (stages, sides) in flow.stages.windows(2).zip(sides.windows(2)) {
            let mut windows: Vec<WindowStart> = sides.iter().flat_map(BTreeMap::keys).copied().collect();
            windows.sort_unstable();
            windows.dedup();
            for window in windows {
                let [up, down] = [0, 1].map(|side| sides[side].get(&window).cloned().unwrap_or_default());
                let (verdict, missing, surplus) = compared(&up, &down);
                let names = [flow.topic, &stages[0].name, &stages[1].name].map(str::to_owned);
                let numbers =
                    [window.0.to_string(), verdict.into(), missing.to_string(), surplus.to_string(), "0".into()];
                rows.push([names.as_slice(), numbers.as_slice()].concat());
            }
        }
    }
    rows.sort_by_key(|row| (row[..3].to_vec(), row[3].parse::<i64>().expect("a number")));
    rows
}

/// What the members of a stage counted together.
fn side(flow: &Flow, stage: &Stage, left_out: bool) -> BTreeMap<WindowStart, Told> {
    let mut side: BTreeMap<WindowStart, Told> = BTreeMap::new();
    let names: Vec<&String> = if stage.members.is_empty() { vec![&stage.name] } else { stage.members.iter().collect() };
    for name in names.into_iter().skip(usize::from(left_out)) {
        for ((_, window), told) in flow.model.iter().filter(|((counter, _), _)| counter == name) {
            let sum = side.entry(*window).or_default();
            sum.seen.extend(&told.seen);
            sum.acked.extend(&told.acked);
            sum.failed.extend(&told.failed);
        }
    }
    side
}

/// The rows of the members' counts, by the model.
fn counts(flows: &[Flow]) -> Rows {
    let mut rows = Rows::new();
    for flow in flows {
        for ((stage, window), told) in &flow.model {
            let names = [flow.topic.to_owned(), (*stage).to_owned(), window.0.to_string()];
            let numbers = [told.seen.len(), told.acked.len(), told.failed.len()].map(|n| n.to_string());
            let bytes: u64 = told.seen.iter().map(Msg::bytes).sum();
            rows.push([names.as_slice(), numbers.as_slice(), &[bytes.to_string()]].concat());
        }
    }
    rows
}

fn members(flows: &[Flow]) -> Rows {
    let mut rows = Rows::new();
    for flow in flows {
        for (group, stage) in flow.stages.iter().flat_map(|s| s.members.iter().map(move |m| (&s.name, m))) {
            rows.push(vec![format!("of-{}", flow.topic), group.clone(), stage.clone()]);
        }
    }
    rows.sort();
    rows
}

/// How many messages members reported, adding up whatever was said.
fn added_up(way: &Way) -> usize {
    let all = way.topic.iter().flatten().filter_map(message);
    let slots = all.clone().flat_map(|m| &m.slots).map(|s| s.state.n).sum::<u64>();
    let windows = all.flat_map(|m| &m.intervals).flat_map(|i| &i.windows).map(|w| w.n).sum::<u64>();
    usize::try_from(slots + windows).expect("small")
}

struct Outcome {
    reopened: u32,
    alone_differs: bool,
    added_up_differs: bool,
    amended: u64,
    /// Verdicts of hops of groups.
    verdicts: BTreeMap<String, u64>,
}

/// Everything at last, and then nothing but heartbeats until all is settled.
async fn finish(way: &mut Way, flows: &mut [Flow], mut store: Arc<dyn Store>, place: &Place) -> Arc<dyn Store> {
    let pipelines = Pipelines::from(flows.iter().map(Flow::pipeline).collect::<Vec<_>>());
    way.deliver(false);
    way.sent.clear();
    while flows.iter().any(Flow::is_late) {
        for flow in &mut *flows {
            flow.catch_up(way);
        }
    }
    for flow in &mut *flows {
        flow.claim(&*store, way.now_ms).await;
        flow.beat(way, false);
    }
    way.deliver(true);
    store = way.collect(store, place, true).await;
    way.now_ms = WIDTH.window_of(way.now_ms).end_ms(WIDTH) + 20_000;
    for flow in &mut *flows {
        flow.tail(way);
    }
    for round in 0..4 {
        for flow in &mut *flows {
            flow.beat(way, round == 3);
        }
        way.deliver(true);
        store = way.collect(store, place, true).await;
        way.through(&*store).await;
        store.judge(way.now_ms, &pipelines).await.expect("judge");
        way.now_ms += 10_000;
    }
    store
}

async fn history(seed: u64, place: &Place) -> Outcome {
    let mut way = Way::new(seed);
    let mut store = way.open(place);
    // Other groups were in effect before.
    let before: Vec<Flow> = (0..TOPICS.len()).map(|no| Flow::new(no, &mut way)).collect();
    let before = Pipelines::from(before.iter().map(Flow::pipeline).collect::<Vec<_>>());
    store.judge(way.now_ms, &before).await.expect("judge");
    let mut flows: Vec<Flow> = (0..TOPICS.len()).map(|no| Flow::new(no, &mut way)).collect();
    let pipelines = Pipelines::from(flows.iter().map(Flow::pipeline).collect::<Vec<_>>());
    for _ in 0..way.rng.random_range(3..8) {
        way.now_ms += way.rng.random_range(200..6_000);
        for flow in &mut flows {
            flow.live(&mut way, &*store).await;
        }
        way.deliver(false);
        store = way.collect(store, place, false).await;
        way.through(&*store).await;
        if way.rng.random_bool(0.5) {
            store.judge(way.now_ms, &pipelines).await.expect("judge");
        }
    }
    store = finish(&mut way, &mut flows, store, place).await;
    drop(store);
    assert_eq!(place.rows(MEMBERS), members(&flows), "seed {seed}: members of groups");
    assert_eq!(place.rows(COUNTS), counts(&flows), "seed {seed}: counts of members");
    let (found, model) = (place.rows(ROWS), hops(&flows, None));
    assert_eq!(found, model, "seed {seed}: hops");
    let group = flows[0].stages.iter().position(Stage::is_group).expect("there is one");
    let mut verdicts = BTreeMap::new();
    let of_group = |row: &&Vec<String>| {
        ["producers", "regional", "aggregates", "consumers"].iter().any(|g| row[1..3].iter().any(|s| s == g))
    };
    for row in found.iter().filter(of_group) {
        *verdicts.entry(row[4].clone()).or_default() += 1;
    }
    let counted: usize = flows.iter().flat_map(|flow| flow.model.values()).map(|told| told.seen.len()).sum();
    Outcome {
        reopened: way.reopened,
        alone_differs: hops(&flows, Some(group)) != found,
        added_up_differs: added_up(&way) != counted,
        amended: place.one("SELECT COALESCE(SUM(amendments), 0) FROM v_hop_window").parse().expect("a number"),
        verdicts,
    }
}

/// So many histories; how many of them the rows of one member fewer are not those of.
pub(crate) fn random(histories: u64) -> u64 {
    let outcomes = lived(histories, async |seed, [place]| history(seed, place).await);
    let mut verdicts: BTreeMap<String, u64> = BTreeMap::new();
    let of = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|o| wanted(o)).count() as u64;
    for (verdict, n) in outcomes.iter().flat_map(|o| &o.verdicts) {
        *verdicts.entry(verdict.clone()).or_default() += n;
    }
    let (alone, added_up) = (of(|o| o.alone_differs), of(|o| o.added_up_differs));
    let amended: u64 = outcomes.iter().map(|o| o.amended).sum();
    let reopened: u32 = outcomes.iter().map(|o| o.reopened).sum();
    println!("{histories} histories, {reopened} crashes, {amended} amendments, hops of groups {verdicts:?}");
    assert!(alone * 100 >= histories * 99, "a member fewer was as good in {} histories", histories - alone);
    assert!(added_up * 100 >= histories * 99, "adding up was right in {} histories", histories - added_up);
    // The histories must be hard enough: each verdict, amendment and crash occurs.
    let each = ["ok", "missing", "surplus", "mixed", "unproven"].map(|v| verdicts.get(v).copied().unwrap_or(0));
    assert!(each.iter().all(|n| *n * 10 >= histories), "{verdicts:?}");
    assert!(amended > histories / 10 && reopened > 100, "{amended} {reopened}");
    alone
}

#[test]
fn random_datacenters_that_flow_together_have_the_models_rows_and_one_fewer_has_not() {
    let alone = random(300);
    crate::place::figure("group_histories", 300);
    crate::place::figure("group_control_differs", alone);
}
