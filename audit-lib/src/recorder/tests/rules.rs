//! Each topic is counted by its own rule, and its records say which.

use super::*;
use crate::rule::{Class, Recipe, TopicRule};

#[test]
fn a_topic_has_its_own_rule() {
    let events = || {
        TopicRule::new("^events.*").and_then(|t| t.with(Some("json:/ts"), Some("s"), Some("json:/id"))).expect("good")
    };
    let mut b = Bench::new(Config { rules: vec![events()], ..config() });
    let value = format!(r#"{{"id":"0199a1b2-c3d4-7e5f-8091-a2b3c4d5e6f7","ts":{}}}"#, T0 / 1_000 - 30);
    for topic in ["events-eu", "orders"] {
        b.recorder.attempt(&message(topic, value.as_bytes(), T0)).acked();
    }
    b.recorder.attempt(&message("events-eu", b"{}", T0)).acked();
    b.pass(2_000);
    let collector = Collector::of(&b.sink.messages());
    let rule = Rule::with(SEED, events().recipe);
    let told: BTreeMap<_, _> = collector.slots.values().map(|s| ((s.topic.as_str(), s.class), s)).collect();
    assert_eq!(told.len(), 3);
    let (by_field, by_default) = (told[&("events-eu", Class::Bare)], told[&("orders", Class::Bare)]);
    assert_eq!((by_field.rule, by_default.rule), (rule.id(), Rule::new(SEED).id()));
    assert_ne!(rule, Rule::with(SEED, Recipe::default()));
    assert_eq!((by_field.window_ms.0, by_default.window_ms.0), (T0 - 30_000, T0));
    let id = crate::MessageId(0x0199_a1b2_c3d4_7e5f_8091_a2b3_c4d5_e6f7);
    assert_eq!(by_field.state.f_in(), id.hash(SEED));
    assert_eq!(told[&("events-eu", Class::NoTime)].rule, rule.id());
}
