//! Sizes and exports. Every question here looks at whole tables: for people, not for pages.

use std::collections::BTreeMap;

use crate::db::{AsValue, Done, Row, Tx, Value, count, params};
use crate::upkeep::{Cell, Export, ExportQuery, Exported, StoreSize, TableSize, WidthRows};

macro_rules! counted {
    ($($table:literal)*) => { [$(($table, concat!("SELECT count(*) FROM ", $table))),*] };
}

/// Every table of both databases.
const TABLES: [(&str, &str); 40] = counted!(
    "amendment" "audit_former" "audit_lost" "audit_partition" "compatible" "consumer_position" "event" "expected_reporter" "final_slots"
    "group_lag" "hop_level" "hop_window" "index_partition" "kept" "lag_round" "meta" "name" "offset_index" "open_slots"
    "open_window" "operator_action" "pending" "process" "quarantine" "reporter" "reporter_window" "stage_flag" "stage_group" "stage_level" "stage_rule" "stage_window" "sweep"
    "tap_begun" "tap_former" "tap_partition" "tap_topic" "tap_window" "topic_pipeline" "unaudited" "window_offsets"
);

const BYTES_SQLITE: &str = "SELECT m.tbl_name, CAST(sum(d.pgsize) AS INTEGER) FROM dbstat d \
     JOIN sqlite_schema m ON m.name = d.name WHERE d.aggregate = 1 GROUP BY m.tbl_name";
const BYTES_POSTGRES: &str = "SELECT CAST(c.relname AS TEXT), pg_total_relation_size(c.oid) FROM pg_class c \
     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname = current_schema()";

const WIDTHS: [(&str, &str); 4] = [
    ("stage_window", "SELECT width_ms, count(*), min(window_ms), max(window_ms) FROM stage_window GROUP BY width_ms"),
    ("stage_level", "SELECT level_ms, count(*), min(window_ms), max(window_ms) FROM stage_level GROUP BY level_ms"),
    ("hop_window", "SELECT width_ms, count(*), min(window_ms), max(window_ms) FROM hop_window GROUP BY width_ms"),
    ("hop_level", "SELECT level_ms, count(*), min(window_ms), max(window_ms) FROM hop_level GROUP BY level_ms"),
];

/// How large the store is.
pub(super) fn size(tx: &dyn Tx) -> Done<StoreSize> {
    let sql = if tx.is_shared() { BYTES_POSTGRES } else { BYTES_SQLITE };
    let of = |r: &Row<'_>| Ok((r.get::<String>(0)?, count(r.get(1)?)));
    let bytes: BTreeMap<String, u64> = tx.query(sql, params![], of)?.into_iter().collect();
    let mut tables = Vec::new();
    for (table, bytes) in &bytes {
        let known = TABLES.iter().find(|(known, _)| known == table);
        let rows = known.map(|(_, sql)| tx.one(sql, params![], |r| Ok(count(r.get(0)?)))).transpose()?;
        tables.push(TableSize { table: table.clone(), rows, bytes: *bytes });
    }
    let mut widths = Vec::new();
    for (table, sql) in WIDTHS {
        let mut of_table = tx.query(sql, params![], |r| {
            let (width_ms, rows) = (r.get(0)?, count(r.get(1)?));
            Ok(WidthRows { table: table.to_owned(), width_ms, rows, first_ms: r.get(2)?, last_ms: r.get(3)? })
        })?;
        of_table.sort_unstable_by_key(|w| w.width_ms);
        widths.extend(of_table);
    }
    Ok(StoreSize { bytes: bytes.values().sum(), tables, widths })
}

const WINDOWS: [&str; 19] = [
    "topic",
    "from_stage",
    "to_stage",
    "window_start",
    "window_ms",
    "width_ms",
    "verdict",
    "missing_min",
    "surplus_min",
    "delayed",
    "caveats",
    "why",
    "settled",
    "settled_at",
    "amendments",
    "hop",
    "pipeline",
    "owner",
    "runbook",
];
const STAGES: [&str; 17] = [
    "topic",
    "stage",
    "window_start",
    "window_ms",
    "width_ms",
    "class",
    "n",
    "acked",
    "failed",
    "bytes",
    "f_in",
    "f_acked",
    "f_failed",
    "min_ms",
    "max_ms",
    "last_ms",
    "last_at",
];
const REPORTERS: [&str; 18] = [
    "incarnation",
    "stage",
    "host",
    "application",
    "library",
    "pid",
    "datacenter",
    "audited_since_ms",
    "watermark_ms",
    "last_append_ms",
    "ended",
    "n",
    "acked",
    "failed",
    "dropped",
    "audited_since_at",
    "watermark_at",
    "heard_at",
];

/// Rows of a view.
pub(super) fn export(tx: &dyn Tx, q: &ExportQuery) -> Done<Exported> {
    let (columns, sql): (&'static [&'static str], _) = match (q.what, &q.topic) {
        (Export::Windows, None) => (
            &WINDOWS,
            "SELECT * FROM v_hop_window WHERE window_ms >= ?1 AND window_ms < ?2 ORDER BY window_ms, topic, hop",
        ),
        (Export::Windows, Some(_)) => (
            &WINDOWS,
            "SELECT * FROM v_hop_window WHERE window_ms >= ?1 AND window_ms < ?2 AND topic = ?3 ORDER BY window_ms, hop",
        ),
        (Export::Stages, None) => (
            &STAGES,
            "SELECT * FROM v_stage_window WHERE window_ms >= ?1 AND window_ms < ?2 ORDER BY window_ms, topic, stage, class",
        ),
        (Export::Stages, Some(_)) => (
            &STAGES,
            "SELECT * FROM v_stage_window WHERE window_ms >= ?1 AND window_ms < ?2 AND topic = ?3 ORDER BY window_ms, stage, class",
        ),
        (Export::Reporters, _) => (&REPORTERS, "SELECT * FROM v_reporter ORDER BY stage, incarnation"),
    };
    let all = params![q.from_ms, q.to_ms, q.topic];
    let of = match (q.what, &q.topic) {
        (Export::Reporters, _) => &[],
        (_, None) => all.get(..2).unwrap_or(all),
        (_, Some(_)) => all.as_slice(),
    };
    let rows = tx.query(sql, of, |r| (0..columns.len()).map(|i| Ok(cell(r.0.value(i)?))).collect())?;
    Ok(Exported { columns, rows })
}

fn cell(value: Value<'_>) -> Cell {
    match value {
        Value::Int(v) => Cell::Int(v),
        Value::Real(v) => Cell::Real(v),
        Value::Text(v) => Cell::Text(v.to_owned()),
        // No view has bytes.
        Value::Null | Value::Blob(_) => Cell::Null,
    }
}
