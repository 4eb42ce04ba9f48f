//! One row as one JSON object on one line. Copies the record's own text where that is still true. Knows nothing of files,
//! messages or documents.

use base64::Engine as _;
use sawlog_record::batch::{Batch, Field, Row, Span, ValueKind};
use sawlog_record::id::{RecordIdText, RecordIds};
use sawlog_record::{json, time};
use sawlog_settings::component;
use std::cell::RefCell;
use std::ops::Range;

/// Name of the member that holds record id, agent, source, position and times.
pub const PROVENANCE: &str = "sawlog";
/// What a record's own member is called when it has a name that the writer needs.
const RENAMED_SUFFIX: &str = "_original";
/// The member with the exact bytes of a text that is not UTF-8.
const BASE64_SUFFIX: &str = "_base64";

/// Where the rows of one batch come from.
#[derive(Clone, Copy, Debug)]
pub struct Provenance<'a> {
    /// The agent's id.
    pub agent: &'a str,
    /// The source's id.
    pub source: &'a str,
}

/// Writes rows as JSON objects.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RowWriter {
    /// What the member `sawlog` holds, if there is one.
    pub provenance: component::Provenance,
    /// Add the event time as RFC 3339 under this name, such as `@timestamp`.
    pub time_member: Option<String>,
}

/// What the rows of one batch share in their provenance.
#[derive(Clone, Debug)]
pub struct Shared {
    ids: RecordIds,
    /// `,"agent":"…","source":"…","generation":"…","position":`
    middle: Vec<u8>,
    tail: RefCell<Tail>,
    names: RefCell<Names>,
    /// A received time and its JSON text: records that were read together have the same.
    received: RefCell<(i64, Vec<u8>)>,
}

/// The last members of the row before and their JSON text: what a source says of its records is the same in every row, in
/// the very same spans.
#[derive(Clone, Debug, Default)]
struct Tail {
    fields: Vec<Field>,
    text: Vec<u8>,
}

impl Tail {
    /// Appends the members `fields[from..]`.
    fn write(&mut self, batch: &Batch, fields: &[Field], from: usize, start: usize, out: &mut Vec<u8>) {
        let own = &fields[from..];
        if own.is_empty() {
            return;
        }
        if self.fields != own {
            self.text.clear();
            let mut plain = true;
            for field in own {
                plain &= member(batch, fields, field, 0, &mut self.text);
            }
            self.fields.clear();
            // The names of members in base64 depend on the whole row.
            if plain {
                self.fields.extend_from_slice(own);
            }
        }
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(&self.text);
    }
}

/// The names that members had in the row before, by their place, with quotes and colon: decoders that give the names themselves
/// give them in the very same spans.
#[derive(Clone, Debug, Default)]
struct Names(Vec<(Span, Vec<u8>)>);

impl Names {
    /// Appends member number `at` of a row.
    fn member(&mut self, at: usize, batch: &Batch, fields: &[Field], field: &Field, start: usize, out: &mut Vec<u8>) {
        if self.0.len() <= at {
            self.0.resize(at + 1, Default::default());
        }
        let (span, text) = &mut self.0[at];
        if *span != field.key || text.is_empty() {
            *span = field.key;
            text.clear();
            json::quote(field.key.of(&batch.arena), text);
            text.push(b':');
        }
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(text);
        if !value(batch, field, out) {
            exact_member(batch, fields, field.key.of(&batch.arena), field, start, out);
        }
    }
}

impl Shared {
    /// What all rows of `batch` share.
    pub fn of(batch: &Batch, provenance: &Provenance<'_>) -> Self {
        let mut middle = Vec::new();
        for (name, value) in [("agent", provenance.agent), ("source", provenance.source)] {
            middle.extend_from_slice(format!("\",\"{name}\":\"").as_bytes());
            json::write_escaped(value.as_bytes(), &mut middle);
        }
        middle.extend_from_slice(format!("\",\"generation\":\"{}\",\"position\":", batch.generation).as_bytes());
        Self {
            ids: RecordIds::of(provenance.source, batch.generation),
            middle,
            tail: RefCell::default(),
            names: RefCell::default(),
            received: RefCell::default(),
        }
    }

    /// Appends the member `sawlog` with the received time alone.
    fn write_received(&self, row: &Row, start: usize, out: &mut Vec<u8>) {
        let mut received = self.received.borrow_mut();
        let (of, text) = &mut *received;
        if *of != row.received || text.is_empty() {
            *of = row.received;
            text.clear();
            text.extend_from_slice(b"{\"received\":\"");
            time::write_rfc3339(row.received, text);
            text.extend_from_slice(b"\"}");
        }
        key(PROVENANCE.as_bytes(), start, out);
        out.extend_from_slice(text);
    }

