//! Every family of `/metrics`: the one table. A family that is not in [`ALL`] cannot be written; a row of
//! docs/OPERATIONS.md that differs fails a test.

use Kind::{Counter, Gauge, Histogram};

/// What a family's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// As it is now.
    Gauge,
    /// How long things took.
    Histogram,
}

impl Kind {
    /// Prometheus' word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Counter => "counter",
            Gauge => "gauge",
            Histogram => "histogram",
        }
    }
}

/// A family: all samples of one name.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, by Prometheus' conventions.
    pub name: &'static str,
    /// What its numbers are.
    pub kind: Kind,
    /// What they count.
    pub unit: &'static str,
    /// The labels of each sample.
    pub labels: &'static [&'static str],
    /// What it means, in one line.
    pub help: &'static str,
}

const fn family(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, kind, unit, labels, help }
}

const TOPIC: &[&str] = &["cluster", "topic"];
const CLUSTER: &[&str] = &["cluster"];
const GROUP: &[&str] = &["cluster", "group", "topic", "partition"];

macro_rules! families {
    ($($id:ident = $name:literal, $kind:ident, $unit:literal, $labels:expr, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $id: Family = family($name, $kind, $unit, $labels, $help);
        )*
        /// All of them, in the order in which they are written.
        pub static ALL: &[&Family] = &[$(&$id),*];
    };
}

