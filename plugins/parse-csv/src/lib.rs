//! Reads lines of separated values into named fields.

use plugin_text::csv;
use sawlog_plugin::{Batch, Config, Edits, OnFailure, Registration, Transform, Updates};
use serde::Deserialize;

#[derive(Deserialize)]
struct Settings {
    #[serde(default = "body")]
    field: String,
    columns: Vec<String>,
    #[serde(default = "comma")]
    separator: char,
    #[serde(default)]
    trim: bool,
    #[serde(default)]
    numbers: Vec<String>,
    #[serde(default)]
    keep_original: bool,
    #[serde(default)]
    on_failure: OnFailure,
}

fn body() -> String {
    "body".into()
}

fn comma() -> char {
    ','
}

/// The plugin.
pub struct ParseCsv {
    settings: Settings,
    /// By column: whether its values are numbers.
    is_number: Vec<bool>,
}

/// Whether `text` is a JSON number.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    all(whole) && all(fraction) && (whole == "0" || !whole.starts_with('0'))
}

impl Transform for ParseCsv {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        if let Some(name) = settings.numbers.iter().find(|name| !settings.columns.contains(name)) {
            return Err(format!("numbers names {name:?}, which is none of the columns"));
        }
        let is_number = settings.columns.iter().map(|column| settings.numbers.contains(column)).collect();
        let registration = Registration {
            drop_reasons: vec!["not_csv".into()],
            ..Registration::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), [settings.field.clone()])
        };
        Ok((Self { settings, is_number }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        let Settings { columns, separator, trim, .. } = &self.settings;
        // The original goes first: a column may have its name.
        let mut original = sawlog_plugin::UpdateBuilder::new(&self.settings.field);
        let mut updates = Updates::new(columns.iter().filter(|column| !column.is_empty()));
        for row in batch.rows() {
            let Some(line) = row.text(0) else {
                edits.decide(row.index(), self.settings.on_failure.fate("no text to read"));
                continue;
            };
            let values = match csv::values(line.trim_end_matches(['\r', '\n']), *separator) {
                Ok(values) if values.len() == columns.len() => values,
                Ok(values) => {
                    let reason = format!("{} values, {} columns", values.len(), columns.len());
                    edits.decide(row.index(), self.settings.on_failure.fate(&reason));
                    continue;
                }
                Err(e) => {
                    edits.decide(row.index(), self.settings.on_failure.fate(&e.to_string()));
                    continue;
                }
            };
            let mut at = 0;
            for ((value, column), number) in values.iter().zip(columns).zip(&self.is_number) {
                if column.is_empty() {
                    continue; // a column without a name is not wanted
                }
                let value = if *trim { value.trim() } else { value };
                match *number && is_number(value) {
                    true => updates.at(at).json(row.index(), value),
                    false => updates.at(at).text(row.index(), value),
                }
                at += 1;
            }
            if !self.settings.keep_original {
                original.remove(row.index());
            }
        }
        edits.update(original);
        edits.update_each(updates);
        Ok(())
    }
}

sawlog_plugin::export_transform!(ParseCsv);

#[cfg(test)]
mod tests {
    use super::is_number;

    #[test]
    fn only_json_numbers_are_numbers() {
        assert!(["0", "-1", "12.50", "0.5"].into_iter().all(is_number));
        assert!(!["", "-", "01", "1.", ".5", "1e3", "+1", "NaN", "1 "].into_iter().any(is_number));
    }
}
