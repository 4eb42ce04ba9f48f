//! Drops records below a level. Reads one column, returns one mask.

use sawlog_plugin::{Batch, Config, Edits, Registration, Row, Transform};
use serde::Deserialize;

/// How grave a record is, lowest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Trace,
    Debug,
    Info,
    Notice,
    Warn,
    Error,
    Critical,
}

impl Level {
    /// The level that `word` names, in any case and in the usual spellings.
    fn of(word: &[u8]) -> Option<Self> {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        // The first letter decides which few names to compare.
        Some(match word.first()?.to_ascii_lowercase() {
            b't' if is("trace") => Self::Trace,
            b'd' if is("debug") => Self::Debug,
            b'i' if is("info") || is("information") => Self::Info,
            b'n' if is("notice") => Self::Notice,
            b'w' if is("warn") || is("warning") => Self::Warn,
            b'e' if is("error") || is("err") => Self::Error,
            b'e' if is("emergency") || is("emerg") => Self::Critical,
            b'c' if is("critical") || is("crit") => Self::Critical,
            b'f' if is("fatal") => Self::Critical,
            b'p' if is("panic") => Self::Critical,
            b'a' if is("alert") => Self::Critical,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unknown {
    #[default]
    Keep,
    Drop,
}

#[derive(Deserialize)]
struct Settings {
    at_least: Level,
    #[serde(default = "level")]
    field: String,
    #[serde(default)]
    unknown: Unknown,
}

fn level() -> String {
    "level".into()
}

/// The plugin.
pub struct LevelFilter {
    at_least: Level,
    keep_unknown: bool,
}

impl LevelFilter {
    fn keeps(&self, row: Row<'_>) -> bool {
        row.bytes(0).and_then(Level::of).map_or(self.keep_unknown, |level| level >= self.at_least)
    }
}

impl Transform for LevelFilter {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let registration = Registration {
            name: "level-filter".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            columns: vec![settings.field],
            ..Default::default()
        };
        Ok((Self { at_least: settings.at_least, keep_unknown: settings.unknown == Unknown::Keep }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        edits.keep_where(|row| self.keeps(batch.row(row)));
        Ok(())
    }
}

sawlog_plugin::export_transform!(LevelFilter);

#[cfg(test)]
mod tests {
    use super::*;
    use sawlog_plugin::testing::{BatchBuilder, configure, process};

    #[test]
    fn spellings_are_known_and_the_unknown_is_kept() {
        let (mut plugin, _) = configure::<LevelFilter>(r#"{"at_least":"warn"}"#).expect("configures");
        let levels = [Some("WARNING"), Some("info"), None, Some("emerg"), Some("wat"), Some("err"), Some("")];
        let edits = process(&mut plugin, &BatchBuilder::new(7).text(&levels).build()).expect("keeps");
        assert_eq!(edits.keep, [0b1111101]);
    }

    #[test]
    fn a_wrong_level_is_refused_by_name() {
        let refused = configure::<LevelFilter>(r#"{"at_least":"loud"}"#).err().expect("refused");
        assert!(refused.contains("loud") && refused.contains("warn"), "{refused}");
    }
}
