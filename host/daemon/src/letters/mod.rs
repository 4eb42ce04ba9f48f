//! Dead letters read back: what a line of a dead-letter sink says, where it came from, and where it may go on. It delivers
//! nothing.

mod envelope;
mod shelf;

pub use envelope::{Door, Doors, Envelope, Stage};
pub use shelf::{ShelfError, read};

use sawlog_record::batch::{Batch, Span, Spill};
use sawlog_record::decode::TimeFormat;
use sawlog_record::id::{Generation, RecordIdText};
use sawlog_record::json::{self, JsonError, Reader};
use thiserror::Error;

/// Members that the pipeline adds to a dead row of a plugin.
const COMPONENT: &str = "dead_letter.component";
const STAGE: &str = "dead_letter.stage";
const REASON: &str = "dead_letter.reason";
/// The member with record id, source, position and times, and what a record's own member of that name is called then.
const PROVENANCE: &str = "sawlog";
const PROVENANCE_ORIGINAL: &str = "sawlog_original";

/// Why a line is no letter.
#[derive(Debug, Error)]
pub enum LetterError {
    /// Not one JSON object.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Something that every letter has.
    #[error("it has no `{0}`; letters have that where their sink says `provenance: full`, as it does by default")]
    Missing(&'static str),
}

/// Who could not take a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feeder {
    /// A sink refused it.
    Sink(String),
    /// A plugin failed on it, or called it dead.
    Plugin(Stage),
}

impl Feeder {
    /// The name of the sink or plugin.
    pub fn name(&self) -> &str {
        match self {
            Self::Sink(name) => name,
            Self::Plugin(stage) => &stage.plugin,
        }
    }
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The record's id, which it keeps.
    pub id: RecordIdText,
    /// Who could not take it.
    pub feeder: Feeder,
    /// Why.
    pub reason: String,
    /// The source of its record.
    pub source: String,
    /// The history that the record lies in.
    pub generation: String,
    /// Its position there.
    pub position: String,
    /// Event time, unix nanoseconds.
    pub time: i64,
    /// Received time, unix nanoseconds.
    pub received: i64,
    /// The record as it was read, where the letter has it.
    pub record: Vec<u8>,
    /// The row that could not be taken: one JSON object.
    pub row: Vec<u8>,
}

impl Letter {
    /// Reads a line of a dead-letter sink.
    ///
    /// # Errors
    /// It is no letter.
    pub fn read(line: &[u8]) -> Result<Self, LetterError> {
        let object = Object::read(line)?;
        match object.text(COMPONENT) {
            Some(component) => Self::of_plugin(&object, component),
            None => Self::of_sink(&object),
        }
    }

    fn of_sink(letter: &Object) -> Result<Self, LetterError> {
        Ok(Self {
            id: letter.id("record_id")?,
            feeder: Feeder::Sink(letter.need("sink")?),
            reason: letter.need("reason")?,
            source: letter.need("source")?,
            generation: letter.need("generation")?,
            position: letter.need("position")?,
            time: letter.time("event_time")?,
            received: letter.time("received")?,
            record: letter.bytes("record").unwrap_or_default(),
            row: letter.bytes("row").ok_or(LetterError::Missing("row"))?,
        })
    }

    fn of_plugin(letter: &Object, plugin: String) -> Result<Self, LetterError> {
        let provenance = letter.bytes(PROVENANCE).ok_or(LetterError::Missing(PROVENANCE))?;
        let provenance = Object::read(&provenance)?;
        Ok(Self {
            id: provenance.id("id")?,
            feeder: Feeder::Plugin(Stage { plugin, place: letter.need(STAGE)? }),
            reason: letter.need(REASON)?,
            source: provenance.need("source")?,
            generation: provenance.need("generation")?,
            position: provenance.need("position")?,
            time: provenance.time("time")?,
            received: provenance.time("received")?,
            record: Vec::new(),
            row: letter.own(),
        })
    }

    /// The key under which it is stored to be replayed: the same letter is stored once. A record that comes back and is refused
    /// again is another letter, from another place.
    pub fn key(&self) -> String {
        let feeder = match &self.feeder {
            Feeder::Sink(name) => format!("sink {name}"),
            Feeder::Plugin(stage) => format!("plugin {}", stage.place),
        };
        format!("{feeder} {} {}:{}", self.id.as_str(), self.generation, self.position)
    }
}

/// The members of one JSON object.
struct Object(Batch);

