//! A letter on its way back: how it is stored in the replay queue, and how a pipeline reads it there. A record is the kept
//! record id, then one JSON object on one line.

use std::collections::BTreeMap;

use sawlog_chain::pipeline::Entrances;
use sawlog_core::ports::Context;
use sawlog_record::batch::{Batch, Field, Input, InputRecord, Row, Span, Spill, ValueKind, flag};
use sawlog_record::id::{RECORD_ID_CHARS, RecordIdText, RowId};
use sawlog_record::json::Reader;

use super::{Feeder, Letter, LetterError, Object, member};

/// A plugin's place in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stage {
    /// The plugin.
    pub plugin: String,
    /// The transform, and the place in its chain: `clean.0`.
    pub place: String,
}

/// Where a letter goes on: the sink that refused it, or the plugin that failed on it.
pub type Door = Feeder;

/// A letter as it is stored.
pub struct Envelope {
    /// Where it goes on.
    pub door: Door,
    time: i64,
    received: i64,
    record: Vec<u8>,
    row: Vec<u8>,
}

impl Envelope {
    /// The record that stands for `letter` in the queue: it holds no line break.
    pub fn seal(letter: &Letter) -> Vec<u8> {
        let mut out = letter.id.as_bytes().to_vec();
        out.extend_from_slice(format!("{{\"time\":{},\"received\":{}", letter.time, letter.received).as_bytes());
        match &letter.feeder {
            Feeder::Sink(name) => member("sink", name.as_bytes(), &mut out),
            Feeder::Plugin(stage) => {
                member("plugin", stage.plugin.as_bytes(), &mut out);
                member("stage", stage.place.as_bytes(), &mut out);
            }
        }
        member("record", &letter.record, &mut out);
        out.extend_from_slice(b",\"row\":");
        out.extend_from_slice(&letter.row);
        out.push(b'}');
        out
    }

    /// Opens what [`Self::seal`] made.
    fn open(record: &[u8]) -> Result<(RecordIdText, Self), LetterError> {
        let (id, rest) = record.split_at_checked(RECORD_ID_CHARS).ok_or(LetterError::Missing("record_id"))?;
        let id = RecordIdText::parse(id).ok_or(LetterError::Missing("record_id"))?;
        let object = Object::read(rest)?;
        let door = match object.text("sink") {
            Some(sink) => Door::Sink(sink),
            None => Door::Plugin(Stage { plugin: object.need("plugin")?, place: object.need("stage")? }),
        };
        let (time, received) = (object.number("time")?, object.number("received")?);
        let row = object.bytes("row").ok_or(LetterError::Missing("row"))?;
        Ok((id, Self { door, time, received, record: object.bytes("record").unwrap_or_default(), row }))
    }
}

/// The doors of one configuration, by the output of the source that leads to each.
pub struct Doors(pub BTreeMap<Door, u8>);

impl Entrances for Doors {
    fn enter(&self, input: Input, _: &Context) -> (Batch, Vec<Option<u8>>) {
        let mut batch = Batch::new(input.generation);
        let mut outputs = Vec::with_capacity(input.records.len());
        for (parent, record) in input.records.iter().enumerate() {
            let opened = Envelope::open(record.text.of(&input.arena));
            let (output, envelope) = match opened {
                Ok((id, envelope)) => (self.0.get(&envelope.door).copied(), Some((id, envelope))),
                // Nobody but [`Envelope::seal`] writes into the queue, and what is damaged there is not read.
                Err(error) => {
                    tracing::error!(%error, position = record.pos, "a letter in the replay queue can't be read");
                    (None, None)
                }
            };
            let output = push(&mut batch, parent as u32, record, envelope).and(output);
            outputs.push(output);
        }
        (batch, outputs)
    }
}

