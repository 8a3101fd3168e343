//! Both databases have the same tables and views, with the same columns in the same order; readers of the views need not
//! know which it is. And nothing is used that the oldest PostgreSQL which is promised does not have.

use std::collections::BTreeMap;

use chaperone_collector::SqliteStore;

use crate::place::Place;

/// By table or view: columns with their kind.
type Schema = BTreeMap<String, Vec<(String, String)>>;

/// What SQLite calls a kind, as PostgreSQL calls it.
fn kind(of: &str) -> &'static str {
    match of {
        "INTEGER" => "bigint",
        "TEXT" => "text",
        "BLOB" => "bytea",
        "REAL" => "double precision",
        other => panic!("a column of kind {other}"),
    }
}

fn sqlite() -> Schema {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s.sqlite");
    drop(SqliteStore::open(&path).expect("a store"));
    let conn = rusqlite::Connection::open(&path).expect("opens");
    let sql = "SELECT m.name, m.type, c.name, c.type FROM sqlite_schema m JOIN pragma_table_xinfo(m.name) c
               WHERE m.type IN ('table', 'view') ORDER BY m.name, c.cid";
    let mut statement = conn.prepare(sql).expect("query");
    let mut schema = Schema::new();
    let mut rows = statement.query([]).expect("rows");
    while let Some(r) = rows.next().expect("row") {
        let (of, what): (String, String) = (r.get(0).expect("name"), r.get(1).expect("type"));
        let (column, declared): (String, String) = (r.get(2).expect("column"), r.get(3).expect("kind"));
        if ["refinery_schema_history", "sqlite_sequence"].contains(&of.as_str()) {
            continue;
        }
        // A view's column has a kind only where it is a table's.
        let declared = if what == "view" { String::new() } else { kind(&declared).to_owned() };
        schema.entry(of).or_default().push((column, declared));
    }
    schema
}

#[test]
fn both_databases_have_the_same_tables_and_views() {
    let place = Place::new();
    let sql = "SELECT c.table_name, t.table_type, c.column_name, c.data_type
               FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
               WHERE c.table_schema = 'public' ORDER BY c.table_name, c.ordinal_position";
    let mut schema = Schema::new();
    for row in place.rows(sql) {
        let [of, what, column, declared] = row.as_slice() else { panic!("four columns") };
        let declared = if what == "VIEW" { String::new() } else { declared.clone() };
        // Which is the term of judges that work beside each other: SQLite has one writer.
        if !["refinery_schema_history", "judged"].contains(&of.as_str()) {
            schema.entry(of.clone()).or_default().push((column.clone(), declared));
        }
    }
    let sqlite = sqlite();
    assert!(sqlite.len() > 30, "only {} tables and views", sqlite.len());
    assert_eq!(schema, sqlite);
}

#[test]
fn kinds_of_view_columns_are_those_that_numbers_and_words_need() {
    let place = Place::new();
    let odd = "SELECT table_name, column_name, data_type FROM information_schema.columns
               WHERE table_schema = 'public' AND table_name LIKE 'v\\_%'
                 AND data_type NOT IN ('bigint', 'integer', 'text', 'double precision')";
    assert_eq!(place.rows(odd), Vec::<Vec<String>>::new());
}

/// What PostgreSQL 14 does not know, by the release notes of those after it.
const NEWER: &[&str] = &[
    "merge into",
    "nulls not distinct",
    "security_invoker",
    "regexp_like(",
    "regexp_count(",
    "regexp_substr(",
    "range_agg(",
    "any_value(",
    "is json",
    "json_array(",
    "json_object(",
    "json_table(",
    "json_scalar(",
    "array_shuffle(",
    "array_sample(",
    "date_add(",
    "random_normal(",
    "pg_input_is_valid(",
    "returning old",
    "returning new",
    "without overlaps",
    "not enforced",
    "uuidv7(",
    "uuidv4(",
    "casefold(",
    "array_sort(",
    "generated always as identity (sequence name",
    " virtual",
    "on conflict do select",
];

/// Words that a text has of these, whatever its spaces and case.
fn newer(text: &str) -> Vec<&'static str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("--") || line.starts_with("--pg "));
    let text = lines.collect::<Vec<_>>().join(" ").to_lowercase();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    NEWER.iter().copied().filter(|word| text.contains(word)).collect()
}

#[test]
fn nothing_is_used_that_is_newer_than_postgresql_14() {
    assert_eq!(newer("MERGE  INTO t"), ["merge into"], "the control");
    let collector = chaperone_tests::paths::root().join("collector/src");
    let mut looked_at = 0;
    for (dir, kind) in
        [("postgres/schema", "sql"), ("tables/sql", "sql"), ("tables", "rs"), ("db", "rs"), ("postgres", "rs")]
    {
        for file in std::fs::read_dir(collector.join(dir)).expect("a folder").flatten() {
            let path = file.path();
            if path.extension().is_some_and(|of| of == kind) {
                let text = std::fs::read_to_string(&path).expect("text");
                assert_eq!(newer(&text), Vec::<&str>::new(), "{}", path.display());
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 60, "only {looked_at} files");
}
