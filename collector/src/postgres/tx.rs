//! PostgreSQL under the seam: a connection within a transaction. The *many* forms are one statement each.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Row as PgRow, Statement};

use super::refusal::Refusal;
use super::text::{self, Kind};
use crate::db::{Columns, Done, Each, EachOf, Fault, Row, Tx, Value};
use crate::patience::Patience;

/// How long an answer may take. Longer than any of our statements on a server that is well.
pub(super) const ANSWER: Duration = Duration::from_secs(60);
/// The server keeps deadlines itself; one that has not said so by then is given up.
const GRACE: Duration = Duration::from_secs(1);

/// A statement as it is prepared on a connection.
#[derive(Clone)]
struct Prepared {
    one: Statement,
    many: Option<Statement>,
}

/// A connection, driven by its own thread of the moment.
pub(super) struct Line {
    pub(super) runtime: Runtime,
    pub(super) client: Client,
    /// Of whoever waits for what is asked now.
    patience: RefCell<Patience>,
    prepared: RefCell<HashMap<&'static str, Prepared>>,
}

type BoxError = Box<dyn std::error::Error + Sync + Send>;

impl Line {
    pub(super) fn new(runtime: Runtime, client: Client) -> Self {
        Self { runtime, client, patience: RefCell::default(), prepared: RefCell::default() }
    }

    /// Does what somebody waits for.
    pub(super) fn while_waited<T>(&self, patience: &Patience, work: impl FnOnce() -> T) -> T {
        self.patience.replace(patience.clone());
        let done = work();
        self.patience.replace(Patience::default());
        done
    }

    /// Waits for an answer; does not ask what nobody waits for.
    pub(super) fn wait<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Refusal> {
        let patience = self.patience.borrow();
        if patience.is_over() {
            return Err(Refusal::TooLong);
        }
        let most = patience.left().map_or(ANSWER, |left| ANSWER.min(left + GRACE));
        let timed = async { tokio::time::timeout(most, answer).await };
        self.runtime.block_on(timed).map_err(|_| Refusal::Silent(most))?.map_err(Refusal::Said)
    }

    /// A statement without parameters or rows.
    pub(super) fn say(&self, sql: &str) -> Result<(), Refusal> {
        self.wait(self.client.batch_execute(sql))
    }

    fn one(&self, sql: &'static str) -> Done<Statement> {
        if let Some(known) = self.prepared.borrow().get(sql) {
            return Ok(known.one.clone());
        }
        let one = self.wait(self.client.prepare(&text::one(sql)))?;
        self.prepared.borrow_mut().insert(sql, Prepared { one: one.clone(), many: None });
        Ok(one)
    }

    fn many(&self, sql: &'static str) -> Done<Statement> {
        if let Some(known) = self.prepared.borrow().get(sql).and_then(|p| p.many.clone()) {
            return Ok(known);
        }
        let kinds = self.one(sql)?.params().iter().map(kind).collect::<Option<Vec<_>>>();
        let many = kinds.and_then(|kinds| text::many(sql, &kinds)).ok_or(Refusal::Form(sql))?;
        let many = self.wait(self.client.prepare(&many))?;
        if let Some(known) = self.prepared.borrow_mut().get_mut(sql) {
            known.many = Some(many.clone());
        }
        Ok(many)
    }

    fn rows(&self, statement: &Statement, params: &[&(dyn ToSql + Sync)]) -> Done<Vec<PgRow>> {
        Ok(self.wait(self.client.query(statement, params))?)
    }
}

