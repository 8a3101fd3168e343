//! Reporters in every standing.

use chaperone_audit::wire::Dropped;
use chaperone_collector::Presence;
use chaperone_collector::checkins::{CheckIns, Heard};
use chaperone_collector::query::{ExpectedState, ReporterState};
use uuid::Uuid;

use super::NOW_MS;

/// Heard every ten seconds, from and to so many seconds before now, but in the cells that `except` names otherwise.
pub(crate) fn heard(from_s: i64, to_s: i64, except: impl Fn(i64) -> Option<Heard>) -> CheckIns {
    let mut checkins = CheckIns::default();
    for s in (to_s..=from_s).rev().step_by(10) {
        checkins.note(NOW_MS - s * 1_000, except(s).unwrap_or(Heard::OnTime));
    }
    checkins
}

/// One that has been on time for a day.
pub(crate) fn reporter(stage: &str, application: &str, host: &str, id: u128) -> ReporterState {
    ReporterState {
        incarnation: Uuid::from_u128(id),
        stage: stage.to_owned(),
        host: host.to_owned(),
        application: application.to_owned(),
        library: "chaperone-audit 0.1.0".to_owned(),
        state: "live".to_owned(),
        watermark_ms: Some(NOW_MS - 2_000),
        last_ms: NOW_MS - 1_000,
        first_ms: NOW_MS - 86_000_000,
        pid: 4_711,
        silent_after_ms: 30_000,
        skew_ms: 3,
        checkins: heard(3_590, 1, |_| None),
        ..ReporterState::default()
    }
}

/// It was last heard so many seconds ago and said no goodbye.
pub(crate) fn silent(of: ReporterState, s: i64) -> ReporterState {
    let last_ms = NOW_MS - s * 1_000;
    ReporterState { state: "gone".into(), last_ms, checkins: heard(3_590, s, |_| None), ..of }
}

/// One of each, among many that are on time.
pub(crate) fn scene() -> Vec<ReporterState> {
    let mut id = 0;
    let mut one = |stage: &str, application: &str, host: &str| {
        id += 1;
        reporter(stage, application, host, id)
    };
    let mut all: Vec<ReporterState> =
        (1..=22).map(|i| one("producer", "rides-api", &format!("rides-api-{i:02}"))).collect();
    all[1].no_time = 12;
    all[2].library = "chaperone-audit 0.0.9".into();
    all.push(silent(one("producer", "dispatch", "dispatch-sjc-03"), 678));
    let fresh = one("producer", "freight-api", "freight-api-01");
    all.push(ReporterState { first_ms: NOW_MS - 320_000, checkins: heard(319, 1, |_| None), ..fresh });
    for i in 1..=6 {
        let proxy = one("proxy", "rest-proxy", &format!("proxy-sjc-{i:02}"));
        all.push(match i {
            2 => ReporterState {
                skew_ms: 2_120,
                late: 1_204,
                last_ms: NOW_MS - 14_000,
                checkins: heard(3_590, 14, |s| (s / 10 % 7 == 2).then_some(Heard::Late)),
                ..proxy
            },
            5 => ReporterState {
                lacking_since_ms: Some(NOW_MS - 42_000),
                dropped: Some(Dropped { unlogged: 3, ..Dropped::default() }),
                checkins: heard(3_590, 1, |s| (s < 42 || s / 10 == 80).then_some(Heard::Gap)),
                ..proxy
            },
            _ => proxy,
        });
    }
    for (stage, host) in [("kafka:sjc", "tap-sjc-1"), ("kafka:agg", "tap-agg-1"), ("kafka:phx", "tap-phx-1")] {
        all.push(ReporterState { library: "tap 0.1.0".into(), skew_ms: 0, ..one(stage, "chaperone tap", host) });
    }
    all.extend((1..=7).map(|i| one("consumer:billing", "billing", &format!("billing-sjc-{i:02}"))));
    // Restarted twenty minutes ago.
    let old = one("consumer:billing", "billing", "billing-sjc-08");
    let checkins = heard(3_590, 1_190, |_| None);
    all.push(ReporterState { state: "ended".into(), last_ms: NOW_MS - 1_190_000, checkins, ..old });
    let new = one("consumer:billing", "billing", "billing-sjc-08");
    all.push(ReporterState { first_ms: NOW_MS - 1_160_000, checkins: heard(1_160, 1, |_| None), ..new });
    all
}

pub(crate) fn expected() -> Vec<ExpectedState> {
    let one = |stage: &str, application: &str, at_least, live, state| ExpectedState {
        stage: stage.into(),
        application: application.into(),
        at_least,
        live,
        state,
        since_ms: NOW_MS - 678_000,
    };
    vec![
        one("consumer:billing", "billing", 8, 8, Presence::Ok),
        one("producer", "dispatch", 1, 0, Presence::Silent),
        one("producer", "legacy-api", 2, 0, Presence::Never),
        one("producer", "rides-api", 24, 22, Presence::Few),
    ]
}
