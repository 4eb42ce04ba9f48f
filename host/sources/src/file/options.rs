//! The options of the file source, checked and compiled. It knows how a config becomes these and opens nothing.

use super::frame::{Framing, Multiline};
use super::pattern::{Names, PatternError};
use encoding_rs::Encoding;
use sawlog_core::identity::Grain;
use sawlog_core::memory::Pool;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Why options can't be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OptionsError {
    /// A pattern of names.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A regular expression.
    #[error("multiline pattern `{pattern}` is no regular expression: {why}; write one such as ^[0-9]{{4}}-")]
    Multiline {
        /// The pattern.
        pattern: String,
        /// What is wrong.
        why: String,
    },
    /// An encoding.
    #[error("`{0}` is no encoding; write one such as utf-8, euc-kr, shift_jis, windows-1252")]
    Encoding(String),
}

/// Everything that the file source needs to know.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// The agent's id, part of every generation's.
    pub agent_id: String,
    /// The source's key in the configuration, part of every generation's.
    pub source_id: String,
    /// Which files.
    pub names: Names,
    /// Folders into which symbolic links may lead, beside the patterns' own.
    pub roots: Vec<PathBuf>,
    /// How bytes become records.
    pub framing: Framing,
    /// Whether files that are there at the very first start begin at their end.
    pub from_end: bool,
    /// Whether the source is finished once everything that is there has been read.
    pub until_eof: bool,
    /// How long a file that lost its live name stays open without new bytes, and its last partial line without its end.
    pub rotate_wait: Duration,
    /// How long a record that waits for its next line stays open.
    pub idle_timeout: Duration,
    /// How often names are looked at where the kernel does not tell of changes; quiet files up to 10 s.
    pub poll_interval: Duration,
    /// Whether small rotated files that equal consumed ones are delivered all the same.
    pub deliver_identical_small: bool,
    /// Files held open at most.
    pub open_files_max: usize,
    /// Room on the disk for unpacked files, of all sources together; one that needs more than all of it is refused.
    pub unpacked: Arc<Pool>,
    /// Where packed files are unpacked, in files without names.
    pub scratch: PathBuf,
    /// Sizes of the evidence by which files are known again.
    pub grain: Grain,
    /// Identifies this boot of the machine; a change allows for bytes that a power loss ate.
    pub boot_id: String,
    /// The folder of the pods' logs.
    pub pods: PathBuf,
}

/// An encoding by its label. `cp949` is Microsoft's superset of EUC-KR, which is what the web calls `euc-kr`.
pub fn encoding(label: &str) -> Result<&'static Encoding, OptionsError> {
    let known = if label.eq_ignore_ascii_case("cp949") { "euc-kr" } else { label };
    Encoding::for_label(known.as_bytes()).ok_or_else(|| OptionsError::Encoding(label.to_owned()))
}

/// A multiline rule by the regular expression of first lines (`starts`) or of further lines.
pub fn multiline(pattern: &str, starts: bool, lines_max: u32) -> Result<Multiline, OptionsError> {
    let why = |error: regex::Error| OptionsError::Multiline { pattern: pattern.to_owned(), why: error.to_string() };
    Ok(Multiline { pattern: regex::bytes::Regex::new(pattern).map_err(why)?, starts, lines_max })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn encodings_and_patterns_are_checked_with_a_way_out() {
        assert_eq!(encoding("CP949").unwrap().name(), "EUC-KR");
        assert!(encoding("klingon").unwrap_err().to_string().contains("write one such as"));
        assert!(multiline("(", true, 10).unwrap_err().to_string().contains("is no regular expression"));
    }
}
