//! Names that are markup, formulas, control characters: wherever a name is shown, and in every part of an address.

use std::collections::BTreeSet;

use chaperone_collector::Pipelines;
use chaperone_web::{Connections, Face, Problem, ROUTES, WebConfig, WebState};

use crate::Findings;
use crate::client::{Answer, Server, config, encoded};
use crate::fake::{self, NOW_MS};
use crate::markup::{Markup, sheet_faults};
use crate::world;

/// What people put into names.
pub(crate) const CORPUS: &[&str] = &[
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><svg/onload=alert(1)>",
    "</title><script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "\" onmouseover=\"alert(1)",
    "' autofocus onfocus='alert(1)",
    "javascript:alert(1)",
    "//evil.example/",
    "data:text/html,<script>alert(1)</script>",
    "<!--",
    "]]><x>",
    "&lt;script&gt;&#60;script&#62;",
    "{{7*7}}{% raw %}",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "a\r\nX-Injected: 1\r\n\r\n<script>",
    "\u{202e}lmth.evil\u{2066}",
    "\u{0}\u{1b}[31m\u{7f}",
    "=cmd|'/C calc'!A0",
    "+1+1",
    "-1+1",
    "@SUM(1,2)",
    "\t=1+1",
    "\r=1+1",
    "=HYPERLINK(\"http://evil.example\",\"x\")",
    "' OR '1'='1",
    "\"; DROP TABLE name; --",
    "../../../../etc/passwd",
    "a,b\"c\nd",
];

/// One of everything, named like this.
fn world(name: &str) -> (WebState, fake::Bench) {
    let (store, pipeline) = world::of(name);
    let bench = fake::bench(store, Pipelines::from(vec![pipeline]));
    bench.problems.send_replace(vec![Problem { text: name.to_owned(), notice: false }]);
    (bench.state.clone(), bench)
}

/// Addresses of every route for a name, as links of ours write it.
fn targets(name: &str) -> Vec<String> {
    let mut targets = Vec::new();
    let name = encoded(name);
    let moment = (NOW_MS / 10_000 - 2) * 10_000;
    for route in ROUTES.iter().filter(|r| r.method == "GET" && r.path != "/events") {
        // A moment in each form; whatever else a segment is called, it is called like this.
        let forms: &[&str] = if route.path.contains("{window}") { &["", ".md", ".json", ".csv"] } else { &[""] };
        for form in forms {
            let segment = |s: &str| match s {
                "{window}" => format!("{moment}{form}"),
                s if s.starts_with('{') => name.clone(),
                s => s.to_owned(),
            };
            let path = route.path.split('/').map(segment).collect::<Vec<_>>().join("/");
            targets.push(path.clone());
            if route.face != Face::Health && !route.path.starts_with("/assets") {
                targets.push(format!("{path}?topic={name}&from=now-30m&to=now"));
                targets.push(format!("{path}?format=csv&from=now-30m"));
            }
        }
    }
    targets
}

/// What an answer gives away, beside elements that no answer about a harmless name has.
fn faults(answer: &Answer, known: Option<&BTreeSet<String>>) -> Vec<String> {
    let mut faults = Vec::new();
    for header in ["content-security-policy", "x-content-type-options", "x-frame-options", "referrer-policy"] {
        if answer.header(header).is_none() && answer.status != 0 {
            faults.push(format!("no {header}"));
        }
    }
    if answer.header("x-injected").is_some() {
        faults.push("a header from a name".to_owned());
    }
    let kind = answer.header("content-type").unwrap_or_default();
    if kind.starts_with("text/html") {
        let markup = Markup::of(&answer.body);
        faults.extend(markup.faults());
        faults.extend(
            known
                .into_iter()
                .flat_map(|known| markup.parts.difference(known))
                .map(|part| format!("new markup: {part}")),
        );
        if answer.body.contains(['\u{202e}', '\u{2066}', '\u{1b}', '\u{0}']) {
            faults.push("characters that pretend".to_owned());
        }
    } else if kind.starts_with("text/csv") {
        faults.extend(sheet_faults(&answer.body));
    } else if kind.contains("json") && serde_json::from_str::<serde_json::Value>(&answer.body).is_err() {
        faults.push("JSON that is none".to_owned());
    }
    if answer.status >= 500 && answer.status != 503 {
        faults.push(format!("status {}", answer.status));
    }
    faults
}