families! {
    BUILD_INFO = "chaperone_build_info", Gauge, "1", &["version", "commit", "role"],
        "Always 1; what runs here, and as what";
    START_TIME = "process_start_time_seconds", Gauge, "s since 1970", &[], "When the process began";
    CPU = "process_cpu_seconds_total", Counter, "s", &[], "CPU time that it has used, user and system";
    RESIDENT = "process_resident_memory_bytes", Gauge, "bytes", &[], "Memory that it holds";
    FDS = "process_open_fds", Gauge, "files", &[], "Files and connections that it has open";
    READY = "chaperone_ready", Gauge, "0 or 1", &[], "What /readyz answers: 1 for 200";
    PROBLEMS = "chaperone_problems", Gauge, "sentences", &["kind"],
        "What is wrong now, as /readyz lists it: `problem` (what is shown is not right or recent) or `notice`";
    STORE_UP = "chaperone_store_up", Gauge, "0 or 1", &[],
        "Whether the store answered this scrape; without it the other figures of the store are absent";
    STORE_READ = "chaperone_store_records_read_total", Counter, "records", &[],
        "Records read from all audit topics since the store was made, by whichever process: the sum of the next";
    STORE_RECORDS = "chaperone_store_records_total", Counter, "records", &["outcome"],
        "What became of them: `applied`, `noop`, `fenced`, `hole`, `quarantined`";
    STORE_PENDING = "chaperone_store_windows_pending", Gauge, "windows", &[], "Windows without a settled verdict";
    STORE_THROUGH = "chaperone_store_applied_through_age_seconds", Gauge, "s", &[],
        "How long ago the time was through which every audit partition has been applied; absent while one is unknown";
    HEARTBEAT = "chaperone_store_heartbeat_age_seconds", Gauge, "s", &["role"],
        "How long ago a process of this role last wrote to the store that it works";
    GROUP_LAG_MESSAGES = "chaperone_group_lag_messages", Gauge, "messages", GROUP,
        "Messages that are there and that the consumer group has not committed, at most; unknown or older than a minute: absent";
    GROUP_LAG_SECONDS = "chaperone_group_lag_seconds", Gauge, "s", GROUP,
        "Age of the oldest message that the consumer group has not committed, at most";
    GROUP_LAG_ERROR = "chaperone_group_lag_error_seconds", Gauge, "s", GROUP,
        "By how much `chaperone_group_lag_seconds` may be too much";
    HOP_MESSAGES = "chaperone_hop_messages", Gauge, "messages", &["topic", "from_stage", "to_stage", "state"],
        "Messages of windows that began in the last hour that are `missing` or `surplus`, at least, or `delayed`; none: absent";
    HOP_WINDOWS = "chaperone_hop_windows", Gauge, "windows", &["topic", "from_stage", "to_stage", "verdict"],
        "Windows that began in the last hour and are not `ok`, by verdict; none: absent";
    COMPLETE_AGE = "chaperone_topic_complete_through_age_seconds", Gauge, "s", &["topic"],
        "How long ago the time was before which every window of the topic is settled; none judged yet: absent";
    DELAY = "chaperone_stage_delay_messages", Gauge, "messages", &["topic", "stage", "le"],
        "Messages of windows that began in the last two minutes that the stage counted at most `le` seconds after their event time; none: absent";
    EXPECTED = "chaperone_expected_reporters", Gauge, "processes", &["stage", "application"],
        "Processes that `pipeline.NAME.expected` expects at least";
    LIVE = "chaperone_live_reporters", Gauge, "processes", &["stage", "application"],
        "Of those that are expected, how many report";
    JUDGE = "chaperone_judge_seconds", Histogram, "s", &[], "How long the store took to judge the windows that were due";
    INTAKE_RECORDS = "chaperone_intake_records_total", Counter, "records", &["cluster", "topic", "outcome"],
        "Records of the audit topic that this process applied, by what became of them";
    INTAKE_BYTES = "chaperone_intake_bytes_total", Counter, "bytes", TOPIC, "Their bytes";
    INTAKE_APPLY = "chaperone_intake_apply_seconds", Histogram, "s", TOPIC, "How long the store took to apply a batch";
    INTAKE_FAILURES = "chaperone_intake_store_failures_total", Counter, "batches", TOPIC,
        "Batches that the store did not take; they are read again";
    INTAKE_PAUSED = "chaperone_intake_paused", Gauge, "0 or 1", TOPIC, "Whether reading waits for the store";
    INTAKE_PARTITIONS = "chaperone_intake_partitions", Gauge, "partitions", TOPIC, "Partitions that are read";
    INTAKE_LAG = "chaperone_intake_lag_records", Gauge, "records", TOPIC,
        "Records between what was read and the last end that was asked for, over all partitions";
    INTAKE_RESTARTS = "chaperone_intake_restarts_total", Counter, "consumers", &["cluster", "topic", "cause"],
        "Consumers that were made anew: `stalled` (behind, and did not move) or `failed`";
    TAP_MESSAGES = "chaperone_tap_messages_total", Counter, "messages", TOPIC, "Messages counted";
    TAP_BYTES = "chaperone_tap_bytes_total", Counter, "bytes", TOPIC, "Their keys' and values' bytes";
    TAP_PARTITIONS = "chaperone_tap_partitions", Gauge, "partitions", TOPIC, "Partitions that this process has claimed";
    TAP_LAG = "chaperone_tap_lag_messages", Gauge, "messages", TOPIC,
        "Offsets between what was counted and the last end that was asked for, over those partitions";
    TAP_CLAIMS = "chaperone_tap_claims_total", Counter, "claims", CLUSTER, "Claims that the store granted";
    TAP_LOST = "chaperone_tap_claims_lost_total", Counter, "claims", &["cluster", "cause"],
        "Claims given up: `fenced` (another tap claimed), `hole` (an interval was not applied) or `other_log`";
    TAP_QUEUED = "chaperone_tap_windows_queued", Gauge, "windows", CLUSTER, "Counted windows that wait for the audit topic";
    TAP_PAUSED = "chaperone_tap_paused", Gauge, "0 or 1", CLUSTER, "Whether reading waits for the audit topic";
    TAP_RESTARTS = "chaperone_tap_restarts_total", Counter, "consumers", &["cluster", "cause"],
        "Consumers that were made anew: `stalled` (behind, and did not move) or `failed`";
    AGENT_CONNECTIONS = "chaperone_agent_connections", Gauge, "processes", &[],
        "Living processes that are connected to this host's agent (`recover --watch`)";
    AGENT_MESSAGES = "chaperone_agent_messages_total", Counter, "messages", &["kind", "outcome"],
        "Audit messages of `living` and `dead` processes: `stored` in the audit topic, or `refused` (the process repeats them)";
    AGENT_LEFT = "chaperone_agent_left", Gauge, "directories and files", &[],
        "What of the dead is left as it is, as /readyz says why";
    AGENT_FAILING = "chaperone_agent_failing_seconds", Gauge, "s", &[],
        "For how long Kafka has stored nothing of what it was given; 0 while it does";
}
