//! Replaces e-mail addresses and payment card numbers in text fields: one pass over the bytes of each value, edits only for
//! values that changed.

mod scan;

use sawlog_plugin::{Batch, Config, Edits, Registration, Transform, UpdateBuilder, Value};
use scan::Words;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default)]
struct Settings {
    fields: Vec<String>,
    emails: bool,
    cards: bool,
    email_text: String,
    card_text: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            fields: vec!["body".into()],
            emails: true,
            cards: true,
            email_text: "[email]".into(),
            card_text: "[card]".into(),
        }
    }
}

/// The plugin.
pub struct Redact {
    fields: Vec<String>,
    words: Words,
}

impl Transform for Redact {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let registration = Registration {
            name: "redact".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            columns: settings.fields.clone(),
            ..Default::default()
        };
        let words = Words {
            email: settings.emails.then_some(settings.email_text),
            card: settings.cards.then_some(settings.card_text),
        };
        Ok((Self { fields: settings.fields, words }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        for (column, field) in self.fields.iter().enumerate() {
            let mut update = UpdateBuilder::new(field);
            for row in batch.rows() {
                // Numbers and objects are left alone: a changed token might be no JSON any more.
                let Some(Value::Text(text)) = row.get(column) else { continue };
                let Some(first) = self.words.find(text, 0) else { continue };
                // What is found is ASCII: the rest is text if all of it was.
                if std::str::from_utf8(text).is_ok() {
                    update.text_with(row.index(), |out| self.words.replace(text, first, out));
                } else {
                    let mut clean = Vec::new();
                    self.words.replace(text, first, &mut clean);
                    update.text(row.index(), &String::from_utf8_lossy(&clean));
                }
            }
            edits.update(update);
        }
        Ok(())
    }
}

sawlog_plugin::export_transform!(Redact);
