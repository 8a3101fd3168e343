//! One process that is connected to the agent.
//!
//! Invariants: only this user's; at most one frame is being read and [`REPLIES`] bytes of reports wait, and who has that
//! many waiting is not read from.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags};
use rustix::net::{SendFlags, send, sockopt::socket_peercred};

use super::IN_FLIGHT;
use super::frame::{self, FrameError, GREETING, Posted, Report, SEND_MAX};

/// Bytes of reports that may wait before more is read.
const REPLIES: usize = 64 << 10;
/// Bytes that are read in one turn.
const TURN: usize = 256 << 10;

pub(super) struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    greeted: bool,
    /// Messages of its that are with the sink.
    pub(super) in_flight: usize,
    /// Messages that were read and not looked at yet.
    pub(super) frames: Vec<Posted>,
}

/// Whether this user has the other end.
pub(super) fn check_peer(stream: &UnixStream) -> io::Result<()> {
    let (theirs, ours) = (socket_peercred(stream)?.uid, rustix::process::geteuid());
    let words = || format!("the other end is of user {}, not of {}", theirs.as_raw(), ours.as_raw());
    if theirs == ours { Ok(()) } else { Err(io::Error::new(ErrorKind::PermissionDenied, words())) }
}

/// Writes as much as there is room for; how much that was. Never SIGPIPE.
pub(super) fn write_some(stream: &UnixStream, bytes: &[u8]) -> io::Result<usize> {
    match send(stream, bytes, SendFlags::NOSIGNAL) {
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Ok(0),
        result => Ok(result?),
    }
}

/// Reads what is there, at most `max` bytes. The other end's goodbye is an error.
pub(super) fn read_some(mut stream: &UnixStream, input: &mut Vec<u8>, max: usize) -> io::Result<()> {
    let mut chunk = [0; 16 << 10];
    let mut room = max;
    while room > 0 {
        let part = room.min(chunk.len());
        match stream.read(&mut chunk[..part]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                input.extend_from_slice(&chunk[..n]);
                room -= n;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(super) fn invalid(error: FrameError) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        check_peer(&stream)?;
        stream.set_nonblocking(true)?;
        let output = GREETING.to_vec();
        Ok(Self { stream, input: Vec::new(), output, greeted: false, in_flight: 0, frames: Vec::new() })
    }

    fn has_room(&self) -> bool {
        self.output.len() < REPLIES && self.in_flight < IN_FLIGHT
    }

    /// What to wait for.
    pub(super) fn interest(&self) -> PollFd<'_> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, self.has_room());
        flags.set(PollFlags::OUT, !self.output.is_empty());
        PollFd::new(&self.stream, flags)
    }

    /// Reads what is there into [`frames`](Self::frames). An error: the connection is over; the frames before it stand.
    pub(super) fn read(&mut self) -> io::Result<()> {
        if !self.has_room() {
            return Ok(());
        }
        let room = TURN.min((4 + SEND_MAX).saturating_sub(self.input.len()));
        let read = read_some(&self.stream, &mut self.input, room);
        let mut used = 0;
        if !self.greeted {
            let Some(n) = frame::take_greeting(&self.input).map_err(invalid)? else { return read };
            self.greeted = true;
            used = n;
        }
        while self.in_flight + self.frames.len() < IN_FLIGHT {
            let rest = self.input.get(used..).unwrap_or_default();
            let Some((message, size)) = frame::take_send(rest).map_err(invalid)? else { break };
            self.frames.push(message);
            used += size;
        }
        self.input.drain(..used);
        read
    }

    /// Queues a report.
    pub(super) fn tell(&mut self, report: &Report) {
        frame::put_report(&mut self.output, report);
    }

    /// Writes what waits.
    pub(super) fn write(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            let n = write_some(&self.stream, &self.output)?;
            if n == 0 {
                break;
            }
            self.output.drain(..n);
        }
        Ok(())
    }
}
