//! What the store asks of a database: statements within one transaction.
//!
//! Statements are written once, in the SQL that both databases have, with `?1` for parameters
//! ([`statement`](crate::postgres) tells what PostgreSQL makes of them). The *many* forms are one statement for any number of
//! rows, whose keys differ and are in ascending order: rows are locked in that order, so that nobody waits in a circle.

use super::value::{Row, Value};
use super::{Done, Fault};

/// Takes a row; `false`: no more of them.
pub(crate) type Each<'f> = &'f mut dyn FnMut(&Row<'_>) -> Done<bool>;
/// Likewise, with the place of the key that it answers.
pub(crate) type EachOf<'f> = &'f mut dyn FnMut(usize, &Row<'_>) -> Done<()>;

/// One transaction of some database.
pub(crate) trait Tx {
    /// Runs a statement; the rows that it changed.
    fn execute(&self, sql: &'static str, params: &[Value<'_>]) -> Done<u64>;
    /// Runs a query.
    fn each(&self, sql: &'static str, params: &[Value<'_>], row: Each<'_>) -> Done<()>;
    /// Runs a statement for each `width` of `values`; the rows that all of them changed.
    fn execute_many(&self, sql: &'static str, width: usize, values: &[Value<'_>]) -> Done<u64>;
    /// Runs a query for each `width` of `keys`, in their order.
    fn each_many(&self, sql: &'static str, width: usize, keys: &[Value<'_>], row: EachOf<'_>) -> Done<()>;
    /// Whether others write beside this transaction: what is to be changed must be claimed before it is read.
    fn is_shared(&self) -> bool;
}

impl dyn Tx + '_ {
    /// All rows of a query.
    pub(crate) fn query<T>(
        &self,
        sql: &'static str,
        params: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Done<T>,
    ) -> Done<Vec<T>> {
        let mut rows = Vec::new();
        self.each(sql, params, &mut |row| {
            rows.push(read(row)?);
            Ok(true)
        })?;
        Ok(rows)
    }

    /// The first row of a query, if any.
    pub(crate) fn first<T>(
        &self,
        sql: &'static str,
        params: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Done<T>,
    ) -> Done<Option<T>> {
        let mut found = None;
        self.each(sql, params, &mut |row| {
            found = Some(read(row)?);
            Ok(false)
        })?;
        Ok(found)
    }

    /// The row that a query always has.
    pub(crate) fn one<T>(
        &self,
        sql: &'static str,
        params: &[Value<'_>],
        read: impl FnMut(&Row<'_>) -> Done<T>,
    ) -> Done<T> {
        self.first(sql, params, read)?.ok_or_else(|| Fault::stored("row")("it is not there"))
    }

    /// Whether a query has a row.
    pub(crate) fn exists(&self, sql: &'static str, params: &[Value<'_>]) -> Done<bool> {
        Ok(self.first(sql, params, |_| Ok(()))?.is_some())
    }

    /// For each key the row of a query that has one at most.
    pub(crate) fn first_many<T>(
        &self,
        sql: &'static str,
        width: usize,
        keys: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Done<T>,
    ) -> Done<Vec<Option<T>>> {
        let mut found: Vec<Option<T>> = Vec::new();
        found.resize_with(keys.len() / width.max(1), || None);
        self.each_many(sql, width, keys, &mut |i, row| {
            if let Some(place) = found.get_mut(i) {
                *place = Some(read(row)?);
            }
            Ok(())
        })?;
        Ok(found)
    }
}
