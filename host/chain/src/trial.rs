//! Try a plugin on records from a text file: for golden files, for the conformance check, for `sawlog plugin test`. Knows how
//! to show every outcome as one line; journals nothing and delivers nothing.

use crate::apply::{Applied, BatchOrigin, Columns, FlushPlace, apply, apply_flush, write_record};
use crate::plugin::{Leniency, Plugin};
use crate::runner::{RunError, Runner};
use sawlog_record::batch::{Batch, Field, InputRecord, Row, Span, Spill, ValueKind};
use sawlog_record::id::{Generation, RowId};
use sawlog_record::json::{JsonError, Member, Members, Reader};
use std::sync::Arc;

/// The member of a record that gives its event time, unix nanoseconds; it is no field of the record.
pub const TIME_MEMBER: &str = "$time";
/// The member of a record that gives fields as hexadecimal bytes, by their names: JSON has no words for a text that is not UTF-8.
pub const BYTES_MEMBER: &str = "$bytes";
/// Component number of the plugin under trial.
const COMPONENT: u8 = 1;

/// Input that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line} is no record: {source}")]
pub struct InputError {
    /// Counted from 1.
    pub line: usize,
    /// Why.
    pub source: JsonError,
}

/// A batch of the JSON objects in `ndjson`, one a line.
pub fn read(ndjson: &str) -> Result<Batch, InputError> {
    let mut batch = Batch::new(Generation::derive("trial", &[]));
    batch.arena = ndjson.as_bytes().to_vec();
    let mut start = 0;
    for (index, line) in ndjson.split_inclusive('\n').enumerate() {
        let text = Span { start, len: line.trim_end().len() as u32 };
        let input = InputRecord { pos: start.into(), text, ..Default::default() };
        start += line.len() as u32;
        if text.len > 0 {
            push(&mut batch, index, input).map_err(|source| InputError { line: index + 1, source })?;
        }
    }
    Ok(batch)
}

fn push(batch: &mut Batch, index: usize, input: InputRecord) -> Result<(), JsonError> {
    let mut spill = Spill::behind(batch.arena.len());
    let first = batch.fields.len();
    let parsed = Reader::new(&batch.arena, input.text).object(&mut batch.fields, &mut spill)?;
    let mut text = parsed.literal.then_some(input.text);
    let is_time = |f: &Field| f.key.of(&batch.arena) == TIME_MEMBER.as_bytes();
    let found = batch.fields[first..].iter().position(|f| f.kind == ValueKind::Json && is_time(f));
    let mut time = index as i64;
    if let Some(i) = found {
        let token = batch.fields.remove(first + i).value;
        time = std::str::from_utf8(token.of(&batch.arena)).ok().and_then(|t| t.parse().ok()).unwrap_or(time);
        text = None;
    }
    batch.arena.extend_from_slice(spill.as_bytes());
    if bytes_of(batch, first) {
        text = None;
    }
    batch.rows.push(Row {
        id: RowId { pos: input.pos, slot: 0, k: 0 },
        parent: index as u32,
        time,
        received: 0,
        input: input.text,
        text,
        fields_start: first as u32,
        fields_len: (batch.fields.len() - first) as u32,
        flags: 0,
    });
    Ok(())
}

/// Puts the fields of [`BYTES_MEMBER`] in its place, the last of the fields from `first` on; false if there is no such member, or
/// one that holds anything but hexadecimal digits: it stays a field then.
fn bytes_of(batch: &mut Batch, first: usize) -> bool {
    let is_bytes = |f: &Field| f.kind == ValueKind::Json && f.key.of(&batch.arena) == BYTES_MEMBER.as_bytes();
    let Some(i) = batch.fields[first..].iter().position(is_bytes) else { return false };
    let token = batch.fields[first + i].value;
    if !token.of(&batch.arena).starts_with(b"{") {
        return false;
    }
    let members: Vec<Member> = Members::of(&batch.arena, token).collect();
    let decoded: Option<Vec<_>> = members.iter().map(|m| Some((m.key, bytes(m.value.of(&batch.arena))?))).collect();
    let Some(decoded) = decoded else { return false };
    batch.fields.remove(first + i);
    for (key, bytes) in decoded {
        let value = Span { start: batch.arena.len() as u32, len: bytes.len() as u32 };
        batch.arena.extend_from_slice(&bytes);
        batch.fields.push(Field { key, value, kind: ValueKind::Text });
    }
    true
}

/// What `hexadecimal` says.
fn bytes(hexadecimal: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: &u8| char::from(*b).to_digit(16).map(|digit| digit as u8);
    let pairs = hexadecimal.chunks(2);
    pairs.map(|pair| Some(digit(&pair[0])? << 4 | digit(pair.get(1)?)?)).collect()
}

/// Runs `plugin` over `batch` and to its end; one line of JSON per outcome, in the order in which it would be delivered.
pub fn run(plugin: &Plugin, batch: &Batch) -> Result<Vec<String>, RunError> {
    let mut trial = Trial::new(plugin);
    let mut runner = Runner::new(plugin.clone(), Leniency::Usual);
    trial.rows(&mut runner, batch, 0, batch.rows.len())?;
    trial.end(&mut runner)?;
    Ok(trial.lines)
}

