//! The configuration file as it is written: one struct a table, one documented field a key.
//!
//! Each field's text says unit, default and consequence. Nothing is checked here beyond shape; `config::check` makes a
//! [`Config`](super::Config) of it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::text::{InOrder, Span};

/// The whole file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Directory of the store (`chaperone.sqlite`). Required. Created with mode 0700 if missing; its parent must exist.
    pub data_dir: PathBuf,
    /// Seed of content identities, 16 hex digits, the same for every reporter and tap of the deployment; a secret, so it
    /// may be `"@file:/path"` or `"${NAME}"`. Default: zeros, which leaves ids guessable from payloads. A new one is
    /// another rule: windows that hold both are `rules differ`, and nothing is counted twice.
    pub seed: Option<String>,
    /// Whether topics that no pipeline matches get one by what reports: their stages in the order of median delay. Default
    /// false: they are counted and not judged. What is discovered is `partial` at best after a linked stage, and never
    /// `surplus`.
    #[serde(default)]
    pub discover: bool,
    /// A database for the store. Where this table is absent it is SQLite, a file in `data_dir`.
    pub store: Option<Store>,
    /// How long what is counted stays in the store, by how old the windows are and how wide; absent are the defaults.
    #[serde(default)]
    pub retention: Retention,
    /// The dashboard.
    #[serde(default)]
    pub web: Web,
    /// Kafka clusters by name.
    #[serde(default)]
    pub kafka: InOrder<Kafka>,
    /// Pipelines by name; a topic belongs to the first that matches it.
    #[serde(default)]
    pub pipeline: InOrder<Pipeline>,
}

/// `[store]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// PostgreSQL 14 or later, or a database that speaks like it: `postgres://USER@HOST:PORT/DATABASE`, or
    /// `postgres://USER@%2Fdirectory/DATABASE` for a socket. Required. Several hosts, separated by commas, with
    /// `?target_session_attrs=read-write` follow whichever may write. It may be `"@file:/path"` or contain `${NAME}`; a
    /// password belongs into `password`. Other processes with the same URL share the store.
    pub url: String,
    /// Password of that user, a secret: `"@file:/path"` or `"${NAME}"`. Default: none.
    pub password: Option<String>,
    /// `"verify"` (default: encrypted, the server's certificate and name are checked), `"encrypt"` (encrypted, to whomever) or
    /// `"off"` (in the clear: for sockets and the same machine).
    #[serde(default)]
    pub tls: StoreTls,
    /// Certificates (PEM) of who may have signed the server's. Default: those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Our certificate (PEM), where the server asks for one; with `key_file`. Default: none.
    pub certificate_file: Option<PathBuf>,
    /// Its private key (PEM). Default: none.
    pub key_file: Option<PathBuf>,
    /// Connections of this process at most, 2 to 100. Default 8: half for writing, half for reading, and one more
    /// that looks whether others wrote.
    pub connections: Option<u32>,
}

/// Whether the connection to the store is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreTls {
    /// And the server's certificate checked.
    #[default]
    Verify,
    /// To whomever.
    Encrypt,
    /// Not at all.
    Off,
}

impl StoreTls {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Encrypt => "encrypt",
            Self::Off => "off",
        }
    }
}

/// `[retention]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// How long windows of 10 s stay as they were counted; older ones answer by the minute. Default 7d; at least 2h.
    pub windows: Option<Span>,
    /// How long windows and slices of a minute stay; older ones answer by ten minutes. Default 30d; not less than `windows`.
    pub minutes: Option<Span>,
    /// How long windows and slices of ten minutes stay; older ones answer by the hour. Default 90d; not less than `minutes`.
    pub ten_minutes: Option<Span>,
    /// How long slices of an hour stay, and with them everything about their time: amendments, gaps, doubts. What is counted
    /// for older windows is in no sum. Default 400d; not less than `ten_minutes`.
    pub hours: Option<Span>,
    /// How long ten minutes in which something was wrong, amended or unsettled stay whole, at every width. When that is over
    /// their verdicts stand as they are. Default 90d; between `windows` and `hours`.
    pub incidents: Option<Span>,
}

