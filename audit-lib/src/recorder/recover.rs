//! What a dead incarnation left in the log, made ready to be sent again.
//!
//! Records go out as they are, under their UUIDs. Where its slot file is gone (slots on the heap, or the machine died) the
//! checkpoint becomes its last word: its open slots are final, flagged `crash`, and the incarnation's end is told, `power`
//! if the machine has booted since. The same checkpoint always becomes the same messages, so recovering twice (a crash
//! while recovering) changes nothing.
//!
//! Limit: a checkpoint may be up to its interval older than the death; counts since then are lost unless a heartbeat
//! brought them, and the flag says so. A slot that only a heartbeat showed gets no final state: the incarnation's end is
//! its end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use chaperone_wal::{Entry, Kind};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::message::split;
use crate::state::flag;
use crate::wire::{AuditMessage, End};

/// The Kafka key of an encoded message, its incarnation as text, and how many slots are in it. `None` for bytes that are no audit message.
pub(super) fn key_of(payload: &[u8]) -> Option<(String, u64)> {
    #[derive(Deserialize)]
    struct Keyed {
        incarnation: Uuid,
        #[serde(default)]
        slots: Vec<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<Keyed>(payload).ok().map(|k| (k.incarnation.to_string(), k.slots.len() as u64))
}

/// The stage that an encoded message reports. `None` for bytes that are no audit message.
pub(super) fn stage_of(payload: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Staged {
        stage: String,
    }
    serde_json::from_slice::<Staged>(payload).ok().map(|s| s.stage)
}

/// A checkpoint as it stands in the log: a message that is never sent as it is, which boot of the machine wrote it, and
/// where its slot file is.
#[derive(Serialize)]
struct Checkpoint<'a> {
    #[serde(flatten)]
    message: &'a AuditMessage,
    boot: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    slots_file: Option<&'a str>,
}

/// The bytes of a checkpoint; `None` for a message that cannot be encoded. `slots`: the slot file, if there is one.
pub(super) fn checkpoint(message: &AuditMessage, boot: [u8; 16], slots: Option<&Path>) -> Option<Vec<u8>> {
    let slots = slots.and_then(|path| std::path::absolute(path).ok());
    // A name that is no text is not told: whoever takes over must be given the directory.
    let slots_file = slots.as_deref().and_then(Path::to_str);
    serde_json::to_vec(&Checkpoint { message, boot: Uuid::from_bytes(boot), slots_file }).ok()
}

/// Where a checkpoint says that its slot file is.
pub(super) fn slots_of(payload: &[u8]) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Placed {
        slots_file: PathBuf,
    }
    serde_json::from_slice::<Placed>(payload).ok().map(|p| p.slots_file)
}

fn boot_of(payload: &[u8]) -> Option<[u8; 16]> {
    #[derive(Deserialize)]
    struct Booted {
        boot: Uuid,
    }
    serde_json::from_slice::<Booted>(payload).ok().map(|b| b.boot.into_bytes()).filter(|boot| *boot != [0; 16])
}

/// Slots of an incarnation whose finals are in the log.
#[derive(Debug, Default)]
struct Finished {
    ids: BTreeSet<u64>,
    /// Runs of ids whose counts are in other slots.
    merged: Vec<(u64, u64)>,
}

/// The last words of incarnations whose checkpoint is still there, but for those that `told` says have told more
/// themselves; and how many checkpoints cannot be read. `boot`: the machine's boot now.
pub(super) fn last_words(entries: &[Entry], boot: [u8; 16], told: impl Fn(Uuid) -> bool) -> (Vec<AuditMessage>, u64) {
    let mut finished: BTreeMap<Uuid, Finished> = BTreeMap::new();
    for message in entries.iter().filter(|e| e.kind == Kind::Record).filter_map(decode) {
        let Finished { ids, merged } = finished.entry(message.incarnation).or_default();
        ids.extend(message.slots.iter().map(|s| s.id));
        merged.extend(message.merged);
    }
    let mut words = Vec::new();
    let mut unreadable = 0;
    for entry in entries.iter().filter(|e| e.kind == Kind::Checkpoint) {
        match decode(entry) {
            Some(checkpoint) if told(checkpoint.incarnation) => {}
            Some(mut checkpoint) => {
                // Closed after the checkpoint and logged, but the crash came before the next checkpoint.
                if let Some(Finished { ids, merged }) = finished.get(&checkpoint.incarnation) {
                    let is_merged = |id: u64| merged.iter().any(|(from, to)| (*from..*to).contains(&id));
                    checkpoint.slots.retain(|s| !ids.contains(&s.id) && !is_merged(s.id));
                }
                let moved = boot_of(&entry.payload).is_some_and(|then| boot != [0; 16] && then != boot);
                words.extend(crashed(checkpoint, if moved { End::Power } else { End::Crash }));
            }
            None => unreadable += 1,
        }
    }
    (words, unreadable)
}

fn decode(entry: &Entry) -> Option<AuditMessage> {
    AuditMessage::decode(&entry.payload).inspect_err(|error| tracing::warn!(%error, "unreadable entry in the log")).ok()
}

fn crashed(mut checkpoint: AuditMessage, end: End) -> Vec<AuditMessage> {
    for slot in checkpoint.slots.iter_mut().filter(|s| !s.state.is_final) {
        slot.state.is_final = true;
        slot.state.flags.insert(flag::CRASH.to_owned());
    }
    let mut parts = split(std::mem::take(&mut checkpoint.slots));
    if parts.is_empty() {
        parts.push(Vec::new());
    }
    let count = parts.len();
    let part = |(i, slots)| AuditMessage {
        uuid: if i == 0 { checkpoint.uuid } else { derived(checkpoint.uuid, i as u64) },
        slots,
        end: (i + 1 == count).then_some(end),
        ..checkpoint.clone()
    };
    parts.into_iter().enumerate().map(part).collect()
}

/// A `UUIDv7` of the same instant that is always the same for the same part.
pub(super) fn derived(uuid: Uuid, part: u64) -> Uuid {
    let bytes = uuid.as_bytes();
    let mut ms = [0; 8];
    for (to, from) in ms.iter_mut().skip(2).zip(bytes) {
        *to = *from;
    }
    let hash = xxh3_128_with_seed(bytes, part).to_le_bytes();
    let mut random = [0; 10];
    for (to, from) in random.iter_mut().zip(hash) {
        *to = from;
    }
    uuid::Builder::from_unix_timestamp_millis(u64::from_be_bytes(ms), &random).into_uuid()
}
