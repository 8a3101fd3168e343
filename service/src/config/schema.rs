//! What keys there are, from the types of [`super::file`]: as JSON Schema, and as a list.
//!
//! The doc comments are the only source of the keys' descriptions: editors get them by the schema, `chaperone init`
//! writes them into the file, and tests hold docs/OPERATIONS.md to the list.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::file::File;
use super::text::{InOrder, Span};

/// A key or a table, with its path: `kafka.NAME.tap.topics`. `NAME` stands for what the user calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The path.
    pub path: String,
    /// What it is, its unit and default, what follows from it.
    pub description: String,
    /// Whether it is a table with keys of its own.
    pub table: bool,
}

/// The JSON Schema of the file.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<File>().to_value();
    tidy(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), "chaperone.toml".into());
    }
    schema
}

/// All keys and tables, a table before its keys.
pub fn keys() -> Vec<Key> {
    let mut keys = Vec::new();
    walk(&schema(), "", &mut keys);
    keys
}

fn walk(schema: &Value, path: &str, keys: &mut Vec<Key>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, inner) in properties.into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let description = inner.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
        let named = inner.get("additionalProperties").filter(|entry| entry.get("properties").is_some());
        let table = named.is_some() || inner.get("properties").is_some();
        keys.push(Key { path: path.clone(), description, table });
        match named {
            Some(entry) => walk(entry, &format!("{path}.NAME"), keys),
            None => walk(inner, &path, keys),
        }
    }
}

/// TOML has no null, and a description is text without line breaks.
fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.retain(|item| *item != Value::Null && *item != "null" && item.get("type") != Some(&"null".into()));
            items.iter_mut().for_each(tidy);
        }
        Value::Object(members) => {
            members.retain(|name, member| !(name == "default" && member.is_null()));
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "description" => {
                        *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                    }
                    other => tidy(other),
                }
            }
            only_choice(value);
        }
        _ => {}
    }
}

/// `["string"]` is `"string"`.
fn only_choice(schema: &mut Value) {
    if let Some(kind) = schema.get_mut("type")
        && let Some([one]) = kind.as_array().map(Vec::as_slice)
    {
        *kind = one.clone();
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*[0-9]+\s*(ms|s|m|h|d)\s*$",
            "examples": ["250ms", "10s", "2m", "6h", "14d"],
        })
    }
}

impl<T: JsonSchema> JsonSchema for InOrder<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("{} by name", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let entry = generator.subschema_for::<T>();
        json_schema!({ "type": "object", "additionalProperties": entry })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_description_and_its_full_path() {
        let keys = keys();
        let silent: Vec<&Key> = keys.iter().filter(|k| k.description.is_empty()).collect();
        assert!(silent.is_empty(), "{silent:?}");
        let find = |path: &str| keys.iter().find(|k| k.path == path).map(|k| k.table);
        for (path, table) in [
            ("data_dir", false),
            ("web", true),
            ("web.listen", false),
            ("kafka", true),
            ("kafka.NAME.properties", false),
            ("kafka.NAME.tap", true),
            ("kafka.NAME.tap.isolation", false),
            ("pipeline.NAME.grace", false),
        ] {
            assert_eq!(find(path), Some(table), "{path} in {keys:#?}");
        }
    }

    #[test]
    fn the_schema_is_closed_and_speaks_of_no_null() {
        let schema = schema();
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["required"], serde_json::json!(["data_dir"]));
        let tap = &schema["properties"]["kafka"]["additionalProperties"]["properties"]["tap"];
        assert_eq!((&tap["type"], &tap["additionalProperties"]), (&"object".into(), &false.into()));
        let text = schema.to_string();
        assert!(!text.contains("null") && !text.contains("$ref"), "{text}");
    }
}
