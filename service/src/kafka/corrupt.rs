//! Where a partition cannot be read, where it can be read again, and when to look for that.
//!
//! A batch whose checksum is wrong is refetched by librdkafka for ever, or worse: after the error it goes on in the middle
//! of the batch, and may take what it finds there for an offset. So nothing that follows the error is believed; a client of
//! its own looks at the partitions, one offset after the other, until it has found where each can be read again.
//!
//! Limits: [`LOOK_FOR`] in all; what is not found by then is looked for again. Where batches are corrupt one soon after
//! another, what lies between them may count as unreadable too.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::asker::Tp;
use super::context::Plain;
use super::{create, looking};
use crate::config::{Cluster, Isolation};
use crate::exit::Failure;
use crate::ffi::{Alone, Sight};
use crate::problems::Problems;

/// How long it may look.
pub const LOOK_FOR: Duration = Duration::from_secs(15);
/// How long a partition has to show something.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The same where it has been silent before: librdkafka says only once that it does not know a batch's format.
const SILENT_WITHIN: Duration = Duration::from_millis(500);

/// Pause before the next look where one found nothing out.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// That something cannot be read, and when it is looked for: at once, unless that was done a moment ago.
#[derive(Debug, Default)]
pub struct Suspicion {
    look_at: Option<Instant>,
    looked_at: Option<Instant>,
}

/// What a suspicion asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// There is none.
    Nothing,
    /// Nothing is to be read until it is time to look.
    Patience,
    /// To look, now; the suspicion is gone, unless it is raised again.
    Look,
}

impl Suspicion {
    /// Something could not be read.
    pub fn raise(&mut self, now: Instant) {
        let looked_at = self.looked_at;
        self.look_at.get_or_insert_with(|| looked_at.map_or(now, |at| at + AGAIN_AFTER));
    }
    /// Whether there is one.
    pub fn is_raised(&self) -> bool {
        self.look_at.is_some()
    }
    /// What is to be done.
    pub fn due(&mut self, now: Instant) -> Due {
        match self.look_at {
            None => Due::Nothing,
            Some(at) if now < at => Due::Patience,
            Some(_) => {
                self.look_at = None;
                Due::Look
            }
        }
    }
    /// A look has ended; it may have raised the suspicion anew.
    pub fn looked(&mut self, now: Instant) {
        self.looked_at = Some(now);
        if self.look_at.is_some() {
            self.look_at = Some(now + AGAIN_AFTER);
        }
    }
}

/// Whether an error means that what was fetched cannot be read.
pub fn is_corrupt(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BadMessage
            | RDKafkaErrorCode::BadCompression
            | RDKafkaErrorCode::NotImplemented
            | RDKafkaErrorCode::InvalidMessage
    )
}

/// What an offset looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A message, or the end of the log.
    Readable,
    /// An error: at this offset a batch begins that cannot be read.
    Corrupt(i64, RDKafkaErrorCode),
    /// Nothing.
    Silent,
}

/// Whoever can look at offsets of a partition.
pub trait Eye {
    /// What is at `offset`, within `wait`.
    ///
    /// # Errors
    /// librdkafka's.
    fn look(&mut self, offset: i64, wait: Duration) -> KafkaResult<Look>;
}

/// The first offset from `corrupt` on that can be read again, up to `end`, where nothing is; `None` if there was no telling
/// until `deadline`. Whoever asks from within a batch gets the batch, so every offset of a corrupt one looks corrupt.
///
/// # Errors
/// The eye's.
pub fn readable_again(
    eye: &mut impl Eye,
    (corrupt, end): (i64, i64),
    code: RDKafkaErrorCode,
    deadline: Instant,
) -> KafkaResult<Option<i64>> {
    let silent_is_corrupt = code == RDKafkaErrorCode::NotImplemented;
    let wait = if silent_is_corrupt { SILENT_WITHIN } else { ANSWER_WITHIN };
    let (mut bad, mut good, mut step) = (corrupt, end, 1);
    let mut found = false;
    while bad + 1 < good {
        if Instant::now() >= deadline {
            return Ok(None);
        }
        // Doubled steps until something can be read, then halves.
        let at = if found { bad + (good - bad) / 2 } else { bad.saturating_add(step).min(good - 1) };
        match eye.look(at, wait)? {
            Look::Readable => (good, found) = (at, true),
            // The batch at this offset could be read, and gave nothing.
            Look::Corrupt(first, _) if first > at => (good, found) = (at, true),
            Look::Silent if !silent_is_corrupt => return Ok(None),
            Look::Corrupt(..) | Look::Silent => (bad, step) = (at, step.saturating_mul(2)),
        }
    }
    Ok(Some(good))
}

/// See the module's head.
pub struct Finder {
    reader: Alone<Plain>,
}

impl Finder {
    /// Connects when it first looks; with the isolation of the reader that met the error, so that it meets it too.
    ///
    /// # Errors
    /// When librdkafka refuses a property.
    pub fn new(cluster: &Cluster, isolation: Isolation, problems: &Problems) -> Result<Self, Failure> {
        let consumer = create(cluster, &looking(cluster, isolation), Plain::new(&cluster.name, "look", problems))?;
        let reader = Alone::apart(consumer);
        let failed = |e| Failure::new(crate::exit::Code::Software, format!("kafka.{}: {e}", cluster.name));
        Ok(Self { reader: reader.map_err(failed)? })
    }

