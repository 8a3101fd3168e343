//! Each system call that writes, in a recorder's life, in its successor's, in the log's, and in those of a collector's store:
//! killed before it, and refused by it, one at a time, by `strace`. And what counting asks of the threads of its host.

mod host;
mod points;
mod store;
mod trace;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use chaperone_tests::figures;
use points::{Bench, Point, Scene};

/// At one time.
pub(crate) const WORKERS: usize = 4;

/// Tries points, answers what was wrong.
fn try_all(bench: &Bench, points: &[Point]) -> anyhow::Result<Vec<String>> {
    let next = AtomicUsize::new(0);
    let one_worker = || -> anyhow::Result<Vec<String>> {
        let mut wrong = Vec::new();
        while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = bench.try_point(point, false) {
                println!("{point}: {error:#}");
                wrong.push(format!("{point}: {error:#}"));
            }
        }
        Ok(wrong)
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(one_worker)).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))??);
        }
        Ok(all)
    })
}

/// The points of all scenes, of each at most so many. The control: files that go with the process are missed.
fn injected(section: &str, at_most: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    let (mut tried, mut wrong, mut missed) = (0, Vec::new(), 0);
    for scene in Scene::ALL {
        let bench = Bench::new(scene)?;
        let points = bench.points(at_most);
        println!("{scene:?}: {} points", points.len());
        wrong.extend(try_all(&bench, &points)?);
        tried += points.len();
        let control = bench.deaths();
        missed += control.iter().step_by(8).filter(|point| bench.try_point(point, true).is_err()).count();
    }
    println!("{tried} points in {:.1} s", began.elapsed().as_secs_f64());
    figures::record(section, "points", tried)?;
    figures::record(section, "wrong", wrong.len())?;
    figures::record(section, "control_wrong", missed)?;
    anyhow::ensure!(
        wrong.is_empty(),
        "{} of {tried} wrong: {:#?}",
        wrong.len(),
        wrong.iter().take(10).collect::<Vec<_>>()
    );
    Ok(())
}

#[test]
fn each_call_that_writes_may_die_or_be_refused() -> anyhow::Result<()> {
    injected("syscall", 400)
}

#[test]
fn full_size() -> anyhow::Result<()> {
    injected("syscall_full", usize::MAX)
}
