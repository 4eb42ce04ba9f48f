//! Drops records below a level. Reads one column, returns one mask.

use sawlog_plugin::{Batch, Config, Edits, Registration, Transform};
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

/// Bytes of a word that are looked at: they tell all levels apart, and fit a machine word.
const WORD_BYTES_MAX: usize = 8;

/// A word as one number, whatever its case: comparing words becomes comparing numbers.
const fn number(word: &[u8]) -> u64 {
    let (mut number, mut i) = (0, 0);
    while i < word.len() {
        number = number << 8 | (word[i] | 0x20) as u64;
        i += 1;
    }
    number
}

/// The part of `word` that is looked at.
const fn head(word: &[u8]) -> &[u8] {
    if word.len() > WORD_BYTES_MAX { word.split_at(WORD_BYTES_MAX).0 } else { word }
}

macro_rules! levels {
    ($($level:ident: $($word:literal)|+,)*) => {
        impl Level {
            /// The level that `word` names, in any case and in the usual spellings.
            #[inline]
            fn of(word: &[u8]) -> Option<Self> {
                let number_of_word = number(head(word));
                $($(if number_of_word == const { number(head($word)) } && word.len() == $word.len() { return Some(Self::$level) })+)*
                None
            }
        }
    };
}

// The usual ones first.
levels! {
    Info: b"info" | b"information",
    Warn: b"warn" | b"warning",
    Error: b"error" | b"err",
    Debug: b"debug",
    Trace: b"trace",
    Notice: b"notice",
    Critical: b"critical" | b"crit" | b"fatal" | b"panic" | b"alert" | b"emergency" | b"emerg",
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
    fn keeps(&self, level: Option<&[u8]>) -> bool {
        level.and_then(Level::of).map_or(self.keep_unknown, |level| level >= self.at_least)
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
        edits.keep_each(batch.column(0).map(|level| self.keeps(level)));
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
