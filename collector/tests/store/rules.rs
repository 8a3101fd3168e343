//! Stages that find time or identity by different rules: nothing of theirs is compared, not even where only one of them
//! has counted.

use chaperone_audit::{Class, RuleId};
use chaperone_collector::Verdict;

use crate::evidence::{Pair, caveats};
use crate::sim::{Msg, START, SimReporter, verdicts};

#[tokio::test]
async fn stages_of_different_rules_are_not_compared() {
    let mut p = Pair::new(3);
    p.consumer.slots.values_mut().for_each(|s| s.rule = RuleId(8));
    let w = p.settled().await;
    assert_eq!((w.verdict, caveats(&w)), (Verdict::Uncertain, vec!["rules differ".to_owned()]));
}

/// A replay of last year's messages: what one stage puts into last year's windows the other, whose rule knows only when
/// they were written anew, has in today's.
#[tokio::test]
async fn a_replay_is_not_missing_where_another_rule_puts_it_into_today() {
    const YEAR: i64 = 31_536_000_000;
    for (rule, verdict) in [(8, Verdict::Uncertain), (7, Verdict::Missing)] {
        let mut p = Pair::new(10);
        p.producer = SimReporter::new(1, "producer", "host-1", START - YEAR - 1);
        p.consumer = SimReporter::new(2, "consumer", "host-2", START - YEAR - 1).seeing();
        for id in 1..=10 {
            let m = Msg { id, topic: "orders", event_ms: START - YEAR };
            p.producer.arrive(&m, START + 100);
            p.producer.acked(&m);
            p.consumer.arrive(&Msg { event_ms: START, ..m }, START + 120);
        }
        p.consumer.slots.values_mut().for_each(|s| s.rule = RuleId(rule));
        p.beats_of_all(20_000).await;
        p.store.judge(START + 20_000, &p.pipelines).await.expect("judge");
        let rows = verdicts(&*p.store, "orders").await;
        let w = rows.iter().min_by_key(|w| w.window_ms).expect("last year's window");
        assert_eq!(w.verdict, verdict, "{w:?}");
    }
}

/// By another rule for the time messages are in other windows, or have none: where one stage has nothing, that is no loss.
#[tokio::test]
async fn what_another_rule_puts_elsewhere_is_not_missing() {
    for (rule, elsewhere_ms, class, verdict, said) in [
        (8, 60_000, Class::Bare, Verdict::Uncertain, vec!["rules differ"]),
        (8, 60_000, Class::NoTime, Verdict::Uncertain, vec!["rules differ"]),
        (7, 60_000, Class::Bare, Verdict::Missing, vec![]),
        // However far away: what counts is when they arrived.
        (8, 7_200_000, Class::Bare, Verdict::Uncertain, vec!["rules differ"]),
        (8, -31_536_000_000, Class::Bare, Verdict::Uncertain, vec!["rules differ"]),
        (7, -31_536_000_000, Class::Bare, Verdict::Missing, vec![]),
    ] {
        let mut p = Pair::new(10);
        for id in 1..=10 {
            p.consumer.arrive(&Msg { id, topic: "orders", event_ms: START + elsewhere_ms }, START + 120);
        }
        p.consumer.slots.values_mut().for_each(|s| (s.rule, s.class) = (RuleId(rule), class));
        p.beats_of_all(20_000).await;
        p.store.judge(START + 20_000, &p.pipelines).await.expect("judge");
        let rows = verdicts(&*p.store, "orders").await;
        let w = rows.iter().find(|w| w.window_ms == START).expect("its window");
        assert_eq!(w.verdict, verdict, "{rule} {class:?}: {w:?}");
        assert_eq!(caveats(w), said, "{w:?}");
    }
}
