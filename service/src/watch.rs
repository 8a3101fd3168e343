//! `chaperone watch`: are all messages of these topics on both clusters, from now on? The first thing that somebody with
//! two clusters can run.
//!
//! Two taps, which read every partition from its present end without a group; a store in memory, which they write to
//! directly; judge and dashboard as in `chaperone run`. Nothing is created and nobody is joined: READ and DESCRIBE on
//! the topics are enough. The identity of messages is their content under a seed of this run.
//!
//! Limits: what is known is lost at the end; its memory grows with
//! every window of every topic;
//! topics have the same name on both sides, or one that `--to-rename` makes the same; times are the records' own, as their producers set them.

pub mod ledger;
pub mod screen;
pub mod side;
pub mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chaperone_audit::{Rules, SystemClock};
use chaperone_collector::{
    Pipeline, Pipelines, SqliteStore, Stage, StageKind, Store, StoreError, TopicPattern, query::WindowQuery,
};
use chaperone_web::Problem;

use crate::app::{App, Blueprint};
use crate::config::{self, Isolation, Start, Web, Widths};
use crate::exit::{Code, Failure};
use crate::kafka::client::{Client, Survey};
use crate::kafka::names::Names;
use crate::kafka::stall::PATIENCE;
use crate::kafka::wanted::Called;
use crate::kafka::wanted::Wanted;
use crate::problems::Problems;
use crate::tap::{HEARTBEAT, Membership, Reports, Settings};
use ledger::Ledger;
use screen::{Screen, Voice};
use side::Side;
use table::Rates;

/// How often verdicts are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How far back verdicts are looked at: later amendments are on the page only, ms.
const HORIZON_MS: i64 = 900_000;
/// Rates are of so much time, ms, …
const RATE_MS: i64 = 60_000;
/// … which ended so long ago, so that its windows are complete, ms.
const RATE_LAG_MS: i64 = 20_000;
/// A tap that said nothing for this long is not waited for.
const SILENT_AFTER: Duration = Duration::from_secs(30);

/// What was asked for.
#[derive(Debug)]
pub struct Options {
    /// Upstream.
    pub from: Side,
    /// Downstream.
    pub to: Side,
    /// Regular expressions that match whole names.
    pub topics: Vec<String>,
    /// How long a verdict waits for late messages.
    pub grace: Duration,
    /// Most bytes that are taken from each of the clusters a second.
    pub max_bytes_per_second: Option<u64>,
    /// The dashboard's port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Ends after so long.
    pub duration: Option<Duration>,
    /// One JSON object a line.
    pub json: bool,
}

/// Watches until `stop` or the duration's end.
///
/// # Errors
/// [`Code::Usage`] for a pattern, [`Code::Unavailable`] for a cluster that does not answer or a port that is taken,
/// [`Code::NotAuthorised`] for one that refuses us, [`Code::Configuration`] for properties.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> Result<(), Failure> {
    let topics = patterns(&options.topics)?;
    let (surveys, hint) = survey(&options, &topics).await?;
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::in_memory().map_err(|e| Failure::new(Code::Software, e.to_string()))?);
    let app = App::assemble(blueprint(&options, &topics, Arc::clone(&store)), Arc::new(SystemClock)).await;
    let app = app.map_err(|f| Failure::new(f.code, options.in_our_words(&f.message)))?;
    let voice = match (options.json, std::io::stdout().is_terminal()) {
        (true, _) => Voice::Json,
        (false, true) => Voice::Live,
        (false, false) => Voice::Plain,
    };
    let mut screen = Screen::new(std::io::stdout(), voice, app.url(), [&options.from.name, &options.to.name]);
    let problems = app.problems();
    if screen.ready(&surveys, hint.as_deref()).is_err() {
        return Ok(());
    }
    let (end_app, app_ends) = tokio::sync::oneshot::channel::<()>();
    let mut app = tokio::spawn(app.run(async move { drop(app_ends.await) }));
    let watched = async {
        tokio::select! {
            watched = look(&options, &store, problems, &mut screen) => watched,
            () = stop => Ok(()),
            () = over(options.duration) => Ok(()),
        }
    };
    let result = tokio::select! {
        result = watched => result,
        early = &mut app => return ended(early),
    };
    // It ends by itself only when it fails, and then nobody listens.
    end_app.send(()).ok();
    ended(app.await)?;
    if screen.end().is_err() {
        tracing::debug!("nobody reads the end");
    }
    result
}

