//! Which setting of an operator is wrong, by the schema that its component carries.
//!
//! The component has the last word: it refuses a configuration, and this finds where. What the schema does not say, nothing is said of.

use serde_json::{Map, Value};

use dirigo_pipeline::{nearest, suggestion};

/// A setting that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Its key in the operator: `config.NAME`, or `config` where it is missing.
    pub(super) key: String,
    /// Whether the key is wrong, not its value.
    pub(super) is_unknown: bool,
    pub(super) label: String,
    pub(super) help: String,
}

/// What is wrong with these settings, by a JSON Schema.
pub(super) fn wrong(schema: &str, settings: &Value) -> Vec<Wrong> {
    let Ok(schema) = serde_json::from_str::<Value>(schema) else {
        return Vec::new();
    };
    let (Some(known), Some(settings)) = (schema["properties"].as_object(), settings.as_object()) else {
        return Vec::new();
    };
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    let mut found = Vec::new();
    for (name, value) in settings {
        match known.get(name) {
            Some(property) => found.extend(mistyped(name, property, value)),
            None if schema["additionalProperties"] == false => found.push(Wrong {
                key: format!("config.{name}"),
                is_unknown: true,
                label: format!("unknown field `{name}`"),
                help: suggestion(name, &names, "its settings are"),
            }),
            None => {}
        }
    }
    // Who corrects the spelling misses it no more.
    let is_unknown = |name: &&String| !known.contains_key(*name);
    let misspelt: Vec<&str> = settings
        .keys()
        .filter(is_unknown)
        .filter_map(|name| nearest(name, names.iter().copied()))
        .collect();
    let required = schema["required"].as_array().into_iter().flatten();
    for name in required
        .filter_map(Value::as_str)
        .filter(|name| !settings.contains_key(*name) && !misspelt.contains(name))
    {
        found.push(Wrong {
            key: "config".to_owned(),
            is_unknown: false,
            label: format!("missing field `{name}`"),
            help: format!("add `{name}`: {}", described(known.get(name).unwrap_or(&Value::Null))),
        });
    }
    found
}

fn mistyped(name: &str, property: &Value, value: &Value) -> Option<Wrong> {
    if let Some(words) = property["enum"].as_array() {
        if words.contains(value) {
            return None;
        }
        let candidates: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        return Some(Wrong {
            key: format!("config.{name}"),
            is_unknown: false,
            label: match value.as_str() {
                Some(word) => format!("unknown variant `{word}`"),
                None => format!("this is {}", kind_of(value)),
            },
            help: suggestion(value.as_str().unwrap_or_default(), &candidates, "there are"),
        });
    }
    let fits = match property["type"].as_str()? {
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" if property["minimum"] == 0 => value.is_u64(),
        "integer" => value.is_i64() || value.is_u64(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    };
    (!fits).then(|| Wrong {
        key: format!("config.{name}"),
        is_unknown: false,
        label: format!("this is {}", kind_of(value)),
        help: format!("`{name}` is {}", described(property)),
    })
}

/// What a setting is, in words.
pub(super) fn described(property: &Value) -> String {
    let wanted = match (property["enum"].as_array(), property["type"].as_str()) {
        (Some(words), _) => {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            words.join(" or ")
        }
        (None, Some("boolean")) => "true or false".to_owned(),
        (None, Some("number")) => "a number".to_owned(),
        (None, Some("integer")) if property["minimum"] == 0 => "a whole number, 0 or more".to_owned(),
        (None, Some("integer")) => "a whole number".to_owned(),
        (None, Some("string")) => "a string".to_owned(),
        (None, Some("array")) => "a list".to_owned(),
        (None, Some("object")) => "a table".to_owned(),
        (None, _) => "any value".to_owned(),
    };
    match property.get("default") {
        Some(default) => format!("{wanted}, by default {default}"),
        None => wanted,
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a whole number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

/// The settings in a JSON Schema, as lines for people: name, what it is, and whether it is required. None where it has none.
#[must_use]
pub fn listed_settings(schema: &str) -> Option<Vec<String>> {
    let schema: Value = serde_json::from_str(schema).ok()?;
    let properties: &Map<String, Value> = schema["properties"].as_object()?;
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let width = properties.keys().map(String::len).max().unwrap_or(0);
    let line = |(name, property): (&String, &Value)| {
        let is = if required.contains(&name.as_str()) {
            ", required"
        } else if property.get("default").is_some() {
            ""
        } else {
            ", optional"
        };
        format!("{name:width$}  {}{is}", described(property))
    };
    Some(properties.iter().map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SCHEMA: &str = r#"{"type": "object", "required": ["field", "aggregate"], "additionalProperties": false, "properties": {
        "field": {"type": "string"}, "aggregate": {"enum": ["avg", "sum"]}, "scale": {"type": "number", "default": 1.0},
        "rounds": {"type": "integer", "minimum": 0}}}"#;

    fn found(settings: &Value) -> Vec<(String, String)> {
        let all = wrong(SCHEMA, settings);
        all.into_iter().map(|one| (one.key, one.label)).collect()
    }

    #[test]
    fn a_setting_that_is_required_and_not_described_is_missed_all_the_same() {
        let schema = r#"{"required": ["other"], "properties": {"field": {"type": "string"}}}"#;
        let labels: Vec<String> = wrong(schema, &json!({"field": "v"}))
            .into_iter()
            .map(|one| one.label)
            .collect();
        assert_eq!(labels, ["missing field `other`"]);
    }

    #[test]
    fn each_wrong_setting_is_found_with_its_place() {
        assert_eq!(
            found(&json!({"field": "v", "aggregate": "sum", "scale": 2, "rounds": 3})),
            []
        );
        let all = wrong(
            SCHEMA,
            &json!({"feild": "v", "aggregate": "smu", "scale": "2", "rounds": -1}),
        );
        let keys: Vec<&str> = all.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(
            keys,
            ["config.aggregate", "config.feild", "config.rounds", "config.scale"]
        );
        for (one, help) in all.iter().zip([
            "did you mean `sum`?",
            "did you mean `field`?",
            "`rounds` is a whole number, 0 or more",
            "`scale` is a number, by default 1.0",
        ]) {
            assert!(one.help.contains(help), "{one:?}");
        }
        let missing = wrong(SCHEMA, &json!({"aggregate": "sum"}));
        assert_eq!(missing[0].help, "add `field`: a string");
    }

    #[test]
    fn of_what_a_schema_does_not_say_nothing_is_said() {
        for schema in ["", "[]", "{}", r#"{"properties": {"a": {}}}"#] {
            assert_eq!(wrong(schema, &json!({"a": 1, "b": 2})), []);
        }
    }

    #[test]
    fn settings_are_listed_with_types_and_defaults() {
        let expected = [
            "aggregate  \"avg\" or \"sum\", required",
            "field      a string, required",
            "rounds     a whole number, 0 or more, optional",
            "scale      a number, by default 1.0",
        ];
        assert_eq!(listed_settings(SCHEMA).unwrap(), expected);
    }
}
