//! Values as every database has them: what statements are given and what rows hold.
//!
//! Five kinds, and no unsigned one. Limit: a count above 2^63 − 1 is the caller's to saturate ([`super::int`]).

use super::{Done, Fault};

/// One value, borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Int(i64),
    Real(f64),
    Text(&'a str),
    Blob(&'a [u8]),
}

/// What can be given to a statement.
pub(crate) trait AsValue {
    fn value(&self) -> Value<'_>;
}

macro_rules! integers {
    ($($kind:ty)*) => { $(
        impl AsValue for $kind {
            fn value(&self) -> Value<'_> {
                Value::Int(i64::from(*self))
            }
        }
    )* };
}
integers!(i64 i32 u32 u8 bool);

impl AsValue for f64 {
    fn value(&self) -> Value<'_> {
        Value::Real(*self)
    }
}
impl AsValue for str {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}
impl AsValue for String {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}
impl AsValue for [u8; 16] {
    fn value(&self) -> Value<'_> {
        Value::Blob(self)
    }
}
impl AsValue for Vec<u8> {
    fn value(&self) -> Value<'_> {
        Value::Blob(self)
    }
}
impl<T: AsValue> AsValue for Option<T> {
    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null, AsValue::value)
    }
}
impl<T: AsValue + ?Sized> AsValue for &T {
    fn value(&self) -> Value<'_> {
        (*self).value()
    }
}

/// Parameters of a statement, in order; [`AsValue`] must be in scope.
macro_rules! params {
    ($($one:expr),* $(,)?) => {
        &[$(($one).value()),*]
    };
}
pub(crate) use params;

/// What a row can be read as.
pub(crate) trait FromValue: Sized {
    /// `None`: the value is of another kind.
    fn of(value: Value<'_>) -> Option<Self>;
}

impl FromValue for i64 {
    fn of(value: Value<'_>) -> Option<Self> {
        if let Value::Int(v) = value { Some(v) } else { None }
    }
}
impl FromValue for i32 {
    fn of(value: Value<'_>) -> Option<Self> {
        i64::of(value).and_then(|v| v.try_into().ok())
    }
}
impl FromValue for u32 {
    fn of(value: Value<'_>) -> Option<Self> {
        i64::of(value).and_then(|v| v.try_into().ok())
    }
}
impl FromValue for bool {
    fn of(value: Value<'_>) -> Option<Self> {
        i64::of(value).map(|v| v != 0)
    }
}
impl FromValue for f64 {
    fn of(value: Value<'_>) -> Option<Self> {
        if let Value::Real(v) = value { Some(v) } else { None }
    }
}
impl FromValue for String {
    fn of(value: Value<'_>) -> Option<Self> {
        if let Value::Text(v) = value { Some(v.to_owned()) } else { None }
    }
}
impl FromValue for Vec<u8> {
    fn of(value: Value<'_>) -> Option<Self> {
        if let Value::Blob(v) = value { Some(v.to_vec()) } else { None }
    }
}
impl FromValue for [u8; 16] {
    fn of(value: Value<'_>) -> Option<Self> {
        if let Value::Blob(v) = value { v.try_into().ok() } else { None }
    }
}
impl<T: FromValue> FromValue for Option<T> {
    fn of(value: Value<'_>) -> Option<Self> {
        if value == Value::Null { Some(None) } else { T::of(value).map(Some) }
    }
}

/// A row of some database.
pub(crate) trait Columns {
    /// The value of a column, by place.
    fn value(&self, column: usize) -> Done<Value<'_>>;
    /// Where the column of a name is.
    fn place(&self, name: &str) -> Option<usize>;
}

/// One row of an answer.
pub(crate) struct Row<'a>(pub(crate) &'a dyn Columns);

impl Row<'_> {
    /// A column by its place, from 0.
    pub(crate) fn get<T: FromValue>(&self, column: usize) -> Done<T> {
        T::of(self.0.value(column)?).ok_or_else(|| {
            let kind = std::any::type_name::<T>();
            Fault::stored("column")(format!("number {} is no {kind}", column + 1))
        })
    }

    /// A column by its name.
    pub(crate) fn named<T: FromValue>(&self, name: &'static str) -> Done<T> {
        let place = self.0.place(name).ok_or_else(|| Fault::stored("column")(format!("there is no {name}")))?;
        T::of(self.0.value(place)?).ok_or_else(|| {
            let kind = std::any::type_name::<T>();
            Fault::stored(name)(format!("it is no {kind}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_kind_is_refused_and_not_bent() {
        assert_eq!(i32::of(Value::Int(i64::from(i32::MAX) + 1)), None);
        assert_eq!(u32::of(Value::Int(-1)), None);
        assert_eq!(i64::of(Value::Text("1")), None);
        assert_eq!(Option::<i64>::of(Value::Null), Some(None));
        assert_eq!(i64::of(Value::Null), None);
        assert_eq!(<[u8; 16]>::of(Value::Blob(&[0; 15])), None);
        let of: &[Value<'_>] = params![1u32, "a", None::<i64>, Some(2.5), [7u8; 16], true];
        assert_eq!(of[..4], [Value::Int(1), Value::Text("a"), Value::Null, Value::Real(2.5)]);
        assert_eq!(of[4..], [Value::Blob(&[7; 16]), Value::Int(1)]);
    }
}