/// `[web]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Web {
    /// Address and port of the dashboard. Default 127.0.0.1:8080; port 0 takes a free one and prints it. Any other than a
    /// loopback address needs a log-in (`[web.token.NAME]` or `[web.sso]`) and a certificate, or `behind_proxy`.
    pub listen: Option<String>,
    /// Hosts that browsers may ask for, `host` (any port) or `host:port`, beside localhost and the address itself; others
    /// are refused. `"*"` allows all, where there is a log-in. Default: none more.
    #[serde(default)]
    pub allowed_hosts: Vec<String>,
    /// Whether everything comes through a proxy that encrypts and lets in whom it should. Default false. True: whoever does not
    /// log in is a viewer, and the last address in `X-Forwarded-For` is the client's.
    #[serde(default)]
    pub behind_proxy: bool,
    /// Certificate chain (PEM) to be encrypted with; with `key_file`. Read again at SIGHUP. Default: none, in the clear.
    pub certificate_file: Option<PathBuf>,
    /// Private key (PEM) of the page's certificate. Default: none.
    pub key_file: Option<PathBuf>,
    /// How long a browser stays logged in. Default 12h; 1m to 30d. A restart ends it too.
    pub session: Option<Span>,
    /// Requests that one client may make a second; five times as many at once. Default 100, on a loopback address without
    /// `behind_proxy` 100000; 1 to 100000. More are refused with 429.
    pub requests_per_second: Option<u32>,
    /// Tokens by name: whoever brings one may come in, others may not. `chaperone token` makes one.
    #[serde(default)]
    pub token: InOrder<WebToken>,
    /// A proxy that logs people in and says who they are.
    pub sso: Option<WebSso>,
}

/// `[web.token.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebToken {
    /// What it is good for: `"viewer"` (reads), `"operator"` (also says what is known, muted, resolved) or `"admin"` (also has the
    /// configuration read again, and reads the log of actions). Required.
    pub role: WebRole,
    /// What `chaperone token` prints: `sha256:` and 64 hex digits. Required. It may be `"@file:/path"` or `"${NAME}"`.
    pub hash: String,
}

/// `[web.sso]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebSso {
    /// Addresses of the proxies, or networks (`10.1.0.0/16`). Required. From others the header counts for nothing.
    pub peers: Vec<String>,
    /// The header with the name. Default `x-forwarded-user`. The proxy must remove it from what clients send.
    pub header: Option<String>,
    /// Role of whom neither list names. Default `"viewer"`.
    pub role: Option<WebRole>,
    /// Whom that header names with the role operator. Default: nobody.
    #[serde(default)]
    pub operators: Vec<String>,
    /// Whom that header names with the role admin. Default: nobody.
    #[serde(default)]
    pub admins: Vec<String>,
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WebRole {
    /// Reads.
    #[default]
    Viewer,
    /// And says what is known.
    Operator,
    /// And changes what the process does.
    Admin,
}

impl WebRole {
    /// As the pages know it.
    pub const fn role(self) -> chaperone_web::Role {
        match self {
            Self::Viewer => chaperone_web::Role::Viewer,
            Self::Operator => chaperone_web::Role::Operator,
            Self::Admin => chaperone_web::Role::Admin,
        }
    }
}

/// `[kafka.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// Brokers to ask first, `host:port`, separated by commas. Required.
    pub bootstrap_servers: String,
    /// Datacenter of the cluster, a label on pages and alerts. Default: none.
    #[serde(default)]
    pub datacenter: String,
    /// librdkafka properties, passed on as they are: security, timeouts. Values may be `"@file:/path"` (the file's
    /// content) and contain `${NAME}` (environment). Properties that the counts depend on are refused.
    #[serde(default)]
    pub properties: BTreeMap<String, Scalar>,
    /// Counts the messages of this cluster's topics.
    pub tap: Option<Tap>,
    /// Asks how far this cluster's consumer groups are behind, in the topics that its tap counts.
    pub lag: Option<Lag>,
    /// Reports arrive on a topic of this cluster. Where no cluster has this table, the first one behaves as if its
    /// table were empty.
    pub audit: Option<Audit>,
}

