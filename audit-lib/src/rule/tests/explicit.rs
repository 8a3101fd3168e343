//! Recipes: headers, JSON fields, structured events, and how they are written.

use super::*;

const NOW_TEXT: &str = "2026-09-21T14:13:20Z";

fn rule(time: &str, unit: Option<&str>, id: &str) -> Rule {
    Rule::with(1, Recipe::parse(Some(time), unit, Some(id)).expect("good"))
}

fn value(json: &str) -> Message<'_> {
    bare(Some(b"k"), Some(json.as_bytes()), Some(5))
}

/// Class and time of a payload by `json:/ts`.
fn of_json(json: &str, unit: &str) -> (Class, Option<i64>) {
    let seen = rule("json:/ts", Some(unit), "content").observe(&value(json), NOW);
    (seen.class, seen.event_ms)
}

#[test]
fn a_time_is_read_in_every_unit_and_notation() {
    assert_eq!(chrono::DateTime::parse_from_rfc3339(NOW_TEXT).expect("a time").timestamp_millis(), NOW);
    for (json, unit, ms) in [
        ("1790000000000", "ms", NOW),
        ("1.79e12", "ms", NOW),
        ("1790000000000.999", "ms", NOW),
        ("\"1790000000000\"", "ms", NOW),
        ("\"\\u0031790000000000\"", "ms", NOW),
        ("1790000000", "s", NOW),
        ("1790000000.0625", "s", NOW + 62),
        ("\"1790000000.5\"", "s", NOW + 500),
        ("1790000000000001", "us", NOW),
        ("1790000000000999", "us", NOW),
        ("1790000000000999999", "ns", NOW),
        ("\"2026-09-21T14:13:20Z\"", "rfc3339", NOW),
        ("\"2026-09-21T16:13:20.0009+02:00\"", "rfc3339", NOW),
        ("\"2026-09-21T14:13:20.123456789Z\"", "rfc3339", NOW + 123),
        ("\"2026\\u002d09-21T14:13:20Z\"", "rfc3339", NOW),
    ] {
        assert_eq!(of_json(&format!("{{\"ts\":{json}}}"), unit), (Class::Bare, Some(ms)), "{json} in {unit}");
    }
}