    /// Which of these partitions cannot be read where their readers stand: the batch's first offset, and the error.
    ///
    /// # Errors
    /// librdkafka's.
    pub fn corrupt(&mut self, readers: &BTreeMap<Tp, i64>) -> KafkaResult<BTreeMap<Tp, (i64, RDKafkaErrorCode)>> {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), at) in readers {
            list.add_partition_offset(topic, *partition, Offset::Offset(*at))?;
        }
        self.reader.assign(&list)?;
        let mut seen: BTreeMap<Tp, Look> = BTreeMap::new();
        let until = Instant::now() + ANSWER_WITHIN;
        while seen.len() < readers.len() && Instant::now() < until {
            let Some(sight) = self.reader.look(Duration::from_millis(50)) else { continue };
            if let Some(look) = what(&sight) {
                // Only the first counts: what follows an error is not believed.
                seen.entry((sight.topic, sight.partition)).or_insert(look);
            }
        }
        let corrupt = seen.into_iter().filter_map(|(tp, look)| match look {
            Look::Corrupt(first, code) => Some((tp, (first, code))),
            Look::Readable | Look::Silent => None,
        });
        Ok(corrupt.collect())
    }

    /// Looks at one partition.
    pub fn at<'a>(&'a mut self, tp: &'a Tp) -> impl Eye + 'a {
        At { finder: self, tp }
    }

    /// Leaves, with a deadline.
    pub fn close(self) {
        super::close("look", self.reader);
    }
}

struct At<'a> {
    finder: &'a mut Finder,
    tp: &'a Tp,
}

impl Eye for At<'_> {
    fn look(&mut self, offset: i64, wait: Duration) -> KafkaResult<Look> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.tp.0, self.tp.1, Offset::Offset(offset))?;
        self.finder.reader.assign(&list)?;
        let until = Instant::now() + wait;
        while Instant::now() < until {
            let sight = self.finder.reader.look(Duration::from_millis(50));
            if let Some(look) = sight.as_ref().and_then(what) {
                return Ok(look);
            }
        }
        Ok(Look::Silent)
    }
}

/// `None`: it says nothing about what is there (a connection that is gone, say).
fn what(sight: &Sight) -> Option<Look> {
    match sight.error {
        None | Some(RDKafkaErrorCode::PartitionEOF) => Some(Look::Readable),
        Some(code) if is_corrupt(code) => Some(Look::Corrupt(sight.offset, code)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_look_is_at_once_and_the_next_a_while_after_it() {
        let (mut suspicion, now) = (Suspicion::default(), Instant::now());
        assert_eq!(suspicion.due(now), Due::Nothing);
        suspicion.raise(now);
        assert!(suspicion.is_raised());
        assert_eq!((suspicion.due(now), suspicion.due(now)), (Due::Look, Due::Nothing));
        suspicion.looked(now);
        suspicion.raise(now);
        assert_eq!(suspicion.due(now), Due::Patience);
        assert_eq!(suspicion.due(now + AGAIN_AFTER), Due::Look);
        // The look itself was in vain, and took its time.
        suspicion.raise(now + AGAIN_AFTER);
        suspicion.looked(now + 3 * AGAIN_AFTER);
        assert_eq!(suspicion.due(now + 3 * AGAIN_AFTER), Due::Patience);
        assert_eq!(suspicion.due(now + 4 * AGAIN_AFTER), Due::Look);
    }

    /// Corrupt batches `[first, last]`, silent or not, in a log that ends at 1,000; counts looks.
    struct Log(Vec<(i64, i64)>, bool, u32);

    impl Eye for Log {
        fn look(&mut self, offset: i64, _: Duration) -> KafkaResult<Look> {
            self.2 += 1;
            assert!((0..1_000).contains(&offset));
            let batch = self.0.iter().find(|(first, last)| (*first..=*last).contains(&offset));
            Ok(match batch {
                None => Look::Readable,
                Some(_) if self.1 => Look::Silent,
                Some((first, _)) => Look::Corrupt(*first, RDKafkaErrorCode::BadMessage),
            })
        }
    }

    fn find(batches: &[(i64, i64)], silent: bool, code: RDKafkaErrorCode) -> (Option<i64>, u32) {
        let mut log = Log(batches.to_vec(), silent, 0);
        let deadline = Instant::now() + Duration::from_secs(60);
        let found = readable_again(&mut log, (batches[0].0, 1_000), code, deadline).expect("looks");
        (found, log.2)
    }

    #[test]
    fn it_finds_the_first_offset_behind_a_corrupt_batch_in_few_looks() {
        for last in 100..999 {
            let (found, looks) = find(&[(100, last)], false, RDKafkaErrorCode::BadMessage);
            assert_eq!(found, Some(last + 1));
            assert!(looks <= 21, "{looks} for {last}");
        }
        assert_eq!(find(&[(100, 999)], false, RDKafkaErrorCode::BadMessage).0, Some(1_000), "nothing more is there");
        assert_eq!(find(&[(100, 119), (120, 139)], false, RDKafkaErrorCode::BadMessage).0, Some(140));
    }

    #[test]
    fn silence_is_no_answer_but_where_librdkafka_keeps_silent() {
        assert_eq!(find(&[(100, 119)], true, RDKafkaErrorCode::BadMessage).0, None);
        assert_eq!(find(&[(100, 119)], true, RDKafkaErrorCode::NotImplemented).0, Some(120));
        let mut log = Log(vec![(100, 119)], false, 0);
        let found = readable_again(&mut log, (100, 1_000), RDKafkaErrorCode::BadMessage, Instant::now());
        assert_eq!(found.expect("looks"), None, "out of time");
    }
}
