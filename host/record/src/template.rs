//! Templates: text with fields and times in braces, `logs.{k8s.namespace.name}`, `dt={received_time:%Y-%m-%d}`. Compiled
//! once; knows nothing of what the result names.
//!
//! A record must not choose where it goes beyond what the template allows, so each value that becomes part of a name is folded
//! to lower case and must then match `[a-z0-9][a-z0-9_-]{0,63}`; anything else, and a missing field, becomes [`FALLBACK`] and
//! is counted. Keys of messages are no names: they take values as they are.

use crate::batch::{Batch, Row};
use crate::path::{Path, PathError};
use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

/// What stands for a value that may not be part of a name.
pub const FALLBACK: &str = "other";
/// Longest value that may be part of a name, bytes.
pub const VALUE_BYTES_MAX: usize = 64;

/// What values may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Values {
    /// Only what is harmless in a topic, an index or a path.
    Names,
    /// Anything, as it is; a missing field is empty.
    Raw,
}

/// Why a text is no template.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid template at byte {offset}: {reason}")]
pub struct TemplateError {
    /// Bytes before the mistake.
    pub offset: usize,
    /// What is wrong there and how to mend it.
    pub reason: TemplateReason,
}

/// What can be wrong with a template.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TemplateReason {
    /// A brace without its partner.
    #[error("`{0}` has no partner, write `{0}{0}` for the character itself")]
    Unpaired(char),
    /// `{time}`.
    #[error("`time` is ambiguous, write {{event_time:%Y-%m-%d}} or {{received_time:%Y-%m-%d}}")]
    BareTime,
    /// `{event_time}`.
    #[error("`{0}` needs a pattern, such as {{{0}:%Y-%m-%d}}")]
    NoPattern(String),
    /// `{field:…}`.
    #[error("only event_time and received_time take a pattern, `{0}` does not")]
    PatternOfField(String),
    /// A pattern that cannot be printed.
    #[error("invalid time pattern `{pattern}`: {error}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        error: String,
    },
    /// What stands in the braces is no path.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// A compiled template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    parts: Vec<Part>,
    values: Values,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Literal(String),
    Field(Path),
    Time { of: Clock, pattern: String, step_seconds: i64 },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Clock {
    Event,
    Received,
}

/// The result of a template, and what is kept from row to row: printed times hold for an hour or a second.
#[derive(Clone, Debug, Default)]
pub struct Rendering {
    /// The text of the last row.
    pub text: String,
    /// Values so far that were replaced by [`FALLBACK`].
    pub fallbacks: u64,
    /// Per part: the step of time that was printed last, and its text.
    times: Vec<(i64, String)>,
}

