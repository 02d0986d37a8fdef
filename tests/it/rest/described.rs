//! The description of the API is true: every page in it answers, and as it says.

use serde_json::{Map, Value, json};

use super::world;

/// Whether a value is what a schema says, as far as we use schemas. Properties that are not described are refused.
pub(super) fn check(api: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let schema = match schema["$ref"].as_str() {
        Some(at) => api.pointer(at.strip_prefix('#').unwrap()).ok_or(at)?,
        None => schema,
    };
    let all = schema["allOf"].as_array().into_iter().flatten();
    for part in all {
        check(api, part, value)?;
    }
    if let Some(any) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        let tried: Vec<_> = any.iter().map(|one| check(api, one, value)).collect();
        if !tried.iter().any(Result::is_ok) {
            return Err(format!("{value} is none of {tried:?}"));
        }
    }
    let is = |kind: &Value| match kind.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    };
    let fits = match &schema["type"] {
        Value::Null => true,
        Value::Array(kinds) => kinds.iter().any(is),
        kind => is(kind),
    };
    if !fits {
        return Err(format!("{value} is no {}", schema["type"]));
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(value)
    {
        return Err(format!("{value} is none of {values:?}"));
    }
    for entry in value.as_array().into_iter().flatten() {
        check(api, &schema["items"], entry)?;
    }
    match value.as_object() {
        Some(object) => check_object(api, schema, object),
        None => Ok(()),
    }
}

fn check_object(api: &Value, schema: &Value, object: &Map<String, Value>) -> Result<(), String> {
    for required in schema["required"].as_array().into_iter().flatten() {
        if !object.contains_key(required.as_str().unwrap()) {
            return Err(format!("{required} is missing"));
        }
    }
    for (name, value) in object {
        let described = match schema["properties"].get(name) {
            Some(property) => property,
            None if schema["additionalProperties"].is_object() => &schema["additionalProperties"],
            None if schema["properties"].is_null() => continue,
            None => return Err(format!("`{name}` is not described")),
        };
        check(api, described, value).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let api = json!({ "a": { "type": "string" } });
    let schema = json!({
        "type": "object",
        "required": ["x"],
        "properties": {
            "x": { "$ref": "#/a" },
            "y": { "type": ["integer", "null"] },
            "z": { "type": "array", "items": { "oneOf": [{ "type": "null" }, { "$ref": "#/a" }] } },
            "m": { "type": "object", "additionalProperties": { "enum": [1] } },
        },
    });
    let right = json!({ "x": "", "y": null, "z": [null, ""], "m": { "k": 1 } });
    assert_eq!(check(&api, &schema, &right), Ok(()));
    for wrong in [
        json!({}),
        json!(null),
        json!({ "x": 1 }),
        json!({ "x": "", "y": 0.5 }),
        json!({ "x": "", "z": [1] }),
        json!({ "x": "", "m": { "k": 2 } }),
        json!({ "x": "", "undescribed": 1 }),
    ] {
        check(&api, &schema, &wrong).unwrap_err();
    }
}

#[tokio::test]
async fn every_page_answers_as_it_is_described() {
    let world = world().await;
    let api = world.served.json("/api/v1/openapi.json").await;
    assert!(api["openapi"].as_str().unwrap().starts_with("3.1"));
    let filled = |path: &str, name: &str, version: &str| {
        let owner = &world.owner;
        path.replace("{owner}", owner)
            .replace("{namespace}", owner)
            .replace("{name}", name)
            .replace("{version}", version)
    };
    let mut checked = 0;
    for (path, page) in api["paths"].as_object().unwrap() {
        let Some(get) = page.get("get") else {
            continue;
        };
        let named = get["parameters"].as_array().into_iter().flatten();
        let in_path = named.filter(|parameter| parameter["in"] == "path").count();
        assert_eq!(in_path, path.matches('{').count(), "{path}");
        // The stream of events has no end.
        let stream = get["responses"]["200"]["content"].get("text/event-stream");
        let method = if stream.is_some() { "HEAD" } else { "GET" };
        for (name, version) in [("lib", "1.2.0"), ("nothing", "1.0.0"), ("no name", "1.0.0")] {
            let path = filled(path, &name.replace(' ', "%20"), version);
            let answer = world.served.ask(method, &path, "").await;
            if name == "lib" {
                assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            }
            let described = &get["responses"][answer.status.to_string()];
            assert!(described.is_object(), "{path} answers {}", answer.status);
            let content = described["content"].as_object().unwrap();
            let (kind, content) = content.iter().next().unwrap();
            let told = answer.header("content-type").unwrap();
            assert!(told.starts_with(kind), "{path}: {told}");
            if kind.ends_with("json") {
                let checked = check(&api, &content["schema"], &answer.json());
                checked.unwrap_or_else(|why| panic!("{path}: {why}"));
            }
            checked += 1;
        }
    }
    assert!(checked >= 60, "{checked}");
    world.stop().await;
}

#[tokio::test]
async fn a_contested_name_is_answered_as_described() {
    let world = world().await;
    let api = world.served.json("/api/v1/openapi.json").await;
    let problem = json!({ "$ref": "#/components/schemas/Problem" });
    for path in ["/api/v1/packages/http", "/api/v1/nowhere"] {
        let answer = world.served.get(path).await;
        check(&api, &problem, &answer.json()).unwrap_or_else(|why| panic!("{path}: {why}"));
    }
    world.stop().await;
}
