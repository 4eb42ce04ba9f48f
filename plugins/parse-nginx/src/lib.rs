//! Reads access lines and error lines of nginx.

mod access;
mod error;
mod request;

use plugin_members::{Members, Settings};
use plugin_text::time::zone;
use sawlog_plugin::{Batch, Config, Edits, Registration, Transform};
use serde::Deserialize;

/// Which lines are expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Lines {
    /// Either, told apart line by line.
    #[default]
    Any,
    /// "combined", "common", and the `main` of nginx's packages.
    Access,
    /// The error log.
    Error,
}

#[derive(Deserialize)]
struct Own {
    #[serde(default)]
    lines: Lines,
    #[serde(default = "utc")]
    zone: String,
}

fn utc() -> String {
    "Z".into()
}

/// The plugin.
pub struct ParseNginx {
    settings: Settings,
    lines: Lines,
    zone_seconds: i64,
}

impl Transform for ParseNginx {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let (settings, own): (Settings, Own) = (config.parse()?, config.parse()?);
        let zone_seconds = zone(&own.zone)
            .ok_or_else(|| format!("zone {:?} is none; expected Z or an offset such as +09:00", own.zone))?;
        let registration = settings.registration(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), "not_nginx");
        Ok((Self { settings, lines: own.lines, zone_seconds }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        self.settings.process(batch, edits, |text, members| self.read(text.trim_end_matches(['\r', '\n']), members));
        Ok(())
    }
}

impl ParseNginx {
    /// Puts what `line` says into `members`; the event time, unix nanoseconds.
    fn read<'a>(&self, line: &'a str, members: &mut Members<'a>) -> Result<Option<i64>, String> {
        let is_error = match self.lines {
            Lines::Any => error::looks_like(line),
            Lines::Access => false,
            Lines::Error => true,
        };
        let (time, kind) = match is_error {
            true => (error::read(line, self.zone_seconds, members), "error"),
            false => (access::read(line, members), "access"),
        };
        time.map(Some).map_err(|expected| format!("no {kind} line of nginx: expected {expected}"))
    }
}

sawlog_plugin::export_transform!(ParseNginx);
