//! The one place where a test waits.

use std::thread;
use std::time::{Duration, Instant};

/// Calls `condition` until it answers `Ok`, at most until `deadline` has passed; then the error says `what` was
/// waited for and what the last answer was. No other code of the tests sleeps (`tidy` checks it).
pub fn eventually<T>(
    deadline: Duration,
    what: &str,
    mut condition: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    const LONGEST_PAUSE: Duration = Duration::from_millis(100);
    let begun = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        let error = match condition() {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if begun.elapsed() >= deadline {
            return Err(error.context(format!("waited {deadline:?} in vain: {what}")));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_soon_as_the_condition_holds() -> anyhow::Result<()> {
        let mut calls = 0;
        let answer = eventually(Duration::from_secs(5), "three calls", || {
            calls += 1;
            anyhow::ensure!(calls == 3, "call {calls}");
            Ok(calls)
        })?;
        assert_eq!(answer, 3);
        Ok(())
    }

    #[test]
    fn gives_up_with_the_last_reason() {
        let error = eventually(Duration::ZERO, "a miracle", || {
            anyhow::bail!("not today");
            #[expect(unreachable_code, reason = "names the type")]
            Ok(())
        })
        .expect_err("cannot hold");
        let text = format!("{error:#}");
        assert!(text.contains("a miracle") && text.contains("not today"), "{text}");
    }
}
