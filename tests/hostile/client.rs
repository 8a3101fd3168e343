//! A server on a real socket, and the barest of clients: bytes out, bytes in, until the other end closes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;
use chaperone_web::{Connections, Rate, WebConfig, WebState};
use tokio::runtime::Runtime;

/// For a broken build only.
const PATIENCE: Duration = Duration::from_secs(20);

/// A page of its own, in this process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Ends with it.
    _runtime: Runtime,
}

/// Limits as they are shipped, but for those that would stop a probe before it has begun.
pub(crate) fn config() -> WebConfig {
    WebConfig { rate: Rate { per_second: 100_000, burst: 100_000 }, ..WebConfig::default() }
}

impl Server {
    pub(crate) fn start(state: WebState, config: WebConfig, limits: Connections) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let router = chaperone_web::app(state, config);
        runtime.spawn(chaperone_web::serve(listener, None, router, limits, std::future::pending()));
        Ok(Self { address, _runtime: runtime })
    }

    pub(crate) fn connect(&self) -> anyhow::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Sends these bytes and reads until the end. A connection that is reset has ended.
    pub(crate) fn send(&self, bytes: &[u8]) -> anyhow::Result<Answer> {
        let mut stream = self.connect()?;
        // It may be refused before all of it was written.
        let written = stream.write_all(bytes);
        let mut raw = Vec::new();
        match stream.read_to_end(&mut raw) {
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                anyhow::bail!("no end after {PATIENCE:?}; written: {written:?}")
            }
            _ => Ok(Answer::parse(&raw)),
        }
    }

    pub(crate) fn get(&self, target: &str) -> anyhow::Result<Answer> {
        self.ask("GET", target, "")
    }

    /// `headers`: whole lines.
    pub(crate) fn ask(&self, method: &str, target: &str, headers: &str) -> anyhow::Result<Answer> {
        let host = if headers.lines().any(|line| line.to_ascii_lowercase().starts_with("host:")) {
            ""
        } else {
            "Host: localhost\r\n"
        };
        let head = format!("{method} {target} HTTP/1.1\r\n{host}Connection: close\r\n{headers}\r\n");
        self.send(head.as_bytes()).with_context(|| format!("{method} {}", target.chars().take(200).collect::<String>()))
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 0 where there was none.
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// Status lines in all that came.
    pub(crate) answers: usize,
}

impl Answer {
    fn parse(raw: &[u8]) -> Self {
        let text = String::from_utf8_lossy(raw).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            unchunked(body)
        } else {
            body.to_owned()
        };
        Self { status, head: head.to_owned(), body, answers: text.matches("HTTP/1.1 ").count() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

fn unchunked(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        let Some((chunk, rest)) = rest.split_at_checked(size) else { break };
        out.push_str(chunk);
        body = rest.trim_start_matches("\r\n");
    }
    out
}

/// Everything but letters and digits percent-encoded.
pub(crate) fn encoded(text: &str) -> String {
    let byte = |b: u8| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(byte).collect()
}
