//! Many at once: event streams, heads that never end, floods from one address. Others are served meanwhile.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chaperone_web::{Connections, Rate, WebConfig};

use crate::Findings;
use crate::client::{Server, config};
use crate::fake;

/// As shipped.
const STREAMS: usize = 200;
const HEADS: usize = 150;

fn bench() -> fake::Bench {
    fake::bench(fake::scene::store(), fake::scene::pipelines())
}

/// What half of the crowd follows: a topic in a range that the scene's windows lie in.
const TOPIC: &str = "/events?topic=rides.events&from=now-24h";

/// Asks for events; gives what came first.
fn listens(server: &Server, path: &str) -> anyhow::Result<(TcpStream, String)> {
    let mut stream = server.connect()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut first = [0; 16];
    stream.read_exact(&mut first).context("the first bytes of a stream")?;
    Ok((stream, String::from_utf8_lossy(&first).into_owned()))
}

/// 200 hear, of which half follow a topic and ask the store one question together; the next is refused, and a place that is given back can be had.
pub(crate) fn streams(probes: &mut usize) -> anyhow::Result<Findings> {
    let bench = bench();
    let server = Server::start(bench.state.clone(), config(), Connections::default())?;
    let mut findings = Findings::new();
    let mut all = Vec::new();
    for n in 0..STREAMS {
        let (stream, first) = listens(&server, if n % 2 == 0 { "/events" } else { TOPIC })?;
        *probes += 1;
        if !first.contains("200") {
            findings.push(format!("stream {n}: {first}"));
        }
        all.push(stream);
    }
    let refused = server.get("/events")?;
    if refused.status != 503 || refused.header("retry-after").is_none() {
        findings.push(format!("stream {STREAMS}: {}", refused.status));
    }
    let page = server.get("/")?;
    if page.status != 200 {
        findings.push(format!("a page beside {STREAMS} streams: {}", page.status));
    }
    // They hear, all of them: something is wrong, which is told to who follows a topic, too.
    let before = *bench.store.asked.borrow();
    bench.store.revision.send_replace(77);
    bench.problems.send_replace(vec![fake::stale("something")]);
    for (n, stream) in all.iter_mut().enumerate() {
        let mut seen = String::new();
        let mut some = [0; 512];
        while !seen.contains("id: 77") {
            match stream.read(&mut some).with_context(|| format!("stream {n} after {seen}"))? {
                0 => break,
                read => seen.push_str(&String::from_utf8_lossy(&some[..read])),
            }
        }
        if !seen.contains("id: 77") {
            findings.push(format!("stream {n} ended"));
        }
    }
    let asked = *bench.store.asked.borrow() - before;
    if asked > 1 {
        findings.push(format!("{STREAMS} streams asked for one topic {asked} times at one revision"));
    }
    drop(all);
    let free = chaperone_tests::eventually(Duration::from_secs(10), "a place", || {
        let (_, first) = listens(&server, TOPIC)?;
        anyhow::ensure!(first.contains("200"), "{first}");
        Ok(())
    });
    if free.is_err() {
        findings.push("places do not come back".to_owned());
    }
    Ok(findings)
}

/// They lose their connections, and nobody else notices them.
pub(crate) fn heads_that_never_end(probes: &mut usize) -> anyhow::Result<Findings> {
    let bench = bench();
    let limits = Connections { head: Duration::from_secs(1), ..Connections::default() };
    let quick = WebConfig { request_timeout: Duration::from_secs(2), ..config() };
    let server = Server::start(bench.state.clone(), quick, limits)?;
    let mut findings = Findings::new();
    let mut slow = Vec::new();
    for n in 0..HEADS {
        let mut stream = server.connect()?;
        // Nothing, half a line, half a head, half a body.
        let begun: &[u8] = match n % 4 {
            0 => b"",
            1 => b"GE",
            2 => b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ",
            _ => b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 900\r\n\r\ntok",
        };
        stream.write_all(begun)?;
        *probes += 1;
        slow.push(stream);
    }
    let began = Instant::now();
    let page = server.get("/")?;
    if page.status != 200 || began.elapsed() > Duration::from_secs(5) {
        findings.push(format!("a page beside {HEADS} slow heads: {} after {:?}", page.status, began.elapsed()));
    }
    for (n, mut stream) in slow.into_iter().enumerate() {
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let patient = matches!(&ended, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock);
        if patient || answer.contains(" 200 ") || answer.contains(" 303 ") {
            findings.push(format!("slow head {n}: {ended:?} {answer:.60}"));
        }
    }
    // The control: without that limit it would stay.
    let patient = Connections { head: Duration::from_secs(3_600), ..Connections::default() };
    let server = Server::start(bench.state.clone(), config(), patient)?;
    let mut stream = server.connect()?;
    stream.set_read_timeout(Some(Duration::from_millis(1_500)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nX-A: ")?;
    anyhow::ensure!(stream.read(&mut [0; 1]).is_err(), "blind: it is ended without a limit too");
    Ok(findings)
}

/// One address has its rate and its share of connections; another is served all the while.
pub(crate) fn floods(probes: &mut usize) -> anyhow::Result<Findings> {
    let bench = bench();
    let rate = Rate { per_second: 5, burst: 20 };
    let limits = Connections { most: 40, most_of_one: 30, ..Connections::default() };
    let server = Server::start(bench.state.clone(), WebConfig { rate, ..config() }, limits)?;
    let mut findings = Findings::new();
    let mut statuses = Vec::new();
    for _ in 0..100 {
        let answer = server.get("/api/v1/status")?;
        *probes += 1;
        if answer.status == 429 && answer.header("retry-after").is_none() {
            findings.push("429 without Retry-After".to_owned());
        }
        statuses.push(answer.status);
    }
    let (good, refused) =
        (statuses.iter().filter(|s| **s == 200).count(), statuses.iter().filter(|s| **s == 429).count());
    // The clock of the scene stands still: nothing is filled up.
    if (good, refused) != (20, 80) {
        findings.push(format!("of 100 requests {good} were answered and {refused} refused"));
    }
    let held: Vec<_> = (0..60).map(|_| server.connect()).collect::<anyhow::Result<_>>()?;
    let mut other = from_another_address(&server)?;
    other.write_all(b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    other.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 200") {
        findings.push(format!("another address beside {} connections: {answer:.80}", held.len()));
    }
    Ok(findings)
}

/// A connection from 127.0.0.2.
fn from_another_address(server: &Server) -> anyhow::Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 2], 0).into())?;
        socket.connect(server.address).await?.into_std()
    })?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}
