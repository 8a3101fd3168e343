//! A TCP proxy that can hold everything: what clients send arrives nowhere, and nothing answers, as behind a firewall that
//! drops packets. Connections are accepted all the same, so that a client cannot tell at once. And it counts what it gives to
//! clients.
//!
//! One thread a connection and direction; the threads end with their connections, the listener with the process.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use anyhow::Context;

/// See the module's head.
#[derive(Debug)]
pub struct Proxy {
    gate: Arc<Gate>,
    given: Arc<AtomicU64>,
}

/// Whether bytes may pass.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    opened: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    held: bool,
    /// How often it was closed: what was under way then must not arrive later.
    times: u64,
}

impl Gate {
    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while it is closed; `false` if it was closed since `times`.
    fn pass(&self, times: u64) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.opened.wait_while(state, |state| state.held).unwrap_or_else(PoisonError::into_inner);
        state.times == times
    }
}

impl Proxy {
    /// Listens on `port` and passes on to `to`, both of this machine; nothing need listen there yet.
    pub fn start(port: u16, to: u16) -> anyhow::Result<Proxy> {
        let listener = TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("port {port}"))?;
        let gate = Arc::new(Gate::default());
        let given = Arc::new(AtomicU64::new(0));
        let of_thread = (Arc::clone(&gate), Arc::clone(&given));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (gate, given) = of_thread.clone();
                let times = gate.state().times;
                thread::spawn(move || serve(&client, to, &gate, times, &given));
            }
        });
        Ok(Proxy { gate, given })
    }

    /// Bytes that it has given to clients.
    pub fn given(&self) -> u64 {
        self.given.load(Ordering::SeqCst)
    }

    /// Holds everything, or lets it go on; connections that were held break then.
    pub fn hold(&self, held: bool) {
        let mut state = self.gate.state.lock().unwrap_or_else(PoisonError::into_inner);
        if held && !state.held {
            state.times += 1;
        }
        state.held = held;
        self.gate.opened.notify_all();
    }
}

fn serve(client: &TcpStream, to: u16, gate: &Gate, times: u64, given: &AtomicU64) {
    // A connection made while it is held waits.
    if !gate.pass(times) {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { return };
    thread::scope(|scope| {
        scope.spawn(|| copy(client, &server, gate, times, &AtomicU64::new(0)));
        copy(&server, client, gate, times, given);
    });
}

/// Until one side ends, or what it sent must not arrive any more; then both ends are told.
fn copy(mut from: &TcpStream, mut to: &TcpStream, gate: &Gate, times: u64, copied: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !gate.pass(times) || to.write_all(buffer.get(..read).unwrap_or_default()).is_err() {
            break;
        }
        copied.fetch_add(u64::try_from(read).unwrap_or(0), Ordering::SeqCst);
    }
    for stream in [from, to] {
        // It may be closed already.
        stream.shutdown(Shutdown::Both).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn held_connections_are_silent_then_break_and_new_ones_pass() -> anyhow::Result<()> {
        let server = TcpListener::bind("127.0.0.1:0")?;
        let to = server.local_addr()?.port();
        thread::spawn(move || {
            for mut echo in server.incoming().flatten() {
                thread::spawn(move || {
                    let mut byte = [0];
                    while echo.read_exact(&mut byte).is_ok() && echo.write_all(&byte).is_ok() {}
                });
            }
        });
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let proxy = Proxy::start(port, to)?;
        let ask = |client: &mut TcpStream| -> std::io::Result<u8> {
            let mut byte = [7];
            client.write_all(&byte)?;
            client.read_exact(&mut byte)?;
            Ok(byte[0])
        };
        let connect = || -> anyhow::Result<TcpStream> {
            let client = TcpStream::connect(("127.0.0.1", port))?;
            client.set_read_timeout(Some(Duration::from_millis(200)))?;
            Ok(client)
        };
        let mut old = connect()?;
        assert_eq!((ask(&mut old)?, proxy.given()), (7, 1));
        proxy.hold(true);
        let silent = |e: std::io::Error| e.kind() == std::io::ErrorKind::WouldBlock;
        assert!(ask(&mut old).is_err_and(silent) && ask(&mut connect()?).is_err_and(silent));
        proxy.hold(false);
        old.set_read_timeout(Some(Duration::from_secs(10)))?;
        assert!(ask(&mut old).is_err(), "what was held must not arrive");
        let mut new = connect()?;
        new.set_read_timeout(Some(Duration::from_secs(10)))?;
        assert_eq!(ask(&mut new)?, 7);
        Ok(())
    }
}
