//! A record's bytes, as a message or as a reason. Total: nothing that anybody can write to the topic panics or stops it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use chaperone_audit::AuditMessage;
use chaperone_collector::{Content, Refused};
use sha2::{Digest, Sha256};

use super::guard;
use crate::config::Audit;

/// Longest reason kept, in characters.
const REASON_MAX: usize = 300;

/// Reads a record of an audit topic.
pub fn decode(bytes: Option<&[u8]>, audit: &Audit) -> Content {
    let value = bytes.unwrap_or_default();
    match read(bytes, audit) {
        Ok(message) => Content::Message(Box::new(message)),
        Err(reason) => Content::Refused(Refused {
            length: value.len() as u64,
            sha256: hex::encode(Sha256::digest(value)),
            reason: reason.chars().filter(|c| !c.is_control()).take(REASON_MAX).collect(),
        }),
    }
}

fn read(bytes: Option<&[u8]>, audit: &Audit) -> Result<AuditMessage, String> {
    let bytes = bytes.ok_or("no value")?;
    guard::admit(bytes)?;
    let mut copy = bytes.to_vec();
    // The parser's own faults must not become ours: a record is one record.
    let parsed = catch_unwind(AssertUnwindSafe(|| simd_json::serde::from_slice::<AuditMessage>(&mut copy)))
        .map_err(|_| "the parser failed".to_owned())?;
    let message = parsed.map_err(|e| format!("not an audit message: {e}"))?;
    message.check().map_err(|e| e.to_string())?;
    if !audit.allows(&message.stage) {
        return Err(format!("stage '{}' may not report on this topic (audit.stages)", message.stage));
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, System};

    fn audit(stages: &str) -> Audit {
        let text = format!("data_dir = 'd'\n[kafka.k]\nbootstrap_servers = 'h:1'\n[kafka.k.audit]\nstages = {stages}");
        let config = Config::parse(&text, &System).expect("good");
        config.clusters[0].audit.clone().expect("there")
    }
    fn good(stage: &str) -> Vec<u8> {
        let mut r = crate::tap::report::Reporting::new(stage, "k", "");
        r.heartbeat(1, &[], &[], None)[0].encode().expect("json")
    }
    fn reason(bytes: Option<&[u8]>) -> String {
        match decode(bytes, &audit("['*']")) {
            Content::Refused(r) => r.reason,
            Content::Message(m) => format!("accepted: {m:?}"),
        }
    }

    #[test]
    fn a_message_is_read_and_a_foreign_stage_is_not_believed() {
        assert!(matches!(decode(Some(&good("producer")), &audit("['producer']")), Content::Message(_)));
        let Content::Refused(refused) = decode(Some(&good("proxy")), &audit("['producer']")) else {
            panic!("accepted")
        };
        assert!(refused.reason.contains("proxy"), "{}", refused.reason);
        assert_eq!(refused.length, good("proxy").len() as u64);
        assert_eq!(refused.sha256.len(), 64);
    }

    #[test]
    fn poison_has_a_reason_each() {
        let deep = format!("{{\"v\":{}", "[".repeat(100_000));
        let mut future: serde_json::Value = serde_json::from_slice(&good("p")).expect("json");
        future["v"] = 2.into();
        let future = future.to_string();
        let huge = vec![b'x'; 2 << 20];
        let table: &[(Option<&[u8]>, &str)] = &[
            (None, "no value"),
            (Some(b""), "not an audit message"),
            (Some(b"\x00\xff\xfe"), "not an audit message"),
            (Some(b"{}"), "not an audit message"),
            (Some(b"[1,2"), "not an audit message"),
            (Some(b"{\"v\":1e999}"), "not an audit message"),
            (Some(deep.as_bytes()), "nested deeper"),
            (Some(&huge), "bytes; allowed"),
            (Some(future.as_bytes()), "version 2"),
        ];
        for (bytes, words) in table {
            let said = reason(*bytes);
            assert!(said.contains(words), "{words}: {said}");
        }
    }

    #[test]
    fn every_prefix_and_every_flipped_byte_of_a_message_is_read_or_refused() {
        let bytes = good("producer");
        let audit = audit("['*']");
        for cut in 0..bytes.len() {
            assert!(matches!(decode(Some(&bytes[..cut]), &audit), Content::Refused(_)), "prefix {cut}");
            let mut flipped = bytes.clone();
            flipped[cut] ^= 0x55;
            decode(Some(&flipped), &audit);
        }
    }
}
