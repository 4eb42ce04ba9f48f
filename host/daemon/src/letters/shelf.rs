//! Where letters lie: the files of a dead-letter sink, read as far as they reach when reading begins. A file that is being
//! appended to may end in a line that a crash takes back; whoever replays it stores it once all the same.

use std::io::{BufRead, BufReader, Read, Take};
use std::path::PathBuf;

use sawlog_sinks::file::Written;
use sawlog_sinks::registry::SinkOptions;
use thiserror::Error;

use super::{Letter, LetterError};
use crate::config::Config;

/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: u64 = 512 << 20;

/// Why letters can't be read.
#[derive(Debug, Error)]
pub enum ShelfError {
    /// No such sink, or none for letters.
    #[error("`{name}` is no sink that takes dead letters; those are: {known}")]
    Unknown {
        /// The name.
        name: String,
        /// What there is.
        known: String,
    },
    /// Only files are read back.
    #[error(
        "letters in `{name}` can't be read back: it is of type {kind}, and only JSON lines of a `file` sink can; read it with that store's own tools"
    )]
    Kind {
        /// The sink.
        name: String,
        /// Its type.
        kind: &'static str,
    },
    /// The system.
    #[error("{}: {error}; let this user read it", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
}

/// Gives `each` every letter of the dead-letter sink `only`, or of all of them, file by file in the order of their names; lines
/// that are no letters come as errors. It ends where `each` returns false. Blocks for the disk.
pub fn read(
    config: &Config,
    only: Option<&str>,
    mut each: impl FnMut(&str, Result<Letter, LetterError>) -> bool,
) -> Result<(), ShelfError> {
    let takers: Vec<&str> =
        config.sinks.keys().map(String::as_str).filter(|name| config.is_dead_letter_sink(name)).collect();
    if let Some(name) = only.filter(|name| !takers.contains(name)) {
        return Err(ShelfError::Unknown { name: name.to_owned(), known: takers.join(", ") });
    }
    for name in takers.iter().filter(|name| only.is_none_or(|only| only == **name)) {
        let sink = &config.sinks[*name];
        let SinkOptions::File(file) = &sink.options else {
            return Err(ShelfError::Kind { name: (*name).to_owned(), kind: sink.r#type });
        };
        let Some(written) = Written::of(file, &config.sections.data_dir) else {
            return Err(ShelfError::Kind { name: (*name).to_owned(), kind: "file with Parquet" });
        };
        let files = written.files().map_err(|(path, error)| ShelfError::File { path, error })?;
        for (path, bytes) in files {
            let fail = |error| ShelfError::File { path: path.clone(), error };
            let opened = std::fs::File::open(&path).map_err(fail)?;
            let lines = BufReader::new(written.unpacked(opened.take(bytes)).map_err(fail)?);
            if !lines_of(lines, &mut |letter| each(name, letter)).map_err(fail)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// False where `each` wants no more.
fn lines_of(
    mut lines: impl BufRead,
    each: &mut impl FnMut(Result<Letter, LetterError>) -> bool,
) -> std::io::Result<bool> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded: Take<_> = lines.by_ref().take(LINE_BYTES_MAX);
        match bounded.read_until(b'\n', &mut line) {
            Ok(_) if line.last() == Some(&b'\n') => {}
            // The last line, or the last frame, is still being written.
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(true),
            Err(error) => return Err(error),
        }
        if !each(Letter::read(&line[..line.len() - 1])) {
            return Ok(false);
        }
    }
}