/// `[kafka.NAME.tap]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tap {
    /// Stage that its counts are reported under. Default `kafka:NAME`.
    pub stage: Option<String>,
    /// Topics to count: names, or regular expressions that begin with `^` and match the whole name. Required. New
    /// topics that match are picked up while running; internal topics and our audit topics never are.
    pub topics: Vec<String>,
    /// Topics that are not counted although `topics` match them: names, or regular expressions that begin with `^`, of
    /// Kafka's names. Default: none.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// What the pipelines call a topic that has another name on this cluster: `from` is its name here, or a regular
    /// expression that begins with `^` and matches the whole name, and `to` its name everywhere else, with `$1` for what a
    /// group matched. The first that matches decides; others keep their names. For `MirrorMaker` 2 with source alias
    /// `regional`: `[{ from = '^regional\.(.*)$', to = "$1" }]`. Two topics that come to the same name are both not counted,
    /// and `/readyz` says so. Default: none.
    #[serde(default)]
    pub rename: Vec<Rename>,
    /// Where a partition that was never counted begins: `"end"` (what is there already is not audited) or
    /// `"earliest"` (all of it is read). Required. Later starts go on where the store stands.
    pub start: Start,
    /// Consumer group that spreads partitions over taps. Default `chaperone-tap`. Its offsets are not used.
    pub group: Option<String>,
    /// Cluster whose audit topic gets the counts. Default: this one if it has one, else the first that has one.
    pub audit: Option<String>,
    /// `"read_committed"` (default: messages of aborted transactions do not count) or `"read_uncommitted"`.
    #[serde(default)]
    pub isolation: Isolation,
    /// Most bytes of keys and values that this process's tap of the cluster takes a second: it then lags, and its watermark
    /// says so. At least 65536. Default: no cap.
    pub max_bytes_per_second: Option<u64>,
    /// Rack that this process's tap is in: where brokers have `replica.selector.class`, messages are then read from a copy
    /// in a broker of the same `broker.rack`, which saves traffic between racks. Wins over `properties."client.rack"`, which
    /// all other readers of the cluster go by. Default: that property, or else the partitions' leaders.
    pub client_rack: Option<String>,
}

/// `[kafka.NAME.lag]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lag {
    /// Consumer groups: names, or regular expressions that begin with `^` and match the whole name. Default `["^.*"]`:
    /// all that we may describe. A group that is listed by name and refuses us is said to.
    pub groups: Option<Vec<String>>,
    /// Consumer groups that are not asked although `groups` match them: names, or regular expressions that begin with `^`.
    /// Default: none.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// How often groups and ends of partitions are asked for, which is the error of a time lag of up to 15 minutes. Default
    /// 5s; 1s to 9s.
    pub every: Option<Span>,
}

/// One of `rename`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rename {
    /// The topic's name on this cluster, or a regular expression that begins with `^` and matches the whole name.
    pub from: String,
    /// Its name in the pipelines; `$1`, `${1}` and `${name}` are what a group of `from` matched.
    pub to: String,
}

/// Where a partition that was never counted begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// At its end.
    End,
    /// At the first message that is still there.
    Earliest,
}

/// Which messages a tap counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Those that consumers with the same setting see: aborted ones do not count.
    #[default]
    ReadCommitted,
    /// All.
    ReadUncommitted,
}

impl Isolation {
    /// librdkafka's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadCommitted => "read_committed",
            Self::ReadUncommitted => "read_uncommitted",
        }
    }
}

/// `[kafka.NAME.audit]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// Name of the audit topic. Default `chaperone-audit`.
    pub topic: Option<String>,
    /// Partitions when we create it. Default 4.
    pub partitions: Option<i32>,
    /// Replicas when we create it. Default: the broker's own default.
    pub replication: Option<i32>,
    /// How long reports are kept when we create it: the longest outage of the collector that loses nothing. Default 14d.
    pub retention: Option<Span>,
    /// Whether to create the topic if it is missing. Default true.
    pub create: Option<bool>,
    /// Stages that may report here: names, `^` regular expressions, or `"*"` for any (default). Reports of other stages
    /// are quarantined, and verdicts between stages that may not report here do not wait for this topic.
    pub stages: Option<Vec<String>>,
}

