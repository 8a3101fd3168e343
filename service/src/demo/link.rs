//! The demo's end of a stage process's standard input, and the letters on their way through it.
//!
//! A letter is answered once the proxy's broker has it; until then it counts as in flight at the producer. When the
//! process dies, what it has not answered is in doubt and is sent again to the next one: at least once, as producers
//! do it. Limit: letters in flight are bounded by the pipe.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::process::ChildStdin;

use chaperone_audit::recorder::Ticket;
use parking_lot::Mutex;

use super::wire::{self, Letter, Order, Said};

/// See the module's head.
#[derive(Default)]
pub struct Link {
    input: Mutex<Option<ChildStdin>>,
    letters: Mutex<Letters>,
}

#[derive(Default)]
struct Letters {
    last: u64,
    waiting: BTreeMap<u64, (Ticket, Letter)>,
    again: VecDeque<Letter>,
}

impl Link {
    /// A new process: what the one before has not answered goes to it again.
    pub fn connect(&self, input: ChildStdin) {
        {
            let mut letters = self.letters.lock();
            let unanswered = std::mem::take(&mut letters.waiting);
            // Dropping its ticket puts an attempt in doubt.
            letters.again.extend(unanswered.into_values().map(|(_, letter)| letter));
        }
        *self.input.lock() = Some(input);
    }

    /// Ends the process's input, which tells it to end.
    pub fn disconnect(&self) {
        drop(self.input.lock().take());
    }

    /// Whether there is a process.
    pub fn is_up(&self) -> bool {
        self.input.lock().is_some()
    }

    /// Tells the process something; `false` if there is none.
    pub fn order(&self, order: &Order) -> bool {
        let mut input = self.input.lock();
        let Some(pipe) = input.as_mut() else { return false };
        let written = write(pipe, order);
        if let Err(e) = &written {
            // It is dead; whoever reads its output notices too.
            tracing::debug!("a stage does not listen: {e}");
            *input = None;
        }
        written.is_ok()
    }

    /// Sends a letter whose ticket waits for the answer.
    pub fn post(&self, mut letter: Letter, ticket: Ticket) {
        {
            let mut letters = self.letters.lock();
            letters.last += 1;
            letter.n = letters.last;
            // Before it is sent: the answer may be here before `order` returns.
            let n = letter.n;
            letters.waiting.insert(n, (ticket, letter.clone()));
        }
        self.order(&Order::Letter(letter));
    }

    /// An answer of the proxy.
    pub fn answered(&self, said: &Said) {
        let (Said::Taken(n) | Said::Refused(n) | Said::Doubtful(n)) = said else { return };
        let mut letters = self.letters.lock();
        let Some((ticket, letter)) = letters.waiting.remove(n) else { return };
        match said {
            Said::Taken(_) => ticket.acked(),
            Said::Refused(_) => {
                ticket.failed();
                letters.again.push_back(letter);
            }
            _ => letters.again.push_back(letter),
        }
    }

    /// The next letter that must be sent again.
    pub fn again(&self) -> Option<Letter> {
        self.letters.lock().again.pop_front()
    }
}

fn write(pipe: &mut ChildStdin, order: &Order) -> io::Result<()> {
    pipe.write_all(wire::line(order)?.as_bytes())
}