fn ended(app: Result<Result<(), Failure>, tokio::task::JoinError>) -> Result<(), Failure> {
    app.map_err(|e| Failure::new(Code::Software, format!("the dashboard: {e}")))?
}

async fn over(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

impl Options {
    /// Messages name the keys of a configuration file; here they are arguments.
    fn in_our_words(&self, text: &str) -> String {
        let mut text = text.replace("web.listen", "--port");
        for (side, flag) in [(&self.from, "--from"), (&self.to, "--to")] {
            let key = format!("kafka.{}", side.name);
            text = text.replace(&format!("{key}.bootstrap_servers"), flag);
            text = text.replace(&format!("{key}.properties"), &format!("{flag}-config"));
            text = text.replace(&format!("{key}:"), &format!("{flag} {}:", side.servers));
        }
        text.replace(" (docs/OPERATIONS.md, ACLs)", "").replace("role chaperone needs", "this login needs")
    }
}

fn patterns(texts: &[String]) -> Result<Vec<TopicPattern>, Failure> {
    let parse = |text: &String| {
        TopicPattern::parse(&format!("^{}", text.trim_start_matches('^')))
            .map_err(|e| Failure::new(Code::Usage, format!("--topics '{text}': {}", config::check::regex_words(&e))))
    };
    texts.iter().map(parse).collect()
}

/// What there is to watch on both sides. A cluster that does not answer is told at once: somebody is waiting.
async fn survey(options: &Options, topics: &[TopicPattern]) -> Result<([Survey; 2], Option<String>), Failure> {
    let (mut surveys, mut clients) = (Vec::new(), Vec::new());
    for side in [&options.from, &options.to] {
        let (problems, _) = Problems::new();
        let client = Client::new(&side.cluster(), &problems);
        let client = Arc::new(client.map_err(|f| Failure::new(f.code, options.in_our_words(&f.message)))?);
        let mut survey = ask(options, &client, side, side.wanted(topics)).await?;
        survey.topics = audited(&side.names, survey.topics);
        surveys.push(survey);
        clients.push(client);
    }
    let two = <[Survey; 2]>::try_from(surveys);
    let two = two.map_err(|_| Failure::new(Code::Software, "two clusters were asked, and not two answered"))?;
    let hint = match clients.last() {
        Some(client) => hint(options, client, &two).await?,
        None => None,
    };
    Ok((two, hint))
}

async fn ask(options: &Options, client: &Arc<Client>, side: &Side, wanted: Wanted) -> Result<Survey, Failure> {
    let client = Arc::clone(client);
    let asked = tokio::task::spawn_blocking(move || client.survey(&wanted)).await;
    let asked = asked.map_err(|e| Failure::new(Code::Software, format!("asking {}: {e}", side.name)))?;
    asked.map_err(|(code, words)| Failure::new(code, options.in_our_words(&words)))
}

/// Topics by what they are called on the other side.
fn audited(names: &Names, topics: BTreeMap<String, i32>) -> BTreeMap<String, i32> {
    topics.into_iter().filter_map(|(topic, n)| Some((names.audited(&topic).ok()?.into_owned(), n))).collect()
}

/// Where topics upstream have none of their name downstream, a look at what there is instead.
async fn hint(options: &Options, client: &Arc<Client>, surveys: &[Survey; 2]) -> Result<Option<String>, Failure> {
    let [from, to] = surveys;
    let lonely: Vec<&str> = from.topics.keys().filter(|t| !to.topics.contains_key(*t)).map(String::as_str).collect();
    if lonely.is_empty() || !options.to.names.0.is_empty() {
        return Ok(None);
    }
    let all = ask(options, client, &options.to, options.to.wanted(&patterns(&[".*".to_owned()])?)).await?;
    Ok(rename_hint(&options.to.name, &lonely, all.topics.keys().map(String::as_str)))
}

/// `ALIAS.orders` downstream where there is no `orders`: `MirrorMaker` puts its source's alias before the name.
fn rename_hint<'a>(to: &str, lonely: &[&str], there: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut aliases: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for topic in there {
        let copied = lonely.iter().find_map(|name| topic.strip_suffix(name)?.strip_suffix('.'));
        if let Some(alias) = copied.filter(|alias| !alias.is_empty()) {
            aliases.entry(alias).or_insert((0, topic)).0 += 1;
        }
    }
    let (alias, (_, topic)) = aliases.into_iter().max_by_key(|(_, (times, _))| *times)?;
    let escaped = regex::escape(alias);
    Some(format!("{to} has '{topic}': did you mean --to-rename '{escaped}\\.(.*)=$1'?"))
}

