//! The taps of this process, as a set that can be changed while it runs.
//!
//! A change stops the taps whose settings differ, which send what they counted and say goodbye, and starts others in
//! their place; those go on where the store stands, by a claim. So nothing is counted twice or lost, whatever changed:
//! topics, start, group, rule, widths. Everything that may be refused is tried before anything is stopped.

use std::time::{Duration, Instant};

use crate::config::Config;
use crate::exit::Failure;
use crate::tap::{Prepared, Settings, Shared, Tap};

/// How long taps may take to send what they counted.
pub const DEADLINE: Duration = Duration::from_secs(12);

/// Which taps run in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// None: processes of their own have them.
    None,
    /// Those of all clusters.
    All,
    /// That of one cluster.
    Of(String),
}

impl Which {
    /// What they do by a configuration.
    pub fn settings(&self, config: &Config) -> Vec<Settings> {
        match self {
            Self::None => Vec::new(),
            Self::All => Settings::of(config, None),
            Self::Of(cluster) => Settings::of(config, Some(cluster)),
        }
    }
}

/// See the module's head.
pub struct Taps {
    which: Which,
    shared: Shared,
    running: Vec<(Settings, Tap)>,
}

/// A change that is ready to be made.
pub struct Ready {
    /// Clusters whose tap ends.
    end: Vec<String>,
    begin: Vec<(Settings, Prepared)>,
}

