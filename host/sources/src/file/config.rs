//! Options of the `file` source. It opens no file.

use std::path::PathBuf;

use sawlog_settings::checked::Pattern;
use sawlog_settings::component::{DescribeSource, Finding, SourceKind};
use sawlog_settings::{ByteSize, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a file begins that is met for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReadFrom {
    /// At its first byte.
    #[default]
    Beginning,
    /// At its end, for files that are there when the source first starts; later ones are read whole.
    End,
}

/// A known shape of records that span lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MultilinePreset {
    /// Java stack traces, from the line with the exception on.
    Java,
    /// Python tracebacks, with the line before them.
    Python,
    /// Go panics, from the line that begins with `panic:` or `fatal error:` on, all goroutines.
    Go,
    /// Lines that begin with blanks belong to the line before them.
    Indented,
}

/// Records that span lines: a preset, or a pattern of first lines or of further lines.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Multiline {
    /// A known shape.
    pub preset: Option<MultilinePreset>,
    /// Regular expression of a record's first line.
    pub start: Option<Pattern>,
    /// Regular expression of a record's further lines.
    pub r#continue: Option<Pattern>,
    /// Most lines of a record; where one more would follow, the record is closed.
    pub lines_max: Option<u32>,
}

/// Whether namespace, pod, container and stream become members of each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kubernetes {
    /// For files below `/var/log/pods`, from the path and the CRI line.
    #[default]
    Auto,
    /// Never: those files are read like any others, and a line that the container runtime has split stays in pieces.
    Off,
}

/// What is done with a small rotated file that equals what was read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IdenticalSmall {
    /// It is a copy.
    #[default]
    Skip,
    /// It is a file of its own: a crash-looping program may write the same few bytes again.
    Deliver,
}

/// Reads lines of files that match a pattern, through rotation, as one partition a path (or a container's log folder).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// Patterns of the files' live names: `/var/log/app/*.log`. `**` stands for any number of folders.
    pub include: Vec<String>,
    /// Patterns of names that are not read; a live name stands for what it is rotated to as well.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Patterns of names that rotated files get: `/var/log/app/*.log.*`. Below `/var/log/pods` they are known.
    #[serde(default)]
    pub rotated: Vec<String>,
    /// Folders into which symbolic links may lead, beside the patterns' own.
    #[serde(default)]
    pub roots: Vec<PathBuf>,
    /// Where a file begins that is met for the first time.
    #[serde(default)]
    pub read_from: ReadFrom,
    /// Name of the files' encoding, as the web knows it: `euc-kr` (which is also `cp949`), `shift_jis`, `utf-16le`, …; none and
    /// `utf-8` leave the bytes as they are, valid or not.
    #[serde(default)]
    pub encoding: Option<String>,
    /// Records that span lines.
    #[serde(default)]
    pub multiline: Option<Multiline>,
    /// Whether namespace, pod, container and stream become members of each record.
    #[serde(default)]
    pub kubernetes: Kubernetes,
    /// Whether every row gets the path of its file as `log.file.path`: the live name, also after a rotation; below
    /// `/var/log/pods` the container's folder.
    #[serde(default)]
    pub path_field: bool,
    /// Longest line. A longer one is cut, marked and counted.
    #[serde(default = "line_bytes_max")]
    pub line_bytes_max: ByteSize,
    /// How long a file without new bytes that has lost its live name, or a record that waits for its next line, is held
    /// open.
    #[serde(default = "rotate_wait")]
    pub rotate_wait: Period,
    /// How long a partition without input waits before an open record or a plugin's windows are flushed.
    #[serde(default = "idle_timeout")]
    pub idle_timeout: Period,
    /// How often names are looked at where the kernel does not tell of changes (up to 10s for quiet files), and how often it is
    /// looked whether a pattern's own folder is there.
    #[serde(default = "poll_interval")]
    pub poll_interval: Period,
    /// What is done with a small rotated file that equals what was read before.
    #[serde(default)]
    pub identical_small: IdenticalSmall,
    /// Most files that are held open; further ones wait, and a metric says how many.
    #[serde(default = "open_files_max")]
    pub open_files_max: u32,
}

