//! Flattens, renames, removes, keeps and adds fields, in this order.

mod whole;

use sawlog_plugin::{Batch, Config, Edits, Registration, Transform, UpdateBuilder};
use serde::Deserialize;
use std::collections::BTreeMap;
use whole::Reshape;

#[derive(Deserialize)]
struct Rename {
    from: String,
    to: String,
}

#[derive(Deserialize)]
#[serde(default)]
struct Settings {
    flatten: Vec<String>,
    separator: String,
    rename: Vec<Rename>,
    remove: Vec<String>,
    keep_only: Vec<String>,
    add: BTreeMap<String, serde_json::Value>,
    default: BTreeMap<String, serde_json::Value>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            flatten: Vec::new(),
            separator: "_".into(),
            rename: Vec::new(),
            remove: Vec::new(),
            keep_only: Vec::new(),
            add: BTreeMap::new(),
            default: BTreeMap::new(),
        }
    }
}

/// The plugin.
pub struct Fields {
    settings: Settings,
    /// Of the record as a whole; `None` = nothing asks for it, and it is not copied in.
    reshape: Option<Reshape>,
}

impl Transform for Fields {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let reshape =
            Reshape::of(&settings.flatten, &settings.separator, &settings.keep_only, &settings.rename_targets());
        // The columns of `default`, then the whole record.
        let mut columns: Vec<String> = settings.default.keys().cloned().collect();
        columns.extend(reshape.is_some().then(|| "$record".to_owned()));
        let registration = Registration::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), columns);
        Ok((Self { settings, reshape }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        if let Some(reshape) = &self.reshape {
            let mut update = UpdateBuilder::new("$record");
            for row in batch.rows() {
                let record = row.words(self.settings.default.len()).unwrap_or_default();
                if let Some(changed) = reshape.apply(&record) {
                    update.json(row.index(), &changed);
                }
            }
            edits.update(update);
        }
        self.settings.rename.iter().for_each(|rename| edits.rename(&rename.from, &rename.to));
        self.settings.remove.iter().for_each(|field| edits.remove(field));
        for (field, value) in &self.settings.add {
            match value {
                // Said once, not once a row.
                serde_json::Value::String(text) => edits.set_all(field, text),
                _ => set(batch, edits, field, value, |_| true),
            }
        }
        for (column, (field, value)) in self.settings.default.iter().enumerate() {
            set(batch, edits, field, value, |row| row.bytes(column).is_none());
        }
        Ok(())
    }
}

impl Settings {
    /// What `keep_only` calls a field may be its name before it is renamed.
    fn rename_targets(&self) -> Vec<(String, String)> {
        self.rename.iter().map(|rename| (rename.from.clone(), rename.to.clone())).collect()
    }
}

fn set(
    batch: Batch<'_>,
    edits: &mut Edits,
    field: &str,
    value: &serde_json::Value,
    wanted: impl Fn(sawlog_plugin::Row<'_>) -> bool,
) {
    let token = value.to_string();
    let mut update = UpdateBuilder::new(field);
    for row in batch.rows().filter(|row| wanted(*row)) {
        match value {
            serde_json::Value::String(text) => update.text(row.index(), text),
            _ => update.json(row.index(), &token),
        }
    }
    edits.update(update);
}

sawlog_plugin::export_transform!(Fields);
