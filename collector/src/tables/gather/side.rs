//! One side of a hop: a stage, or the members of a group.
//!
//! Invariant: a group is no better than any of its members: it has reported if all have, is as far as the last of them, and is
//! doubted wherever one is.

use std::collections::HashMap;
use std::rc::Rc;

use super::{Case, OpenSlots, millis};
use crate::db::{Done, Tx};
use crate::passage::Partition;
use crate::pipeline::Stage;
use crate::pipeline::StageKind;
use crate::settle::Mark;
use crate::tables::facts::{Facts, StageFacts, TapFacts};
use crate::tables::sums::StageSums;

/// What is known of a stage that reports.
pub(super) enum Source {
    /// Nothing ever came from it.
    Unknown,
    Client(i64, Rc<StageFacts>),
    Kafka(i64, Rc<TapFacts>),
}

/// A stage that reports, with what it counted of the window.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) source: Source,
    pub(super) sums: StageSums,
    pub(super) open: OpenSlots,
}

impl Member {
    pub(super) fn id(&self) -> Option<i64> {
        match self.source {
            Source::Unknown => None,
            Source::Client(id, _) | Source::Kafka(id, _) => Some(id),
        }
    }
    fn ever(&self) -> bool {
        match &self.source {
            Source::Unknown => false,
            Source::Client(_, f) => f.ever,
            Source::Kafka(_, f) => f.ever,
        }
    }
    fn marks(&self) -> &[Mark] {
        match &self.source {
            Source::Unknown => &[],
            Source::Client(_, f) => &f.live,
            Source::Kafka(_, f) => std::slice::from_ref(&f.mark),
        }
    }
    pub(super) fn audited_since_ms(&self) -> Option<i64> {
        match &self.source {
            Source::Unknown => None,
            Source::Client(_, f) => f.audited_since_ms,
            Source::Kafka(_, f) => f.audited_since_ms,
        }
    }
}

/// See the module's head.
pub(super) struct Side {
    pub(super) is_group: bool,
    pub(super) members: Vec<Member>,
    /// Of all members.
    pub(super) sums: StageSums,
    /// Of all members.
    pub(super) marks: Vec<Mark>,
}

impl Side {
    pub(super) fn load(
        tx: &dyn Tx,
        facts: &mut Facts,
        case: &Case<'_>,
        stage: &Stage,
        sums: &HashMap<i64, StageSums>,
    ) -> Done<Self> {
        let mut members = Vec::with_capacity(stage.reported().len());
        for name in stage.reported() {
            let source = match (facts.id(tx, name)?, stage.kind) {
                (None, _) => Source::Unknown,
                (Some(id), StageKind::Client) => {
                    Source::Client(id, facts.stage(tx, id, name, millis(case.pipeline.silent_after))?)
                }
                (Some(id), StageKind::Kafka) => Source::Kafka(id, facts.tap(tx, id, name, case.topic)?),
            };
            let mut member =
                Member { name: name.clone(), source, sums: StageSums::default(), open: OpenSlots::default() };
            member.sums = member.id().and_then(|id| sums.get(&id)).cloned().unwrap_or_default();
            members.push(member);
        }
        Ok(Self {
            is_group: stage.is_group(),
            sums: StageSums::of(members.iter().map(|m| &m.sums)),
            marks: members.iter().flat_map(Member::marks).cloned().collect(),
            members,
        })
    }

    /// Every member has reported at some time.
    pub(super) fn ever(&self) -> bool {
        self.members.iter().all(Member::ever)
    }

    /// Of a group: who has not.
    pub(super) fn never(&self) -> impl Iterator<Item = String> {
        self.members.iter().filter(|m| self.is_group && !m.ever()).map(|m| m.name.clone())
    }

    /// The members that are client stages.
    pub(super) fn clients(&self) -> impl Iterator<Item = (&Member, &StageFacts)> {
        self.members.iter().filter_map(|m| match &m.source {
            Source::Client(_, f) => Some((m, &**f)),
            _ => None,
        })
    }

    /// The members that are broker stages, with their numbers.
    pub(super) fn taps(&self) -> impl Iterator<Item = (&Member, i64, &TapFacts)> {
        self.members.iter().filter_map(|m| match &m.source {
            Source::Kafka(id, f) => Some((m, *id, &**f)),
            _ => None,
        })
    }

    /// Their partitions.
    pub(super) fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.taps().flat_map(|(_, _, f)| &f.partitions)
    }
}
