//! `inspect rule`: a message, and the time and identity that a rule finds in it.
//!
//! Ids are made under the seed 0, so those of contents and texts are not a deployment's.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use chaperone_audit::message::Headers;
use chaperone_audit::{Class, Message, Rule};
use serde::{Deserialize, Deserializer, Serialize};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Record {
    value: Option<Bytes>,
    key: Option<Bytes>,
    headers: Vec<(String, Option<Bytes>)>,
    timestamp_ms: Option<i64>,
}

/// Bytes as base64, padded or not.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        const LENIENT: GeneralPurpose = GeneralPurpose::new(
            &alphabet::STANDARD,
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
        );
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let wrong = |e| serde::de::Error::custom(format!("no base64: {e}; for example {}", STANDARD.encode("{}")));
        LENIENT.decode(text.as_bytes()).map(Self).map_err(wrong)
    }
}

impl Headers for Record {
    fn header(&self, name: &str) -> Option<&[u8]> {
        let (_, value) = self.headers.iter().find(|(n, _)| n == name)?;
        value.as_ref().map(|v| v.0.as_slice())
    }
}

#[derive(Serialize)]
struct Answer {
    event_ms: Option<i64>,
    class: &'static str,
    id: String,
}

/// A message → `{"event_ms","class","id"}`, as if it arrived at `now_ms`
///
/// # Errors
/// What is wrong with the line.
pub fn answer(rule: &Rule, now_ms: i64, line: &str) -> Result<String, String> {
    let record: Record = super::read(line)?;
    let message = Message {
        topic: "",
        key: record.key.as_ref().map(|k| k.0.as_slice()),
        value: record.value.as_ref().map(|v| v.0.as_slice()),
        headers: &record,
        timestamp_ms: record.timestamp_ms,
        broker_time: false,
    };
    let seen = rule.observe(&message, now_ms);
    let class = match seen.class {
        Class::Stamped | Class::Bare | Class::Rewritten => "ok",
        Class::NoTime | Class::Malformed | Class::OutOfRange => seen.class.as_str(),
    };
    serde_json::to_string(&Answer { event_ms: seen.event_ms, class, id: seen.id.to_string() })
        .map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use chaperone_audit::Recipe;

    use super::*;

    const NOW: i64 = 1_790_000_000_000;

    fn said(time: &str, unit: Option<&str>, line: &str) -> Result<String, String> {
        let rule = Rule::with(0, Recipe::parse(Some(time), unit, Some("json:/id")).expect("good"));
        answer(&rule, NOW, line)
    }

    fn of_value(json: &str) -> String {
        format!("{{\"value\":\"{}\"}}", STANDARD.encode(json))
    }

    #[test]
    fn time_class_and_identity_are_told() {
        let id = "0199a1b2c3d47e5f8091a2b3c4d5e6f7";
        let uuid = "0199a1b2-c3d4-7e5f-8091-a2b3c4d5e6f7";
        let event = of_value(&format!(r#"{{"id":"{uuid}","meta":{{"ts":1790000000}}}}"#));
        let ok = format!(r#"{{"event_ms":{NOW},"class":"ok","id":"{id}"}}"#);
        assert_eq!(said("json:/meta/ts", Some("s"), &event), Ok(ok.clone()));
        assert_eq!(said("json:/meta/ts", Some("s"), &event.replace('=', "")), Ok(ok.clone()), "without padding");
        let timed =
            event.replace('}', r#","timestamp_ms":1790000000000,"headers":[["a",null],["x","eA=="]],"key":null}"#);
        assert_eq!(said("timestamp", None, &timed), Ok(ok));
        for (time, class) in [("header:a", "no_time"), ("header:x", "malformed"), ("json:/meta/ts", "out_of_range")] {
            assert_eq!(said(time, None, &timed), Ok(format!(r#"{{"event_ms":null,"class":"{class}","id":"{id}"}}"#)));
        }
        assert!(said("default", None, "{}").is_ok_and(|s| s.contains("no_time")), "a message without anything");
    }

    #[test]
    fn what_is_no_message_is_named() {
        for (line, words) in [
            (r#"{"valeu":""}"#, "unknown field `valeu`"),
            (r#"{"value":"!"}"#, "no base64"),
            (r#"{"headers":[["a"]]}"#, "invalid length 1"),
            ("[1]", "invalid type"),
        ] {
            let said = said("default", None, line).expect_err(line);
            assert!(said.contains(words), "{said}");
        }
    }
}
