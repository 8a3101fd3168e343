//! Every place where a time or an identity may be, and what is said where it is not.

mod explicit;
mod topics;

use super::*;
use crate::message::NoHeaders;

const NOW: i64 = 1_790_000_000_000;

fn bare<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>, ts: Option<i64>) -> Message<'a> {
    Message { topic: "t", key, value, headers: &NoHeaders, timestamp_ms: ts, broker_time: false }
}

#[test]
fn content_identity_tells_null_from_empty_and_key_from_value() {
    let rule = Rule::new(1);
    let id = |k, v| rule.observe(&bare(k, v, Some(NOW)), NOW).id;
    let all = [
        id(None, None),
        id(Some(b""), None),
        id(None, Some(b"")),
        id(Some(b""), Some(b"")),
        id(Some(b"ab"), Some(b"c")),
        id(Some(b"a"), Some(b"bc")),
    ];
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
    assert_eq!(id(Some(b"a"), Some(b"bc")), all[5]);
    assert_ne!(Rule::new(2).observe(&bare(None, Some(b"x"), Some(NOW)), NOW).id, id(None, Some(b"x")));
}

#[test]
fn classes_follow_the_time_that_was_found() {
    let rule = Rule::new(1);
    let class = |ts| rule.observe(&bare(None, Some(b"x"), ts), NOW).class;
    assert_eq!(class(Some(NOW)), Class::Bare);
    assert_eq!(class(None), Class::NoTime);
    assert_eq!(class(Some(MIN_EVENT_MS - 1)), Class::OutOfRange);
    assert_eq!(class(Some(NOW + MAX_AHEAD_MS + 1)), Class::OutOfRange);
    assert_eq!(class(Some(NOW + MAX_AHEAD_MS)), Class::Bare);
    let appended = Message { broker_time: true, ..bare(None, Some(b"x"), Some(NOW)) };
    let seen = rule.observe(&appended, NOW);
    assert_eq!((seen.class, seen.event_ms), (Class::Rewritten, Some(NOW)));
    let headers = [(HEADER, stamp(MessageId(42), NOW - 5).to_vec())];
    let seen = rule.observe(&Message { headers: &headers, ..appended }, NOW);
    assert_eq!((seen.class, seen.event_ms), (Class::Stamped, Some(NOW - 5)), "a time of its own is believed");
}

#[test]
fn the_stamp_is_kept_and_a_broken_one_is_malformed() {
    let rule = Rule::new(1);
    let headers = [(HEADER, stamp(MessageId(42), NOW - 5).to_vec())];
    let m = Message { headers: &headers, ..bare(None, Some(b"x"), Some(NOW)) };
    let seen = rule.observe(&m, NOW);
    assert_eq!(seen, Observation { id: MessageId(42), class: Class::Stamped, event_ms: Some(NOW - 5) });
    let broken = [(HEADER, vec![1, 2, 3])];
    let m = Message { headers: &broken, ..m };
    let seen = rule.observe(&m, NOW);
    assert_eq!((seen.class, seen.id), (Class::Malformed, rule.content_id(&m)));
}

#[test]
fn cloud_events_give_identity_and_time() {
    let rule = Rule::new(1);
    let headers = [("ce_id", "a1"), ("ce_source", "/app"), ("ce_time", "2026-09-21T12:00:00.250Z")];
    let m = Message { headers: &headers, ..bare(None, Some(b"x"), None) };
    let seen = rule.observe(&m, NOW);
    assert_eq!(seen.class, Class::Stamped);
    assert_eq!(seen.event_ms.map(|ms| ms % 1000), Some(250));
    let other = [("ce_id", "a1"), ("ce_source", "/other"), ("ce_time", "yesterday")];
    let m = Message { headers: &other, ..m };
    assert_ne!(rule.observe(&m, NOW).id, seen.id);
    assert_eq!(rule.observe(&m, NOW).class, Class::Malformed);
}

/// Stored counts and other processes know the default rule by this number.
#[test]
fn the_default_rule_keeps_its_id() {
    let old = |seed: u64| {
        xxh3_64_with_seed(b"v1 header:chaperone,cloudevents,create_time+content", xxh3_64(&seed.to_le_bytes()))
    };
    for seed in [0, 1, u64::MAX] {
        assert_eq!(Rule::new(seed).id(), RuleId(old(seed)));
        assert_eq!(
            Rule::with(seed, Recipe::parse(Some("default"), None, Some("default")).expect("good")),
            Rule::new(seed)
        );
    }
}
