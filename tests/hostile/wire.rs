//! What no browser sends: foreign hosts, paths that climb, methods, heads and bodies that are not HTTP, ranges without end.

use std::time::Instant;

use chaperone_web::Connections;

use crate::Findings;
use crate::client::{Server, config, encoded};
use crate::fake;

fn scene() -> anyhow::Result<(Server, fake::Bench)> {
    let bench = fake::bench(fake::scene::store(), fake::scene::pipelines());
    Ok((Server::start(bench.state.clone(), config(), Connections::default())?, bench))
}

const SECRET: &str = "rides.events";

pub(crate) fn hosts_and_origins(probes: &mut usize) -> anyhow::Result<Findings> {
    let (server, _bench) = scene()?;
    let mut findings = Findings::new();
    anyhow::ensure!(server.get("/")?.body.contains(SECRET), "the control: our own host is answered");
    for host in [
        "evil.example",
        "localhost.evil.example",
        "localhost@evil.example",
        "127.0.0.1.nip.io",
        "",
        "localhost\r\nHost: evil.example",
        "[::1",
        "0",
        "2130706433",
    ] {
        for target in ["/", "/api/v1/windows", "/events", "/readyz", "/metrics", "http://evil.example/"] {
            let answer = server.ask("GET", target, &format!("Host: {host}\r\n"))?;
            *probes += 1;
            if answer.status == 200 || answer.body.contains(SECRET) {
                findings.push(format!("host {host:?} is answered at {target}: {}", answer.status));
            }
        }
    }
    for origin in ["https://evil.example", "null", "http://localhost:1", "http://localhost.evil.example"] {
        for path in ["/login", "/logout", "/api/v1/reload"] {
            let answer = server.ask("POST", path, &format!("Origin: {origin}\r\nContent-Length: 0\r\n"))?;
            *probes += 1;
            if answer.status != 403 {
                findings.push(format!("a form of {origin} is taken at {path}: {}", answer.status));
            }
            let read = server.ask("GET", "/api/v1/windows", &format!("Origin: {origin}\r\n"))?;
            if read.header("access-control-allow-origin").is_some() {
                findings.push(format!("{origin} may read"));
            }
        }
    }
    let own = server.ask("POST", "/logout", "Origin: http://localhost\r\nContent-Length: 0\r\n")?;
    anyhow::ensure!(own.status == 303, "the control: our own form is taken, not {}", own.status);
    Ok(findings)
}

pub(crate) fn paths(probes: &mut usize) -> anyhow::Result<Findings> {
    let (server, _bench) = scene()?;
    let mut findings = Findings::new();
    for path in [
        "/../../../../etc/passwd",
        "/assets/../../../../etc/passwd",
        "/assets/..%2f..%2f..%2fetc%2fpasswd",
        "/assets/%2e%2e/%2e%2e/etc/passwd",
        "/assets/....//....//etc/passwd",
        "/assets/..%5c..%5cCargo.toml",
        "/assets/%00",
        "/assets/",
        "//etc/passwd",
        "/t/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/t/sjc/%ff%fe",
        "/t/%c0%ae%c0%ae/x",
        "/api/v1/../../metrics",
        "/API/V1/WINDOWS",
        "/api/v1/windows/",
        "/api/v1/windows%00",
        "/healthz/../api/v1/actions",
        "/.git/config",
        "/chaperone.sqlite",
        "/server-status",
    ] {
        let answer = server.get(path)?;
        *probes += 1;
        if answer.status == 200 || answer.status >= 500 || answer.body.contains("root:") {
            findings.push(format!("{path}: {}", answer.status));
        }
    }
    anyhow::ensure!(server.get("/healthz")?.status == 200, "the control: a path that there is");
    Ok(findings)
}

