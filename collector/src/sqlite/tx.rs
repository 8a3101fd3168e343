//! SQLite under the seam: statements stay prepared, the *many* forms run one for each row.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row as LiteRow, ToSql, params_from_iter};

use crate::db::{Columns, Done, Each, EachOf, Fault, Row, Tx, Value};

/// A connection within a transaction.
pub(super) struct LiteTx<'a>(pub(super) &'a Connection);

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Int(v) => ValueRef::Integer(*v),
            Value::Real(v) => ValueRef::Real(*v),
            Value::Text(v) => ValueRef::Text(v.as_bytes()),
            Value::Blob(v) => ValueRef::Blob(v),
        }))
    }
}

struct LiteColumns<'a, 'r>(&'a LiteRow<'r>);

impl Columns for LiteColumns<'_, '_> {
    fn value(&self, column: usize) -> Done<Value<'_>> {
        Ok(match self.0.get_ref(column)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(v) => Value::Int(v),
            ValueRef::Real(v) => Value::Real(v),
            ValueRef::Text(v) => Value::Text(std::str::from_utf8(v).map_err(Fault::stored("text"))?),
            ValueRef::Blob(v) => Value::Blob(v),
        })
    }
    fn place(&self, name: &str) -> Option<usize> {
        self.0.as_ref().column_index(name).ok()
    }
}

impl Tx for LiteTx<'_> {
    fn execute(&self, sql: &'static str, params: &[Value<'_>]) -> Done<u64> {
        Ok(self.0.prepare_cached(sql)?.execute(params_from_iter(params))? as u64)
    }

    fn each(&self, sql: &'static str, params: &[Value<'_>], row: Each<'_>) -> Done<()> {
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(params))?;
        while let Some(r) = rows.next()? {
            if !row(&Row(&LiteColumns(r)))? {
                break;
            }
        }
        Ok(())
    }

    fn execute_many(&self, sql: &'static str, width: usize, values: &[Value<'_>]) -> Done<u64> {
        if values.is_empty() {
            return Ok(0);
        }
        let mut statement = self.0.prepare_cached(sql)?;
        let mut changed = 0;
        for row in values.chunks_exact(width) {
            changed += statement.execute(params_from_iter(row))? as u64;
        }
        Ok(changed)
    }

    fn each_many(&self, sql: &'static str, width: usize, keys: &[Value<'_>], row: EachOf<'_>) -> Done<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut statement = self.0.prepare_cached(sql)?;
        for (i, key) in keys.chunks_exact(width).enumerate() {
            let mut rows = statement.query(params_from_iter(key))?;
            while let Some(r) = rows.next()? {
                row(i, &Row(&LiteColumns(r)))?;
            }
        }
        Ok(())
    }

    fn is_shared(&self) -> bool {
        false
    }
}
