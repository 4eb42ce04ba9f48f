//! `docs/config.md` is the JSON Schema for people. It is written by `UPDATE=1 cargo test -p sawlog --test reference` and
//! stale when it differs from that.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

#[test]
fn the_reference_is_what_the_schema_says() {
    let output = Command::new(env!("CARGO_BIN_EXE_sawlog")).arg("schema").output().unwrap();
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    let reference = Reference::of(&schema).write();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &reference).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == reference, "docs/config.md is stale: run UPDATE=1 cargo test -p sawlog --test reference");
}

struct Reference<'a> {
    schema: &'a Map<String, Value>,
    definitions: &'a Map<String, Value>,
    /// Named structs that were mentioned and are yet to be described, in order of their mention.
    mentioned: Vec<String>,
    out: String,
}

/// The four sections of named parts, and what one of each is called.
const PARTS: [(&str, &str); 3] = [("sources", "source"), ("transforms", "transform"), ("sinks", "sink")];

impl<'a> Reference<'a> {
    fn of(schema: &'a Value) -> Self {
        let schema = schema.as_object().unwrap();
        Self { schema, definitions: schema["$defs"].as_object().unwrap(), mentioned: Vec::new(), out: String::new() }
    }

    fn write(mut self) -> String {
        self.line("# Config reference\n");
        self.line("Generated from `sawlog schema`; don't edit. A config is YAML (JSON is nearly a subset), one file or a folder of");
        self.line("files. Any text may hold `${env:NAME}`, `${file:/path}` or, where a secret is kept, `${secret:NAME}`; `$${` stands");
        self.line("for `${`. `examples/everything.yaml` shows most options in use.\n");
        self.line("## Sections\n");
        let properties = self.schema["properties"].as_object().unwrap();
        let top = required(self.schema);
        let skip: Vec<&str> = PARTS.iter().map(|(section, _)| *section).chain(["plugins"]).collect();
        let plain: Map<String, Value> =
            properties.clone().into_iter().filter(|(key, _)| !skip.contains(&key.as_str())).collect();
        self.table(&plain, &top);
        self.line("## Plugins\n");
        self.line("Each entry of `plugins`, by name:\n");
        let plugin = self.definitions["Plugin"].as_object().unwrap();
        self.table(plugin["properties"].as_object().unwrap(), &required(plugin));
        for (section, one) in PARTS {
            let title = format!("## {}{}\n", section[..1].to_uppercase(), &section[1..]);
            self.line(&title);
            for schema in properties[section]["additionalProperties"]["oneOf"].as_array().unwrap() {
                let schema = schema.as_object().unwrap();
                self.line(&format!("### {one} `{}`\n", schema["title"].as_str().unwrap()));
                self.line(&format!("{}\n", text(schema)));
                self.table(schema["properties"].as_object().unwrap(), &required(schema));
            }
        }
        self.line("## Values\n");
        self.values();
        self.out.trim_end().to_owned() + "\n"
    }

    fn line(&mut self, line: &str) {
        writeln!(self.out, "{line}").unwrap();
    }

    fn table(&mut self, properties: &Map<String, Value>, required: &[&str]) {
        self.line("| key | value | default | what |");
        self.line("|---|---|---|---|");
        for (key, schema) in properties {
            let kind = self.kind(schema);
            let default = match schema.get("default") {
                Some(Value::Null) => String::new(),
                Some(default @ (Value::Object(_) | Value::Array(_)))
                    if default.as_object().is_some_and(|o| !o.is_empty()) =>
                {
                    "see there".to_owned()
                }
                Some(default) => format!("`{}`", default.to_string().trim_matches('"')),
                None if required.contains(&key.as_str()) => "required".to_owned(),
                None => String::new(),
            };
            let what = schema.as_object().map(text).unwrap_or_default();
            self.line(&format!("| `{key}` | {kind} | {default} | {} |", what.replace('|', "\\|")));
        }
        self.line("");
    }

