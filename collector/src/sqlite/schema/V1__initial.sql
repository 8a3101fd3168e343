-- The store, version 1. docs/SQL.md describes it; the views at the end are the stable interface for people's
-- own queries and alert rules. Times are milliseconds since 1970 (UTC) unless a name ends in _start or _at (seconds).
-- Fingerprints are 16 bytes, high lane first. Classes are numbered: 0 stamped, 1 bare, 2 no_time, 3 malformed,
-- 4 out_of_range, 5 rewritten; 0, 1 and 5 lie in the window of a time of their own and are judged.

CREATE TABLE meta (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES (1, 0);

-- Which releases may work on this store: those that know schema `least` or a later one. Raised only by a migration that takes
-- something away.
CREATE TABLE compatible (
    least INTEGER NOT NULL
) STRICT;
INSERT INTO compatible VALUES (1);

-- Topics and stages, by number everywhere else.
CREATE TABLE name (
    id   INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
) STRICT;

-- Where each audit partition stands; read = applied + noop + fenced + hole + quarantined (I5). `log` counts the topics that
-- had the name, `closed`: the one that has it now has no such partition.
CREATE TABLE audit_partition (
    cluster            TEXT    NOT NULL,
    topic              TEXT    NOT NULL,
    partition          INTEGER NOT NULL,
    log                INTEGER NOT NULL DEFAULT 0,
    topic_id           BLOB,
    closed             INTEGER NOT NULL DEFAULT 0,
    next               INTEGER NOT NULL,
    applied_through_ms INTEGER,
    read               INTEGER NOT NULL,
    applied            INTEGER NOT NULL,
    noop               INTEGER NOT NULL,
    fenced             INTEGER NOT NULL,
    hole               INTEGER NOT NULL,
    quarantined        INTEGER NOT NULL,
    PRIMARY KEY (cluster, topic, partition),
    CHECK (read = applied + noop + fenced + hole + quarantined)
) STRICT, WITHOUT ROWID;

-- Ids of audit topics that had the name before: who still speaks of one is late.
CREATE TABLE audit_former (
    cluster  TEXT NOT NULL,
    topic    TEXT NOT NULL,
    topic_id BLOB NOT NULL,
    PRIMARY KEY (cluster, topic, topic_id)
) STRICT, WITHOUT ROWID;

-- Offsets of audit partitions that were gone, or could not be read, before they were applied; an absent end is not known.
-- What was there was appended after `from_ms` (absent: any time) and before `to_ms`, which the first record behind it
-- brings down. `log`, `resumes`: where reading went on. The newest 10,000 are kept.
CREATE TABLE audit_lost (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    cluster     TEXT    NOT NULL,
    topic       TEXT    NOT NULL,
    partition   INTEGER NOT NULL,
    log         INTEGER NOT NULL,
    from_offset INTEGER NOT NULL,
    to_offset   INTEGER,
    resumes     INTEGER NOT NULL,
    from_ms     INTEGER,
    to_ms       INTEGER NOT NULL,
    bounded     INTEGER NOT NULL,
    at_ms       INTEGER NOT NULL,
    cause       TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_lost_by_topic ON audit_lost (cluster, topic, partition, log);

-- One life of one process at one stage. `known` and `sealed` are ranges of slot ids; `awaited` is the newest watermark
-- whose sums the applied ones do not equal yet, `farewell` an end that waits likewise; `owed` is what they lack, and
-- `lost_ms` the time until when records of it may be lost whose counts are waited for no longer. `checkins`: when it was
-- heard in the last hour (collector/src/checkins.rs).
CREATE TABLE reporter (
    id               INTEGER PRIMARY KEY,
    incarnation      BLOB    NOT NULL,
    stage            INTEGER NOT NULL,
    host             TEXT    NOT NULL,
    application      TEXT    NOT NULL,
    library          TEXT    NOT NULL,
    pid              INTEGER NOT NULL,
    cluster          TEXT    NOT NULL,
    datacenter       TEXT    NOT NULL,
    audited_since_ms INTEGER,
    first_append_ms  INTEGER NOT NULL,
    last_append_ms   INTEGER NOT NULL,
    last_sent_ms     INTEGER NOT NULL,
    last_seq         INTEGER NOT NULL,
    skew_hour        INTEGER NOT NULL,
    skew_ms          INTEGER NOT NULL,
    skew_before_ms   INTEGER,
    promised_ms      INTEGER,
    watermark_ms     INTEGER,
    sum_n            INTEGER NOT NULL,
    sum_acked        INTEGER NOT NULL,
    sum_failed       INTEGER NOT NULL,
    sum_f            BLOB    NOT NULL,
    known            TEXT    NOT NULL,
    sealed           TEXT    NOT NULL,
    awaited          TEXT,
    farewell         TEXT,
    owed             TEXT,
    lost_ms          INTEGER,
    ended            TEXT CHECK (ended IN ('clean', 'crash', 'power')),
    heap             INTEGER NOT NULL,
    dropped          TEXT,
    checkins         BLOB,
    late             INTEGER NOT NULL DEFAULT 0,
    no_time          INTEGER NOT NULL DEFAULT 0,
    malformed        INTEGER NOT NULL DEFAULT 0,
    out_of_range     INTEGER NOT NULL DEFAULT 0,
    UNIQUE (incarnation, stage)
) STRICT;
CREATE INDEX reporter_by_age   ON reporter (stage, last_append_ms);
CREATE INDEX reporter_by_start ON reporter (stage, audited_since_ms);

-- All open slots of a reporter in one row; what is final moves to `final_slots`, written once and dropped when sealed.
CREATE TABLE open_slots (
    reporter INTEGER PRIMARY KEY,
    version  INTEGER NOT NULL,
    body     BLOB    NOT NULL
) STRICT;
CREATE TABLE final_slots (
    id       INTEGER PRIMARY KEY,
    reporter INTEGER NOT NULL,
    first_id INTEGER NOT NULL,
    last_id  INTEGER NOT NULL,
    ids      TEXT    NOT NULL,
    final_ms INTEGER NOT NULL,
    version  INTEGER NOT NULL,
    body     BLOB    NOT NULL
) STRICT;
CREATE INDEX final_slots_by_id  ON final_slots (reporter, last_id);
CREATE INDEX final_slots_by_age ON final_slots (final_ms);

-- Who counted what of windows that were not proven when the slots behind it were dropped; a reporter may have several rows
-- of a window. The newest 1,000,000 are kept (collector/src/tables/shares.rs).
CREATE TABLE reporter_window (
    id        INTEGER PRIMARY KEY,
    topic     INTEGER NOT NULL,
    window_ms INTEGER NOT NULL,
    reporter  INTEGER NOT NULL,
    width_ms  INTEGER NOT NULL,
    n         INTEGER NOT NULL,
    acked     INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    bytes     INTEGER NOT NULL,
    last_ms   INTEGER
) STRICT;
CREATE INDEX reporter_window_by_window ON reporter_window (topic, window_ms);

-- Windows in which a reporter has slots that are not final, and how many of their messages have no delivery report.
CREATE TABLE open_window (
    topic      INTEGER NOT NULL,
    window_ms  INTEGER NOT NULL,
    stage      INTEGER NOT NULL,
    reporter   INTEGER NOT NULL,
    width_ms   INTEGER NOT NULL,
    slots      INTEGER NOT NULL,
    unreported INTEGER NOT NULL,
    PRIMARY KEY (topic, window_ms, stage, reporter, width_ms)
) STRICT, WITHOUT ROWID;

-- Totals: Σ of joined slots and applied intervals (I1, I4). `last_ms` and `first_ms` are in broker time: nothing arrived
-- after the one (as far as is known) or before the other (for certain; the least number there is where nothing is known).
CREATE TABLE stage_window (
    topic     INTEGER NOT NULL,
    window_ms INTEGER NOT NULL,
    stage     INTEGER NOT NULL,
    class     INTEGER NOT NULL,
    width_ms  INTEGER NOT NULL,
    rule_min  INTEGER NOT NULL,
    rule_max  INTEGER NOT NULL,
    n         INTEGER NOT NULL,
    acked     INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    bytes     INTEGER NOT NULL,
    f_in      BLOB    NOT NULL,
    f_acked   BLOB    NOT NULL,
    f_failed  BLOB    NOT NULL,
    hist      TEXT    NOT NULL,
    min_ms    INTEGER,
    max_ms    INTEGER,
    last_ms   INTEGER,
    first_ms  INTEGER,
    PRIMARY KEY (topic, window_ms, stage, class, width_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX stage_window_by_time ON stage_window (window_ms);
CREATE INDEX stage_window_wide ON stage_window (topic, window_ms) WHERE width_ms > 10000;
CREATE INDEX stage_window_wide_by_time ON stage_window (window_ms) WHERE width_ms > 10000;

-- Totals again, in wider slices of event time: Σ of the rows of `stage_window` that are narrower than `level_ms` (60, 600 or
-- 3600 s), of what the sweep has rolled up so far (collector/src/tables/levels.rs).
CREATE TABLE stage_level (
    topic     INTEGER NOT NULL,
    window_ms INTEGER NOT NULL,
    stage     INTEGER NOT NULL,
    class     INTEGER NOT NULL,
    level_ms  INTEGER NOT NULL,
    rule_min  INTEGER NOT NULL,
    rule_max  INTEGER NOT NULL,
    n         INTEGER NOT NULL,
    acked     INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    bytes     INTEGER NOT NULL,
    f_in      BLOB    NOT NULL,
    f_acked   BLOB    NOT NULL,
    f_failed  BLOB    NOT NULL,
    hist      TEXT    NOT NULL,
    min_ms    INTEGER,
    max_ms    INTEGER,
    last_ms   INTEGER,
    first_ms  INTEGER,
    PRIMARY KEY (topic, level_ms, window_ms, stage, class)
) STRICT, WITHOUT ROWID;
CREATE INDEX stage_level_by_time ON stage_level (level_ms, window_ms);

-- How far each job of the sweep is: windows that began before `from_ms` are done, and those before `to_ms` of topics up to
-- `topic`. Job 0 rolls up; 10000, 60000, 600000 and 3600000 drop what is so wide; 1 drops what `kept` kept.
CREATE TABLE sweep (
    job     INTEGER PRIMARY KEY,
    from_ms INTEGER NOT NULL,
    to_ms   INTEGER NOT NULL,
    topic   INTEGER NOT NULL
) STRICT;
INSERT INTO sweep (job, from_ms, to_ms, topic) VALUES
    (0, -9223372036854775807, -9223372036854775807, 0), (1, -9223372036854775807, -9223372036854775807, 0),
    (10000, -9223372036854775807, -9223372036854775807, 0), (60000, -9223372036854775807, -9223372036854775807, 0),
    (600000, -9223372036854775807, -9223372036854775807, 0), (3600000, -9223372036854775807, -9223372036854775807, 0);

-- Ten minutes of a topic that were not dropped at this width although it was their time: there is evidence in them.
CREATE TABLE kept (
    level_ms  INTEGER NOT NULL,
    window_ms INTEGER NOT NULL,
    topic     INTEGER NOT NULL,
    PRIMARY KEY (window_ms, level_ms, topic)
) STRICT, WITHOUT ROWID;

-- By which rules a stage has counted a topic, and between which arrivals, in whole hours of broker time.
CREATE TABLE stage_rule (
    topic    INTEGER NOT NULL,
    stage    INTEGER NOT NULL,
    rule     INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms  INTEGER NOT NULL,
    PRIMARY KEY (topic, stage, rule)
) STRICT, WITHOUT ROWID;

-- What casts doubt on a stage in a span of event time: kind `overflow` and `audit_lost` (any topic), `divergent`, or
-- `rewritten` (the broker puts its own time in place of the producer's).
CREATE TABLE stage_flag (
    stage   INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    topic   INTEGER NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms   INTEGER NOT NULL,
    PRIMARY KEY (stage, kind, topic, from_ms)
) STRICT, WITHOUT ROWID;

-- The claim chain of a tapped partition, and how far the tap is.
CREATE TABLE tap_partition (
    stage            INTEGER NOT NULL,
    topic            INTEGER NOT NULL,
    partition        INTEGER NOT NULL,
    log              INTEGER NOT NULL,
    epoch            INTEGER NOT NULL,
    next             INTEGER NOT NULL,
    claim_from       INTEGER NOT NULL,
    tap              BLOB    NOT NULL,
    claimed_ms       INTEGER NOT NULL,
    audited_since_ms INTEGER NOT NULL,
    anchor           TEXT,
    topic_id         BLOB,
    last_min_ms      INTEGER,
    counted          INTEGER NOT NULL,
    watermark_ms     INTEGER,
    frontier_ms      INTEGER,
    held_since_ms    INTEGER,
    position         INTEGER,
    PRIMARY KEY (stage, topic, partition)
) STRICT, WITHOUT ROWID;
-- Ids of topics that had the name before: who still speaks of one is late.
CREATE TABLE tap_former (
    stage     INTEGER NOT NULL,
    topic     INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    topic_id  BLOB    NOT NULL,
    log       INTEGER NOT NULL,
    PRIMARY KEY (stage, topic, partition, topic_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE tap_topic (
    stage      INTEGER NOT NULL,
    topic      INTEGER NOT NULL,
    partitions INTEGER NOT NULL,
    asked_ms   INTEGER NOT NULL,
    PRIMARY KEY (stage, topic)
) STRICT, WITHOUT ROWID;

-- How many partitions a topic had when the stage first claimed one of it: others were born while it was audited.
CREATE TABLE tap_begun (
    stage      INTEGER NOT NULL,
    topic      INTEGER NOT NULL,
    partitions INTEGER NOT NULL,
    PRIMARY KEY (stage, topic)
) STRICT, WITHOUT ROWID;

-- Which partitions hold messages of a window, and up to which offset; dropped when every hop of the window is ok.
CREATE TABLE tap_window (
    topic      INTEGER NOT NULL,
    window_ms  INTEGER NOT NULL,
    stage      INTEGER NOT NULL,
    partition  INTEGER NOT NULL,
    width_ms   INTEGER NOT NULL,
    log        INTEGER NOT NULL,
    n          INTEGER NOT NULL,
    min_offset INTEGER NOT NULL,
    max_offset INTEGER NOT NULL,
    PRIMARY KEY (topic, window_ms, stage, partition, width_ms)
) STRICT, WITHOUT ROWID;

-- The same of windows that are proven, all partitions of a stage in one value (collector/src/tables/offsets.rs).
CREATE TABLE window_offsets (
    window_ms  INTEGER NOT NULL,
    topic      INTEGER NOT NULL,
    stage      INTEGER NOT NULL,
    width_ms   INTEGER NOT NULL,
    partitions BLOB    NOT NULL,
    PRIMARY KEY (window_ms, topic, stage, width_ms)
) STRICT, WITHOUT ROWID;

-- Offsets that nobody counted, and the event times that they may have had; an absent end is not known yet.
CREATE TABLE unaudited (
    id            INTEGER PRIMARY KEY,
    stage         INTEGER NOT NULL,
    topic         INTEGER NOT NULL,
    partition     INTEGER NOT NULL,
    log           INTEGER NOT NULL,
    from_offset   INTEGER NOT NULL,
    to_offset     INTEGER,
    at_ms         INTEGER NOT NULL,
    from_event_ms INTEGER,
    to_event_ms   INTEGER,
    cause         TEXT    NOT NULL
) STRICT;
CREATE INDEX unaudited_by_topic ON unaudited (stage, topic, partition);

-- How far a consumer has processed each partition, and by when (broker time) it had come that far.
CREATE TABLE consumer_position (
    stage     INTEGER NOT NULL,
    topic     INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    position  INTEGER NOT NULL,
    at_ms     INTEGER NOT NULL,
    PRIMARY KEY (stage, topic, partition)
) STRICT, WITHOUT ROWID;

-- Records that are not believed, and what was odd; the newest 10,000 of each are kept.
CREATE TABLE quarantine (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    cluster     TEXT    NOT NULL,
    topic       TEXT    NOT NULL,
    partition   INTEGER NOT NULL,
    "offset"    INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    length      INTEGER NOT NULL,
    sha256      TEXT    NOT NULL,
    reason      TEXT    NOT NULL
) STRICT;
CREATE TABLE event (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms       INTEGER NOT NULL,
    kind        TEXT    NOT NULL,
    incarnation BLOB,
    text        TEXT    NOT NULL
) STRICT;

-- The processes that work on this store: when each last wrote here, and what is wrong with it by its own account (a JSON
-- array of {text, notice}). A clean end removes the row; who replaces whom is told by role and clusters.
CREATE TABLE process (
    id         BLOB    PRIMARY KEY,
    role       TEXT    NOT NULL,
    clusters   TEXT    NOT NULL,
    reads      TEXT    NOT NULL,
    host       TEXT    NOT NULL,
    pid        INTEGER NOT NULL,
    version    TEXT    NOT NULL,
    started_ms INTEGER NOT NULL,
    beat_ms    INTEGER NOT NULL,
    problems   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- What people did, in the order in which it was recorded. Rows are only added.
CREATE TABLE operator_action (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms   INTEGER NOT NULL,
    who     TEXT NOT NULL,
    role    TEXT NOT NULL,
    address TEXT NOT NULL,
    action  TEXT NOT NULL,
    what    TEXT NOT NULL,
    outcome TEXT NOT NULL
) STRICT;
CREATE TRIGGER operator_action_stays BEFORE UPDATE ON operator_action
BEGIN SELECT raise(ABORT, 'operator_action: rows are only added'); END;
CREATE TRIGGER operator_action_remains BEFORE DELETE ON operator_action
BEGIN SELECT raise(ABORT, 'operator_action: rows are only added'); END;

-- The judge's queue: windows that are open, settling, changed, or to be looked at again. `version`: who put it here last.
CREATE TABLE pending (
    topic     INTEGER NOT NULL,
    window_ms INTEGER NOT NULL,
    width_ms  INTEGER NOT NULL,
    due_ms    INTEGER NOT NULL,
    touched   INTEGER NOT NULL,
    unsettled INTEGER NOT NULL,
    version   INTEGER NOT NULL,
    PRIMARY KEY (topic, window_ms, width_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX pending_by_due ON pending (due_ms, window_ms);

-- Verdicts. `settled_*` is the last settled one, which amendments are measured against; `passed_ms` is when consumers'
-- positions were first seen past a window in which something is absent.
CREATE TABLE hop_window (
    topic             INTEGER NOT NULL,
    window_ms         INTEGER NOT NULL,
    from_stage        INTEGER NOT NULL,
    to_stage          INTEGER NOT NULL,
    hop               INTEGER NOT NULL,
    width_ms          INTEGER NOT NULL,
    verdict           TEXT    NOT NULL,
    missing_min       INTEGER NOT NULL,
    surplus_min       INTEGER NOT NULL,
    delayed           INTEGER NOT NULL,
    caveats           TEXT    NOT NULL,
    why               TEXT    NOT NULL,
    settled_ms        INTEGER,
    settled_verdict   TEXT,
    settled_missing   INTEGER NOT NULL,
    settled_surplus   INTEGER NOT NULL,
    passed_ms         INTEGER,
    amendments        INTEGER NOT NULL,
    -- A verdict stands: all evidence was in, and no later record has opened the window again.
    settled           INTEGER NOT NULL GENERATED ALWAYS AS
        (CASE WHEN settled_ms IS NOT NULL AND verdict NOT IN ('open', 'settling', 'no_report') THEN 1 ELSE 0 END) STORED,
    PRIMARY KEY (topic, window_ms, from_stage, to_stage)
) STRICT, WITHOUT ROWID;
CREATE INDEX hop_window_by_time ON hop_window (window_ms);
CREATE INDEX hop_window_wide ON hop_window (topic, window_ms) WHERE width_ms > 10000;
CREATE INDEX hop_window_wide_by_time ON hop_window (window_ms) WHERE width_ms > 10000;
CREATE INDEX hop_window_trouble ON hop_window (window_ms, verdict) WHERE verdict <> 'ok';

-- Verdicts again, in wider slices of event time: how many windows narrower than `level_ms` have each verdict, and the sums of
-- their bounds. Written with every verdict.
CREATE TABLE hop_level (
    topic           INTEGER NOT NULL,
    level_ms        INTEGER NOT NULL,
    window_ms       INTEGER NOT NULL,
    from_stage      INTEGER NOT NULL,
    to_stage        INTEGER NOT NULL,
    hop             INTEGER NOT NULL,
    n_ok            INTEGER NOT NULL,
    n_missing       INTEGER NOT NULL,
    n_surplus       INTEGER NOT NULL,
    n_re_read       INTEGER NOT NULL,
    n_mixed         INTEGER NOT NULL,
    n_unproven      INTEGER NOT NULL,
    n_partial       INTEGER NOT NULL,
    n_delayed       INTEGER NOT NULL,
    n_overdue       INTEGER NOT NULL,
    n_open          INTEGER NOT NULL,
    n_settling      INTEGER NOT NULL,
    n_no_report     INTEGER NOT NULL,
    n_uncertain     INTEGER NOT NULL,
    missing_min     INTEGER NOT NULL,
    surplus_min     INTEGER NOT NULL,
    delayed         INTEGER NOT NULL,
    amendments      INTEGER NOT NULL,
    PRIMARY KEY (level_ms, window_ms, topic, from_stage, to_stage)
) STRICT, WITHOUT ROWID;
CREATE INDEX hop_level_by_topic ON hop_level (topic, level_ms, window_ms);

-- The pipeline that a topic runs through, as of the last judgement of one of its windows.
CREATE TABLE topic_pipeline (
    topic    INTEGER PRIMARY KEY,
    pipeline TEXT    NOT NULL,
    owner    TEXT,
    runbook  TEXT
) STRICT;

-- Members of the groups of stages, as the pipelines of the last judgement say.
CREATE TABLE stage_group (
    stage    INTEGER NOT NULL,
    of_group INTEGER NOT NULL,
    pipeline TEXT    NOT NULL,
    PRIMARY KEY (stage, of_group, pipeline)
) STRICT, WITHOUT ROWID;

-- Who is expected to report, and how many of them lived at the last judgement: `ok`, `few`, `silent`, `never`.
CREATE TABLE expected_reporter (
    stage       TEXT    NOT NULL,
    application TEXT    NOT NULL,
    at_least    INTEGER NOT NULL,
    live        INTEGER NOT NULL,
    state       TEXT    NOT NULL,
    since_ms    INTEGER NOT NULL,
    PRIMARY KEY (stage, application)
) STRICT, WITHOUT ROWID;

CREATE TABLE amendment (
    id          INTEGER PRIMARY KEY,
    topic       INTEGER NOT NULL,
    window_ms   INTEGER NOT NULL,
    from_stage  INTEGER NOT NULL,
    to_stage    INTEGER NOT NULL,
    at_ms       INTEGER NOT NULL,
    old_verdict TEXT    NOT NULL,
    new_verdict TEXT    NOT NULL,
    old_missing INTEGER NOT NULL,
    new_missing INTEGER NOT NULL,
    old_surplus INTEGER NOT NULL,
    new_surplus INTEGER NOT NULL,
    cause       TEXT    NOT NULL
) STRICT;
CREATE INDEX amendment_by_window ON amendment (topic, window_ms);

-- Where partitions ended, at least once a minute while they are asked about; a partition that stands still keeps one row.
-- `topic` is Kafka's name. An offset arrived after `last_ms` of the row at or below it, and before `first_ms` of the next.
CREATE TABLE index_partition (
    id        INTEGER PRIMARY KEY,
    cluster   TEXT    NOT NULL,
    topic     TEXT    NOT NULL,
    partition INTEGER NOT NULL,
    asked_ms  INTEGER NOT NULL,
    UNIQUE (cluster, topic, partition)
) STRICT;
CREATE TABLE offset_index (
    partition  INTEGER NOT NULL,
    end_offset INTEGER NOT NULL,
    first_ms   INTEGER NOT NULL,
    last_ms    INTEGER NOT NULL,
    PRIMARY KEY (partition, end_offset)
) STRICT, WITHOUT ROWID;

-- Lag of consumer groups as of the last look at each cluster; `topic` is the pipelines' name.
CREATE TABLE lag_round (
    cluster  TEXT    PRIMARY KEY,
    at_ms    INTEGER NOT NULL,
    every_ms INTEGER NOT NULL,
    groups   INTEGER NOT NULL,
    left_out INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE group_lag (
    cluster           TEXT    NOT NULL,
    consumer_group    TEXT    NOT NULL,
    topic             TEXT    NOT NULL,
    partition         INTEGER NOT NULL,
    at_ms             INTEGER NOT NULL,
    state             TEXT    NOT NULL,
    committed         INTEGER,
    end_offset        INTEGER,
    log_start         INTEGER,
    messages          INTEGER,
    lag_ms            INTEGER,
    error_ms          INTEGER,
    at_least          INTEGER NOT NULL,
    trend             TEXT    NOT NULL,
    lag_trend         TEXT    NOT NULL,
    produced_per_s    REAL,
    consumed_per_s    REAL,
    catch_up_ms       INTEGER,
    retention_left_ms INTEGER,
    eaten             INTEGER NOT NULL,
    held              INTEGER NOT NULL,
    PRIMARY KEY (cluster, consumer_group, topic, partition)
) STRICT, WITHOUT ROWID;

-- ---- Stable views: columns are only ever added. docs/SQL.md describes them; a test holds them to it. ----
-- PostgreSQL's have the same columns.

CREATE VIEW v_hop_window AS
SELECT t.text AS topic, f.text AS from_stage, d.text AS to_stage, h.window_ms / 1000 AS window_start, h.window_ms,
       h.width_ms, h.verdict, h.missing_min, h.surplus_min, h.delayed, h.caveats, h.why, h.settled,
       h.settled_ms / 1000 AS settled_at, h.amendments, h.hop, p.pipeline, p.owner, p.runbook
FROM hop_window h
JOIN name t ON t.id = h.topic
JOIN name f ON f.id = h.from_stage
JOIN name d ON d.id = h.to_stage
LEFT JOIN topic_pipeline p ON p.topic = h.topic;

CREATE VIEW v_topic AS
SELECT x.topic, x.pipeline, x.owner, x.runbook, x.complete_through_ms, x.complete_through_ms / 1000 AS complete_through_at
FROM (
    SELECT t.text AS topic, p.pipeline, p.owner, p.runbook,
           coalesce((SELECT min(q.window_ms) FROM pending q WHERE q.topic = p.topic AND q.unsettled = 1),
                    (SELECT h.window_ms + h.width_ms FROM hop_window h WHERE h.topic = p.topic
                     ORDER BY h.window_ms DESC LIMIT 1)) AS complete_through_ms
    FROM topic_pipeline p
    JOIN name t ON t.id = p.topic
) x;

CREATE VIEW v_stage_window AS
SELECT t.text AS topic, s.text AS stage, w.window_ms / 1000 AS window_start, w.window_ms, w.width_ms,
       CASE w.class WHEN 0 THEN 'stamped' WHEN 1 THEN 'bare' WHEN 2 THEN 'no_time' WHEN 3 THEN 'malformed'
                    WHEN 4 THEN 'out_of_range' ELSE 'rewritten' END AS class,
       w.n, w.acked, w.failed, w.bytes, lower(hex(w.f_in)) AS f_in, lower(hex(w.f_acked)) AS f_acked,
       lower(hex(w.f_failed)) AS f_failed, w.min_ms, w.max_ms, w.last_ms, w.last_ms / 1000 AS last_at
FROM stage_window w
JOIN name t ON t.id = w.topic
JOIN name s ON s.id = w.stage;

CREATE VIEW v_hop_bin AS
SELECT t.text AS topic, f.text AS from_stage, d.text AS to_stage, x.window_ms / 1000 AS window_start, x.window_ms, x.width_ms,
       x.worst, x.windows, x.windows_ok, x.missing_min, x.surplus_min, x.delayed, x.amendments, x.hop, p.pipeline, p.owner,
       p.runbook
FROM (
    SELECT h.topic, h.from_stage, h.to_stage, h.window_ms, h.level_ms AS width_ms,
           CASE WHEN h.n_missing > 0 THEN 'missing'
            WHEN h.n_mixed > 0 THEN 'mixed'
            WHEN h.n_surplus > 0 THEN 'surplus'
            WHEN h.n_overdue > 0 THEN 'overdue'
            WHEN h.n_delayed > 0 THEN 'delayed'
            WHEN h.n_uncertain > 0 THEN 'uncertain'
            WHEN h.n_no_report > 0 THEN 'no_report'
            WHEN h.n_unproven > 0 THEN 'unproven'
            WHEN h.n_partial > 0 THEN 'partial'
            WHEN h.n_re_read > 0 THEN 're-read'
            WHEN h.n_settling > 0 THEN 'settling'
            WHEN h.n_open > 0 THEN 'open'
            ELSE 'ok' END AS worst,
           h.n_ok + h.n_missing + h.n_surplus + h.n_re_read + h.n_mixed + h.n_unproven + h.n_partial +
           h.n_delayed + h.n_overdue + h.n_open + h.n_settling + h.n_no_report + h.n_uncertain AS windows,
           h.n_ok AS windows_ok, h.missing_min, h.surplus_min, h.delayed, h.amendments, h.hop
    FROM hop_level h
    UNION ALL
    SELECT h.topic, h.from_stage, h.to_stage, h.window_ms, h.width_ms, h.verdict, 1,
           CASE h.verdict WHEN 'ok' THEN 1 ELSE 0 END, h.missing_min, h.surplus_min, h.delayed, h.amendments, h.hop
    FROM hop_window h
) x
JOIN name t ON t.id = x.topic
JOIN name f ON f.id = x.from_stage
JOIN name d ON d.id = x.to_stage
LEFT JOIN topic_pipeline p ON p.topic = x.topic;

CREATE VIEW v_stage_bin AS
SELECT t.text AS topic, s.text AS stage, w.window_ms / 1000 AS window_start, w.window_ms, w.level_ms AS width_ms,
       CASE w.class WHEN 0 THEN 'stamped' WHEN 1 THEN 'bare' WHEN 2 THEN 'no_time' WHEN 3 THEN 'malformed'
                    WHEN 4 THEN 'out_of_range' ELSE 'rewritten' END AS class,
       w.n, w.acked, w.failed, w.bytes, lower(hex(w.f_in)) AS f_in, lower(hex(w.f_acked)) AS f_acked,
       lower(hex(w.f_failed)) AS f_failed, w.min_ms, w.max_ms, w.last_ms, w.last_ms / 1000 AS last_at
FROM stage_level w
JOIN name t ON t.id = w.topic
JOIN name s ON s.id = w.stage
UNION ALL
SELECT t.text, s.text, w.window_ms / 1000, w.window_ms, w.width_ms,
       CASE w.class WHEN 0 THEN 'stamped' WHEN 1 THEN 'bare' WHEN 2 THEN 'no_time' WHEN 3 THEN 'malformed'
                    WHEN 4 THEN 'out_of_range' ELSE 'rewritten' END,
       w.n, w.acked, w.failed, w.bytes, lower(hex(w.f_in)), lower(hex(w.f_acked)),
       lower(hex(w.f_failed)), w.min_ms, w.max_ms, w.last_ms, w.last_ms / 1000
FROM stage_window w
JOIN name t ON t.id = w.topic
JOIN name s ON s.id = w.stage;

CREATE VIEW v_reporter AS
SELECT lower(hex(r.incarnation)) AS incarnation, s.text AS stage, r.host, r.application, r.library, r.pid, r.datacenter,
       r.audited_since_ms, r.watermark_ms, r.last_append_ms, r.ended, r.sum_n AS n, r.sum_acked AS acked,
       r.sum_failed AS failed, r.dropped, r.audited_since_ms / 1000 AS audited_since_at,
       r.watermark_ms / 1000 AS watermark_at, r.last_append_ms / 1000 AS heard_at, r.late, r.no_time, r.malformed,
       r.out_of_range
FROM reporter r
JOIN name s ON s.id = r.stage;

CREATE VIEW v_stage_group AS
SELECT g.pipeline, o.text AS of_group, s.text AS stage
FROM stage_group g
JOIN name o ON o.id = g.of_group
JOIN name s ON s.id = g.stage;

CREATE VIEW v_expected AS
SELECT e.stage, e.application, e.at_least, e.live, e.state, e.since_ms, e.since_ms / 1000 AS since_at
FROM expected_reporter e;

CREATE VIEW v_process AS
SELECT lower(hex(p.id)) AS id, p.role, p.clusters, p.reads, p.host, p.pid, p.version, p.started_ms, p.beat_ms, p.problems
FROM process p;

CREATE VIEW v_amendment AS
SELECT a.id, t.text AS topic, f.text AS from_stage, d.text AS to_stage, a.window_ms / 1000 AS window_start, a.window_ms,
       a.at_ms, a.old_verdict, a.new_verdict, a.old_missing, a.new_missing, a.old_surplus, a.new_surplus, a.cause
FROM amendment a
JOIN name t ON t.id = a.topic
JOIN name f ON f.id = a.from_stage
JOIN name d ON d.id = a.to_stage;

CREATE VIEW v_unaudited AS
SELECT u.id, s.text AS stage, t.text AS topic, u.partition, u.log, u.from_offset, u.to_offset, u.at_ms, u.from_event_ms,
       u.to_event_ms, u.cause
FROM unaudited u
JOIN name s ON s.id = u.stage
JOIN name t ON t.id = u.topic;

CREATE VIEW v_audit_lost AS
SELECT id, cluster, topic, partition, log, from_offset, to_offset, at_ms, from_ms, to_ms, cause
FROM audit_lost;

CREATE VIEW v_lag AS
SELECT cluster, consumer_group, topic, partition, at_ms, state, committed, end_offset, log_start, messages, lag_ms,
       error_ms, at_least, trend, lag_trend, produced_per_s, consumed_per_s, catch_up_ms, retention_left_ms, eaten, held,
       at_ms / 1000 AS looked_at, CAST(lag_ms / 1000.0 AS DOUBLE PRECISION) AS lag_s,
       CAST(error_ms / 1000.0 AS DOUBLE PRECISION) AS error_s, CAST(catch_up_ms / 1000.0 AS DOUBLE PRECISION) AS catch_up_s,
       CAST(retention_left_ms / 1000.0 AS DOUBLE PRECISION) AS retention_left_s
FROM group_lag;
