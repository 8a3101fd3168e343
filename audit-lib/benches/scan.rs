//! Finding the time in a JSON payload: the structural scan beside full parsers and beside a search that checks nothing.
//!
//! `cargo bench -p chaperone-audit --features rivals --bench scan`. Documents of short members (text, numbers, small
//! objects and arrays) of 200 B, 1 KB and 10 KB, the key first, in the middle or last; every rival gives the same integer.
//! At the end all ways by turns as a table, with `-- --table` only that; goals: docs/PERFORMANCE.md.

use std::hint::black_box;
use std::time::{Duration, Instant};

use chaperone_audit::scan::{Found, Number, Pointer, Scaled, find};
use criterion::{BenchmarkId, Criterion, Throughput};
use serde::Deserialize;
use simd_json::prelude::ValueAsScalar;
use sonic_rs::JsonValueTrait;

const TS: i64 = 1_790_000_000_000;
const SIZES: [usize; 3] = [200, 1_024, 10_240];
const PLACES: [&str; 3] = ["start", "middle", "end"];

fn document(size: usize, place: usize) -> Vec<u8> {
    let mut members = Vec::new();
    let mut length = 24;
    for i in 0.. {
        let member = match i % 6 {
            0 => format!("\"f{i}\":{}", 12_345 + i * 37),
            1 => format!("\"name{i}\":\"user-{i}\""),
            2 => format!("\"price{i}\":{}.{:02}", i * 13, i % 100),
            3 => format!("\"tags{i}\":[\"a\",\"b\",{i}]"),
            4 => format!("\"ok{i}\":true"),
            _ => format!("\"at{i}\":{{\"zip\":\"{:05}\",\"no\":{i}}}", i * 91),
        };
        length += member.len() + 1;
        if length > size {
            break;
        }
        members.push(member);
    }
    members.insert([0, members.len() / 2, members.len()][place], format!("\"ts\":{TS}"));
    format!("{{{}}}", members.join(",")).into_bytes()
}

#[derive(Deserialize)]
struct Event {
    ts: i64,
}

/// A way to find the time.
type Way = (&'static str, Box<dyn FnMut(&[u8]) -> Option<i64>>);

fn ways() -> Vec<Way> {
    let pointer = Pointer::member("ts");
    let (mut copy, mut buffers) = (Vec::new(), simd_json::Buffers::new(20_000));
    vec![
        (
            "scan",
            Box::new(move |d| match find(d, &pointer) {
                Found::Number(number) => whole(&number),
                _ => None,
            }),
        ),
        (
            "memmem, wrong",
            Box::new(|d| {
                let at = memchr::memmem::find(d, b"\"ts\":")? + 5;
                let digits = d.get(at..)?;
                whole(&Number::parse(&digits[..digits.iter().take_while(|b| b.is_ascii_digit()).count()])?)
            }),
        ),
        ("sonic-rs get", Box::new(|d| sonic_rs::get_from_slice(d, ["ts"]).ok()?.as_i64())),
        (
            "simd-json tape",
            Box::new(move |d| {
                copy.clear();
                copy.extend_from_slice(d);
                simd_json::to_tape_with_buffers(&mut copy, &mut buffers).ok()?.as_value().get("ts")?.as_i64()
            }),
        ),
        ("serde_json typed", Box::new(|d| serde_json::from_slice::<Event>(d).ok().map(|event| event.ts))),
        ("serde_json Value", Box::new(|d| serde_json::from_slice::<serde_json::Value>(d).ok()?.get("ts")?.as_i64())),
    ]
}

fn whole(number: &Number<'_>) -> Option<i64> {
    match number.scaled(0) {
        Scaled::Whole(whole) => Some(whole),
        Scaled::Beyond => None,
    }
}

fn measured(criterion: &mut Criterion) {
    for (place, name) in PLACES.iter().enumerate() {
        let mut group = criterion.benchmark_group(format!("key at {name}"));
        for size in SIZES {
            let document = document(size, place);
            group.throughput(Throughput::Bytes(document.len() as u64));
            for (way, find) in &mut ways() {
                assert_eq!(find(&document), Some(TS), "{way}");
                group.bench_with_input(BenchmarkId::new(*way, size), &document, |b, d| b.iter(|| find(black_box(d))));
            }
        }
        group.finish();
    }
}

/// All ways by turns, so that a machine that slows down slows all of them: the median of each, by place.
fn medians(size: usize) -> Vec<[Duration; 3]> {
    let mut medians = vec![[Duration::ZERO; 3]; ways().len()];
    for place in 0..PLACES.len() {
        let document = document(size, place);
        let mut ways = ways();
        let mut times = vec![Vec::new(); ways.len()];
        for _ in 0..101 {
            for ((_, find), times) in ways.iter_mut().zip(&mut times) {
                let rounds = 200;
                let began = Instant::now();
                for _ in 0..rounds {
                    black_box(find(black_box(&document)));
                }
                times.push(began.elapsed() / rounds);
            }
        }
        for (medians, times) in medians.iter_mut().zip(times) {
            medians[place] = median(times);
        }
    }
    medians
}

/// The version that the lock file has; none for what has no package.
fn version(way: &str) -> String {
    let package = way.split(' ').next().unwrap_or_default();
    let after = include_str!("../../Cargo.lock").split_once(&format!("name = \"{package}\"\nversion = \""));
    after.and_then(|(_, after)| after.split('"').next()).map(|version| format!(" ({version})")).unwrap_or_default()
}

/// A Markdown table, and what docs/PERFORMANCE.md promises as lines `figure NAME = VALUE`.
fn compared() {
    let all = SIZES.map(medians);
    println!("| | 200 B | 1 KB | 10 KB | × the scan, 1 KB, key last |");
    println!("| --- | --- | --- | --- | --- |");
    let ratio = |way: usize| all[1][way][2].as_secs_f64() / all[1][0][2].as_secs_f64();
    for (n, (way, _)) in ways().iter().enumerate() {
        print!("| {way}{} ", version(way));
        for medians in &all {
            print!("| {} ", medians[n].map(|time| time.as_nanos().to_string()).join(" / "));
        }
        println!("| {:.1} |", ratio(n));
    }
    println!(
        "\n`memmem` takes a key in a string or a nested object for the wanted one; all others are right on decoys. simd-json"
    );
    println!("works in place, so its time is with the copy that it needs.");
    for (figure, way) in [("scan_sonic", 2), ("scan_simd_tape", 3), ("scan_serde_typed", 4)] {
        println!("figure {figure} = {:.2}", ratio(way));
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() {
    if std::env::args().any(|argument| argument == "--table") {
        return compared();
    }
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .configure_from_args();
    measured(&mut criterion);
    criterion.final_summary();
    compared();
}