    /// A value in a few words, with a link where it has a description of its own.
    fn kind(&mut self, schema: &Value) -> String {
        let Some(schema) = schema.as_object() else { return "anything".to_owned() };
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let name = name.rsplit('/').next().unwrap().to_owned();
            if !self.mentioned.contains(&name) {
                self.mentioned.push(name.clone());
            }
            return format!("[{name}](#{})", name.to_lowercase());
        }
        if let Some(constant) = schema.get("const") {
            return format!("`{}`", constant.as_str().unwrap());
        }
        for list in ["anyOf", "oneOf", "allOf"] {
            if let Some(all) = schema.get(list).and_then(Value::as_array) {
                let mut kinds: Vec<String> =
                    all.iter().filter(|one| one["type"] != "null").map(|one| self.kind(one)).collect();
                kinds.dedup();
                return kinds.join(" or ");
            }
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            return words.iter().map(|word| format!("`{}`", word.as_str().unwrap())).collect::<Vec<_>>().join(", ");
        }
        let kinds: Vec<&str> = match schema.get("type") {
            Some(Value::String(kind)) => vec![kind],
            Some(Value::Array(kinds)) => {
                kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect()
            }
            _ => return "anything".to_owned(),
        };
        let names: Vec<String> = kinds.iter().map(|kind| self.kind_of(kind, schema)).collect();
        names.join(" or ")
    }

    fn kind_of(&mut self, kind: &str, schema: &Map<String, Value>) -> String {
        match kind {
            "array" => format!(
                "list of {}",
                schema.get("items").map_or_else(|| "anything".to_owned(), |items| self.kind(items))
            ),
            "object" => match schema.get("additionalProperties").filter(|of| of.is_object()) {
                Some(of) => format!("names with {}", self.kind(of)),
                None => "mapping".to_owned(),
            },
            "string" => "text".to_owned(),
            "integer" => "whole number".to_owned(),
            other => other.to_owned(),
        }
    }

    /// Everything that was mentioned, and what that mentions in turn.
    fn values(&mut self) {
        let mut next = 0;
        let mut described = std::collections::BTreeMap::new();
        while next < self.mentioned.len() {
            let name = self.mentioned[next].clone();
            next += 1;
            let before = std::mem::take(&mut self.out);
            self.value(&name);
            described.insert(name.to_lowercase(), std::mem::replace(&mut self.out, before));
        }
        self.out.extend(described.into_values());
    }

    fn value(&mut self, name: &str) {
        let schema = self.definitions[name].as_object().unwrap();
        self.line(&format!("### {name}\n"));
        let description = text(schema);
        if !description.is_empty() {
            self.line(&format!("{description}\n"));
        }
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            self.table(properties, &required(schema));
        } else if let Some(words) = schema.get("oneOf").and_then(Value::as_array) {
            for word in words {
                let entry = word.as_object().unwrap();
                let name = entry
                    .get("const")
                    .or_else(|| entry.get("enum").and_then(|words| words.get(0)))
                    .and_then(Value::as_str);
                let single =
                    entry.get("properties").and_then(Value::as_object).and_then(|properties| properties.iter().next());
                match (name, single) {
                    (Some(name), _) => self.line(&format!("- `{name}`: {}", text(entry))),
                    (None, Some((key, of))) => {
                        let of = self.kind(of);
                        self.line(&format!("- `{{ {key}: … }}` with {of}: {}", text(entry)));
                    }
                    (None, None) => panic!("a word of {name:?} that has no description here: {word}"),
                }
            }
            self.line("");
        } else if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            let words: Vec<String> = words.iter().map(|word| format!("`{}`", word.as_str().unwrap())).collect();
            self.line(&format!("One of {}.\n", words.join(", ")));
        }
    }
}

fn required(schema: &Map<String, Value>) -> Vec<&str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The description on one line.
fn text(schema: &Map<String, Value>) -> String {
    schema
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