fn kind(of: &Type) -> Option<Kind> {
    match *of {
        Type::INT8 => Some(Kind::Int),
        Type::FLOAT8 => Some(Kind::Real),
        Type::TEXT => Some(Kind::Text),
        Type::BYTEA => Some(Kind::Blob),
        _ => None,
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        match (self, ty) {
            (Value::Null, _) => return Ok(IsNull::Yes),
            (Value::Int(v), &Type::INT8) => out.extend_from_slice(&v.to_be_bytes()),
            (Value::Real(v), &Type::FLOAT8) => out.extend_from_slice(&v.to_be_bytes()),
            (Value::Text(v), &Type::TEXT) => out.extend_from_slice(v.as_bytes()),
            (Value::Blob(v), &Type::BYTEA) => out.extend_from_slice(v),
            (value, ty) => return Err(format!("{value:?} is no {ty}").into()),
        }
        Ok(IsNull::No)
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    to_sql_checked!();
}

/// A column as it came.
struct Raw<'a>(Value<'a>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(Self(match *ty {
            Type::INT8 => Value::Int(i64::from_be_bytes(raw.try_into()?)),
            Type::INT4 => Value::Int(i32::from_be_bytes(raw.try_into()?).into()),
            Type::FLOAT8 => Value::Real(f64::from_be_bytes(raw.try_into()?)),
            Type::TEXT => Value::Text(std::str::from_utf8(raw)?),
            Type::BYTEA => Value::Blob(raw),
            _ => return Err(format!("a column of type {ty}").into()),
        }))
    }
    fn from_sql_null(_: &Type) -> Result<Self, BoxError> {
        Ok(Self(Value::Null))
    }
    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A row; the first `skip` columns are ours.
struct PgColumns<'a> {
    row: &'a PgRow,
    skip: usize,
}

impl Columns for PgColumns<'_> {
    fn value(&self, column: usize) -> Done<Value<'_>> {
        Ok(self.row.try_get::<_, Raw<'_>>(column + self.skip).map_err(Refusal::Said)?.0)
    }
    fn place(&self, name: &str) -> Option<usize> {
        self.row.columns().iter().skip(self.skip).position(|c| c.name() == name)
    }
}

/// A transaction.
pub(super) struct PgTx<'a>(pub(super) &'a Line);

fn references<T: ToSql + Sync>(values: &[T]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|v| v as &(dyn ToSql + Sync)).collect()
}

/// Rows turned into columns.
fn columns<'v>(width: usize, values: &[Value<'v>]) -> Vec<Vec<Value<'v>>> {
    (0..width).map(|column| values.iter().skip(column).step_by(width).copied().collect()).collect()
}

impl Tx for PgTx<'_> {
    fn execute(&self, sql: &'static str, params: &[Value<'_>]) -> Done<u64> {
        let statement = self.0.one(sql)?;
        Ok(self.0.wait(self.0.client.execute(&statement, &references(params)))?)
    }

    fn each(&self, sql: &'static str, params: &[Value<'_>], row: Each<'_>) -> Done<()> {
        let statement = self.0.one(sql)?;
        for found in self.0.rows(&statement, &references(params))? {
            if !row(&Row(&PgColumns { row: &found, skip: 0 }))? {
                break;
            }
        }
        Ok(())
    }

    fn execute_many(&self, sql: &'static str, width: usize, values: &[Value<'_>]) -> Done<u64> {
        match values.len() / width.max(1) {
            0 => Ok(0),
            1 => self.execute(sql, values),
            _ => {
                let statement = self.0.many(sql)?;
                let columns = columns(width, values);
                Ok(self.0.wait(self.0.client.execute(&statement, &references(&columns)))?)
            }
        }
    }

    fn each_many(&self, sql: &'static str, width: usize, keys: &[Value<'_>], row: EachOf<'_>) -> Done<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let statement = self.0.many(sql)?;
        let columns = columns(width, keys);
        for found in self.0.rows(&statement, &references(&columns))? {
            let no: i64 = found.try_get(0).map_err(Refusal::Said)?;
            let place = usize::try_from(no - 1).map_err(Fault::stored("number of a key"))?;
            row(place, &Row(&PgColumns { row: &found, skip: 1 }))?;
        }
        Ok(())
    }

    fn is_shared(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_turn_into_columns_and_nothing_is_bent() {
        let values = [1, 2, 3, 4, 5, 6].map(Value::Int);
        assert_eq!(columns(2, &values), [[1, 3, 5].map(Value::Int), [2, 4, 6].map(Value::Int)]);
        let mut out = BytesMut::new();
        assert!(Value::Int(1).to_sql(&Type::INT4, &mut out).is_err());
        assert!(Value::Text("1").to_sql(&Type::INT8, &mut out).is_err());
        assert!(Value::Null.to_sql(&Type::INT8, &mut out).is_ok_and(|null| matches!(null, IsNull::Yes)));
    }
}