    /// The id of a row of the batch.
    pub fn id(&self, batch: &Batch, row: &Row) -> RecordIdText {
        batch.record_id(&self.ids, row)
    }
}

impl RowWriter {
    /// Appends `row` as one JSON object without line breaks.
    pub fn write(&self, batch: &Batch, row: &Row, shared: &Shared, out: &mut Vec<u8>) {
        let fields = batch.fields_of(row);
        out.push(b'{');
        let start = out.len();
        match row.text.filter(|_| !self.needs_a_name_of(batch, fields)) {
            Some(text) => {
                copy_members(text, batch, fields, out);
                let behind = fields.iter().rposition(|f| text.holds(f.key)).map_or(0, |last| last + 1);
                let before = fields[..behind].iter().filter(|f| !text.holds(f.key));
                before.for_each(|field| {
                    member(batch, fields, field, start, out);
                });
                shared.tail.borrow_mut().write(batch, fields, behind, start, out);
            }
            None if self.needs_a_name_of(batch, fields) => fields.iter().for_each(|field| {
                self.renamed_member(batch, fields, field, start, out);
            }),
            None => write_members(batch, row, shared, start, out),
        }
        if let Some(name) = &self.time_member {
            key(name.as_bytes(), start, out);
            out.push(b'"');
            time::write_rfc3339(row.time, out);
            out.push(b'"');
        }
        match self.provenance {
            component::Provenance::Full => write_provenance(batch, row, shared, start, out),
            component::Provenance::Received => shared.write_received(row, start, out),
            component::Provenance::None => {}
        }
        out.push(b'}');
    }

    fn has_provenance(&self) -> bool {
        self.provenance != component::Provenance::None
    }

    fn reserved(&self, name: &[u8]) -> bool {
        (self.has_provenance() && name == PROVENANCE.as_bytes())
            || self.time_member.as_ref().is_some_and(|member| member.as_bytes() == name)
    }

    fn needs_a_name_of(&self, batch: &Batch, fields: &[Field]) -> bool {
        (self.has_provenance() || self.time_member.is_some())
            && fields.iter().any(|f| self.reserved(f.key.of(&batch.arena)))
    }

    fn renamed_member(&self, batch: &Batch, fields: &[Field], field: &Field, start: usize, out: &mut Vec<u8>) -> bool {
        let name = field.key.of(&batch.arena);
        if self.reserved(name) {
            let name = free_name(batch, fields, name, RENAMED_SUFFIX);
            named_member(batch, fields, &name, field, start, out)
        } else {
            member(batch, fields, field, start, out)
        }
    }
}

/// Appends an object of the fields that are not `taken`, and of the event time in nanoseconds if it is asked for.
pub(super) fn write_untaken(batch: &Batch, row: &Row, taken: &[bool], event_time: bool, out: &mut Vec<u8>) {
    let fields = batch.fields_of(row);
    out.push(b'{');
    let start = out.len();
    for (field, _) in fields.iter().zip(taken).filter(|(_, taken)| !**taken) {
        member(batch, fields, field, start, out);
    }
    if event_time {
        key(&free_name(batch, fields, b"event_time", "_ns"), start, out);
        out.extend_from_slice(row.time.to_string().as_bytes());
    }
    out.push(b'}');
}

/// Appends the members one by one; those of the record's own text that follow each other there are copied together.
fn write_members(batch: &Batch, row: &Row, shared: &Shared, start: usize, out: &mut Vec<u8>) {
    let (fields, mut names) = (batch.fields_of(row), shared.names.borrow_mut());
    let mut at = 0;
    while let Some(field) = fields.get(at) {
        at += 1;
        if let Some(mut own) = own_member(batch, row, field) {
            while let Some(next) = fields.get(at).and_then(|field| own_member(batch, row, field))
                && next.start == own.end + 1
                && batch.arena[own.end] == b','
            {
                own.end = next.end;
                at += 1;
            }
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(&batch.arena[own]);
        } else if row.input.holds(field.key) {
            member(batch, fields, field, start, out);
        } else {
            names.member(at - 1, batch, fields, field, start, out);
        }
    }
}