fn line_bytes_max() -> ByteSize {
    ByteSize::mib(1)
}
fn rotate_wait() -> Period {
    Period::from_secs(5)
}
fn idle_timeout() -> Period {
    Period::from_secs(5)
}
pub(super) fn poll_interval() -> Period {
    Period::from_millis(500)
}
fn open_files_max() -> u32 {
    4096
}

impl DescribeSource for FileSource {
    fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.include.is_empty() {
            findings.push(Finding::error(
                "include",
                "`include` is empty; list at least one pattern such as /var/log/app/*.log",
            ));
        }
        for (key, patterns) in [("include", &self.include), ("exclude", &self.exclude), ("rotated", &self.rotated)] {
            findings.extend(
                patterns.iter().enumerate().filter_map(|(i, pattern)| check_pattern(&format!("{key}.{i}"), pattern)),
            );
        }
        findings.extend(self.multiline.as_ref().and_then(check_multiline));
        if let Some(label) = self.encoding.as_deref().filter(|label| encoding_rs_label(label).is_none()) {
            findings.push(Finding::error(
                "encoding",
                format!("`{label}` is no encoding; write one such as utf-8, euc-kr, shift_jis, windows-1252"),
            ));
        }
        if self.line_bytes_max < ByteSize::kib(1) || self.line_bytes_max > ByteSize::mib(64) {
            findings.push(Finding::error(
                "line_bytes_max",
                format!("{} is out of bounds; write 1KiB to 64MiB", self.line_bytes_max),
            ));
        }
        if self.open_files_max == 0 {
            findings.push(Finding::error("open_files_max", "no file may be open; write at least 1"));
        }
        findings
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Files
    }

    fn rights(&self) -> Vec<String> {
        let mut rights = vec![format!(
            "read {} (on Kubernetes: CAP_DAC_READ_SEARCH, or a group that may read)",
            self.include.join(", ")
        )];
        rights.extend(self.roots.iter().map(|root| format!("read below {}", root.display())));
        rights
    }

    fn provided(&self) -> Vec<String> {
        vec!["a file is not deleted unread while the agent is down".to_owned()]
    }
}

/// The encoding's own name for a label.
pub fn encoding_rs_label(label: &str) -> Option<&'static encoding_rs::Encoding> {
    // cp949 is Microsoft's superset of EUC-KR; the web's `euc-kr` is exactly that superset but doesn't list the label.
    let label = if label.eq_ignore_ascii_case("cp949") { "euc-kr" } else { label };
    encoding_rs::Encoding::for_label(label.as_bytes())
}

fn check_pattern(path: &str, pattern: &str) -> Option<Finding> {
    if !pattern.starts_with('/') && !pattern.starts_with("./") {
        return Some(Finding::error(
            path,
            format!("`{pattern}` is not absolute; begin it with `/`, or with `./` for the folder of the config"),
        ));
    }
    if pattern.split('/').any(|part| part == "..") {
        return Some(Finding::error(path, format!("`{pattern}` holds `..`; write where it leads to")));
    }
    if pattern.split('/').any(|part| part.contains("**") && part != "**") {
        return Some(Finding::error(path, format!("`**` in `{pattern}` is not a whole folder; write `/**/`")));
    }
    if pattern.matches('[').count() != pattern.matches(']').count() {
        return Some(Finding::error(path, format!("a bracket in `{pattern}` has no partner; close it, or write `?`")));
    }
    // As the folder of the config, which is not known here.
    let absolute = pattern.strip_prefix('.').unwrap_or(pattern);
    let error = super::pattern::Pattern::new(absolute).err()?;
    Some(Finding::error(path, error.to_string()))
}

fn check_multiline(multiline: &Multiline) -> Option<Finding> {
    let given = [multiline.preset.is_some(), multiline.start.is_some(), multiline.r#continue.is_some()];
    if given.iter().filter(|given| **given).count() != 1 {
        return Some(Finding::error("multiline", "give exactly one of `preset`, `start` and `continue`"));
    }
    let error = super::configured::multiline_of(multiline).err()?;
    Some(Finding::error("multiline", error.to_string()))
}
