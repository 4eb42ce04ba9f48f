//! Clears the host part of IP addresses in texts: enough is left to see a network, not a person.

mod scan;

use sawlog_plugin::{Batch, Config, Edits, Registration, Transform, UpdateBuilder, Value};
use scan::Masks;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default)]
struct Settings {
    fields: Vec<String>,
    ipv4_bits: u32,
    ipv6_bits: u32,
    keep_private: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { fields: vec!["body".into()], ipv4_bits: 24, ipv6_bits: 48, keep_private: false }
    }
}

/// The plugin.
pub struct MaskIp {
    fields: Vec<String>,
    masks: Masks,
}

impl Transform for MaskIp {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let registration =
            Registration::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), settings.fields.clone());
        let masks = Masks {
            v4: settings.ipv4_bits.min(32),
            v6: settings.ipv6_bits.min(128),
            keep_private: settings.keep_private,
        };
        Ok((Self { fields: settings.fields, masks }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        for (column, field) in self.fields.iter().enumerate() {
            let mut update = UpdateBuilder::new(field);
            for row in batch.rows() {
                // Numbers and objects are left alone: a changed token might be no JSON any more.
                let Some(Value::Text(bytes)) = row.get(column) else { continue };
                if let Some(masked) = self.masks.apply(&String::from_utf8_lossy(bytes)) {
                    update.text(row.index(), &masked);
                }
            }
            edits.update(update);
        }
        Ok(())
    }
}

sawlog_plugin::export_transform!(MaskIp);
