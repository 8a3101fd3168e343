//! The log by itself, in small segments, so that it makes, recycles and removes many.

use std::path::Path;

use chaperone_wal::{Config, Log};
use uuid::Uuid;

use crate::Witness;

const ENTRIES: u64 = 60;
/// Entries that wait at one time.
const WAITING: usize = 6;

/// Tells `a N` when entry N was taken, `d N` before it is marked done, `b N` before and `c N` after checkpoint N.
pub(crate) fn run(dir: &Path) -> anyhow::Result<()> {
    let witness = Witness::new()?;
    let config = Config { segment_bytes: 4096, max_bytes: 64 << 10, background: false };
    let (log, _) = Log::open(dir, config)?;
    let mut taken = std::collections::VecDeque::new();
    for i in 0..ENTRIES {
        // What is refused is not told, and may come all the same.
        if let Ok(seq) = log.append(Uuid::from_u128(u128::from(i)), &[b'x'; 300]) {
            witness.tell(&format!("a {i}\n"))?;
            taken.push_back((i, seq));
        }
        if i % 8 == 7 {
            witness.tell(&format!("b {i}\n"))?;
            if log.append_checkpoint(Uuid::from_u128(1000 + u128::from(i)), &[b'c'; 200]).is_ok() {
                witness.tell(&format!("c {i}\n"))?;
            }
        }
        if taken.len() > WAITING
            && let Some((i, seq)) = taken.pop_front()
        {
            witness.tell(&format!("d {i}\n"))?;
            // A mark that is lost means that the entry comes again.
            log.done(seq).ok();
        }
    }
    Ok(())
}