impl Template {
    /// Compiles `text`; a brace itself is written twice.
    pub fn parse(text: &str, values: Values) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(next) = text[at..].find(['{', '}']).map(|n| at + n) {
            literal.push_str(&text[at..next]);
            let brace = if text[next..].starts_with('{') { '{' } else { '}' };
            if text[next + 1..].starts_with(brace) {
                literal.push(brace);
                at = next + 2;
                continue;
            }
            let end = text[next..].find('}').filter(|_| brace == '{').map(|n| next + n);
            let unpaired = TemplateError { offset: next, reason: TemplateReason::Unpaired(brace) };
            let end = end.ok_or(unpaired)?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(part(&text[next + 1..end]).map_err(|reason| TemplateError { offset: next, reason })?);
            at = end + 1;
        }
        literal.push_str(&text[at..]);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { parts, values })
    }

    /// The text, where no row changes it.
    pub fn constant(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The text with [`FALLBACK`] for every field and time: where rows go that would make too many names.
    pub fn fallback(&self) -> String {
        let text = |part: &Part| match part {
            Part::Literal(text) => text.clone(),
            Part::Field(_) | Part::Time { .. } => FALLBACK.to_owned(),
        };
        self.parts.iter().map(text).collect()
    }

    /// The same without its times, of which nothing shows in what it makes: what is left tells names apart that go on.
    pub fn without_times(&self) -> Self {
        let parts = self.parts.iter().map(|part| match part {
            // No value holds it.
            Part::Time { .. } => Part::Literal("{}".to_owned()),
            part => part.clone(),
        });
        Self { parts: parts.collect(), values: self.values }
    }

    /// Paths that the template reads.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().filter_map(|part| if let Part::Field(path) = part { Some(path) } else { None })
    }

    /// Whether the result depends on the event time.
    pub fn reads_event_time(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Time { of: Clock::Event, .. }))
    }

    /// Writes the text for `row` into `rendering.text`. `received` (unix nanoseconds) is the received time, or the later
    /// time that the sink has promised not to fall below.
    pub fn render(&self, batch: &Batch, row: &Row, received: i64, rendering: &mut Rendering) {
        rendering.text.clear();
        rendering.times.resize(self.parts.len(), (i64::MIN, String::new()));
        for (part, (step, printed)) in self.parts.iter().zip(&mut rendering.times) {
            match part {
                Part::Literal(text) => rendering.text.push_str(text),
                Part::Field(path) => {
                    let value = path.find(batch, row).map(|value| value.shown()).unwrap_or_default();
                    match self.values {
                        Values::Raw => rendering.text.push_str(&String::from_utf8_lossy(&value)),
                        Values::Names => rendering.fallbacks += u64::from(!push_name(&value, &mut rendering.text)),
                    }
                }
                Part::Time { of, pattern, step_seconds } => {
                    let time = if *of == Clock::Event { row.time } else { received };
                    let now = time.div_euclid(step_seconds * 1_000_000_000);
                    if now != *step || printed.is_empty() {
                        (*step, *printed) =
                            (now, print(pattern, now * step_seconds).unwrap_or_else(|_| FALLBACK.into()));
                    }
                    rendering.text.push_str(printed);
                }
            }
        }
    }
}

fn part(inside: &str) -> Result<Part, TemplateReason> {
    let (name, pattern) = match inside.split_once(':').filter(|(name, _)| !name.contains('"')) {
        Some((name, pattern)) => (name, Some(pattern)),
        None => (inside, None),
    };
    match (name, pattern) {
        ("time", _) => Err(TemplateReason::BareTime),
        ("event_time" | "received_time", None | Some("")) => Err(TemplateReason::NoPattern(name.to_owned())),
        ("event_time", Some(pattern)) => time_part(Clock::Event, pattern),
        ("received_time", Some(pattern)) => time_part(Clock::Received, pattern),
        (_, Some(_)) => Err(TemplateReason::PatternOfField(name.to_owned())),
        (_, None) => Ok(Part::Field(Path::parse(name)?)),
    }
}

/// Checks a pattern by printing with it, and finds how long a printed text holds: an hour unless minutes or less show.
fn time_part(of: Clock, pattern: &str) -> Result<Part, TemplateReason> {
    let fail = |error: String| TemplateReason::Pattern { pattern: pattern.to_owned(), error };
    let print = |seconds| print(pattern, seconds).map_err(fail);
    let (hour, minute, second) = (print(1_795_528_800)?, print(1_795_528_860)?, print(1_795_528_801)?);
    if hour.is_empty() {
        return Err(fail("it prints nothing".into()));
    }
    let step_seconds = if second != hour {
        1
    } else if minute != hour {
        60
    } else {
        3600
    };
    Ok(Part::Time { of, pattern: pattern.to_owned(), step_seconds })
}

/// Prints whole seconds since 1970 in UTC.
fn print(pattern: &str, seconds: i64) -> Result<String, String> {
    let timestamp = Timestamp::from_second(seconds).map_err(|error| error.to_string())?;
    strtime::format(pattern, &timestamp.to_zoned(TimeZone::UTC)).map_err(|error| error.to_string())
}

/// Appends `value` as a part of a name; false where it had to be replaced.
fn push_name(value: &[u8], out: &mut String) -> bool {
    let valid = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let starts_well = value.first().is_some_and(u8::is_ascii_alphanumeric);
    if starts_well && value.len() <= VALUE_BYTES_MAX && value.iter().all(valid) {
        out.extend(value.iter().map(|b| char::from(b.to_ascii_lowercase())));
        return true;
    }
    out.push_str(FALLBACK);
    false
}
