//! Reads `key=value` pairs with any signs between them into one object, in their order.

mod pairs;

use pairs::Signs;
use sawlog_plugin::{Batch, Config, Edits, OnFailure, Registration, Transform, UpdateBuilder};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default)]
struct Settings {
    field: String,
    into: String,
    pair_separator: String,
    key_separator: String,
    on_failure: OnFailure,
    keep_original: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            field: "body".into(),
            into: "kv".into(),
            pair_separator: " ".into(),
            key_separator: "=".into(),
            on_failure: OnFailure::Keep,
            keep_original: true,
        }
    }
}

/// The plugin.
pub struct ParseKeyValue {
    settings: Settings,
    signs: Signs,
}

impl Transform for ParseKeyValue {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        if settings.pair_separator == settings.key_separator {
            return Err("pair_separator and key_separator must differ".into());
        }
        let signs = Signs { pair: settings.pair_separator.clone(), key: settings.key_separator.clone() };
        let registration = Registration {
            drop_reasons: vec!["no_pairs".into()],
            ..Registration::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), [settings.field.clone()])
        };
        Ok((Self { settings, signs }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        let mut original = UpdateBuilder::new(&self.settings.field);
        let mut objects = UpdateBuilder::new(&self.settings.into);
        for row in batch.rows() {
            match row.text(0).and_then(|text| self.signs.object(text)) {
                Some(object) => {
                    objects.json(row.index(), &object);
                    if !self.settings.keep_original {
                        original.remove(row.index());
                    }
                }
                None => edits.decide(row.index(), self.settings.on_failure.fate("no key and value to read")),
            }
        }
        edits.update(original);
        edits.update(objects);
        Ok(())
    }
}

sawlog_plugin::export_transform!(ParseKeyValue);
