//! `pipeline.NAME.time`, `.unit` and `.id`: where the event time and the identity of its topics' messages are found.

use chaperone_audit::Recipe;
use chaperone_audit::rule::{IdRule, RuleError, TimeRule, Unit};

use super::Mistakes;
use crate::config::file;

/// The recipe, with each mistake under its own key.
pub(super) fn recipe(name: &str, raw: &file::Pipeline, m: &mut Mistakes) -> Recipe {
    let path = |key: &str| format!("pipeline.{name}.{key}");
    let unit = raw.unit.as_deref().and_then(|text| m.take(path("unit"), Unit::parse(text).map_err(|e| e.to_string())));
    let time = TimeRule::parse(raw.time.as_deref().unwrap_or("default"), unit);
    let key = if matches!(time, Err(RuleError::OtherUnit(..))) { "unit" } else { "time" };
    let time = m.take(path(key), time.map_err(|e| e.to_string()));
    let id = IdRule::parse(raw.id.as_deref().unwrap_or("default"));
    let id = m.take(path("id"), id.map_err(|e| e.to_string()));
    Recipe { time: time.unwrap_or_default(), id: id.unwrap_or_default() }
}

/// The keys as they are in effect; a rule that has a unit of its own shows none.
pub(in crate::config) fn written(raw: &file::Pipeline) -> impl Iterator<Item = (&'static str, String)> {
    let recipe = recipe("", raw, &mut Mistakes::default());
    let unit = recipe.time.unit().map(|unit| ("unit", unit.as_str().to_owned()));
    [("time", recipe.time.to_string()), ("id", recipe.id.to_string())].into_iter().chain(unit)
}
