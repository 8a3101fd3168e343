//! What only grows with the newest word: how many partitions a tapped topic has, and how far consumers are.
//!
//! Read once a batch, compared in memory, written together in the order of keys. A row is not held meanwhile: what is
//! written is written only if it is newer than what stands there then.

use std::collections::BTreeMap;

use chaperone_audit::wire::{Position, TopicMark};

use super::reporters::Skew;
use crate::db::{AsValue, Db, Done, Value, params};

/// A number, and since when it has been that.
#[derive(Debug, Clone, Copy)]
struct Known {
    number: i64,
    at_ms: i64,
    dirty: bool,
}

/// By stage and topic.
type TopicKey = (i64, i64);
/// By stage, topic and partition.
type PositionKey = (i64, i64, i32);

/// What a batch says of both.
#[derive(Debug, Default)]
pub(super) struct Marks {
    topics: BTreeMap<TopicKey, Option<Known>>,
    positions: BTreeMap<PositionKey, Option<Known>>,
}

impl Marks {
    /// Loads what is known of these topics and positions.
    pub(super) fn load(&mut self, db: &Db<'_>, topics: &[TopicKey], positions: &[PositionKey]) -> Done<()> {
        let keys: Vec<Value<'_>> = topics.iter().flat_map(|k| *params![k.0, k.1]).collect();
        let known = |number, at_ms| Known { number, at_ms, dirty: false };
        let sql = "SELECT partitions, asked_ms FROM tap_topic WHERE stage = ?1 AND topic = ?2";
        let found = db.tx.first_many(sql, 2, &keys, |r| Ok(known(r.get(0)?, r.get(1)?)))?;
        self.topics.extend(topics.iter().copied().zip(found));
        let keys: Vec<Value<'_>> = positions.iter().flat_map(|k| *params![k.0, k.1, k.2]).collect();
        let sql = include_str!("sql/position_select.sql");
        let found = db.tx.first_many(sql, 3, &keys, |r| Ok(known(r.get(0)?, r.get(1)?)))?;
        self.positions.extend(positions.iter().copied().zip(found));
        Ok(())
    }

    /// Takes a topic's partition count; `true` if it is news.
    pub(super) fn topic(
        &mut self,
        db: &mut Db<'_>,
        (stage, skew): (i64, &Skew),
        t: &TopicMark,
        append_ms: i64,
    ) -> Done<bool> {
        let key = (stage, db.name(&t.topic)?);
        if !self.topics.contains_key(&key) {
            self.load(db, &[key], &[])?;
        }
        let at_ms = skew.broker_ms(t.asked_ms, append_ms);
        let known = self.topics.entry(key).or_default();
        let is_news = known.is_none_or(|k| at_ms > k.at_ms);
        if is_news {
            *known = Some(Known { number: i64::from(t.partitions), at_ms, dirty: true });
        }
        Ok(is_news)
    }

    /// Moves a consumer's position; `true` if it moved.
    pub(super) fn position(&mut self, db: &mut Db<'_>, stage: i64, p: &Position, at_ms: i64) -> Done<bool> {
        let key = (stage, db.name(&p.topic)?, p.partition);
        if !self.positions.contains_key(&key) {
            self.load(db, &[], &[key])?;
        }
        let known = self.positions.entry(key).or_default();
        let moves = known.is_none_or(|k| p.position > k.number);
        if moves {
            *known = Some(Known { number: p.position, at_ms, dirty: true });
        }
        Ok(moves)
    }

    /// Writes what is new.
    pub(super) fn save(&self, db: &Db<'_>) -> Done<()> {
        let dirty = |known: &Option<Known>| known.filter(|k| k.dirty);
        let mut rows = Vec::new();
        for ((stage, topic), k) in self.topics.iter().filter_map(|(key, known)| Some((key, dirty(known)?))) {
            rows.extend([*stage, *topic, k.number, k.at_ms].map(Value::Int));
        }
        db.tx.execute_many(include_str!("sql/tap_topic_upsert.sql"), 4, &rows)?;
        let mut rows = Vec::new();
        for ((stage, topic, no), k) in self.positions.iter().filter_map(|(key, known)| Some((key, dirty(known)?))) {
            rows.extend([*stage, *topic, i64::from(*no), k.number, k.at_ms].map(Value::Int));
        }
        db.tx.execute_many(include_str!("sql/position_upsert.sql"), 5, &rows)?;
        Ok(())
    }
}
