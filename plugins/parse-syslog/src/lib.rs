//! Reads syslog messages, of RFC 5424 and of the older form.

mod message;

use message::Message;
use plugin_text::time::zone;
use sawlog_plugin::{Batch, Config, Edits, OnFailure, Registration, Transform, UpdateBuilder, Updates};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default)]
struct Settings {
    field: String,
    message_field: String,
    zone: String,
    on_failure: OnFailure,
}

impl Default for Settings {
    fn default() -> Self {
        Self { field: "body".into(), message_field: "body".into(), zone: "Z".into(), on_failure: OnFailure::Keep }
    }
}

/// Fields that a message may give, in their order.
const FIELDS: [&str; 8] = ["facility", "severity", "level", "host", "app", "pid", "msgid", "structured_data"];

/// The plugin.
pub struct ParseSyslog {
    settings: Settings,
    zone_seconds: i64,
}

fn put(updates: &mut Updates, row: usize, message: &Message<'_>) {
    updates.at(0).text(row, message.facility());
    updates.at(1).json(row, &message.severity().to_string());
    updates.at(2).text(row, message.level());
    let texts = [(3, message.host), (4, message.app), (5, message.pid), (6, message.id)];
    for (field, value) in texts.into_iter().filter_map(|(field, value)| Some((field, value?))) {
        updates.at(field).text(row, value);
    }
    if let Some(data) = &message.data {
        updates.at(7).json(row, data);
    }
}

impl Transform for ParseSyslog {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let zone_seconds = zone(&settings.zone)
            .ok_or_else(|| format!("zone {:?} is none; expected Z or an offset such as +09:00", settings.zone))?;
        let registration = Registration {
            timestamps: true,
            drop_reasons: vec!["not_syslog".into()],
            ..Registration::new(
                env!("CARGO_PKG_NAME"),
                env!("CARGO_PKG_VERSION"),
                [settings.field.clone(), "$received".into()],
            )
        };
        Ok((Self { settings, zone_seconds }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        let (mut rows, mut times) = (Vec::new(), Vec::new());
        let mut original = UpdateBuilder::new(&self.settings.field);
        let mut texts = UpdateBuilder::new(&self.settings.message_field);
        let mut updates = Updates::new(FIELDS);
        for row in batch.rows() {
            let received = row.words(1).and_then(|text| text.parse().ok()).unwrap_or(0);
            let near = if received == 0 { row.time() } else { received };
            let Some(message) = row.text(0).and_then(|text| Message::parse(text, self.zone_seconds, near)) else {
                edits.decide(row.index(), self.settings.on_failure.fate("it is no syslog message"));
                continue;
            };
            put(&mut updates, row.index(), &message);
            texts.text(row.index(), message.text);
            if self.settings.field != self.settings.message_field {
                original.remove(row.index());
            }
            if let Some(time) = message.time {
                rows.push(row.index() as u32);
                times.push(time);
            }
        }
        edits.update(original);
        edits.update_each(updates);
        edits.update(texts);
        edits.set_times(rows, times);
        Ok(())
    }
}

sawlog_plugin::export_transform!(ParseSyslog);
