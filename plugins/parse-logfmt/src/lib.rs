//! Reads logfmt, `key=value key2="two words"`, into its pairs.

mod pairs;

use plugin_members::Settings;
use sawlog_plugin::{Batch, Config, Edits, Registration, Transform};

/// The plugin.
pub struct ParseLogfmt {
    settings: Settings,
}

impl Transform for ParseLogfmt {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let registration = settings.registration(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), "not_logfmt");
        Ok((Self { settings }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        self.settings.process(batch, edits, |text, members| {
            pairs::read(text, members)
                .map_err(|(at, expected)| format!("no logfmt: expected {expected} at byte {at}"))?;
            Ok(None)
        });
        Ok(())
    }
}

sawlog_plugin::export_transform!(ParseLogfmt);
