//! What a count costs, against the floor (a hash and a histogram cell, nothing kept) and against other ways to count.
//! Figures are printed, never asserted: `cargo bench -p chaperone-wal --bench slots`.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use chaperone_wal::slots::{Geometry, Line, Start, Table, Words};
use criterion::{Criterion, criterion_group, criterion_main};
use rustix::time::{ClockId, clock_gettime};

const GEOMETRY: Geometry = Geometry { slots: 64, cells: 256, names_bytes: 4096 };

/// A message as far as the slot is concerned: cheap to make, different each time.
#[inline]
fn message(i: u64) -> (u64, u64, u64, u8) {
    let lo = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (200 + (i & 63), lo, lo.rotate_left(31), (lo >> 59) as u8)
}

#[inline]
fn next(words: &mut Words, i: u64) -> u8 {
    let (bytes, lo, hi, cell) = message(i);
    words[0] += bytes;
    words[1] = words[1].wrapping_add(lo);
    words[2] = words[2].wrapping_add(hi);
    words[3] = words[3].min(i);
    words[4] = words[4].max(i);
    words[5] = i;
    cell
}

#[inline]
fn count(line: &mut Line, i: u64) {
    black_box(line.count(|words| next(words, i)).is_ok());
}

fn mapped() -> (tempfile::TempDir, Table) {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory");
    let table = Table::create(&dir.path().join("slots"), &Start::default(), GEOMETRY).expect("a table");
    (dir, table)
}

/// What this thread has cost the processor so far: others that run on it do not count.
fn spent() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().expect("positive")
}

/// Processor time of `each` iterations on each of `threads` threads at once, per thread.
fn threads<T: Send>(
    threads: u64,
    each: u64,
    make: impl Fn(u64) -> T + Sync,
    work: impl Fn(&mut T, u64) + Sync,
) -> Duration {
    let (start, total) = (Barrier::new(usize::try_from(threads).unwrap_or(1)), Mutex::new(Duration::ZERO));
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (start, total, make, work) = (&start, &total, &make, &work);
            scope.spawn(move || {
                let mut mine = make(thread);
                start.wait();
                let began = spent();
                (0..each).for_each(|i| work(&mut mine, i));
                *total.lock().expect("not poisoned") += spent().saturating_sub(began);
            });
        }
    });
    total.into_inner().expect("not poisoned") / u32::try_from(threads).unwrap_or(1)
}

fn counting(c: &mut Criterion) {
    let (_dir, table) = mapped();
    let heap = Table::heap(&Start::default(), GEOMETRY).expect("a table");
    for n in [1, 2] {
        let mut group = c.benchmark_group(format!("{n} thread{}", if n == 1 { "" } else { "s" }));
        group.bench_function("floor: nothing kept", |b| {
            b.iter_custom(|each| {
                threads(
                    n,
                    each,
                    |_| ([0; 7], [0u32; 256]),
                    |(words, cells), i| {
                        let cell = next(black_box(words), i);
                        cells[usize::from(cell)] += 1;
                        black_box(cells);
                    },
                )
            });
        });
        for (name, table) in [("slot, mapped", &table), ("slot, heap", &heap)] {
            group.bench_function(name, |b| {
                b.iter_custom(|each| threads(n, each, |t| table.open(t, "orders", &[0; 8]).expect("a slot"), count));
                for (at, _) in table.uses().collect::<Vec<_>>() {
                    table.close_if(at, |_| true).and_then(|_| table.free(at)).expect("quiet");
                }
            });
        }
        let shared: [AtomicU64; 4] = Default::default();
        group.bench_function("shared atomics", |b| {
            b.iter_custom(|each| {
                threads(
                    n,
                    each,
                    |_| (),
                    |(), i| {
                        let (bytes, lo, hi, _) = message(i);
                        for (word, value) in shared.iter().zip([1, bytes, lo, hi]) {
                            word.fetch_add(value, Ordering::Relaxed);
                        }
                    },
                )
            });
        });
        let locked = Mutex::new(([0; 7], [0u32; 256]));
        group.bench_function("a mutex", |b| {
            b.iter_custom(|each| {
                threads(
                    n,
                    each,
                    |_| (),
                    |(), i| {
                        let mut state = locked.lock().expect("not poisoned");
                        let cell = next(&mut state.0, i);
                        state.1[usize::from(cell)] += 1;
                    },
                )
            });
        });
        let at = table.open(9, "reports", &[0; 8]).expect("a slot").at();
        group.bench_function("report (out line)", |b| {
            b.iter_custom(|each| {
                threads(
                    n,
                    each,
                    |_| (),
                    |(), i| {
                        black_box(table.add(at, &[1, 0, i, i, 0, 0, 0]).is_ok());
                    },
                )
            });
        });
        table.close_if(at, |_| true).and_then(|_| table.free(at)).expect("quiet");
    }
}

fn reading(c: &mut Criterion) {
    let (_dir, table) = mapped();
    let mut line = table.open(1, "orders", &[0; 8]).expect("a slot");
    (0..1000).for_each(|i| count(&mut line, i));
    c.bench_function("read a quiet slot", |b| b.iter(|| black_box(table.read(line.at()).is_ok())));
    c.bench_function("quiesce", |b| b.iter(|| black_box(table.quiesce().is_ok())));
    c.bench_function("open, close, free", |b| {
        b.iter(|| {
            let at = table.open(2, "orders", &[0; 8]).expect("a slot").at();
            table.close_if(at, |_| true).and_then(|_| table.free(at)).expect("quiet");
        });
    });
}

criterion_group!(benches, counting, reading);
criterion_main!(benches);
