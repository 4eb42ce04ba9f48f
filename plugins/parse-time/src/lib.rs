//! Reads a record's event time out of a field.

use plugin_text::time::{Format, zone};
use sawlog_plugin::{Batch, Config, Edits, OnFailure, Registration, Transform};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default)]
struct Settings {
    field: String,
    formats: Vec<String>,
    zone: String,
    remove: bool,
    on_failure: OnFailure,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            field: "time".into(),
            formats: vec!["iso".into()],
            zone: "Z".into(),
            remove: false,
            on_failure: OnFailure::Keep,
        }
    }
}

/// The plugin.
pub struct ParseTime {
    formats: Vec<Format>,
    zone_seconds: i64,
    /// The field, if it goes.
    removed: Option<String>,
    on_failure: OnFailure,
}

impl Transform for ParseTime {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let formats = settings.formats.iter().map(|name| Format::named(name)).collect::<Result<Vec<_>, _>>()?;
        let zone_seconds = zone(&settings.zone)
            .ok_or_else(|| format!("zone {:?} is none; expected Z or an offset such as +09:00", settings.zone))?;
        let removed = settings.remove.then(|| settings.field.clone());
        let registration = Registration {
            timestamps: true,
            drop_reasons: vec!["no_time".into()],
            // When a record came in decides the year where its text names none.
            ..Registration::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), [settings.field, "$received".into()])
        };
        Ok((Self { formats, zone_seconds, removed, on_failure: settings.on_failure }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        let (mut rows, mut times) = (Vec::new(), Vec::new());
        let mut removed = self.removed.as_deref().map(sawlog_plugin::UpdateBuilder::new);
        for row in batch.rows() {
            let received = row.words(1).and_then(|text| text.parse().ok()).unwrap_or(0);
            // A record that was given no time of its own yet has that of its arrival.
            let near = if received == 0 { row.time() } else { received };
            let found = row
                .words(0)
                .and_then(|text| self.formats.iter().find_map(|format| format.parse(&text, self.zone_seconds, near)));
            match found {
                Some(time) => {
                    rows.push(row.index() as u32);
                    times.push(time);
                    if let Some(update) = &mut removed {
                        update.remove(row.index());
                    }
                }
                None => edits.decide(row.index(), self.on_failure.fate("no time in any of the formats")),
            }
        }
        edits.set_times(rows, times);
        removed.into_iter().for_each(|update| edits.update(update));
        Ok(())
    }
}

sawlog_plugin::export_transform!(ParseTime);