/// Where the record's own text has what would be written for `field`: name and value in their quotes, a colon between them and no
/// more. Only a JSON object has them so far apart: what else may lie there (`key=value`, what a source attached) does not. JSON that
/// has line breaks is not what would be written.
#[inline]
fn own_member(batch: &Batch, row: &Row, field: &Field) -> Option<Range<usize>> {
    let place = |span: Span| span.start as usize..span.start as usize + span.len as usize;
    let (text, own, key, value) = (&batch.arena, place(row.input), place(field.key), place(field.value));
    let between: &[u8] = if field.kind == ValueKind::Json { b"\":" } else { b"\":\"" };
    let (from, to) = (key.start.checked_sub(1)?, value.end + between.len() - 2);
    let is_own = own.start <= from && to <= own.end && key.end + between.len() == value.start;
    let is_same = is_own
        && text[from] == b'"'
        && text[key.end..value.start] == *between
        && match field.kind {
            ValueKind::Json => !text[value].iter().any(|byte| matches!(byte, b'\n' | b'\r')),
            _ => text[value.end] == b'"',
        };
    is_same.then_some(from..to)
}

/// Copies the inside of the record's own object.
#[inline]
fn copy_members(text: Span, batch: &Batch, fields: &[Field], out: &mut Vec<u8>) {
    let object = text.of(&batch.arena);
    if fields.iter().any(|f| text.holds(f.key)) {
        out.extend_from_slice(&object[1..object.len() - 1]);
    }
}

/// Appends a member; false where a second one with its exact bytes had to follow.
fn member(batch: &Batch, fields: &[Field], field: &Field, start: usize, out: &mut Vec<u8>) -> bool {
    named_member(batch, fields, field.key.of(&batch.arena), field, start, out)
}

fn named_member(batch: &Batch, fields: &[Field], name: &[u8], field: &Field, start: usize, out: &mut Vec<u8>) -> bool {
    key(name, start, out);
    if value(batch, field, out) {
        return true;
    }
    exact_member(batch, fields, name, field, start, out);
    false
}

/// Appends a member's value; false where that is not its exact bytes. JSON comes as it was written, but on one line: a line break in it
/// is white space between two of its parts, and whoever could put one into a row would write lines of his own behind it.
fn value(batch: &Batch, field: &Field, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let is_exact = batch.value(field.value, field.kind).write_json(out);
    if field.kind == ValueKind::Json {
        out[start..].iter_mut().for_each(|byte| *byte = if matches!(*byte, b'\n' | b'\r') { b' ' } else { *byte });
    }
    is_exact
}

/// Appends a second member with the exact bytes of a text that is not UTF-8.
#[cold]
fn exact_member(batch: &Batch, fields: &[Field], name: &[u8], field: &Field, start: usize, out: &mut Vec<u8>) {
    debug_assert_eq!(field.kind, ValueKind::Text, "only text can hold invalid utf-8");
    key(&free_name(batch, fields, name, BASE64_SUFFIX), start, out);
    out.push(b'"');
    let exact = base64::engine::general_purpose::STANDARD.encode(field.value.of(&batch.arena));
    out.extend_from_slice(exact.as_bytes());
    out.push(b'"');
}

/// Appends `,"name":`, without the comma at the start of the object.
#[inline]
fn key(name: &[u8], start: usize, out: &mut Vec<u8>) {
    if out.len() > start {
        out.push(b',');
    }
    json::quote(name, out);
    out.push(b':');
}

/// `name` with as many suffixes as it takes to differ from every field.
#[cold]
fn free_name(batch: &Batch, fields: &[Field], name: &[u8], suffix: &str) -> Vec<u8> {
    let mut free = name.to_vec();
    loop {
        free.extend_from_slice(suffix.as_bytes());
        if fields.iter().all(|f| f.key.of(&batch.arena) != free) {
            return free;
        }
    }
}

fn write_provenance(batch: &Batch, row: &Row, shared: &Shared, start: usize, out: &mut Vec<u8>) {
    key(PROVENANCE.as_bytes(), start, out);
    out.extend_from_slice(b"{\"id\":\"");
    out.extend_from_slice(shared.id(batch, row).as_bytes());
    out.extend_from_slice(&shared.middle);
    write_number(row.id.pos, out);
    out.extend_from_slice(b",\"time\":\"");
    time::write_rfc3339(row.time, out);
    out.extend_from_slice(b"\",\"received\":\"");
    time::write_rfc3339(row.received, out);
    out.extend_from_slice(b"\"}");
}

fn write_number(value: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let (mut at, mut rest) = (digits.len(), value);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}
