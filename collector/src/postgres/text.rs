//! Statements as PostgreSQL takes them. Pure.
//!
//! They are written as SQLite takes them, and differ little: `?1` becomes `$1`; a line that begins with `--pg` is here,
//! one that ends with `--lite` is not. A statement for many rows is made of the one for a single row: its parameters
//! become columns of arrays. Limit: comments stand on lines of their own, and no text in quotes has a `?` or a keyword
//! that is looked for.

/// What parameters are, by the server's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Real,
    Text,
    Blob,
}

impl Kind {
    const fn array(self) -> &'static str {
        match self {
            Self::Int => "bigint[]",
            Self::Real => "double precision[]",
            Self::Text => "text[]",
            Self::Blob => "bytea[]",
        }
    }
}

/// A statement for one row.
pub(super) fn one(sql: &str) -> String {
    numbered(&lines(sql), |number| format!("${number}"))
}

/// Without comments and what is another database's.
fn lines(sql: &str) -> String {
    let ours = sql.lines().filter(|line| !line.trim_end().ends_with("--lite"));
    let text = ours.map(|line| line.trim().strip_prefix("--pg ").unwrap_or_else(|| line.trim()));
    text.filter(|line| !line.starts_with("--") && !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// With each `?N` replaced.
fn numbered(sql: &str, put: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(sql.len() + 16);
    let mut parts = sql.split('?');
    out.extend(parts.next());
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let (number, rest) = part.split_at(end);
        out.push_str(&put(number));
        out.push_str(rest);
    }
    out
}

/// The statement for any number of rows, each parameter an array. A query's rows begin with the number of the key that
/// they answer, from 1. `None`: no form is known for it.
pub(super) fn many(sql: &str, kinds: &[Kind]) -> Option<String> {
    let sql = numbered(&lines(sql), |number| format!("k.p{number}"));
    let arrays: Vec<String> = kinds.iter().zip(1..).map(|(kind, n)| format!("${n}::{}", kind.array())).collect();
    let columns: Vec<String> = (1..=kinds.len()).map(|n| format!("p{n}")).collect();
    let rows = format!("unnest({}) WITH ORDINALITY AS k({}, no)", arrays.join(", "), columns.join(", "));
    match sql.split_whitespace().next()? {
        "SELECT" => Some(format!("SELECT k.no, x.* FROM {rows} CROSS JOIN LATERAL ({sql}) AS x")),
        "INSERT" => {
            let (head, rest) = sql.split_once("VALUES (")?;
            let (values, tail) = rest.split_once(')')?;
            // In their order, so that nobody waits in a circle.
            Some(format!("{head}SELECT {values} FROM {rows} ORDER BY k.no{tail}"))
        }
        "UPDATE" => {
            let (head, condition) = sql.split_once("WHERE ")?;
            Some(format!("{head}FROM {rows} WHERE {condition}"))
        }
        "DELETE" => {
            let (head, condition) = sql.split_once("WHERE ")?;
            Some(format!("{head}USING {rows} WHERE {condition}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_keeps_its_words_and_loses_the_others_database() {
        let sql = "-- why\nSELECT a FROM t INDEXED BY i --lite\n--pg SELECT a FROM t\nWHERE a = ?1 AND b > ?12\n--pg FOR UPDATE\n";
        assert_eq!(one(sql), "SELECT a FROM t\nWHERE a = $1 AND b > $12\nFOR UPDATE");
    }

    #[test]
    fn one_row_becomes_many() {
        let (two, one) = ([Kind::Int, Kind::Text], [Kind::Blob]);
        let k2 = "unnest($1::bigint[], $2::text[]) WITH ORDINALITY AS k(p1, p2, no)";
        let k1 = "unnest($1::bytea[]) WITH ORDINALITY AS k(p1, no)";
        let cases: [(&str, &[Kind], String); 4] = [
            (
                "SELECT c FROM t WHERE a = ?1 AND b = ?2\n--pg FOR UPDATE",
                &two,
                format!(
                    "SELECT k.no, x.* FROM {k2} CROSS JOIN LATERAL (SELECT c FROM t WHERE a = k.p1 AND b = k.p2\nFOR UPDATE) AS x"
                ),
            ),
            (
                "INSERT INTO t (a, b, c) VALUES (?1, ?2, 0) ON CONFLICT (a) DO UPDATE SET b = excluded.b",
                &two,
                format!(
                    "INSERT INTO t (a, b, c) SELECT k.p1, k.p2, 0 FROM {k2} ORDER BY k.no ON CONFLICT (a) DO UPDATE SET b = excluded.b"
                ),
            ),
            ("UPDATE t SET b = ?2 WHERE a = ?1", &two, format!("UPDATE t SET b = k.p2 FROM {k2} WHERE a = k.p1")),
            ("DELETE FROM t WHERE a = ?1", &one, format!("DELETE FROM t USING {k1} WHERE a = k.p1")),
        ];
        for (sql, kinds, expected) in cases {
            assert_eq!(many(sql, kinds).as_deref(), Some(expected.as_str()));
        }
        assert_eq!(many("VACUUM", &one), None);
    }
}
