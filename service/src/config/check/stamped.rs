//! `pipeline.NAME.stamped_only`: a hop has messages to compare only after a stage that stamps.

use chaperone_collector::{Stage, StageKind};

use super::Mistakes;

/// Only linked stages stamp, and the last stage has no hop after it.
pub(super) fn check(path: &str, stages: &[Stage], m: &mut Mistakes) {
    let before_last = stages.len().saturating_sub(1);
    let may = |(i, stage): &(usize, &Stage)| *i < before_last && stage.kind == StageKind::Client;
    let allowed: Vec<&str> = stages.iter().enumerate().filter(may).map(|(_, s)| s.name.as_str()).collect();
    let allowed = if allowed.is_empty() { "no stage here".to_owned() } else { allowed.join(", ") };
    for (i, stage) in stages.iter().enumerate().filter(|(_, s)| s.stamped_only) {
        let why = if stage.kind == StageKind::Kafka {
            "is a Kafka stage, which stamps nothing and counts everything"
        } else if i >= before_last {
            "is the last stage: there is nothing to compare with"
        } else {
            continue;
        };
        m.add(format!("{path}.stamped_only"), format!("'{}' {why}; allowed: {allowed}", stage.name));
    }
}
