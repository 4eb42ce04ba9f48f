//! One spelling of levels, whatever the language, library or number.

use sawlog_plugin::{Batch, Config, Edits, OnFailure, Registration, Row, Transform, UpdateBuilder};
use serde::Deserialize;
use std::collections::BTreeMap;

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

/// What numbers mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Numbers {
    /// 0 = emergency … 7 = debug, as syslog has it.
    #[default]
    Syslog,
    /// 10, 20, 30 … as pino, bunyan and Python's logging have it.
    Tens,
    /// 1 … 24, as OpenTelemetry has it.
    Otel,
}

#[derive(Deserialize)]
#[serde(default)]
struct Settings {
    fields: Vec<String>,
    into: String,
    numbers: Numbers,
    /// What 30 is in `tens`: `info` for pino, `warn` for Python.
    thirty: Level,
    upper_case: bool,
    spellings: BTreeMap<String, Level>,
    default: Option<Level>,
    on_failure: OnFailure,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            fields: vec!["level".into(), "severity".into(), "log.level".into(), "lvl".into(), "loglevel".into()],
            into: "level".into(),
            numbers: Numbers::Syslog,
            thirty: Level::Info,
            upper_case: false,
            spellings: BTreeMap::new(),
            default: None,
            on_failure: OnFailure::Keep,
        }
    }
}

/// The plugin.
pub struct NormaliseLevel {
    settings: Settings,
}

impl Level {
    fn name(self, upper_case: bool) -> &'static str {
        match (self, upper_case) {
            (Self::Trace, false) => "trace",
            (Self::Debug, false) => "debug",
            (Self::Info, false) => "info",
            (Self::Notice, false) => "notice",
            (Self::Warn, false) => "warn",
            (Self::Error, false) => "error",
            (Self::Critical, false) => "critical",
            (Self::Trace, true) => "TRACE",
            (Self::Debug, true) => "DEBUG",
            (Self::Info, true) => "INFO",
            (Self::Notice, true) => "NOTICE",
            (Self::Warn, true) => "WARN",
            (Self::Error, true) => "ERROR",
            (Self::Critical, true) => "CRITICAL",
        }
    }

    /// What the usual words and letters mean.
    fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "trace" | "trc" | "t" | "verbose" | "v" | "finest" | "finer" | "silly" | "all" => Self::Trace,
            "debug" | "dbg" | "d" | "fine" => Self::Debug,
            "info" | "inf" | "i" | "information" | "informational" | "log" | "config" | "http" => Self::Info,
            "notice" | "n" | "note" => Self::Notice,
            "warn" | "wrn" | "w" | "warning" => Self::Warn,
            "error" | "err" | "e" | "eror" | "severe" | "failure" => Self::Error,
            "critical" | "crit" | "c" | "fatal" | "ftl" | "f" | "panic" | "alert" | "emergency" | "emerg" => {
                Self::Critical
            }
            _ => return None,
        })
    }
}

impl Settings {
    fn level(&self, word: &str) -> Option<Level> {
        let word = word.trim().trim_matches(|c| matches!(c, '[' | ']' | '<' | '>' | '"' | '\'' | ':')).to_lowercase();
        if let Some(level) = self.spellings.get(&word) {
            return Some(*level);
        }
        match word.parse::<u32>() {
            Ok(number) => self.number(number),
            Err(_) => Level::of_word(&word),
        }
    }

    fn number(&self, number: u32) -> Option<Level> {
        use Level::{Critical, Debug, Error, Info, Notice, Trace, Warn};
        Some(match (self.numbers, number) {
            (Numbers::Syslog, 0..=2) => Critical,
            (Numbers::Syslog, 3) => Error,
            (Numbers::Syslog, 4) => Warn,
            (Numbers::Syslog, 5) => Notice,
            (Numbers::Syslog, 6) => Info,
            (Numbers::Syslog, 7) => Debug,
            // Pino counts from trace = 10, Python from debug = 10.
            (Numbers::Tens, 1..=59) => {
                let from_trace = [Trace, Debug, Info, Warn, Error];
                let from_debug = [Debug, Info, Warn, Error, Critical];
                let scale = if self.thirty == Info { from_trace } else { from_debug };
                scale[(number as usize / 10).saturating_sub(1)]
            }
            (Numbers::Tens, 60..) => Critical,
            (Numbers::Otel, 1..=4) => Trace,
            (Numbers::Otel, 5..=8) => Debug,
            (Numbers::Otel, 9..=12) => Info,
            (Numbers::Otel, 13..=16) => Warn,
            (Numbers::Otel, 17..=20) => Error,
            (Numbers::Otel, 21..=24) => Critical,
            _ => return None,
        })
    }

    /// Of the first field that says a level.
    fn of_row(&self, row: Row<'_>) -> Option<Level> {
        (0..self.fields.len()).find_map(|column| self.level(&row.words(column)?))
    }
}

impl Transform for NormaliseLevel {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let mut settings: Settings = config.parse()?;
        settings.spellings = settings.spellings.into_iter().map(|(word, level)| (word.to_lowercase(), level)).collect();
        if !matches!(settings.thirty, Level::Info | Level::Warn) {
            return Err("thirty must be info (pino, bunyan) or warn (Python)".into());
        }
        let registration = Registration {
            drop_reasons: vec!["no_level".into()],
            ..Registration::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), settings.fields.clone())
        };
        Ok((Self { settings }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        let mut update = UpdateBuilder::new(&self.settings.into);
        for row in batch.rows() {
            match self.settings.of_row(row).or(self.settings.default) {
                Some(level) => update.text(row.index(), level.name(self.settings.upper_case)),
                None => edits.decide(row.index(), self.settings.on_failure.fate("no field says a level that is known")),
            }
        }
        edits.update(update);
        Ok(())
    }
}

sawlog_plugin::export_transform!(NormaliseLevel);
