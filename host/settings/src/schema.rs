//! JSON Schemas of options structs, and what the decoder needs to know of them. It knows nothing of single components.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

/// The generator that every schema of Sawlog is made with (draft 2020-12, as read, not as written).
pub fn generator() -> SchemaGenerator {
    schemars::generate::SchemaSettings::draft2020_12().into_generator()
}

/// The keys that `T` cannot do without, in the order of its fields.
pub fn required_keys<T: JsonSchema>() -> Vec<String> {
    let schema = generator().into_root_schema_for::<T>();
    let required = schema.get("required").and_then(Value::as_array);
    required.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// All keys of `T`, in the order of its fields.
pub fn keys<T: JsonSchema>() -> Vec<String> {
    let schema = generator().into_root_schema_for::<T>();
    schema.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key.clone()).collect()
}

/// The schema of a component: `type: name`, the keys of all of its kind (`C`) and its own (`T`), and no others.
/// Definitions that they refer to are left in `generator`.
pub fn component<C: JsonSchema, T: JsonSchema>(generator: &mut SchemaGenerator, name: &str) -> Schema {
    let (common, own) = (C::json_schema(generator), T::json_schema(generator));
    let mut properties = Map::new();
    properties.insert("type".to_owned(), serde_json::json!({ "const": name }));
    let mut required = vec![Value::from("type")];
    for part in [&common, &own] {
        properties.extend(part.get("properties").and_then(Value::as_object).cloned().unwrap_or_default());
        required.extend(part.get("required").and_then(Value::as_array).cloned().unwrap_or_default());
    }
    let mut schema = Map::new();
    schema.insert("title".to_owned(), name.into());
    if let Some(description) = own.get("description") {
        schema.insert("description".to_owned(), description.clone());
    }
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), Value::Object(properties));
    schema.insert("required".to_owned(), Value::Array(required));
    schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    Schema::from(schema)
}
