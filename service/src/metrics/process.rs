//! What the kernel says about this process, under the names that all Prometheus clients use. Linux; elsewhere nothing.

use super::exposition::Exposition;
use super::families as f;
use super::number;

pub(super) fn write(out: &mut Exposition) {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return };
    let tick = number(rustix::param::clock_ticks_per_second());
    if let Some((cpu_ticks, start_ticks)) = fields(&stat) {
        out.sample(&f::CPU, &[], cpu_ticks / tick);
        if let Some(boot) = boot_seconds() {
            out.sample(&f::START_TIME, &[], boot + start_ticks / tick);
        }
    }
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    if let Some(pages) = pages.as_deref().and_then(|text| text.split(' ').nth(1)?.parse::<f64>().ok()) {
        out.sample(&f::RESIDENT, &[], pages * number(rustix::param::page_size()));
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        out.sample(&f::FDS, &[], number(files.count()));
    }
}

/// CPU time and the time of the start since boot, in ticks. The program's name is in parentheses and may hold anything.
fn fields(stat: &str) -> Option<(f64, f64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let after: Vec<&str> = rest.split_whitespace().collect();
    // The third field of the file is the first here: 14 and 15 are user and system time, 22 the start.
    let field = |n: usize| after.get(n - 3)?.parse::<f64>().ok();
    Some((field(14)? + field(15)?, field(22)?))
}

fn boot_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_programs_name_confuses_nobody() {
        let stat = "7 (a ) b) S 1 1 1 0 -1 4 1 0 0 0 12 30 0 0 20 0 9 0 4242 1 1";
        assert_eq!(super::fields(stat), Some((42.0, 4242.0)));
    }
}
