//! Rows as the lines of a bulk request. Knows nothing of who answers it.

use super::index::{IndexNames, NoIndex};
use crate::format::{Provenance, RowWriter, Shared};
use bytes::Bytes;
use sawlog_core::ports::{DocumentOutcome, Offer};
use sawlog_record::batch::Batch;
use sawlog_record::id::RecordIds;
use sawlog_settings::component;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// The member that searches and dashboards look for.
const TIME_MEMBER: &str = "@timestamp";

/// One document of a request.
#[derive(Debug)]
pub struct Item {
    /// The index that it goes to.
    pub index: Arc<str>,
    /// Its id; `None` leaves it to the server.
    pub id: Option<String>,
    bytes: Range<usize>,
}

/// Turns rows into documents.
pub struct Encoder {
    names: IndexNames,
    writer: RowWriter,
    agent: String,
    with_ids: bool,
}

/// Documents of one call.
pub struct Documents {
    body: Bytes,
    items: Vec<Item>,
    indexes: BTreeSet<String>,
    /// Rows that are not sent: their places among those asked for, and what became of them.
    unsent: Vec<(usize, DocumentOutcome)>,
}

impl Encoder {
    pub fn new(names: IndexNames, agent: &str, provenance: component::Provenance, with_ids: bool) -> Self {
        let writer = RowWriter { provenance, time_member: Some(TIME_MEMBER.to_owned()) };
        Self { names, writer, agent: agent.to_owned(), with_ids }
    }

    pub fn admit(&mut self, names: &BTreeSet<u64>) {
        self.names.admit(names);
    }

    pub fn over_indexes_max(&self) -> u64 {
        self.names.over_limit()
    }

    /// Two lines for each row: what to do, and the document.
    ///
    /// # Errors
    /// A template whose names no server takes.
    pub fn encode(&mut self, items: &[(&Offer, u32)]) -> Result<Documents, String> {
        let (mut body, mut encoded, mut indexes) = (Vec::new(), Vec::with_capacity(items.len()), BTreeSet::new());
        let mut shared: Option<(*const Batch, Shared, RecordIds)> = None;
        let mut unsent = Vec::new();
        let mut index: Arc<str> = "".into();
        for (at, (offer, number)) in items.iter().enumerate() {
            let (batch, source) = (&offer.output.batch, offer.source.as_str());
            if shared.as_ref().is_none_or(|(of, ..)| *of != Arc::as_ptr(batch)) {
                let provenance = Provenance { agent: &self.agent, source };
                shared =
                    Some((Arc::as_ptr(batch), Shared::of(batch, &provenance), RecordIds::of(source, batch.generation)));
            }
            let Some((_, of_batch, ids)) = &shared else { continue };
            let row = &batch.rows[*number as usize];
            let name = match self.names.of(batch, row, offer.time) {
                Ok(name) => name,
                Err(NoIndex::Wrong(reason)) => return Err(reason),
                Err(NoIndex::New(name)) => {
                    unsent.push((at, DocumentOutcome::NewName(name)));
                    continue;
                }
                Err(NoIndex::TooLong(reason)) => {
                    unsent.push((at, DocumentOutcome::Refused(reason)));
                    continue;
                }
            };
            if *index != *name {
                index = name.into();
                indexes.insert(name.to_owned());
            }
            let id = self.with_ids.then(|| batch.record_id(ids, row).as_str().to_owned());
            let start = body.len();
            // Neither index names nor ids hold anything that JSON would escape.
            match &id {
                Some(id) => body.extend_from_slice(
                    format!("{{\"create\":{{\"_index\":\"{index}\",\"_id\":\"{id}\"}}}}\n").as_bytes(),
                ),
                None => body.extend_from_slice(format!("{{\"create\":{{\"_index\":\"{index}\"}}}}\n").as_bytes()),
            }
            self.writer.write(batch, row, of_batch, &mut body);
            body.push(b'\n');
            encoded.push(Item { index: index.clone(), id, bytes: start..body.len() });
        }
        Ok(Documents { body: body.into(), items: encoded, indexes, unsent })
    }
}

impl Documents {
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// What became of every row that was asked for: of those that were sent, `sent`.
    pub fn outcomes(&self, sent: Vec<DocumentOutcome>) -> Vec<DocumentOutcome> {
        let (mut sent, mut unsent) = (sent.into_iter(), self.unsent.iter().peekable());
        let all = 0..sent.len() + unsent.len();
        let outcome = |at| match unsent.next_if(|(place, _)| *place == at) {
            Some((_, outcome)) => Some(outcome.clone()),
            None => sent.next(),
        };
        all.filter_map(outcome).collect()
    }

    pub fn indexes(&self) -> &BTreeSet<String> {
        &self.indexes
    }

    pub fn items(&self, range: Range<usize>) -> &[Item] {
        &self.items[range]
    }

    /// The lines of the documents of `range`.
    pub fn body(&self, range: Range<usize>) -> Bytes {
        match self.items.get(range.clone()).unwrap_or_default() {
            [] => Bytes::new(),
            [first, .., last] => self.body.slice(first.bytes.start..last.bytes.end),
            [only] => self.body.slice(only.bytes.clone()),
        }
    }

    /// `range` in pieces of at most `bytes_max`, each of at least one document.
    pub fn split(&self, range: Range<usize>, bytes_max: usize) -> Vec<Range<usize>> {
        let mut pieces: Vec<Range<usize>> = Vec::new();
        let mut bytes = 0;
        for at in range {
            let more = self.items[at].bytes.len();
            match pieces.last_mut() {
                Some(piece) if bytes + more <= bytes_max => piece.end = at + 1,
                _ => {
                    pieces.push(at..at + 1);
                    bytes = 0;
                }
            }
            bytes += more;
        }
        pieces
    }
}

#[cfg(test)]
pub mod tests {
    #![allow(clippy::unwrap_used, missing_docs)]
    use super::*;

    pub fn item(index: &str, id: &str) -> Item {
        Item { index: index.into(), id: Some(id.to_owned()), bytes: 0..0 }
    }

    #[test]
    fn pieces_keep_below_the_limit_and_leave_nothing_out() {
        let sizes = [3usize, 3, 3, 10, 1, 1];
        let mut at = 0;
        let items = sizes.map(|len| {
            at += len;
            Item { index: "i".into(), id: None, bytes: at - len..at }
        });
        let documents = Documents {
            body: vec![b'x'; at].into(),
            items: items.into(),
            indexes: BTreeSet::new(),
            unsent: Vec::new(),
        };
        assert_eq!(documents.split(0..6, 6), [0..2, 2..3, 3..4, 4..6]);
        assert_eq!(documents.split(0..6, usize::MAX).as_slice(), std::slice::from_ref(&(0..6)));
        assert_eq!(documents.body(2..4).len(), 13);
        assert_eq!(documents.body(5..6).len(), 1);
    }
}
