//! JSON text: a strict reader of one object into the field table of a batch, and what writers need to put values back.
//!
//! The reader takes RFC 8259 and nothing more, checks UTF-8 and escapes (a lone surrogate is refused), bounds the depth,
//! and copies nothing: keys and values are spans of the text. Only a key that holds escapes is unescaped, into `spill`.
//! It knows nothing of records, decoders or events.

mod members;
mod names;
mod reader;
mod scan;
mod text;

pub use members::{Member, Members};
pub use names::{Names, name_hash};
pub use reader::{Parsed, Reader, Shape, check_object, check_string, check_value};
pub use text::{quote, quote_lossy, unescape, write_escaped};

/// Deepest nesting of arrays and objects that is read; a record's own braces are level 1.
pub const DEPTH_MAX: u32 = 128;

/// Where and why a text is not one JSON object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid json at byte {offset}: {reason}")]
pub struct JsonError {
    /// Bytes before the place of the mistake, counted from the start of the record.
    pub offset: usize,
    /// What is wrong there.
    pub reason: JsonReason,
}

/// What can be wrong with a JSON text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JsonReason {
    /// The first byte that is no white space is not `{`.
    #[error("a record must be an object, expected `{{`")]
    NotAnObject,
    /// The text stops inside a value.
    #[error("the text ends too early")]
    Ends,
    /// Something follows the object.
    #[error("unexpected text after the object")]
    Trailing,
    /// A member must begin with a string.
    #[error("expected a member name in double quotes")]
    Key,
    /// No colon after a member name.
    #[error("expected `:`")]
    Colon,
    /// Neither a comma nor the end of the object or array.
    #[error("expected `,` or the closing bracket")]
    Comma,
    /// No JSON value begins here.
    #[error("expected a value")]
    Value,
    /// A number that RFC 8259 does not allow.
    #[error("not a valid number")]
    Number,
    /// A raw control character inside a string.
    #[error("control character in a string, write it as \\u00XX")]
    Control,
    /// An escape that JSON does not have, or half a surrogate pair.
    #[error("not a valid escape")]
    Escape,
    /// The bytes are not UTF-8.
    #[error("invalid utf-8")]
    Utf8,
    /// Nested deeper than `DEPTH_MAX`.
    #[error("nested deeper than {DEPTH_MAX} levels")]
    Depth,
}
