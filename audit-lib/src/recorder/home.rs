//! What a slot file says about its process, so that whoever finds it can speak for that process, and knows whether it
//! may. Pure.
//!
//! A recorder takes over the files of its own *home*: those that were made with the same `data_dir`, or without one by
//! the same stage, application, cluster and datacenter. Another recorder's counts would go to another audit topic, which
//! may not report that stage. A [`Courier`](super::Courier) takes all whose stage it may report.

use std::path::Path;

use chaperone_wal::slots::ABOUT_BYTES;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use super::message::Head;
use crate::wire::Reporter;

/// The caller's part of a slot file's header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct About {
    home: Uuid,
    reporter: Reporter,
    stage: String,
    #[serde(default)]
    cluster: String,
    #[serde(default)]
    datacenter: String,
    audited_since_ms: i64,
}

impl About {
    pub(super) fn new(head: &Head, data_dir: Option<&Path>) -> Self {
        Self {
            home: home(head, data_dir),
            reporter: head.reporter.clone(),
            stage: head.stage.clone(),
            cluster: head.cluster.clone(),
            datacenter: head.datacenter.clone(),
            audited_since_ms: head.audited_since_ms,
        }
    }

    /// As bytes; `None` where the names are so long that they do not fit.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok().filter(|bytes| bytes.len() <= ABOUT_BYTES)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Whose file it is.
    pub(super) fn home(&self) -> Uuid {
        self.home
    }

    pub(super) fn is_home_of(&self, other: &Self) -> bool {
        self.home == other.home
    }

    /// What messages of that incarnation begin with.
    pub(super) fn head(self, incarnation: Uuid) -> Head {
        let Self { reporter, stage, cluster, datacenter, audited_since_ms, .. } = self;
        Head { incarnation, reporter, stage, cluster, datacenter, audited_since_ms }
    }
}

fn home(head: &Head, data_dir: Option<&Path>) -> Uuid {
    data_dir.map_or_else(
        || named(&format!("\0{}\0{}\0{}\0{}", head.stage, head.reporter.application, head.cluster, head.datacenter)),
        of_dir,
    )
}

/// The home of whoever has this `data_dir`.
pub(super) fn of_dir(dir: &Path) -> Uuid {
    let dir = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    named(&format!("dir\0{}", dir.display()))
}

fn named(text: &str) -> Uuid {
    Uuid::from_u128(xxh3_128(text.as_bytes()))
}
