//! Reads texts by patterns with named parts, `%{IP:client} %{WORD:method}`, or by regular expressions with named groups.

mod library;

use library::Pattern;
use sawlog_plugin::{Batch, Config, Edits, OnFailure, Registration, Transform, UpdateBuilder, Updates};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Settings {
    #[serde(default = "body")]
    field: String,
    patterns: Vec<String>,
    #[serde(default)]
    definitions: BTreeMap<String, String>,
    #[serde(default = "yes")]
    keep_original: bool,
    #[serde(default)]
    on_failure: OnFailure,
}

fn body() -> String {
    "body".into()
}

fn yes() -> bool {
    true
}

/// The plugin.
pub struct ParsePattern {
    settings: Settings,
    patterns: Vec<Pattern>,
    /// Every field that some pattern gives, in the order in which they are first named.
    fields: Vec<String>,
}

impl Transform for ParsePattern {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let compile = |(i, text): (usize, &String)| {
            Pattern::compile(text, &settings.definitions).map_err(|e| format!("pattern {}: {e}", i + 1))
        };
        let patterns = settings.patterns.iter().enumerate().map(compile).collect::<Result<Vec<_>, _>>()?;
        let mut fields: Vec<String> = Vec::new();
        for part in patterns.iter().flat_map(Pattern::parts) {
            if !fields.contains(&part.field) {
                fields.push(part.field.clone());
            }
        }
        if fields.is_empty() {
            return Err("no pattern names a field, such as %{WORD:method}".into());
        }
        let registration = Registration {
            drop_reasons: vec!["no_match".into()],
            ..Registration::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), [settings.field.clone()])
        };
        Ok((Self { settings, patterns, fields }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        let mut original = UpdateBuilder::new(&self.settings.field);
        let mut updates = Updates::new(&self.fields);
        for row in batch.rows() {
            let found = row.text(0).and_then(|text| self.patterns.iter().find_map(|pattern| pattern.read(text)));
            let Some(values) = found else {
                edits.decide(row.index(), self.settings.on_failure.fate("no pattern matches"));
                continue;
            };
            if !self.settings.keep_original {
                original.remove(row.index());
            }
            for (part, value) in values {
                // Of the same field in two places of a pattern the last one that matched counts; `read` saw to it.
                let at = self.fields.iter().position(|field| *field == part.field).unwrap_or(0);
                match part.token(value) {
                    Some(token) => updates.at(at).json(row.index(), &token),
                    None => updates.at(at).text(row.index(), value),
                }
            }
        }
        edits.update(original);
        edits.update_each(updates);
        Ok(())
    }
}

sawlog_plugin::export_transform!(ParsePattern);
