//! Who is silent, who was replaced, and what follows for whom.

use super::*;

const NOW_MS: i64 = 1_795_265_398_000;

fn process(n: u128, role: &str, started_ms: i64, beat_ms: i64) -> ProcessState {
    ProcessState {
        id: Uuid::from_u128(n),
        role: role.into(),
        clusters: "k".into(),
        reads: if role == "tap" { String::new() } else { "k/audit".into() },
        host: format!("h{n}"),
        pid: 7,
        version: "0".into(),
        started_ms,
        beat_ms,
        problems: Vec::new(),
    }
}

fn others(role: Role) -> Others {
    Others::new(Uuid::from_u128(999), role)
}

fn said(heard: &BTreeMap<String, Problem>) -> Vec<(&str, bool)> {
    heard.values().map(|p| (p.text.as_str(), p.notice)).collect()
}

#[test]
fn a_page_without_a_collector_is_not_ready_whatever_the_reason() {
    let (mut web, start) = (others(Role::Web), Instant::now());
    let none = web.hear(&[], NOW_MS, start);
    assert!(matches!(said(&none)[..], [(text, false)] if text.contains("chaperone collect")), "{none:?}");
    let mut collector = process(1, "collect", NOW_MS, NOW_MS);
    assert!(web.hear(std::slice::from_ref(&collector), NOW_MS, start).is_empty());
    // It beats on while our clock jumps about.
    for second in 1..20_u32 {
        collector.beat_ms += 1_000;
        let jump = i64::from(second % 3) * 3_600_000;
        let heard = web.hear(std::slice::from_ref(&collector), NOW_MS + jump, start + Duration::from_secs(1) * second);
        assert!(heard.is_empty(), "{heard:?}");
    }
    // And then does not, whatever the clocks say.
    let last = start + Duration::from_secs(19);
    let hear = |web: &mut Others, after: u64| {
        web.hear(std::slice::from_ref(&collector), collector.beat_ms, last + Duration::from_secs(after))
    };
    assert!(hear(&mut web, 9).is_empty());
    let heard = hear(&mut web, 10);
    let words = |text: &str| text.contains("on h1, process 7") && text.contains("2026-11-21 12:50:17 UTC");
    assert!(matches!(said(&heard)[..], [(text, false)] if words(text)), "{heard:?}");
}

#[test]
fn the_first_look_goes_by_the_clocks_and_a_beat_of_the_future_is_no_sign_of_life() {
    let start = Instant::now();
    for (beat_ms, silent) in
        [(NOW_MS - 9_000, false), (NOW_MS - 10_000, true), (NOW_MS + 3_600_000, true), (NOW_MS + 500, false)]
    {
        let collector = process(1, "run", 1, beat_ms);
        let heard = others(Role::Web).hear(&[collector], NOW_MS, start);
        assert_eq!(!heard.is_empty(), silent, "{beat_ms}: {heard:?}");
    }
}

#[test]
fn a_silent_tap_is_a_notice_until_another_is_started_in_its_place() {
    let start = Instant::now();
    let dead = process(1, "tap", NOW_MS - 900_000, NOW_MS - 60_000);
    let old = process(2, "tap", NOW_MS - 900_000, NOW_MS);
    let collector = process(3, "collect", NOW_MS - 900_000, NOW_MS);
    let hear = |all: &[ProcessState]| others(Role::Web).hear(all, NOW_MS, start);
    let heard = hear(&[dead.clone(), old.clone(), collector.clone()]);
    assert!(matches!(said(&heard)[..], [(text, true)] if text.contains("tap on h1")), "{heard:?}");
    let new = process(4, "tap", NOW_MS - 5_000, NOW_MS);
    assert!(hear(&[dead.clone(), old.clone(), collector.clone(), new.clone()]).is_empty());
    let mut elsewhere = new.clone();
    elsewhere.clusters = "other".into();
    assert_eq!(hear(&[dead.clone(), collector.clone(), elsewhere]).len(), 1, "it has other clusters");
    let dead_too = process(5, "tap", NOW_MS - 900_000, NOW_MS - 70_000);
    assert_eq!(hear(&[dead, dead_too, collector, new]).len(), 1, "one start replaces one");
}

#[test]
fn what_is_wrong_with_others_is_repeated_with_their_names() {
    let mut tap = process(1, "tap", NOW_MS, NOW_MS);
    tap.problems = vec![
        Trouble { text: "kafka.k: no broker answers".into(), notice: false },
        Trouble { text: "note".into(), notice: true },
    ];
    let collector = process(2, "run", NOW_MS, NOW_MS);
    let heard = others(Role::Web).hear(&[tap, collector.clone()], NOW_MS, Instant::now());
    assert_eq!(
        said(&heard),
        [("chaperone tap on h1: kafka.k: no broker answers", false), ("chaperone tap on h1: note", true)]
    );
    // Two who collect: a notice to both, unless they divide the work; itself nobody hears.
    let mut me = Others::new(collector.id, Role::Run);
    assert!(me.hear(std::slice::from_ref(&collector), NOW_MS, Instant::now()).is_empty());
    let heard = me.hear(&[collector, process(3, "collect", NOW_MS, NOW_MS)], NOW_MS, Instant::now());
    assert!(matches!(said(&heard)[..], [(text, true)] if text.contains("same store")), "{heard:?}");
    me.shares = true;
    let start = Instant::now();
    let other = process(3, "collect", NOW_MS, NOW_MS);
    assert!(me.hear(std::slice::from_ref(&other), NOW_MS, start).is_empty() && me.lives(other.id));
    me.hear(std::slice::from_ref(&other), NOW_MS, start + SILENT_AFTER);
    assert!(!me.lives(other.id), "what is silent has no part");
}
