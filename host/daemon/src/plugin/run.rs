//! `sawlog plugin run`: records in, outcomes out; again whenever something changed, or for one dead letter.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use sawlog_chain::trial::{self, TIME_MEMBER};

use super::load::Loaded;
use super::watch::Watched;
use super::{Loading, PluginError, say};
use crate::config::Config;
use crate::config::plugins::Plugin as Configured;
use crate::letters::{self, Feeder, Letter};

/// What a plugin is configured with where nothing says it.
const NO_CONFIG: &str = "{}";

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Options {
    /// Which plugin.
    #[command(flatten)]
    loading: Loading,
    /// What it is configured with, JSON text; `{}` where nothing is given. For a letter the agent's config says that, and what
    /// the plugin may, and its limits.
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
    /// A folder of files that it gets, by their names.
    #[arg(long, value_name = "DIR", conflicts_with = "record")]
    files: Option<PathBuf>,
    /// A file of records instead of standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "record")]
    input: Option<PathBuf>,
    /// Run again whenever the sources, the component or the input change, until interrupted.
    #[arg(long)]
    watch: bool,
    /// Run the dead letter of this record instead, as `sawlog dlq list` has its id.
    #[arg(long, value_name = "RECORD_ID", requires = "letters")]
    record: Option<String>,
    /// The agent's config, a file or a folder of files, whose dead-letter sinks have the letter.
    #[arg(long, value_name = "FILE|DIR", requires = "record")]
    letters: Option<PathBuf>,
}

/// What goes through the plugin.
struct Records {
    place: String,
    text: String,
    /// What the agent's config says of the plugin that failed on them.
    configured: Option<Configured>,
}

/// Runs the records of standard input, one JSON object a line; `$time` is the event time, unix nanoseconds.
pub fn run(options: &Options) -> Result<ExitCode, PluginError> {
    if !options.watch {
        once(options)?;
        return Ok(ExitCode::SUCCESS);
    }
    if options.input.is_none() && options.record.is_none() {
        return Err(PluginError::NothingToWatch);
    }
    let mut watched = Watched::new(
        [Some(&options.loading.plugin), options.input.as_ref(), options.files.as_ref()].into_iter().flatten(),
    );
    loop {
        // What is wrong now is what its author is about to mend.
        match once(options) {
            Ok(()) => {}
            Err(error @ PluginError::Output(_)) => return Err(error),
            Err(error) => eprintln!("{error}"),
        }
        eprintln!("-- waiting for a change");
        watched.wait();
    }
}

fn once(options: &Options) -> Result<(), PluginError> {
    let loaded = Loaded::new(&options.loading)?;
    let Records { place, text, configured } = records(options)?;
    let plugin = match &configured {
        Some(configured) => loaded.as_configured(configured, options.config.clone())?,
        None => {
            let config = options.config.clone().unwrap_or_else(|| NO_CONFIG.to_owned());
            loaded.plugin(config, options.files.as_deref())?
        }
    };
    let input = trial::read(&text).map_err(|source| PluginError::Input { place, source })?;
    for line in trial::run(&plugin, &input)? {
        say(&line)?;
    }
    Ok(())
}

fn records(options: &Options) -> Result<Records, PluginError> {
    if let (Some(id), Some(path)) = (&options.record, &options.letters) {
        let config =
            crate::verbs::load(path).map_err(|error| PluginError::Letter(error.to_string().trim_end().to_owned()))?;
        return letter(&config, id);
    }
    if let Some(path) = &options.input {
        let text = std::fs::read_to_string(path).map_err(PluginError::io(path))?;
        return Ok(Records { place: path.display().to_string(), text, configured: None });
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(PluginError::io("standard input"))?;
    Ok(Records { place: "standard input".to_owned(), text, configured: None })
}

/// The newest letter of the record `id`: its row as it came to whoever could not take it.
fn letter(config: &Config, id: &str) -> Result<Records, PluginError> {
    let mut found: Option<Letter> = None;
    letters::read(config, None, |_, letter| {
        if let Ok(letter) = letter.map(|letter| (letter.id.as_str() == id).then_some(letter)) {
            found = letter.or(found.take());
        }
        true
    })
    .map_err(|error| PluginError::Letter(error.to_string()))?;
    let letter = found.ok_or_else(|| {
        PluginError::Letter(format!("no dead letter of record `{id}`; `sawlog dlq list` shows those that are there"))
    })?;
    eprintln!("refused by {}: {}", letter.feeder.name(), letter.reason);
    let configured = match &letter.feeder {
        Feeder::Plugin(stage) => config.plugins.get(&stage.plugin).cloned(),
        Feeder::Sink(_) => None,
    };
    Ok(Records {
        place: format!("the letter of {id}"),
        text: with_time(&String::from_utf8_lossy(&letter.row), letter.time),
        configured,
    })
}

/// The JSON object `row` on one line, with the event time that a trial reads.
fn with_time(row: &str, time: i64) -> String {
    let members = row.trim().strip_prefix('{').unwrap_or_default().trim_start().replace(['\n', '\r'], " ");
    let comma = if members.starts_with('}') { "" } else { "," };
    format!("{{\"{TIME_MEMBER}\":{time}{comma}{members}\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_row_keeps_its_members_and_gets_its_time() {
        assert_eq!(with_time("{}", 7), "{\"$time\":7}\n");
        assert_eq!(with_time("{ \"n\":\n1e400 }", -7), "{\"$time\":-7,\"n\": 1e400 }\n");
        let read = trial::read(&with_time("{\"n\":1}", 7)).unwrap();
        assert_eq!((read.rows.len(), read.rows[0].time, read.rows[0].fields_len), (1, 7, 1));
    }
}
