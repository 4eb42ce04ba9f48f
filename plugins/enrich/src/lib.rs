//! Adds fields from a table by the value of a field. The table is a file that the configuration names; its digest belongs to the
//! epoch, so a replay sees the table that the first run saw.

mod table;

use sawlog_plugin::{Batch, Config, Edits, OnFailure, Registration, Transform, Updates};
use serde::Deserialize;
use table::Table;

#[derive(Deserialize)]
struct Settings {
    key: String,
    #[serde(default = "file")]
    file: String,
    key_column: String,
    #[serde(default)]
    columns: Vec<String>,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    ignore_case: bool,
    #[serde(default)]
    on_missing: OnFailure,
}

fn file() -> String {
    "table".into()
}

/// The plugin.
pub struct Enrich {
    table: Table,
    fields: Vec<String>,
    ignore_case: bool,
    on_missing: OnFailure,
}

impl Transform for Enrich {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let Some(content) = config.file(&settings.file) else {
            let names: Vec<&str> = config.files.iter().map(|(name, _)| name.as_str()).collect();
            return Err(format!("no file {:?} below `files`, which has [{}]", settings.file, names.join(", ")));
        };
        let text = std::str::from_utf8(content).map_err(|e| format!("file {:?} is not UTF-8: {e}", settings.file))?;
        let table = Table::read(text, &settings.key_column, &settings.columns, settings.ignore_case)
            .map_err(|e| format!("file {:?}: {e}", settings.file))?;
        let fields = table.columns().iter().map(|column| format!("{}{column}", settings.prefix)).collect();
        let registration = Registration {
            drop_reasons: vec!["not_in_table".into()],
            ..Registration::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), [settings.key])
        };
        Ok((Self { table, fields, ignore_case: settings.ignore_case, on_missing: settings.on_missing }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        let mut updates = Updates::new(&self.fields);
        for row in batch.rows() {
            let key = row.words(0).map(|key| if self.ignore_case { key.to_lowercase().into() } else { key });
            match key.and_then(|key| self.table.get(&key)) {
                Some(values) => {
                    // An empty cell says nothing.
                    for (column, value) in values.iter().enumerate().filter(|(_, value)| !value.is_empty()) {
                        updates.at(column).text(row.index(), value);
                    }
                }
                None => edits.decide(row.index(), self.on_missing.fate("its key is not in the table")),
            }
        }
        edits.update_each(updates);
        Ok(())
    }
}

sawlog_plugin::export_transform!(Enrich);
