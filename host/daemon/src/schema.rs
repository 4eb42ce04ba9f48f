//! The JSON Schema of a config, put together from the registries. It reads no config.

use sawlog_sinks::registry::SINKS;
use sawlog_sources::registry::SOURCES;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::config::plugins::Plugin;
use crate::config::sections::Sections;
use crate::config::transforms::TRANSFORMS;

/// The schema of a whole config (draft 2020-12).
pub fn schema() -> Value {
    let mut generator = sawlog_settings::schema::generator();
    let plugin = generator.subschema_for::<Plugin>();
    let sources = any_of(&mut generator, SOURCES.iter().map(|row| row.schema));
    let transforms = any_of(&mut generator, TRANSFORMS.iter().map(|row| row.schema));
    let sinks = any_of(&mut generator, SINKS.iter().map(|row| row.schema));
    let sections = Sections::json_schema(&mut generator);
    let mut properties = sections.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut section = |name: &str, description: &str, of: Value| {
        properties.insert(
            name.to_owned(),
            json!({
                "description": description, "type": "object", "additionalProperties": of,
                "propertyNames": { "pattern": "^[a-z][a-z0-9_-]{0,62}$" },
            }),
        );
    };
    section("plugins", "WASM plugins by name.", plugin.to_value());
    section("sources", "Where records enter, by name.", sources);
    section("transforms", "What happens to records, by name.", transforms);
    section("sinks", "Where rows leave, by name.", sinks);
    let mut root = Map::new();
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".to_owned(), json!("Sawlog config"));
    root.insert("type".to_owned(), json!("object"));
    root.insert("properties".to_owned(), Value::Object(properties));
    root.insert("required".to_owned(), sections.get("required").cloned().unwrap_or_default());
    root.insert("additionalProperties".to_owned(), json!(false));
    root.insert("$defs".to_owned(), Value::Object(generator.take_definitions(true).into_iter().collect()));
    Value::Object(root)
}

/// One of the schemas, told apart by the constant in `type`.
fn any_of(generator: &mut SchemaGenerator, schemas: impl Iterator<Item = fn(&mut SchemaGenerator) -> Schema>) -> Value {
    json!({ "oneOf": schemas.map(|schema| schema(generator).to_value()).collect::<Vec<_>>() })
}