impl Object {
    fn read(text: &[u8]) -> Result<Self, JsonError> {
        let mut batch = Batch::new(Generation([0; 16]));
        let mut spill = Spill::behind(text.len());
        let whole = Span { start: 0, len: text.len() as u32 };
        Reader::new(text, whole).object(&mut batch.fields, &mut spill)?;
        batch.arena = [text, spill.as_bytes()].concat();
        Ok(Self(batch))
    }

    /// A string's text, or the token of another value.
    fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let field = self.0.fields.iter().find(|field| field.key.of(&self.0.arena) == name.as_bytes())?;
        Some(self.0.value(field.value, field.kind).shown().into_owned())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.bytes(name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn need(&self, name: &'static str) -> Result<String, LetterError> {
        self.text(name).ok_or(LetterError::Missing(name))
    }

    fn id(&self, name: &'static str) -> Result<RecordIdText, LetterError> {
        self.bytes(name).and_then(|id| RecordIdText::parse(&id)).ok_or(LetterError::Missing(name))
    }

    fn time(&self, name: &'static str) -> Result<i64, LetterError> {
        self.bytes(name).and_then(|time| TimeFormat::Rfc3339.read(&time)).ok_or(LetterError::Missing(name))
    }

    fn number(&self, name: &'static str) -> Result<i64, LetterError> {
        self.need(name)?.parse().map_err(|_| LetterError::Missing(name))
    }

    /// The object without what the pipeline added to it.
    fn own(&self) -> Vec<u8> {
        let mut out = b"{".to_vec();
        for field in &self.0.fields {
            let name = field.key.of(&self.0.arena);
            let added = [COMPONENT, STAGE, REASON, PROVENANCE];
            if added.iter().any(|added| added.as_bytes() == name) {
                continue;
            }
            if out.len() > 1 {
                out.push(b',');
            }
            let name = if name == PROVENANCE_ORIGINAL.as_bytes() { PROVENANCE.as_bytes() } else { name };
            json::quote(name, &mut out);
            out.push(b':');
            self.0.value(field.value, field.kind).write_json(&mut out);
        }
        out.push(b'}');
        out
    }
}

/// Appends `,"name":"text"`.
fn member(name: &str, text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!(",\"{name}\":").as_bytes());
    json::quote_lossy(text, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINK: &str = r#"{"time":"2026-01-01T00:00:00.000000000Z","sink":"es","reason":"400 \"no\"","record_id":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","source":"app","generation":"00","position":41,"event_time":"2026-01-01T00:00:01.000000000Z","received":"2026-01-01T00:00:02.000000000Z","record":"{\"n\":1e400}","row":{"n":1e400},"sawlog":{"id":"x"}}"#;
    const PLUGIN: &str = r#"{"a\tb":1,"sawlog_original":"mine","dead_letter.component":"redact","dead_letter.stage":"clean.0","dead_letter.reason":"fuel","sawlog":{"id":"BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","agent":"one","source":"app","generation":"00","position":7,"time":"1970-01-01T00:00:00.000000001Z","received":"1970-01-01T00:00:00.000000002Z"}}"#;

    #[test]
    fn a_letter_of_a_sink_keeps_its_row_to_the_byte() {
        let letter = Letter::read(SINK.as_bytes()).expect("a letter");
        assert_eq!(letter.feeder, Feeder::Sink("es".into()));
        assert_eq!((letter.reason.as_str(), letter.position.as_str()), ("400 \"no\"", "41"));
        assert_eq!((&letter.row[..], &letter.record[..]), (&b"{\"n\":1e400}"[..], &b"{\"n\":1e400}"[..]));
        assert_eq!(letter.received - letter.time, 1_000_000_000);
    }

    #[test]
    fn a_letter_of_a_plugin_loses_what_was_added_to_it() {
        let letter = Letter::read(PLUGIN.as_bytes()).expect("a letter");
        assert_eq!(letter.feeder, Feeder::Plugin(Stage { plugin: "redact".into(), place: "clean.0".into() }));
        assert_eq!(String::from_utf8_lossy(&letter.row), r#"{"a\tb":1,"sawlog":"mine"}"#);
        assert_eq!((letter.time, letter.received), (1, 2));
        assert_ne!(letter.key(), Letter::read(SINK.as_bytes()).expect("a letter").key());
    }

    #[test]
    fn what_is_no_letter_is_told() {
        for (line, why) in
            [("", "too early"), ("{\"a\":1}", "no `record_id`"), (&SINK.replace("AAAA\"", "\""), "no `record_id`")]
        {
            let error = Letter::read(line.as_bytes()).expect_err(line);
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