impl Ready {
    /// Clusters whose taps end, begin, or do both.
    pub fn clusters(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.end.iter().map(String::as_str).collect();
        names.extend(self.begin.iter().map(|(settings, _)| settings.cluster.name.as_str()));
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Taps {
    /// Starts these taps; `which` is what a later configuration is asked for.
    ///
    /// # Errors
    /// When librdkafka refuses a property.
    pub fn start(wanted: Vec<Settings>, which: Which, shared: Shared) -> Result<Self, Failure> {
        let mut taps = Self { which, shared, running: Vec::new() };
        let begin = taps.make(wanted)?;
        taps.begin(begin)?;
        Ok(taps)
    }

    /// Makes everything ready that `config` needs and that does not run; stops nothing.
    ///
    /// # Errors
    /// When librdkafka refuses a property.
    pub fn prepare(&self, config: &Config) -> Result<Ready, Failure> {
        let running: Vec<&Settings> = self.running.iter().map(|(settings, _)| settings).collect();
        let (end, wanted) = differ(&running, self.which.settings(config));
        Ok(Ready { end, begin: self.make(wanted)? })
    }

    fn make(&self, wanted: Vec<Settings>) -> Result<Vec<(Settings, Prepared)>, Failure> {
        wanted.into_iter().map(|s| Ok((s.clone(), Prepared::new(s, self.shared.clone())?))).collect()
    }

    /// Makes the change. Blocks until the taps that end have ended, at most for [`DEADLINE`].
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn change(&mut self, ready: Ready) -> Result<(), Failure> {
        let running = std::mem::take(&mut self.running);
        let (ended, kept): (Vec<_>, Vec<_>) =
            running.into_iter().partition(|(settings, _)| ready.end.contains(&settings.cluster.name));
        self.running = kept;
        end(ended.into_iter().map(|(_, tap)| tap).collect());
        for cluster in &ready.end {
            self.shared.meters.tap(cluster).beat([], 0, false);
            self.shared.problems.forget(|key| is_of_tap(key, cluster));
        }
        self.begin(ready.begin)
    }

    fn begin(&mut self, begin: Vec<(Settings, Prepared)>) -> Result<(), Failure> {
        for (settings, prepared) in begin {
            let tap = prepared.start()?;
            self.running.push((settings, tap));
        }
        Ok(())
    }

    /// Stops all. Blocks, at most for [`DEADLINE`].
    pub fn stop(self) {
        end(self.running.into_iter().map(|(_, tap)| tap).collect());
    }
}

fn end(taps: Vec<Tap>) {
    taps.iter().for_each(Tap::stop);
    let deadline = Instant::now() + DEADLINE;
    for tap in taps {
        tap.join(deadline);
    }
}

/// Clusters whose running tap is not wanted as it is, and the settings of taps that are wanted and do not run.
fn differ(running: &[&Settings], mut wanted: Vec<Settings>) -> (Vec<String>, Vec<Settings>) {
    let end = running.iter().filter(|settings| !wanted.contains(settings)).map(|s| s.cluster.name.clone()).collect();
    wanted.retain(|settings| !running.contains(&settings));
    (end, wanted)
}

/// Problems that only the tap of `cluster` notices and so only it can solve.
fn is_of_tap(key: &str, cluster: &str) -> bool {
    let of_cluster = key.strip_prefix("kafka.").and_then(|rest| rest.strip_prefix(cluster));
    let of_tap = |rest: &str| {
        [" see ", " read ", " claim", " group", " names", " broker ", " stalled", " rack"]
            .iter()
            .any(|part| rest.starts_with(part))
    };
    key.strip_prefix("tap ") == Some(cluster) || of_cluster.is_some_and(of_tap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::System;

    const TEXT: &str = "data_dir = 'd'\n[kafka.a]\nbootstrap_servers = 'h:1'\n[kafka.a.tap]\ntopics = ['t']\n\
                        start = 'end'\n[kafka.a.audit]\n[kafka.b]\nbootstrap_servers = 'h:2'\n[kafka.b.tap]\n\
                        topics = ['^u.*']\nstart = 'end'\n[pipeline.p]\ntopics = ['t']\nstages = ['x', 'kafka:a']\n";

    fn settings(text: &str) -> Vec<Settings> {
        Which::All.settings(&Config::parse(text, &System).expect("good"))
    }

    /// Taps that end and begin when the text changes.
    fn differs(what: &str, with: &str) -> (Vec<String>, Vec<String>) {
        assert!(TEXT.contains(what), "{what}");
        let running = settings(TEXT);
        let (end, begin) = differ(&running.iter().collect::<Vec<_>>(), settings(&TEXT.replace(what, with)));
        (end, begin.into_iter().map(|s| s.cluster.name).collect())
    }

    #[test]
    fn only_taps_that_count_differently_are_replaced() {
        let both = || (vec!["a".to_owned(), "b".to_owned()], vec!["a".to_owned(), "b".to_owned()]);
        let one = |name: &str| (vec![name.to_owned()], vec![name.to_owned()]);
        assert_eq!(differs("'t']\nstages", "'other']\nstages"), (vec![], vec![]), "widths are the default's as before");
        assert_eq!(differs("'t']\nstart", "'t', 'v']\nstart"), one("a"));
        assert_eq!(differs("'^u.*'", "'^u'"), one("b"));
        assert_eq!(differs("data_dir = 'd'", "data_dir = 'd'\nseed = '00000000000000ff'"), both());
        assert_eq!(differs("stages =", "width = '60s'\nstages ="), both());
        let without = "[kafka.b.tap]\ntopics = ['^u.*']\nstart = 'end'\n";
        assert_eq!(differs(without, ""), (vec!["b".to_owned()], vec![]));
    }

    #[test]
    fn a_taps_problems_go_with_it_and_others_stay() {
        for key in [
            "tap a",
            "kafka.a see t",
            "kafka.a read t",
            "kafka.a claim",
            "kafka.a group",
            "kafka.a names",
            "kafka.a broker 1",
            "kafka.a stalled",
        ] {
            assert!(is_of_tap(key, "a") && !is_of_tap(key, "ab") && !is_of_tap(key, "b"), "{key}");
        }
        for key in ["kafka.a reach", "kafka.a write audit", "store tap", "kafka.ab see t", "kafka.a.b see t"] {
            assert!(!is_of_tap(key, "a"), "{key}");
        }
    }
}
