//! The description of the API is that of this API: its routes, their parameters, their answers.

use std::collections::BTreeSet;

use chaperone_web::ROUTES;
use serde_json::Value;

use super::*;

async fn document() -> (Router, fake::Bench, Value) {
    let (router, bench) = scene();
    let document = get(&router, "/api/v1/openapi.json").await.json();
    (router, bench, document)
}

#[tokio::test]
async fn every_route_of_the_api_is_described_and_no_other() {
    let (_router, _bench, document) = document().await;
    assert!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.")), "{document}");
    let paths = document["paths"].as_object().expect("paths");
    let described: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, item)| item.as_object().expect("item").keys().map(move |m| (m.to_uppercase(), path.clone())))
        .collect();
    let served =
        ROUTES.iter().filter(|r| r.path.starts_with("/api/")).map(|r| (r.method.to_owned(), r.path.to_owned()));
    assert_eq!(described, served.collect());
    for (path, item) in paths {
        let operation = item.as_object().and_then(|i| i.values().next()).expect("operation");
        let route = ROUTES.iter().find(|r| r.path == path).expect("route");
        let role = route.role.map_or("anybody", |role| role.as_str());
        assert_eq!(operation["description"], format!("Least role: {role}."), "{path}");
    }
}

#[tokio::test]
async fn each_takes_the_parameters_that_are_described() {
    let (router, _bench, document) = document().await;
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        let Some(operation) = item.get("get") else { continue };
        let described: BTreeSet<&str> =
            operation["parameters"].as_array().into_iter().flatten().filter_map(|p| p["name"].as_str()).collect();
        let refused = get(&router, &format!("{path}?no-such=1")).await;
        if path.ends_with("openapi.json") {
            continue;
        }
        let problem = refused.json();
        let allowed = problem["allowed"]
            .as_str()
            .and_then(|a| a.strip_prefix("one of: "))
            .unwrap_or_else(|| panic!("{path}: {problem}"));
        let known: BTreeSet<&str> = allowed.split(", ").filter(|name| !name.is_empty()).collect();
        assert_eq!(known, described, "{path}");
        asked += 1;
    }
    assert!(asked >= 6, "{asked}");
}

/// Where an answer is not what its schema says.
fn differences(value: &Value, schema: &Value, document: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.trim_start_matches('#');
        match document.pointer(pointer) {
            Some(target) => differences(value, target, document, at, found),
            None => found.push(format!("{at}: {reference} is nowhere")),
        }
        return;
    }
    if let Some(all) = schema["allOf"].as_array() {
        // Members may be in any of them.
        for part in all {
            let mut here = Vec::new();
            differences(value, part, document, at, &mut here);
            found.extend(here.into_iter().filter(|d| !d.ends_with("is not described")));
        }
        return;
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !(kinds.contains(&kind) || kind == "integer" && kinds.contains(&"number")) {
        found.push(format!("{at} is {kind}, described {kinds:?}"));
    }
    for item in value.as_array().into_iter().flatten() {
        differences(item, &schema["items"], document, &format!("{at}[]"), found);
    }
    if let Some(members) = value.as_object() {
        let described = &schema["properties"];
        for (name, member) in members {
            match described.get(name) {
                Some(schema) => differences(member, schema, document, &format!("{at}.{name}"), found),
                None => found.push(format!("{at}.{name} is not described")),
            }
        }
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        found
            .extend(required.filter(|name| !members.contains_key(*name)).map(|name| format!("{at}.{name} is missing")));
    }
}

#[tokio::test]
async fn answers_are_as_described() {
    let (router, _bench, document) = document().await;
    let mut rows = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        let Some(operation) = item.get("get") else { continue };
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        let required = operation["parameters"].as_array().into_iter().flatten().find(|p| p["required"] == true);
        let asked =
            required.map_or(path.clone(), |p| format!("{path}?{}=rides.events", p["name"].as_str().expect("name")));
        let answer = get(&router, &asked).await.json();
        let mut found = Vec::new();
        differences(&answer, schema, &document, path, &mut found);
        assert!(found.is_empty(), "{found:#?}");
        rows += answer.as_object().expect("object").values().filter_map(Value::as_array).map(Vec::len).sum::<usize>();
    }
    assert!(rows > 20, "only {rows} rows were compared");
    let problem = get(&router, "/api/v1/windows?from=x").await.json();
    let mut found = Vec::new();
    differences(&problem, &document["components"]["schemas"]["Problem"], &document, "problem", &mut found);
    assert!(found.is_empty(), "{found:#?}");
    // The control: a member of another kind, one too many, one missing.
    let schema = serde_json::json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["b"]});
    differences(&serde_json::json!({"a": "1", "c": 2}), &schema, &document, "x", &mut found);
    assert_eq!(found, ["x.a is string, described [\"integer\"]", "x.c is not described", "x.b is missing"]);
}
