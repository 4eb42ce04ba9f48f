//! A whole input into a batch: every record through the list of decoders, the source's own fields to every row. Knows
//! nothing of any format.

use super::draft::{Draft, Outcome, Refusal, Word, arena_text};
use super::{Decoder, KeepOriginal};
use crate::batch::{Batch, Field, Input, Row, Span, Spill, ValueKind, flag};
use crate::id::RowId;
use crate::json::{Names, Shape, name_hash};
use crate::path::Path;
use crate::value::Value;
use std::ops::Range;

/// Name of the field that holds the text line.
const BODY: &str = "body";
/// Where the original goes when the record has a `body` of its own.
const ORIGINAL: &str = "log.record.original";
/// Name of the field with the stream of a container.
const STREAM: &str = "log.iostream";
/// Name of the field of a record whose line was longer than the limit and is cut.
const TRUNCATED: &str = "log.truncated";
/// What a record's own member is renamed to when the source gives a field of that name.
const RENAMED_SUFFIX: &str = "_original";

/// What a source says of all records of one input.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Source {
    /// Fields that every row gets, such as `log.file.path` or `k8s.pod.name`; a record can't forge them: a member of the
    /// same name is kept as `<name>_original`.
    pub fields: Vec<(String, String)>,
    /// Every row gets `log.iostream`, by `flag::STDERR`.
    pub streams: bool,
}

/// A decoded input and what is to be counted.
#[derive(Debug)]
pub struct Decoded {
    /// One row per input record, in order.
    pub batch: Batch,
    /// Rows that no decoder took.
    pub undecoded: u64,
    /// Rows whose timestamp field is missing or unreadable; they keep the received time.
    pub without_time: u64,
    /// The first row that no decoder took, and what the last decoder of the list said of it.
    pub first_refusal: Option<(u32, Refusal)>,
}

/// What all rows of one call share.
struct Shared {
    dictionary: u32,
    constants: Vec<Field>,
    constant_names: Names,
    body: Word,
    original: Word,
    stream: Word,
    stdout: Word,
    stderr: Word,
    truncated: Word,
    yes: Word,
    streams: bool,
}

impl Decoder {
    /// Decodes `input`, whose arena the batch takes over. `plan_time` (unix nanoseconds) is the received time of records
    /// that carry none; `component` is the number of this decoder in row ids.
    pub fn decode(&self, input: Input, source: &Source, plan_time: i64, component: u8) -> Decoded {
        let mut batch = Batch::new(input.generation);
        batch.rows.reserve_exact(input.records.len());
        batch.fields.reserve(input.records.len() * (source.fields.len() + 12));
        let mut spill = Spill::behind(input.arena.len());
        let shared = self.share(source, &mut spill);
        let mut decoded = Decoded { batch, undecoded: 0, without_time: 0, first_refusal: None };
        let (mut shape, mut slots) = (Shape::default(), None);
        for (parent, record) in input.records.iter().enumerate() {
            let first = decoded.batch.fields.len();
            let mut draft = Draft {
                arena: &input.arena,
                span: record.text,
                fields: &mut decoded.batch.fields,
                first,
                spill: &mut spill,
                dictionary: shared.dictionary,
                names: Names::default(),
                trusted: Names::default(),
                object: None,
                time: None,
                shape: &mut shape,
                slots: &mut slots,
            };
            let refused = self.fill(&mut draft, &shared, record.flags);
            let (text, time) = (draft.object, draft.time);
            let received = if record.received == 0 { plan_time } else { record.received };
            if let Some(refusal) = &refused {
                decoded.undecoded += 1;
                let said = refusal.map(|r| (parent as u32, r));
                decoded.first_refusal = decoded.first_refusal.or(said);
            }
            decoded.batch.rows.push(Row {
                id: RowId { pos: record.pos, slot: 0, k: u32::from(component) << 16 },
                parent: parent as u32,
                time: time.unwrap_or(received),
                received,
                input: record.text,
                text,
                fields_start: first as u32,
                fields_len: (decoded.batch.fields.len() - first) as u32,
                flags: record.flags & !flag::ATTACHED | if refused.is_some() { flag::UNDECODED } else { 0 },
            });
        }
        decoded.batch.arena = input.arena;
        decoded.batch.arena.extend_from_slice(spill.as_bytes());
        if let Some((path, format)) = &self.timestamp {
            decoded.without_time = set_times(&mut decoded.batch, path, format);
        }
        decoded
    }

