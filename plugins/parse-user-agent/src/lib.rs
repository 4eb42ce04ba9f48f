//! Says which browser, system and kind of device a User-Agent text means.

mod agent;

use agent::Agent;
use sawlog_plugin::{Batch, Config, Edits, Registration, Transform, Updates};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default)]
struct Settings {
    field: String,
    prefix: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { field: "user_agent".into(), prefix: "ua_".into() }
    }
}

/// The plugin.
pub struct ParseUserAgent {
    fields: [String; 5],
}

impl Transform for ParseUserAgent {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let fields = ["name", "version", "os", "os_version", "device"].map(|name| format!("{}{name}", settings.prefix));
        let registration = Registration::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), [settings.field]);
        Ok((Self { fields }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        let mut updates = Updates::new(&self.fields);
        for row in batch.rows() {
            let Some(agent) = row.text(0).and_then(Agent::parse) else { continue };
            let values = [Some(agent.name), agent.version, agent.os, agent.os_version, Some(agent.device)];
            for (field, value) in values.into_iter().enumerate() {
                if let Some(value) = value {
                    updates.at(field).text(row.index(), value);
                }
            }
        }
        edits.update_each(updates);
        Ok(())
    }
}

sawlog_plugin::export_transform!(ParseUserAgent);
