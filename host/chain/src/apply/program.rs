//! The edits of one call, made ready to be run row by row: paths compiled, names and values moved into the arena once.

use super::row::Draft;
use crate::check::RECORD;
use crate::view::{bit, bit_or_all};
use crate::wit::sawlog::plugin::types::{Column, Edit, Edits, Update};
use sawlog_record::batch::{Batch, Row, Span, ValueKind};
use sawlog_record::path::Path;

/// A field that an edit names.
pub struct Target {
    pub path: Path,
    /// What a top-level member that the path creates is called.
    pub key: Span,
}

impl Target {
    fn new(field: &str, batch: &mut Batch) -> Self {
        // Checked before; a name that is no path stands for itself.
        let path = Path::parse(field).unwrap_or_else(|_| Path::of(vec![field.to_owned()]));
        let key = batch.push_bytes(path.dotted().as_bytes());
        Self { path, key }
    }
}

enum Step<'a> {
    SetAll(Target, Span),
    Rename(Path, Target),
    Remove(Path),
    Update(Target, Values<'a>),
    Record(Values<'a>),
    Times { rows: &'a [u32], times: &'a [i64], at: usize },
}

/// Values for some rows of one field, and the place of the next.
struct Values<'a> {
    rows: &'a [u32],
    column: &'a Column,
    /// Where the column's data begins in the arena.
    base: u32,
    at: usize,
}

impl<'a> Values<'a> {
    fn new(update: &'a Update, batch: &mut Batch) -> Self {
        let base = batch.push_bytes(&update.values.data).start;
        Self { rows: &update.rows, column: &update.values, base, at: 0 }
    }

    /// The value for `row`, if it has one: outer `None` = leave the field alone, inner `None` = remove it.
    fn next(&mut self, row: u32) -> Option<Option<(Span, ValueKind)>> {
        let i = next_index(self.rows, &mut self.at, row)?;
        if !bit_or_all(&self.column.present, i) {
            return Some(None);
        }
        let (start, end) = (self.column.offsets[i], self.column.offsets[i + 1]);
        let kind = if bit(&self.column.json, i) { ValueKind::Json } else { ValueKind::Text };
        Some(Some((Span { start: self.base + start, len: end - start }, kind)))
    }
}

/// Index of `row` in `rows`, of which those before `at` are past; every row if `rows` is empty.
fn next_index(rows: &[u32], at: &mut usize, row: u32) -> Option<usize> {
    if rows.is_empty() {
        return Some(row as usize);
    }
    let i = *at;
    (rows.get(i) == Some(&row)).then(|| {
        *at += 1;
        i
    })
}

/// The edits of one call.
pub struct Program<'a> {
    steps: Vec<Step<'a>>,
    /// The row in work: one after the other has its fields here.
    draft: Option<Draft>,
}

impl<'a> Program<'a> {
    pub fn new(edits: &'a Edits, batch: &mut Batch) -> Self {
        let steps = edits.edits.iter().map(|edit| match edit {
            Edit::SetAll((field, text)) => {
                let target = Target::new(field, batch);
                let value = batch.push_bytes(text.as_bytes());
                Step::SetAll(target, value)
            }
            Edit::Rename((from, to)) => {
                Step::Rename(Path::parse(from).unwrap_or_else(|_| Path::of(vec![from.clone()])), Target::new(to, batch))
            }
            Edit::Remove(field) => Step::Remove(Path::parse(field).unwrap_or_else(|_| Path::of(vec![field.clone()]))),
            Edit::Update(update) if update.field == RECORD => Step::Record(Values::new(update, batch)),
            Edit::Update(update) => {
                let target = Target::new(&update.field, batch);
                Step::Update(target, Values::new(update, batch))
            }
            Edit::Timestamps((rows, times)) => Step::Times { rows, times, at: 0 },
        });
        Self { steps: steps.collect(), draft: None }
    }

    /// Whether any edit concerns row `index`. Rows must come in order, those concerned through `run`.
    pub fn touches(&self, index: u32) -> bool {
        let next = |rows: &[u32], at: usize| rows.is_empty() || rows.get(at) == Some(&index);
        self.steps.iter().any(|step| match step {
            Step::SetAll(..) | Step::Rename(..) | Step::Remove(_) => true,
            Step::Update(_, values) | Step::Record(values) => next(values.rows, values.at),
            Step::Times { rows, at, .. } => next(rows, *at),
        })
    }

    /// Row `index` of the part after all edits. Rows must come in order.
    pub fn run(&mut self, index: u32, row: Row, batch: &mut Batch) -> &Draft {
        let draft = self.draft.get_or_insert_with(|| Draft::empty(row));
        draft.begin(row, batch);
        for step in &mut self.steps {
            match step {
                Step::SetAll(target, value) => draft.set(batch, target, (*value, ValueKind::Text)),
                Step::Rename(from, to) => draft.rename(batch, from, to),
                Step::Remove(path) => draft.remove(batch, path),
                Step::Update(target, values) => match values.next(index) {
                    None => {}
                    Some(None) => draft.remove(batch, &target.path),
                    Some(Some(value)) => draft.set(batch, target, value),
                },
                Step::Record(values) => {
                    if let Some(Some((span, _))) = values.next(index) {
                        draft.replace(batch, span);
                    }
                }
                Step::Times { rows, times, at } => {
                    if let Some(i) = next_index(rows, at, index) {
                        draft.set_time(times[i]);
                    }
                }
            }
        }
        draft
    }
}