/// A plugin under trial and what came of it so far.
#[derive(Debug)]
pub struct Trial<'a> {
    plugin: &'a Plugin,
    columns: Columns,
    lines: Vec<String>,
}

impl<'a> Trial<'a> {
    /// A trial of `plugin` without outcomes yet.
    pub fn new(plugin: &'a Plugin) -> Self {
        Self { plugin, columns: Columns::of(plugin), lines: Vec::new() }
    }

    /// The outcomes so far.
    pub fn into_lines(self) -> Vec<String> {
        self.lines
    }

    /// Runs rows `start..end` of `batch` as a batch of their own.
    pub fn rows(&mut self, runner: &mut Runner, batch: &Batch, start: usize, end: usize) -> Result<(), RunError> {
        let part = Batch { rows: batch.rows[start..end].to_vec(), ..batch.clone() };
        let origin = BatchOrigin { input: "trial", source: "trial", time: 0, watermark: runner.watermark() };
        for rows in part.rows.chunks(crate::view::BATCH_ROWS_MAX) {
            let part = Batch { rows: rows.to_vec(), ..part.clone() };
            let view = self.columns.view(&part, origin).expect("as many rows as a view may have");
            let outcome = runner.process_isolating(Arc::new(view), &[])?;
            self.show(apply(part, &outcome, COMPONENT));
        }
        Ok(())
    }

    /// Ends the partition: what is held back comes out.
    pub fn end(&mut self, runner: &mut Runner) -> Result<(), RunError> {
        match runner.flush(i64::MAX)? {
            Ok(emitted) => {
                let place = FlushPlace { pos: u64::MAX, slot: 1, parent: u32::MAX, received: 0 };
                self.show(apply_flush(Batch::new(Generation::derive("trial", &[])), emitted, COMPONENT, place));
            }
            Err(failure) => self.lines.push(format!(r#"{{"flush_failed":"{}"}}"#, failure.code())),
        }
        Ok(())
    }

    /// Appends every outcome, in the order of the input, kept and added rows of a record before its other fates.
    fn show(&mut self, applied: Applied) {
        let mut lines: Vec<(u64, String)> = Vec::new();
        for (row, route) in applied.batch.rows.iter().zip(&applied.routes) {
            lines.push((key(row.parent, 0), self.line(&applied.batch, row, *route)));
        }
        for (parent, reason) in &applied.dropped {
            let reason = self.plugin.registration().drop_reason(*reason);
            lines.push((key(*parent, 1), format!(r#"{{"row":{parent},"dropped":"{reason}"}}"#)));
        }
        for parent in &applied.absorbed {
            lines.push((key(*parent, 1), format!(r#"{{"row":{parent},"absorbed":true}}"#)));
        }
        for (row, death) in &applied.dead {
            let parent = row.parent;
            let line = format!(r#"{{"row":{parent},"dead":"{}","reason":{}}}"#, death.code(), quoted(&death.text()));
            lines.push((key(parent, 1), line));
        }
        lines.sort_by_key(|(key, _)| *key); // stable: rows of one record keep their order
        self.lines.extend(lines.into_iter().map(|(_, line)| line));
    }

    fn line(&self, batch: &Batch, row: &Row, route: u8) -> String {
        let route = route.checked_sub(1).map_or("default", |i| &self.plugin.registration().routes[usize::from(i)]);
        let mut record = Vec::new();
        write_record(batch, row, &mut record);
        let (parent, k, time) = (row.parent as i32, row.id.k & 0xffff, row.time);
        let record = String::from_utf8_lossy(&record);
        format!(r#"{{"row":{parent},"ordinal":{k},"route":"{route}","time":{time},"record":{record}}}"#)
    }
}

fn key(parent: u32, last: u64) -> u64 {
    u64::from(parent) << 1 | last
}

fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    sawlog_record::json::quote(text.as_bytes(), &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_fields_and_anything_else_stays_what_it_is() {
        let batch =
            read("{\"$bytes\":{\"body\":\"61ff\",\"b\":\"\"},\"a\":1}\n{\"$bytes\":{\"a\":\"6\"}}\n{\"$bytes\":1}")
                .unwrap();
        let shown = |row: usize| -> Vec<_> {
            let fields = batch.fields_of(&batch.rows[row]).iter();
            fields.map(|f| (f.key.of(&batch.arena), f.value.of(&batch.arena), f.kind)).collect()
        };
        let expected: [(&[u8], &[u8], _); 3] =
            [(b"a", b"1", ValueKind::Json), (b"body", b"a\xff", ValueKind::Text), (b"b", b"", ValueKind::Text)];
        assert_eq!(shown(0), expected);
        assert!(batch.rows[0].text.is_none() && batch.rows[2].text.is_some());
        assert_eq!(shown(1)[0].0, b"$bytes");
    }
}