#[test]
fn what_is_no_time_has_its_class() {
    for (json, unit, class) in [
        (r#"{"t":1}"#, "ms", Class::NoTime),
        (r#"{"ts":null}"#, "ms", Class::NoTime),
        (r#"{"a":{"ts":1790000000000}}"#, "ms", Class::NoTime),
        (r#"{"ts":"2026-09-21T14:13:20Z"}"#, "ms", Class::Malformed),
        (r#"{"ts":1790000000000}"#, "rfc3339", Class::Malformed),
        (r#"{"ts":"yesterday"}"#, "rfc3339", Class::Malformed),
        (r#"{"ts":""}"#, "ms", Class::Malformed),
        (r#"{"ts":" 1790000000000"}"#, "ms", Class::Malformed),
        (r#"{"ts":[1790000000000]}"#, "ms", Class::Malformed),
        (r#"{"ts":true}"#, "ms", Class::Malformed),
        (r#"{"ts":1790000000000"#, "ms", Class::Malformed),
        ("", "ms", Class::Malformed),
        ("\u{0}\u{1}avro", "ms", Class::Malformed),
        (r#"{"ts":1790000000}"#, "ms", Class::OutOfRange),
        (r#"{"ts":1790000000000}"#, "s", Class::OutOfRange),
        (r#"{"ts":-1}"#, "ms", Class::OutOfRange),
        (r#"{"ts":1e400}"#, "ms", Class::OutOfRange),
        (r#"{"ts":9223372036854775807}"#, "s", Class::OutOfRange),
    ] {
        assert_eq!(of_json(json, unit), (class, None), "{json} in {unit}");
    }
    let tombstone = bare(Some(b"k"), None, Some(NOW));
    assert_eq!(rule("json:/ts", None, "json:/id").observe(&tombstone, NOW).class, Class::NoTime);
}

#[test]
fn a_header_has_a_time_as_text_or_as_eight_bytes() {
    let of = |header: &[u8], unit| {
        let headers = [("x-time", header.to_vec())];
        let seen =
            rule("header:x-time", Some(unit), "content").observe(&Message { headers: &headers, ..value("{}") }, NOW);
        (seen.class, seen.event_ms)
    };
    assert_eq!(of(b"1790000000000", "ms"), (Class::Bare, Some(NOW)));
    assert_eq!(of(b"1.7900e9", "s"), (Class::Bare, Some(NOW)), "8 bytes that are a number are a number");
    assert_eq!(of(&NOW.to_be_bytes(), "ms"), (Class::Bare, Some(NOW)));
    assert_eq!(of(&(NOW * 1_000_000 + 999_999).to_be_bytes(), "ns"), (Class::Bare, Some(NOW)));
    assert_eq!(of(&(NOW / 1000).to_be_bytes(), "s"), (Class::Bare, Some(NOW)));
    assert_eq!(of(&i64::MIN.to_be_bytes(), "s"), (Class::OutOfRange, None));
    assert_eq!(of(&NOW.to_be_bytes(), "rfc3339"), (Class::Malformed, None));
    assert_eq!(of(NOW_TEXT.as_bytes(), "rfc3339"), (Class::Bare, Some(NOW)));
    assert_eq!(of(b"", "ms"), (Class::Malformed, None));
    assert_eq!(rule("header:other", None, "content").observe(&value("{}"), NOW).class, Class::NoTime);
}

#[test]
fn an_identity_is_a_uuid_a_text_or_a_number_and_else_the_content() {
    let uuid = "0199a1b2-c3d4-7e5f-8091-a2b3c4d5e6f7";
    let number = MessageId(0x0199_a1b2_c3d4_7e5f_8091_a2b3_c4d5_e6f7);
    let of = |json: &str| rule("timestamp", None, "json:/id").observe(&value(json), NOW).id;
    assert_eq!(of(&format!("{{\"id\":\"{uuid}\"}}")), number);
    assert_eq!(of(&format!("{{\"id\":\"{}\"}}", uuid.to_uppercase())), number, "the case of a UUID is no matter");
    assert_eq!(of(&format!("{{\"z\":1,\"\\u0069d\":\"{}\"}}", uuid.replace('-', "\\u002d"))), number);
    assert_eq!(of(r#"{"id":"a-1"}"#), of(r#"{"x":2,"id":"\u0061-1"}"#));
    assert_eq!(of(r#"{"id":17}"#), of(r#"{"id":"17","a":1}"#), "a number is its text");
    assert_ne!(of(r#"{"id":17}"#), of(r#"{"id":1.7e1}"#), "as it is written");
    assert_ne!(of(r#"{"id":"a"}"#), of(r#"{"id":"b"}"#));
    for json in [
        r#"{"id":""}"#,
        r#"{"id":null}"#,
        r#"{"id":true}"#,
        r#"{"id":{}}"#,
        r#"{"id":"\ud800"}"#,
        r#"{"i":1}"#,
        "{",
        "7",
    ] {
        assert_eq!(of(json), Rule::new(1).content_id(&value(json)), "{json}");
    }
    let of_header = |header: &[u8]| {
        let headers = [("x-id", header.to_vec())];
        rule("timestamp", None, "header:x-id").observe(&Message { headers: &headers, ..value("{}") }, NOW).id
    };
    assert_eq!(of_header(uuid.as_bytes()), number);
    assert_eq!(of_header(&number.0.to_be_bytes()), number);
    assert_eq!(of_header(b"a-1"), of(r#"{"id":"a-1"}"#), "wherever it is carried");
    assert_eq!(of_header(b""), Rule::new(1).content_id(&value("{}")));
}

#[test]
fn a_structured_event_is_the_binary_one() {
    let rule = rule("cloudevents", None, "cloudevents");
    let headers = [("ce_specversion", "1.0"), ("ce_id", "a1"), ("ce_source", "/app"), ("ce_time", NOW_TEXT)];
    let binary = rule.observe(&Message { headers: &headers, ..value("{}") }, NOW);
    assert_eq!((binary.class, binary.event_ms), (Class::Stamped, Some(NOW)));
    let structured = |kind: &str, json: &str| {
        let headers = [("content-type", kind)];
        rule.observe(&Message { headers: &headers, ..value(json) }, NOW)
    };
    let event = format!(
        r#"{{"specversion":"1.0","data":{{"id":"x","time":1}},"id":"a1","time":"{NOW_TEXT}","source":"\/app"}}"#
    );
    for kind in ["application/cloudevents+json", "application/CloudEvents+JSON; charset=utf-8"] {
        assert_eq!(structured(kind, &event), binary);
    }
    assert_eq!(structured("application/json", &event).class, Class::NoTime);
    let timeless = structured("application/cloudevents+json", r#"{"id":"a1","source":"/app"}"#);
    assert_eq!((timeless.id, timeless.class), (binary.id, Class::OutOfRange), "the record's time, 5 ms after 1970");
    let broken = structured("application/cloudevents+json", r#"{"id":"a1","source":"/app","time":17}"#);
    assert_eq!((broken.id, broken.class), (binary.id, Class::Malformed));
    assert_eq!(structured("application/cloudevents+json", "no json").class, Class::Malformed);
}

#[test]
fn halves_of_the_default_rule_can_be_combined() {
    let headers = [(HEADER, stamp(MessageId(42), NOW - 5).to_vec())];
    let m = Message { headers: &headers, ..value(r#"{"ts":1790000000000,"id":"a"}"#) };
    let seen = rule("json:/ts", None, "default").observe(&m, NOW);
    assert_eq!(seen, Observation { id: MessageId(42), class: Class::Stamped, event_ms: Some(NOW) });
    let seen = rule("default", None, "content").observe(&m, NOW);
    assert_eq!((seen.id, seen.class, seen.event_ms), (Rule::new(1).content_id(&m), Class::Bare, Some(NOW - 5)));
    let broken = [(HEADER, vec![0; 3])];
    let seen = rule("json:/ts", None, "default").observe(&Message { headers: &broken, ..m }, NOW);
    assert_eq!((seen.id, seen.class), (Rule::new(1).content_id(&m), Class::Bare), "the time is none of the stamp's");
    let appended = Message { broker_time: true, ..value(r#"{"ts":1790000000000}"#) };
    assert_eq!(rule("json:/ts", None, "content").observe(&appended, NOW).class, Class::Bare, "has a time of its own");
}

#[test]
fn rules_are_written_as_they_are_read() {
    for text in ["default", "timestamp", "cloudevents", "header:x-time", "json:/meta/ts", "json:", "json:/a~1b/~0/0"] {
        let rule = TimeRule::parse(text, None).expect(text);
        assert_eq!(
            (rule.to_string().as_str(), TimeRule::parse(&rule.to_string(), rule.unit())),
            (text, Ok(rule.clone()))
        );
    }
    for text in ["default", "content", "cloudevents", "header:x", "json:/id"] {
        assert_eq!(IdRule::parse(text).expect(text).to_string(), text);
    }
    assert_eq!(TimeRule::parse("timestamp", Some(Unit::Ms)), Ok(TimeRule::Timestamp));
    for (time, unit, id, words) in [
        (
            "jsn:/a",
            None,
            "content",
            "'jsn:/a' is no time rule; allowed: default, timestamp, cloudevents, header:NAME, json:/POINTER",
        ),
        ("content", None, "content", "no time rule"),
        ("default", None, "timestamp", "'timestamp' is no identity rule; allowed: default, content,"),
        ("json:/a", Some("min"), "content", "'min' is no unit; allowed: ms, s, us, ns, rfc3339"),
        ("timestamp", Some("s"), "content", "unit s does not go with 'timestamp', whose times are in ms"),
        ("cloudevents", Some("ms"), "content", "whose times are in rfc3339"),
        ("header:", None, "content", "'header:' names no header"),
        ("json:meta", None, "content", "'json:meta': 'meta' does not begin with '/'"),
        ("default", None, "json:/~2", "~0"),
    ] {
        let said = Recipe::parse(Some(time), unit, Some(id)).expect_err(time).to_string();
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn rules_that_differ_have_ids_that_differ() {
    let recipes = [
        ("default", None, "default"),
        ("default", None, "content"),
        ("timestamp", None, "default"),
        ("timestamp", None, "content"),
        ("cloudevents", None, "cloudevents"),
        ("header:a", None, "content"),
        ("header:a", Some("s"), "content"),
        ("header:a", Some("us"), "content"),
        ("header:a", Some("ns"), "content"),
        ("header:a", Some("rfc3339"), "content"),
        ("header:b", None, "content"),
        ("json:/a", None, "content"),
        ("json:/a/0", None, "content"),
        ("json:/a", None, "json:/a"),
        ("json:/a", None, "header:/a"),
        ("json:/a ms 7:content", None, "content"),
    ];
    let ids = |seed| {
        recipes.map(|(time, unit, id)| Rule::with(seed, Recipe::parse(Some(time), unit, Some(id)).expect("good")).id())
    };
    let distinct: std::collections::BTreeSet<_> = ids(1).into_iter().chain(ids(2)).collect();
    assert_eq!(distinct.len(), 2 * recipes.len());
    assert_eq!(ids(1), ids(1));
}