fn blueprint(options: &Options, topics: &[TopicPattern], store: Arc<dyn Store>) -> Blueprint {
    let rules = Rules::new(rand::random());
    let tap = |side: &Side| Settings {
        cluster: side.cluster(),
        tap: config::Tap {
            stage: side.stage(),
            topics: topics.to_vec(),
            called: Called::ByPipelines,
            excluded: Vec::new(),
            names: side.names.clone(),
            start: Start::End,
            group: String::new(),
            audit: String::new(),
            isolation: Isolation::default(),
            max_bytes_per_second: options.max_bytes_per_second,
            client_rack: None,
        },
        membership: Membership::Alone,
        reports: Reports::Store,
        excluded: BTreeSet::new(),
        rules: rules.clone(),
        widths: Widths::default(),
        heartbeat: HEARTBEAT,
        stall_patience: PATIENCE,
    };
    let stages = [&options.from, &options.to].map(|side| Stage::new(side.stage(), StageKind::Kafka));
    let pipeline = Pipeline {
        cluster: options.from.name.clone(),
        grace: options.grace,
        silent_after: SILENT_AFTER,
        ..Pipeline::new("watch", topics.to_vec(), stages.into())
    };
    Blueprint {
        lags: Vec::new(),
        web: Web::local(SocketAddr::from((Ipv4Addr::LOCALHOST, options.port))),
        store,
        pipelines: Arc::new(Pipelines::from(vec![pipeline])),
        intakes: Vec::new(),
        taps: vec![tap(&options.from), tap(&options.to)],
    }
}

/// Looks at the verdicts, again and again, and says what changed. Ends only when nobody reads any more.
async fn look(
    options: &Options,
    store: &Arc<dyn Store>,
    mut problems: tokio::sync::watch::Receiver<Vec<Problem>>,
    screen: &mut Screen<std::io::Stdout>,
) -> Result<(), Failure> {
    let began = Instant::now();
    let mut ledger = Ledger::default();
    let mut every = tokio::time::interval(LOOK_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let now_ms = chaperone_audit::Clock::now_ms(&SystemClock);
        let said = async {
            let rows = store.windows(range(now_ms - HORIZON_MS, now_ms + RATE_MS)).await?;
            let to_ms = now_ms - RATE_LAG_MS;
            let stages = store.stage_windows(range(to_ms - RATE_MS, to_ms)).await?;
            Ok::<_, StoreError>((rows, stages))
        };
        let (rows, stages) = match said.await {
            Ok(said) => said,
            Err(e) => return Err(Failure::new(Code::Software, format!("the store in memory: {e}"))),
        };
        let rates = Rates::of(&stages, [&options.from.stage(), &options.to.stage()]);
        let news = ledger.look(rows, now_ms - HORIZON_MS);
        let wrong: Vec<String> = problems.borrow_and_update().iter().map(|p| options.in_our_words(&p.text)).collect();
        if screen.show(&news, &ledger, &rates, &wrong, began.elapsed()).is_err() {
            return Ok(());
        }
    }
}

fn range(from_ms: i64, to_ms: i64) -> WindowQuery {
    WindowQuery { topic: None, from_ms, to_ms, limit: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_with_a_prefix_is_noticed() {
        let hint = |lonely: &[&str], there: &[&str]| rename_hint("b", lonely, there.iter().copied());
        let there = ["eu.west.orders", "eu.west.pay", "old.orders", "my-orders", "heartbeats"];
        let said = hint(&["orders", "pay"], &there).expect("a hint");
        assert_eq!(said, r"b has 'eu.west.orders': did you mean --to-rename 'eu\.west\.(.*)=$1'?");
        assert_eq!(hint(&["orders"], &["my-orders", "orders.v2", ".orders"]), None);
        assert_eq!(hint(&[], &there), None);
    }
}
