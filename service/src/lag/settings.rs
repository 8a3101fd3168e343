//! What is asked of a cluster: which groups, which topics, how often. From the configuration; pure.

use std::collections::BTreeSet;

use crate::config::{Cluster, Config, Lag};
use crate::kafka::wanted::Wanted;

/// What one look does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The cluster, without what others do there.
    pub cluster: Cluster,
    /// Which groups, and how often.
    pub lag: Lag,
    /// Which topics: those that the tap counts, so that both say the same of them.
    pub wanted: Wanted,
}

impl Settings {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Vec<Self> {
        let own: BTreeSet<String> =
            config.clusters.iter().filter_map(|c| c.audit.as_ref()).map(|a| a.topic.clone()).collect();
        let asked = config.clusters.iter().filter_map(|cluster| {
            let (lag, tap) = (cluster.lag.clone()?, cluster.tap.clone()?);
            Some(Self {
                cluster: Cluster { tap: None, lag: None, audit: None, ..cluster.clone() },
                lag,
                wanted: Wanted::of_tap(&tap, own.clone()),
            })
        });
        asked.collect()
    }
}