    /// Fills one row; what the last decoder said if none took the text (nothing to say if the list is empty).
    fn fill(&self, draft: &mut Draft<'_>, shared: &Shared, flags: u8) -> Option<Option<Refusal>> {
        let row_first = draft.first;
        if flags & flag::ATTACHED != 0 {
            draft.open_attached();
        }
        let original = draft.span;
        let mut refused = Some(None);
        for attempt in &self.attempts {
            match attempt.decode(draft) {
                Ok(Outcome::Inner(inner)) => draft.enter(inner),
                Ok(outcome) => {
                    refused = None;
                    if outcome == Outcome::Body {
                        draft.put(shared.body, draft.span, ValueKind::Text);
                    }
                    break;
                }
                Err(refusal) => {
                    draft.take_back();
                    refused = Some(Some(refusal));
                }
            }
        }
        self.keep(draft, shared, original, refused.is_some());
        Self::add_constants(draft, shared, row_first, flags);
        refused
    }

    /// Adds the original text where the config wants it.
    fn keep(&self, draft: &mut Draft<'_>, shared: &Shared, original: Span, failed: bool) {
        let wanted = match self.keep_original {
            KeepOriginal::OnFailure => failed,
            KeepOriginal::Always => true,
            KeepOriginal::Never => false,
        };
        if !wanted {
            return;
        }
        // On failure behind an envelope `body` is what the envelope held: the rest is in fields already.
        let text = if failed { draft.span } else { original };
        match draft.find(BODY.as_bytes()) {
            None => draft.put(shared.body, text, ValueKind::Text),
            Some(at) if draft.fields[at].value == text => {}
            Some(_) => draft.put(shared.original, text, ValueKind::Text),
        }
    }

    fn add_constants(draft: &mut Draft<'_>, shared: &Shared, row_first: usize, flags: u8) {
        let is_cut = flags & flag::TRUNCATED != 0;
        let meets = draft.names.may_meet(&shared.constant_names) || draft.names.may_meet(&draft.trusted);
        if meets || (is_cut && draft.names.may_hold(shared.truncated.hash())) {
            rename_forged(draft, shared, row_first..draft.first, is_cut);
        }
        draft.fields.extend_from_slice(&shared.constants);
        if shared.streams && !draft.trusted.may_hold(shared.stream.hash()) {
            let stream = if flags & flag::STDERR != 0 { shared.stderr } else { shared.stdout };
            draft.put(shared.stream, draft.word(stream), ValueKind::Text);
        }
        if is_cut {
            draft.put(shared.truncated, draft.word(shared.yes), ValueKind::Json);
        }
    }

    fn share(&self, source: &Source, spill: &mut Spill) -> Shared {
        let mut dictionary = self.dictionary.clone();
        let [body, original, stream, stdout, stderr, truncated, yes] =
            [BODY, ORIGINAL, STREAM, "stdout", "stderr", TRUNCATED, "true"].map(|word| dictionary.add(word));
        let place = spill.push(dictionary.as_bytes());
        let mut constant_names = Names::default();
        let constants = source.fields.iter().map(|(name, value)| {
            constant_names.insert(name_hash(name.as_bytes()));
            Field { key: spill.push(name.as_bytes()), value: spill.push(value.as_bytes()), kind: ValueKind::Text }
        });
        let constants = constants.collect();
        if source.streams {
            constant_names.insert(stream.hash());
        }
        Shared {
            dictionary: place.start,
            constants,
            constant_names,
            body,
            original,
            stream,
            stdout,
            stderr,
            truncated,
            yes,
            streams: source.streams,
        }
    }
}

/// Renames the record's own members that have the name of a field of the source or of the envelope (which lies at
/// `envelope` of the fields).
#[cold]
fn rename_forged(draft: &mut Draft<'_>, shared: &Shared, envelope: Range<usize>, is_cut: bool) {
    let mut taken: Vec<Span> = draft.fields[envelope].iter().chain(&shared.constants).map(|f| f.key).collect();
    if shared.streams {
        taken.push(draft.word(shared.stream));
    }
    if is_cut {
        taken.push(draft.word(shared.truncated));
    }
    for key in taken {
        let mut name = draft.spill.text(arena_text(draft.arena, key), key).to_vec();
        let Some(at) = draft.find(&name) else { continue };
        while draft.find(&name).is_some() {
            name.extend_from_slice(RENAMED_SUFFIX.as_bytes());
        }
        draft.names.insert(name_hash(&name));
        draft.fields[at].key = draft.spill.push(&name);
        draft.object = None;
    }
}

/// Sets the event times from a field; the number of rows where that did not work.
fn set_times(batch: &mut Batch, path: &Path, format: &super::TimeFormat) -> u64 {
    let mut without = 0;
    for index in 0..batch.rows.len() {
        let row = batch.rows[index];
        let time = path.locate(&batch.arena, batch.fields_of(&row)).and_then(|(span, kind)| {
            let value = Value { bytes: span.of(&batch.arena), kind };
            format.read(&value.shown())
        });
        match time {
            Some(time) => batch.rows[index].time = time,
            None => without += 1,
        }
    }
    without
}