/// `[pipeline.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Topics that run through it: names, or regular expressions that begin with `^`. Required.
    pub topics: Vec<String>,
    /// Stages in order, upstream first, at least two. Required. A stage that a tap has is a Kafka stage.
    pub stages: Vec<String>,
    /// Stages that several others make up, by name: `{ regional = ["kafka:dc1", "kafka:dc2"] }`. What the members have counted
    /// is compared as one sum. Members are 2 to 64 stages as they report, all with a tap or all linked, and no stages of
    /// `stages` themselves; `stages` and the other keys name the group. Default: none.
    #[serde(default)]
    pub groups: BTreeMap<String, Vec<String>>,
    /// Stages at which every message passes an audited process. Default: none. Without it nothing downstream of a
    /// client stage is ever `ok` or `surplus` by that stage. Kafka stages always are.
    #[serde(default)]
    pub complete: Vec<String>,
    /// Stages that may read a message twice: surplus there is information (`re-read`). Default: none.
    #[serde(default)]
    pub at_least_once: Vec<String>,
    /// Stages after which only stamped messages are compared, for partial roll-outs: linked stages whose producers stamp,
    /// or send `CloudEvents`. What is stamped there is then `ok` by ids and what is lost `missing`, without `complete`; with
    /// `complete`, which then means every *stamped* message, others' stamps are a `surplus`. Messages without a stamp are
    /// left out, and `why` counts them. Needs a path that keeps headers. Default: none, everything is compared.
    #[serde(default)]
    pub stamped_only: Vec<String>,
    /// What a stage gets of the stage before it, where that is not every message once; by stage. `"A/B"`: A times upstream is
    /// B times downstream, ids too (`"3/1"`: each message comes three times), whole numbers from 1 to 1000. `"20%..40%"`: a
    /// filter passes on such a share; only counts are compared, never `ok`, and red only beyond it. Default: none.
    #[serde(default)]
    pub expect: BTreeMap<String, String>,
    /// Who sees to it when something is wrong: a team's name, in `v_hop_window` for alert rules. Default: none.
    pub owner: Option<String>,
    /// Where it is written what they do: an address that begins with `https://` or `http://`, in `v_hop_window` too. Default:
    /// none.
    pub runbook: Option<String>,
    /// Applications that are expected to report at linked stages, whatever their hosts are called: `stage`, `application`, and
    /// `at_least` so many of their processes (default 1). `v_expected` tells how many live. Default: none.
    #[serde(default)]
    pub expected: Vec<Expected>,
    /// How long a verdict waits after a window's end and after its last arrival. Default 10s; 0s to 1h.
    pub grace: Option<Span>,
    /// A reporter that sent nothing for this long is no longer waited for. Default 30s; at least 6s.
    pub silent_after: Option<Span>,
    /// Within which time 99 of 100 messages should be at a stage: the dashboard draws what takes longer as late. No
    /// verdict depends on it. Default: none, nothing is called late; 10ms to 7d.
    pub objective: Option<Span>,
    /// Width of the taps' windows: 10s (default), 60s or 600s.
    pub width: Option<Span>,
    /// Where the taps find a message's event time: `"default"` (the `chaperone` header, else `ce_time`, else the record's
    /// timestamp), `"timestamp"`, `"cloudevents"` (`ce_time`, or `time` of a structured event), `"header:NAME"` or
    /// `"json:/POINTER"` (RFC 6901). Default `"default"`. Linked stages must say the same, else `rules differ`.
    pub time: Option<String>,
    /// What times in `header:` and `json:` are written in: `"ms"`, `"s"`, `"us"`, `"ns"` (since 1970) or `"rfc3339"`. Default
    /// `"ms"`. It is never guessed; other times are counted as `malformed` or `out_of_range`.
    pub unit: Option<String>,
    /// Where the taps find a message's identity: `"default"` (the `chaperone` header, else `ce_id` and `ce_source`, else the
    /// content), `"content"`, `"cloudevents"`, `"header:NAME"` or `"json:/POINTER"`. Default `"default"`. A message without
    /// it has that of its content.
    pub id: Option<String>,
}

/// One of `expected`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// A linked stage of the pipeline.
    pub stage: String,
    /// The application, as its reporters call it.
    pub application: String,
    /// So many of its processes at least. Default 1.
    pub at_least: Option<u32>,
}

/// A librdkafka value.
#[derive(Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    /// `true`, `false`
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a point.
    Float(f64),
    /// Text, possibly with references.
    Text(String),
}

/// Values may be secrets: never shown.
impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}