pub(crate) fn methods(probes: &mut usize) -> anyhow::Result<Findings> {
    let (server, _bench) = scene()?;
    let mut findings = Findings::new();
    for method in [
        "POST",
        "PUT",
        "DELETE",
        "PATCH",
        "TRACE",
        "CONNECT",
        "OPTIONS",
        "PROPFIND",
        "get",
        "GETS",
        "BREW",
        "A".repeat(2_000).as_str(),
    ] {
        for path in ["/", "/api/v1/windows", "/t/sjc/rides.events", "/events", "/api/v1/actions"] {
            let answer = server.ask(method, path, "X-Secret: abracadabra\r\n")?;
            *probes += 1;
            if (200..300).contains(&answer.status)
                || answer.status >= 500
                || answer.body.contains("abracadabra")
                || answer.body.contains(SECRET)
            {
                findings.push(format!("{:.20} {path}: {}", method, answer.status));
            }
        }
    }
    for header in [
        "X-HTTP-Method-Override: DELETE",
        "X-Original-URL: /api/v1/actions",
        "X-Rewrite-URL: /metrics",
        "X-Forwarded-Host: evil.example",
    ] {
        let (plain, tricked) =
            (server.get("/api/v1/status")?, server.ask("GET", "/api/v1/status", &format!("{header}\r\n"))?);
        *probes += 1;
        if plain.body != tricked.body {
            findings.push(format!("{header} changes the answer"));
        }
    }
    let head = server.ask("HEAD", "/", "")?;
    anyhow::ensure!(head.status == 200 && head.body.is_empty(), "the control: HEAD is answered");
    Ok(findings)
}

pub(crate) fn heads(probes: &mut usize) -> anyhow::Result<Findings> {
    let (server, _bench) = scene()?;
    let mut findings = Findings::new();
    let long = |n: usize| "a".repeat(n);
    for (what, target, headers) in [
        ("an address of 9 KB", format!("/?x={}", long(9_000)), String::new()),
        ("an address of 60 KB", format!("/?x={}", long(60_000)), String::new()),
        ("an address of 1 MB", format!("/?x={}", long(1_000_000)), String::new()),
        ("10,000 parameters", format!("/api/v1/windows?{}", "a=1&".repeat(2_500)), String::new()),
        ("a header of 40 KB", "/healthz".to_owned(), format!("X: {}\r\n", long(40_000))),
        ("a header of 1 MB", "/healthz".to_owned(), format!("X: {}\r\n", long(1_000_000))),
        ("1,000 headers", "/healthz".to_owned(), "X: y\r\n".repeat(1_000)),
        (
            "a cookie of 30 KB in 3,000 parts",
            "/".to_owned(),
            format!("Cookie: {}\r\n", "__Host-chaperone=a; ".repeat(3_000)),
        ),
        ("100 log-ins in one head", "/api/v1/status".to_owned(), "Authorization: Bearer x\r\n".repeat(50)),
    ] {
        let answer = server.ask("GET", &target, &headers)?;
        *probes += 1;
        if (200..300).contains(&answer.status) || answer.status >= 500 {
            findings.push(format!("{what}: {}", answer.status));
        }
    }
    let form = format!(
        "POST /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 2000000\r\n\r\ntoken={}",
        long(2_000_000 - 6)
    );
    let answer = server.send(form.as_bytes())?;
    *probes += 1;
    if (200..400).contains(&answer.status) || answer.status >= 500 {
        findings.push(format!("a form of 2 MB: {}", answer.status));
    }
    let fair = server.ask("GET", "/healthz", &format!("X: {}\r\n", long(4_000)))?;
    anyhow::ensure!(fair.status == 200, "the control: a header of 4 KB is taken, not {}", fair.status);
    Ok(findings)
}

