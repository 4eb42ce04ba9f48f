//! Decoders: from what a source read to rows of fields. A list of decoders is tried in order; what none takes is kept as it
//! is. Knows nothing of where the bytes come from, and never fails: bad input becomes an undecoded row.

mod batch;
mod combined;
mod cri;
mod draft;
mod json;
mod logfmt;
mod regex;
mod text;
mod timestamp;

pub use batch::{Decoded, Source};
pub use draft::{Draft, Outcome, Refusal};
pub use timestamp::{TimeFormat, TimeFormatError};

use crate::path::{Path, PathError};
use draft::Dictionary;
use std::fmt;

/// One way to read the text of a record.
pub trait Decode: Send + Sync + fmt::Debug {
    /// Reads `draft.text()` into fields and, where the format has one, the event time. What was added before a refusal is
    /// taken back by the caller.
    fn decode(&self, draft: &mut Draft<'_>) -> Result<Outcome, Refusal>;
}

/// A decoder as the config names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Format {
    /// One JSON object; its members become fields.
    Json,
    /// `key=value` pairs, values with spaces in double quotes; every word must be a pair.
    Logfmt,
    /// A regular expression; its named groups become fields.
    Regex(String),
    /// The access log of nginx and Apache, "combined" or "common".
    Combined,
    /// The envelope of a container runtime: time, stream, flag, message. The rest of the list reads the message.
    Cri,
    /// Takes everything; the text becomes `body`.
    Text,
}

/// Whether the original text is kept beside the fields that a decoder made of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum KeepOriginal {
    /// As `body`, where no decoder took it.
    #[default]
    OnFailure,
    /// Always, as `body`; as `log.record.original` where the record has a `body` of its own.
    Always,
    /// Never, not even where no decoder took it: the row has the source's fields only.
    Never,
}

/// Which field holds the event time and how it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimestampSpec {
    /// Path of the field.
    pub field: String,
    /// `rfc3339`, `unix`, `unix_ms`, `unix_us`, `unix_ns`, `common_log`, or a pattern of `strptime`.
    pub format: String,
}

/// What the config says of decoding.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DecodeSpec {
    /// Tried in this order.
    pub attempts: Vec<Format>,
    /// What becomes of the original text.
    pub keep_original: KeepOriginal,
    /// Where the event time is; without it only `Cri` and `Combined` set one.
    pub timestamp: Option<TimestampSpec>,
}

/// A mistake in a `DecodeSpec`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SpecError {
    /// The regular expression does not compile.
    #[error("invalid regular expression: {0}")]
    Regex(String),
    /// The regular expression names no group.
    #[error("the regular expression `{0}` has no named group, write (?P<name>…) around what should become a field")]
    NoGroup(String),
    /// A decoder behind `text` can never be reached.
    #[error("the decoder at place {0} of the list is never tried, because `text` before it takes everything")]
    Unreachable(usize),
    /// The path of the timestamp field.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The format of the timestamp.
    #[error(transparent)]
    TimeFormat(#[from] TimeFormatError),
}

/// A compiled `DecodeSpec`. One serves all partitions and threads.
#[derive(Debug)]
pub struct Decoder {
    attempts: Vec<Box<dyn Decode>>,
    keep_original: KeepOriginal,
    timestamp: Option<(Path, TimeFormat)>,
    dictionary: Dictionary,
}

impl Decoder {
    /// Compiles `spec`.
    pub fn new(spec: &DecodeSpec) -> Result<Self, SpecError> {
        let mut dictionary = Dictionary::default();
        let attempts =
            spec.attempts.iter().map(|f| compile(f, &mut dictionary)).collect::<Result<Vec<_>, SpecError>>()?;
        if let Some(at) = spec.attempts.iter().position(|f| *f == Format::Text)
            && at + 1 < attempts.len()
        {
            return Err(SpecError::Unreachable(at + 2));
        }
        let timestamp = match &spec.timestamp {
            Some(t) => Some((Path::parse(&t.field)?, TimeFormat::parse(&t.format)?)),
            None => None,
        };
        Ok(Self { attempts, keep_original: spec.keep_original, timestamp, dictionary })
    }
}

fn compile(format: &Format, dictionary: &mut Dictionary) -> Result<Box<dyn Decode>, SpecError> {
    Ok(match format {
        Format::Json => Box::new(json::Json),
        Format::Logfmt => Box::new(logfmt::Logfmt),
        Format::Regex(pattern) => Box::new(regex::Named::new(pattern, dictionary)?),
        Format::Combined => Box::new(combined::Combined::new(dictionary)),
        Format::Cri => Box::new(cri::Cri::new(dictionary)),
        Format::Text => Box::new(text::Text),
    })
}