fn served(name: &str) -> anyhow::Result<(Server, fake::Bench)> {
    let (state, bench) = world(name);
    Ok((Server::start(state, WebConfig { ..config() }, Connections::default())?, bench))
}

/// Elements and attributes of all answers about a harmless name.
fn harmless() -> anyhow::Result<(BTreeSet<String>, usize)> {
    let (server, _bench) = served("rides")?;
    let (mut parts, mut rows) = (BTreeSet::new(), 0);
    let strange = PARAMS.iter().map(|p| format!("/?{p}=rides")).chain(["/nope".to_owned(), "/t/x/y".to_owned()]);
    for target in targets("rides").into_iter().chain(strange) {
        let answer = server.get(&target)?;
        if answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
            parts.extend(Markup::of(&answer.body).parts);
        }
        rows += answer.body.matches("rides").count();
    }
    Ok((parts, rows))
}

/// Every page and every answer, in every format, about each name.
pub(crate) fn pages_and_answers(probes: &mut usize) -> anyhow::Result<Findings> {
    let (known, shown) = harmless()?;
    anyhow::ensure!(shown > 1_000, "the pages hardly show the names: {shown}");
    // The control: a page that prints a name as it is.
    let naive = Answer {
        status: 200,
        head: "HTTP/1.1 200 OK\r\ncontent-type: text/html".into(),
        body: format!("<p>{}</p>", CORPUS[1]),
        answers: 1,
    };
    anyhow::ensure!(faults(&naive, Some(&known)).len() > 4, "blind: {:?}", faults(&naive, Some(&known)));
    let mut findings = Findings::new();
    for name in CORPUS {
        let (server, _bench) = served(name)?;
        for target in targets(name) {
            let answer = server.get(&target)?;
            *probes += 1;
            findings.extend(
                faults(&answer, Some(&known)).into_iter().map(|fault| format!("{name:?} at {target}: {fault}")),
            );
            if answer.status == 0 {
                findings.push(format!("{name:?} at {target}: no answer"));
            }
        }
    }
    Ok(findings)
}

/// Parameters that pages and the API have, had, or may get.
const PARAMS: [&str; 16] = [
    "topic", "from", "to", "tz", "format", "limit", "after", "by", "group", "cluster", "w", "stage", "x", "host", "q",
    "day",
];

/// Each name in each part of an address.
pub(crate) fn addresses(probes: &mut usize) -> anyhow::Result<Findings> {
    let (known, _) = harmless()?;
    let (server, _bench) = served("rides")?;
    let mut findings = Findings::new();
    for name in CORPUS {
        let name = encoded(name);
        let in_params = PARAMS.iter().flat_map(|p| {
            [
                format!("/?{p}={name}"),
                format!("/t/rides/rides?{p}={name}"),
                format!("/api/v1/windows?{p}={name}"),
                format!("/lag?{p}={name}"),
                format!("/login?{p}={name}"),
                format!("/reporters?{p}={name}"),
                format!("/report?{p}={name}"),
            ]
        });
        let in_paths = [
            format!("/{name}"),
            format!("/t/{name}/{name}"),
            format!("/api/v1/{name}"),
            format!("/assets/{name}"),
            format!("/?{name}"),
            format!("/?{name}={name}&{name}={name}"),
        ];
        for target in in_params.chain(in_paths) {
            let answer = server.get(&target)?;
            *probes += 1;
            findings.extend(faults(&answer, Some(&known)).into_iter().map(|fault| format!("{target}: {fault}")));
            let away = answer.header("location").is_some_and(|to| !to.starts_with('/') || to.starts_with("//"));
            if away {
                findings.push(format!("{target}: leads to {:?}", answer.header("location")));
            }
        }
    }
    Ok(findings)
}