/// Bytes that are not, or hardly, HTTP. What follows something that is not understood is never answered.
pub(crate) fn garbage(probes: &mut usize) -> anyhow::Result<Findings> {
    let (server, _bench) = scene()?;
    let mut findings = Findings::new();
    let get = "GET /api/v1/windows HTTP/1.1\r\nHost: localhost\r\n";
    let good = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let second = format!("{get}Connection: close\r\n\r\n");
    for (what, bytes, answers) in [
        ("a request and noise", format!("{good}\u{1}\u{2}\u{3} garbage\r\n\r\n{second}"), 2),
        ("noise", format!("\u{16}\u{3}\u{1}\u{2}\u{0}\r\n\r\n{second}"), 1),
        (
            "two lengths",
            format!(
                "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n{second}"
            ),
            1,
        ),
        (
            "a length that is none",
            format!("POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n{second}"),
            1,
        ),
        (
            "a length with a sign",
            format!("POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: +5\r\n\r\n12345{second}"),
            1,
        ),
        (
            "a length beyond 2^64",
            format!("POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n{second}"),
            1,
        ),
        (
            "chunks that are none",
            format!("POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{second}"),
            1,
        ),
        (
            "a chunk beyond 2^64",
            format!(
                "POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{second}"
            ),
            1,
        ),
        (
            "an encoding that is none",
            format!("POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n{second}"),
            1,
        ),
        ("a blank before the colon", format!("{get}X-A : b\r\n\r\n{second}"), 1),
        ("a folded header", format!("{get}X-A: b\r\n c\r\n\r\n{second}"), 1),
        ("a header without a name", format!("{get}: b\r\n\r\n{second}"), 1),
        ("a NUL in a header", format!("{get}X: a\u{0}b\r\n\r\n{second}"), 1),
        ("another version", format!("GET / HTTP/9.9\r\nHost: localhost\r\n\r\n{second}"), 1),
        ("HTTP/2 without asking", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 1),
        ("no version", "GET /api/v1/windows\r\n\r\n".to_owned(), 1),
    ] {
        let answer = server.send(bytes.as_bytes())?;
        *probes += 1;
        let told = answer.body.contains(SECRET) || answer.body.contains("\"windows\"");
        if told || answer.answers > answers {
            findings.push(format!("{what}: {} answers: {:.200}", answer.answers, answer.head));
        }
    }
    let piped = server.send(format!("{good}{good}{second}").as_bytes())?;
    anyhow::ensure!(
        piped.answers == 3 && piped.body.contains("\"windows\""),
        "the control: three requests at once, {} answers",
        piped.answers
    );
    anyhow::ensure!(server.get("/")?.status == 200, "it still answers");
    Ok(findings)
}

/// Ranges without end: refused, or answered in time.
pub(crate) fn ranges(probes: &mut usize) -> anyhow::Result<Findings> {
    let (server, _bench) = scene()?;
    let mut findings = Findings::new();
    let refused = [
        "from=0&to=253402300799999",
        "from=now-401d",
        "from=now-9999999999y",
        "from=-1",
        "from=99999999999999999999",
        "from=now&to=now",
        "from=1e9",
        "from=0x10",
        "limit=4294967296",
        "limit=-1",
    ];
    for query in refused {
        let answer = server.get(&format!("/api/v1/windows?{query}"))?;
        *probes += 1;
        if answer.status != 400 {
            findings.push(format!("{query}: {}", answer.status));
        }
    }
    let long = format!("now{}", "-1d".repeat(2_000));
    for query in
        ["from=now-400d", "from=now-400d&tz=%2B14:00", "from=now-400d&limit=10000", &format!("from={}", encoded(&long))]
    {
        for page in ["/", "/t/sjc/rides.events", "/api/v1/windows", "/api/v1/topics"] {
            let began = Instant::now();
            let answer = server.get(&format!("{page}?{query}"))?;
            *probes += 1;
            let limited = page.starts_with("/api/v1/topics") && query.contains("limit");
            if !limited && !matches!(answer.status, 200 | 400 | 414) || began.elapsed().as_secs() >= 10 {
                findings.push(format!("{page}?{query:.80}: {} after {:?}", answer.status, began.elapsed()));
            }
        }
    }
    Ok(findings)
}
