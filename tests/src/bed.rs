//! The two clusters that all suites share: `regional` and `agg`.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::kafka::{Cluster, Endpoints, Spec};

/// Names the file by which a test process attaches to the runner's clusters.
pub const BED_VARIABLE: &str = "CHAPERONE_BED";

/// Bootstrap servers of an existing cluster to use instead of one of our own; see [`Bed::get`].
pub const BOOTSTRAP_VARIABLE: &str = "CHAPERONE_TEST_BOOTSTRAP";

/// The shared clusters. Each test uses topics of its own ([`Cluster::fresh_topic`]), and leaves no ACL behind.
#[derive(Debug)]
pub struct Bed {
    /// The cluster that producers write to.
    pub regional: Cluster,
    /// The cluster that the regional one is replicated to.
    pub agg: Cluster,
    /// How long the start took; zero when attached.
    pub start_time: Duration,
}

#[derive(Serialize, Deserialize)]
struct BedFile {
    regional: Endpoints,
    agg: Endpoints,
}

impl Bed {
    /// The bed of this process. In this order: the existing cluster of `CHAPERONE_TEST_BOOTSTRAP` (without TLS, logins,
    /// ACLs and faults: what needs them says that it is skipped, which is a failure in CI); the runner's clusters, by
    /// the file that `CHAPERONE_BED` names; clusters of this process, started at the first call.
    pub fn get() -> anyhow::Result<&'static Bed> {
        // A static is never dropped: the brokers die by the kernel's hand, with this process.
        static BED: OnceLock<Result<Bed, String>> = OnceLock::new();
        let bed = BED.get_or_init(|| Bed::open().map_err(|error| format!("{error:#}")));
        bed.as_ref().map_err(|error| anyhow::anyhow!("no test bed: {error}"))
    }

    fn open() -> anyhow::Result<Bed> {
        if let Ok(bootstrap) = env::var(BOOTSTRAP_VARIABLE) {
            let attach = |name: &str| {
                let (name, plain) = (name.to_owned(), bootstrap.clone());
                Cluster::attach(Endpoints { name, plain, secure: None, ca: None, version: None })
            };
            return Ok(Bed { regional: attach("regional"), agg: attach("agg"), start_time: Duration::ZERO });
        }
        if let Ok(file) = env::var(BED_VARIABLE) {
            return Bed::attach(Path::new(&file));
        }
        Bed::start()
    }

    /// Starts both clusters, side by side.
    pub fn start() -> anyhow::Result<Bed> {
        let begun = Instant::now();
        let (regional, agg) = thread::scope(|scope| {
            let regional = scope.spawn(|| Cluster::start(&Spec::new("regional")));
            let agg = Cluster::start(&Spec::new("agg"));
            (regional.join(), agg)
        });
        let regional = regional.ok().context("the thread that starts `regional` panicked")??;
        Ok(Bed { regional, agg: agg?, start_time: begun.elapsed() })
    }

    /// Writes the file by which another process attaches.
    pub fn publish(&self, file: &Path) -> anyhow::Result<()> {
        let bed = BedFile { regional: self.regional.endpoints().clone(), agg: self.agg.endpoints().clone() };
        Ok(fs::write(file, serde_json::to_vec_pretty(&bed)?)?)
    }

    fn attach(file: &Path) -> anyhow::Result<Bed> {
        let bytes = fs::read(file).with_context(|| format!("cannot read {BED_VARIABLE}={}", file.display()))?;
        let bed: BedFile = serde_json::from_slice(&bytes)?;
        Ok(Bed { regional: Cluster::attach(bed.regional), agg: Cluster::attach(bed.agg), start_time: Duration::ZERO })
    }
}
