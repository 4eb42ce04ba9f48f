//! Rows as messages: topic, key, value and headers, in one buffer. Knows nothing of transactions.

use super::Owner;
use crate::format::{Provenance, RowWriter, Shared};
use crate::names::Names;
use sawlog_core::ports::{Offer, RefusedRow};
use sawlog_kafka::Message;
use sawlog_record::id::RecordIds;
use sawlog_record::template::{Rendering, Template};
use sawlog_record::time;
use sawlog_settings::component;
use std::ops::Range;

/// Turns rows into messages.
pub struct Encoder {
    /// Names of topics.
    pub topics: Names,
    key: Option<Template>,
    rendering: Rendering,
    writer: RowWriter,
    agent: String,
    provenance: component::Provenance,
    message_bytes_max: usize,
}

/// Messages of one transaction.
#[derive(Default)]
pub struct Encoded {
    bytes: Vec<u8>,
    rows: Vec<EncodedRow>,
    /// Rows that are larger than a message may be.
    pub refused: Vec<RefusedRow>,
}

struct EncodedRow {
    offer: usize,
    row: u32,
    topic: Range<usize>,
    key: Option<Range<usize>>,
    value: Range<usize>,
    headers: [Option<Range<usize>>; HEADERS.len()],
}

/// Headers that say where a row comes from.
pub const HEADERS: [&str; 6] = ["rid", "agent", "source", "position", "time", "received"];

impl Encoder {
    /// An encoder of rows whose topics and keys the templates name.
    pub fn new(
        topics: Names,
        key: Option<Template>,
        owner: &Owner,
        provenance: component::Provenance,
        message_bytes_max: usize,
    ) -> Self {
        let (agent, writer, rendering) = (owner.agent.clone(), RowWriter::default(), Rendering::default());
        Self { topics, key, rendering, writer, agent, provenance, message_bytes_max }
    }

    /// Messages of all rows of `offers`.
    pub fn encode(&mut self, offers: &[Offer]) -> Encoded {
        let mut encoded = Encoded::default();
        for (index, offer) in offers.iter().enumerate() {
            self.encode_offer(index, offer, &mut encoded);
        }
        encoded
    }

    fn encode_offer(&mut self, index: usize, offer: &Offer, encoded: &mut Encoded) {
        let (batch, source) = (&offer.output.batch, offer.source.as_str());
        let shared = Shared::of(batch, &Provenance { agent: &self.agent, source });
        let ids = RecordIds::of(source, batch.generation);
        for number in &offer.output.rows {
            let row = &batch.rows[*number as usize];
            let bytes = &mut encoded.bytes;
            let topic = appended(bytes, |out| out.extend_from_slice(self.topics.of(batch, row).as_bytes()));
            let key = self.key.as_ref().map(|key| {
                key.render(batch, row, row.received, &mut self.rendering);
                appended(bytes, |out| out.extend_from_slice(self.rendering.text.as_bytes()))
            });
            let value = appended(bytes, |out| self.writer.write(batch, row, &shared, out));
            let received = |bytes: &mut Vec<u8>| appended(bytes, |out| time::write_rfc3339(row.received, out));
            let headers = match self.provenance {
                component::Provenance::None => Default::default(),
                component::Provenance::Received => [None, None, None, None, None, Some(received(bytes))],
                component::Provenance::Full => [
                    appended(bytes, |out| out.extend_from_slice(batch.record_id(&ids, row).as_bytes())),
                    appended(bytes, |out| out.extend_from_slice(self.agent.as_bytes())),
                    appended(bytes, |out| out.extend_from_slice(source.as_bytes())),
                    appended(bytes, |out| out.extend_from_slice(row.id.pos.to_string().as_bytes())),
                    appended(bytes, |out| time::write_rfc3339(row.time, out)),
                    received(bytes),
                ]
                .map(Some),
            };
            let row = EncodedRow { offer: index, row: *number, topic, key, value, headers };
            encoded.push(row, self.message_bytes_max);
        }
    }
}

fn appended(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
    let start = bytes.len();
    write(bytes);
    start..bytes.len()
}

impl Encoded {
    fn push(&mut self, row: EncodedRow, message_bytes_max: usize) {
        let size = row.with_message(&self.bytes, 0, |message| message.bytes());
        if size <= message_bytes_max {
            self.rows.push(row);
            return;
        }
        let reason = format!("the message would have {size} bytes, and `message_bytes_max` is {message_bytes_max}");
        self.refused.push(RefusedRow { offer: row.offer, row: row.row, reason });
    }

    /// Calls `each` with every message; its number is its place in here.
    ///
    /// # Errors
    /// The first error of `each`.
    pub fn try_each<E>(&self, mut each: impl FnMut(&Message<'_>) -> Result<(), E>) -> Result<(), E> {
        self.rows.iter().enumerate().try_for_each(|(number, row)| row.with_message(&self.bytes, number, &mut each))
    }

    /// The row of message `number`, refused for `reason`; `None` where the message is none of these.
    pub fn refused_row(&self, number: usize, reason: String) -> Option<RefusedRow> {
        self.rows.get(number).map(|row| RefusedRow { offer: row.offer, row: row.row, reason })
    }

    /// Bytes of message `number`; 0 where it is none of these.
    pub fn bytes_of(&self, number: usize) -> usize {
        self.rows.get(number).map_or(0, |row| row.with_message(&self.bytes, number, |message| message.bytes()))
    }

    /// Number of messages.
    pub fn len(&self) -> usize {
        self.rows.len()
    }
}

impl EncodedRow {
    fn with_message<R>(&self, bytes: &[u8], number: usize, with: impl FnOnce(&Message<'_>) -> R) -> R {
        let of = |range: &Range<usize>| &bytes[range.clone()];
        let mut headers: [(&str, &[u8]); HEADERS.len()] = HEADERS.map(|name| (name, [].as_slice()));
        let mut used = 0;
        for (name, range) in HEADERS.iter().zip(&self.headers) {
            if let Some(range) = range {
                headers[used] = (name, of(range));
                used += 1;
            }
        }
        let topic = std::str::from_utf8(of(&self.topic)).expect("a rendered template is text");
        with(&Message {
            topic,
            partition: None,
            key: self.key.as_ref().map(of),
            value: Some(of(&self.value)),
            headers: &headers[..used],
            number,
        })
    }
}
