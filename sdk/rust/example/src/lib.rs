//! The example that every SDK has: see `sdk/example`.

// The same scanner as in the plugin `redact`.
#[path = "../../../../plugins/redact/src/scan.rs"]
mod scan;

use sawlog_plugin::{Batch, Config, Edits, Registration, Transform, UpdateBuilder, Value};
use scan::Words;
use serde::Deserialize;

const LEVELS: [&[&str]; 7] = [
    &["trace"],
    &["debug"],
    &["info", "information"],
    &["notice"],
    &["warn", "warning"],
    &["error", "err"],
    &["critical", "crit", "fatal"],
];

/// The place of a word among the levels.
fn level(word: &[u8]) -> Option<usize> {
    LEVELS.iter().position(|words| words.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(word)))
}

#[derive(Deserialize)]
struct Add {
    name: String,
    text: String,
}

#[derive(Deserialize)]
struct Settings {
    at_least: String,
    fields: Vec<String>,
    add: Add,
}

/// The plugin.
pub struct Tidy {
    settings: Settings,
    least: usize,
    words: Words,
}

impl Transform for Tidy {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let least = level(settings.at_least.as_bytes())
            .ok_or_else(|| format!("at_least: {:?} is no level", settings.at_least))?;
        let columns = std::iter::once("level").chain(settings.fields.iter().map(String::as_str));
        let registration = Registration::new("tidy", env!("CARGO_PKG_VERSION"), columns);
        let words = Words { email: Some("[email]".into()), card: Some("[card]".into()) };
        Ok((Self { settings, least, words }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        edits.keep_each(batch.column(0).map(|word| word.and_then(level).is_none_or(|level| level >= self.least)));
        let mut clean = Vec::new();
        for (i, field) in self.settings.fields.iter().enumerate() {
            let mut update = UpdateBuilder::new(field);
            for row in batch.rows() {
                let Some(Value::Text(text)) = row.get(i + 1) else { continue };
                let Some(first) = self.words.find(text, 0) else { continue };
                clean.clear();
                self.words.replace(text, first, &mut clean);
                update.text(row.index(), &String::from_utf8_lossy(&clean));
            }
            edits.update(update);
        }
        edits.set_all(&self.settings.add.name, &self.settings.add.text);
        Ok(())
    }
}

sawlog_plugin::export_transform!(Tidy);

#[cfg(test)]
mod tests {
    use super::*;
    use sawlog_plugin::testing::{BatchBuilder, configure, process};

    #[test]
    fn tidy_natively() {
        let config = r#"{"at_least":"warn","fields":["body"],"add":{"name":"cluster","text":"eu-1"}}"#;
        let (mut tidy, registration) = configure::<Tidy>(config).expect("configures");
        assert_eq!(registration.columns, ["level", "body"]);
        let batch = BatchBuilder::new(2).text(&[Some("info"), None]).text(&[None, Some("of a@b.co")]).build();
        let edits = process(&mut tidy, &batch).expect("tidies");
        assert_eq!((edits.keep, edits.edits.len()), (vec![0b10], 2));
        assert!(configure::<Tidy>(&config.replace("warn", "loud")).is_err());
    }
}
