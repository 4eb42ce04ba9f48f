//! The JSON Schema of a plugin's configuration, read from the component without running it. Knows the custom section
//! `sawlog:config-schema`; reads no other file and asks no network (`$ref` to elsewhere is an error).

use serde_json::Value;
use wasmparser::{Parser, Payload};

/// The custom section that `sawlog plugin build` writes.
pub const SECTION: &str = "sawlog:config-schema";
/// How many mistakes of one configuration are told at once.
const MISTAKES_MAX: usize = 20;

/// Why a configuration does not fit.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The component can't be read as far as its schema.
    #[error("the component is damaged: {0}; build or copy it again")]
    Damaged(String),
    /// The plugin itself is wrong.
    #[error("the plugin's `{SECTION}` section is not a JSON Schema: {0}; its author must rebuild it")]
    BadSchema(String),
    /// The configuration is wrong.
    #[error("the plugin's config does not fit its schema: {}", .0.iter().map(Mistake::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<Mistake>),
    /// The configuration is no JSON.
    #[error("the plugin's config is not JSON: {0}")]
    NotJson(String),
}

/// One mistake of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where: names of members and indexes of items, from the whole configuration inwards.
    pub path: Vec<String>,
    /// What is wrong there, without the value.
    pub text: String,
}

impl Mistake {
    fn of(error: &jsonschema::ValidationError<'_>) -> Self {
        let pointer = error.instance_path().as_str();
        let mut path: Vec<String> =
            pointer.split('/').skip(1).map(|name| name.replace("~1", "/").replace("~0", "~")).collect();
        if let jsonschema::error::ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
            path.extend(unexpected.first().cloned());
        }
        Self { path, text: error.masked().to_string() }
    }
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path.is_empty() {
            true => f.write_str(&self.text),
            false => write!(f, "at /{}: {}", self.path.join("/"), self.text),
        }
    }
}

/// The schema in `component`, if it carries one.
pub fn of_component(component: &[u8]) -> Result<Option<Value>, SchemaError> {
    // Only the outermost custom sections are looked at: an inner module's belong to its compiler.
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(|e| SchemaError::Damaged(e.to_string()))? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 0 && section.name() == SECTION => {
                let schema = serde_json::from_slice(section.data());
                return schema.map(Some).map_err(|e| SchemaError::BadSchema(e.to_string()));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Holds `config` (JSON text) against `schema`; tells every mistake with its place, without echoing secrets' values.
pub fn check(schema: &Value, config: &str) -> Result<(), SchemaError> {
    let config: Value = serde_json::from_str(config).map_err(|e| SchemaError::NotJson(e.to_string()))?;
    let validator = jsonschema::validator_for(schema).map_err(|e| SchemaError::BadSchema(e.to_string()))?;
    let mistakes: Vec<Mistake> = validator.iter_errors(&config).take(MISTAKES_MAX).map(|e| Mistake::of(&e)).collect();
    if mistakes.is_empty() { Ok(()) } else { Err(SchemaError::Config(mistakes)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn every_mistake_is_told_with_its_place_and_without_the_value() {
        let schema = json!({
            "type": "object", "additionalProperties": false,
            "properties": { "level": { "enum": ["warn", "error"] }, "count": { "type": "integer" } }
        });
        check(&schema, r#"{"level":"warn"}"#).unwrap();
        let told = check(&schema, r#"{"level":"hunter2","count":"x","lvel":1}"#).unwrap_err().to_string();
        for part in ["/level", "/count", "lvel"] {
            assert!(told.contains(part), "{told}");
        }
        assert!(!told.contains("hunter2"), "{told}");
    }

    #[test]
    fn references_to_the_network_are_not_followed() {
        let schema = json!({ "$ref": "http://127.0.0.1:9/schema.json" });
        assert!(matches!(check(&schema, "{}"), Err(SchemaError::BadSchema(_))));
    }
}
