//! Reads a text that is a JSON object into its members.

mod object;

use plugin_members::Settings;
use sawlog_plugin::{Batch, Config, Edits, Registration, Transform};

/// The plugin.
pub struct ParseJson {
    settings: Settings,
}

impl Transform for ParseJson {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let registration = settings.registration(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), "not_json");
        Ok((Self { settings }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        self.settings.process(batch, edits, |text, members| {
            object::read(text, members).map_err(|e| e.to_string())?;
            Ok(None)
        });
        Ok(())
    }
}

sawlog_plugin::export_transform!(ParseJson);