/// Appends a row; `None` where there is nothing in it.
fn push(
    batch: &mut Batch,
    parent: u32,
    record: &InputRecord,
    envelope: Option<(RecordIdText, Envelope)>,
) -> Option<()> {
    let fields_start = batch.fields.len() as u32;
    let mut row = Row {
        id: RowId { pos: record.pos, slot: 0, k: 0 },
        parent,
        time: record.received,
        received: record.received,
        input: Span::default(),
        text: None,
        fields_start,
        fields_len: 0,
        flags: flag::REPLAYED,
    };
    let read = envelope.and_then(|(id, envelope)| {
        row.input = batch.push_bytes(&[id.as_bytes(), &envelope.record].concat());
        (row.time, row.received) = (envelope.time, envelope.received);
        let text = batch.push_bytes(&envelope.row);
        let (fields, literal) = members(&batch.arena, text)?;
        let (fields, spilled) = fields;
        batch.arena.extend_from_slice(&spilled);
        row.fields_len = fields.len() as u32;
        row.text = literal.then_some(text);
        batch.fields.extend(fields);
        Some(())
    });
    batch.rows.push(row);
    read
}

type Members = (Vec<Field>, Vec<u8>);

/// The members of the object at `text`, the bytes that are to be appended for them, and whether writers may copy the text.
fn members(arena: &[u8], text: Span) -> Option<(Members, bool)> {
    let (mut fields, mut spill) = (Vec::new(), Spill::behind(arena.len()));
    let parsed = Reader::new(arena, text).object(&mut fields, &mut spill).ok()?;
    debug_assert!(fields.iter().all(|f| f.kind != ValueKind::Text || f.value.len <= text.len));
    Some(((fields, spill.as_bytes().to_vec()), parsed.literal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sawlog_core::plan::ComponentId;
    use sawlog_record::id::{Generation, PartitionId, RecordIds};

    fn letter(feeder: Feeder, row: &str) -> Letter {
        let id = RecordIds::of("app", Generation([7; 16])).text(RowId::default(), b"raw");
        let (source, generation) = ("app".to_owned(), Generation([7; 16]).to_string());
        Letter {
            id,
            feeder,
            reason: "no".to_owned(),
            source,
            generation,
            position: "0".to_owned(),
            time: 5,
            received: 6,
            record: b"two\nlines".to_vec(),
            row: row.as_bytes().to_vec(),
        }
    }

    fn enter(letters: &[Letter], doors: &[(Door, u8)]) -> (Batch, Vec<Option<u8>>) {
        let mut input =
            Input { generation: Generation([1; 16]), arena: Vec::new(), records: Vec::new(), open: Vec::new() };
        for letter in letters {
            let sealed = Envelope::seal(letter);
            assert!(!sealed.contains(&b'\n'));
            let text = Span { start: input.arena.len() as u32, len: sealed.len() as u32 };
            let pos = u64::from(text.start);
            input.arena.extend(sealed);
            input.records.push(InputRecord { pos, end: pos + 1, text, received: 9, flags: 0 });
        }
        let context = Context {
            partition: PartitionId::derive("test", &[]),
            time: 1,
            poison: Vec::<(u64, u16, ComponentId)>::new(),
            first_run: true,
            generous: false,
        };
        Doors(doors.iter().cloned().collect()).enter(input, &context)
    }

    #[test]
    fn a_row_comes_back_as_it_was_with_its_id_and_times() {
        let stage = Door::Plugin(Stage { plugin: "redact".into(), place: "clean.0".into() });
        let (es, gone) = (Door::Sink("es".into()), Door::Sink("gone".into()));
        let letters = [letter(es.clone(), "{\"n\":1e400}"), letter(stage.clone(), "{}"), letter(gone, "{}")];
        let (batch, outputs) = enter(&letters, &[(es, 1), (stage, 2)]);
        assert_eq!(outputs, [Some(1), Some(2), None]);
        let row = &batch.rows[0];
        assert_eq!((row.time, row.received, row.parent), (5, 6, 0));
        assert_eq!(row.text.map(|text| text.of(&batch.arena)), Some(&b"{\"n\":1e400}"[..]));
        assert_eq!(batch.fields_of(row)[0].key.of(&batch.arena), b"n");
        assert_eq!(batch.input_of(row), b"two\nlines");
        let ids = RecordIds::of("other", batch.generation);
        assert_eq!(batch.record_id(&ids, row), letters[0].id);
        let derived = Row { id: RowId { k: 1 << 16, ..row.id }, ..*row };
        assert_ne!(batch.record_id(&ids, &derived), letters[0].id);
    }
}
