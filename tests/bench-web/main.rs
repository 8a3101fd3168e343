//! How long pages take and what they weigh over a store of ten million windows of 1,000 topics, from `chaperone web` over
//! loopback HTTP. Medians; nothing here is asserted but by tests/promises.toml.

use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaperone_audit::{Clock, SystemClock};
use chaperone_tests::many_windows::{STAGES, Size, make, topic_name};
use chaperone_tests::{figures, paths, programs};
use tempfile::TempDir;

/// Rows of totals; fewer for a quick look.
const WINDOWS: &str = "CHAPERONE_BENCH_WINDOWS";
/// Times that a page is asked for.
const ASKED: usize = 31;
const DAY_MS: i64 = 86_400_000;

/// What a page took and weighs.
struct Cost {
    ms: f64,
    bytes: usize,
    plain_bytes: usize,
}

/// One page: when its last byte is there, and how many came over the wire.
fn fetch(agent: &ureq::Agent, url: &str, encoding: &str) -> anyhow::Result<(Duration, usize)> {
    let began = Instant::now();
    let mut response = agent.get(url).header("accept-encoding", encoding).call()?;
    ensure!(response.status() == 200, "{url}: {}", response.status());
    let told = response.headers().get("content-encoding").map_or("identity", |v| v.to_str().unwrap_or("?")).to_owned();
    ensure!(told == encoding, "{url}: asked for {encoding}, got {told}");
    let mut body = Vec::new();
    response.body_mut().as_reader().read_to_end(&mut body)?;
    Ok((began.elapsed(), body.len()))
}

/// The median of asking often; each time something else, so that no answer is at hand.
fn cost(agent: &ureq::Agent, url: impl Fn(usize) -> String) -> anyhow::Result<Cost> {
    let mut times = Vec::new();
    let mut bytes = 0;
    for i in 0..ASKED {
        let (took, length) = fetch(agent, &url(i), "gzip")?;
        times.push(took);
        bytes = bytes.max(length);
    }
    times.sort_unstable();
    let plain_bytes = fetch(agent, &url(0), "identity")?.1;
    Ok(Cost { ms: times.get(ASKED / 2).context("times")?.as_secs_f64() * 1_000.0, bytes, plain_bytes })
}

fn record(name: &str, cost: &Cost) -> anyhow::Result<()> {
    figures::record("bench_web", &format!("{name}_ms"), cost.ms)?;
    figures::record("bench_web", &format!("{name}_bytes"), cost.bytes)?;
    println!("{name}: {} bytes before compression", cost.plain_bytes);
    Ok(())
}

#[test]
fn pages_over_ten_million_windows() -> anyhow::Result<()> {
    let windows = std::env::var(WINDOWS).map_or(Ok(10_000_000), |text| text.parse())?;
    let dir = TempDir::with_prefix_in("bench-web-", paths::scratch("bench-web")?)?;
    let data_dir = dir.path().join("chaperone");
    std::fs::create_dir_all(&data_dir)?;
    let now_ms = SystemClock.now_ms();
    let began = Instant::now();
    let made =
        make(&data_dir.join("chaperone.sqlite"), &Size { windows, topics: 1_000, seed: 1, now_ms }).context("store")?;
    println!("{made:?} in {:?}", began.elapsed());
    let config = dir.path().join("chaperone.toml");
    // Pages alone: nobody connects to the clusters.
    let text = format!(
        "data_dir = {data_dir:?}\n[web]\nlisten = \"127.0.0.1:0\"\n[kafka.regional]\nbootstrap_servers = \"127.0.0.1:1\"\n\
         [kafka.regional.audit]\ntopic = \"audit\"\n[kafka.agg]\nbootstrap_servers = \"127.0.0.1:1\"\n\
         [pipeline.generated]\ntopics = [\"^topic-.*\"]\nstages = {STAGES:?}\n"
    );
    std::fs::write(&config, text)?;
    let mut web = programs::chaperone(&["web"], &config)?;
    let url = programs::listening(&mut web)?;
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).build().into();
    let range = |i: usize, length_ms: i64| {
        let to = now_ms - i64::try_from(i).unwrap_or_default() * 10_000;
        format!("from={}&to={to}&tz=UTC", to - length_ms)
    };
    let overview = cost(&agent, |i| format!("{url}/?{}", range(i, 3_600_000)))?;
    record("overview", &overview)?;
    // Every hundredth topic has a week of windows.
    let topic = |i: usize| topic_name((i % 10 * 100) as u64);
    let hour = cost(&agent, |i| format!("{url}/t/regional/{}?{}", topic(i), range(i, 3_600_000)))?;
    record("topic_hour", &hour)?;
    let day = cost(&agent, |i| format!("{url}/t/regional/{}?{}", topic(i), range(i, DAY_MS)))?;
    record("topic_day", &day)
}
