//! Between batches of records and what plugins see: columns out of a batch, and edits into it. Everything that comes in here
//! was checked; nothing here can fail or decide. Knows records; knows nothing of WASM.

mod columns;
#[cfg(test)]
mod fuzz;
mod nested;
mod program;
mod row;
#[cfg(test)]
mod tests;
mod write;

pub use columns::{BatchOrigin, Columns};
pub use write::write_record;

use crate::check::Checked;
use crate::instance::CallFailure;
use crate::runner::{Outcome, Part};
use crate::view::{bit, bit_or_all};
use crate::wit::sawlog::plugin::types::{Added, Edits, Emitted};
use program::Program;
use row::Draft;
use sawlog_record::batch::{Batch, Row, Span};
use sawlog_record::id::RowId;

/// Rows that one component may make of one input record: their ordinal has 16 bits.
const ORDINAL_MAX: u32 = u16::MAX as u32;

/// A batch after a plugin.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Kept and added rows, in the order of their ids.
    pub batch: Batch,
    /// Route of every row of `batch`: 0 = the default output, i = `routes[i - 1]` of the registration.
    pub routes: Vec<u8>,
    /// Dropped rows: their parent (index of the input record) and reason (0 = filtered).
    pub dropped: Vec<(u32, u8)>,
    /// Parents of rows that live on in the plugin's state only.
    pub absorbed: Vec<u32>,
    /// Rows for the dead letters, as they came in; their fields lie in `batch`, which they are not part of.
    pub dead: Vec<(Row, Death)>,
}

/// Why a row is dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Death {
    /// The plugin said so, and why.
    ByPlugin(String),
    /// The plugin failed on it.
    Poison(CallFailure),
    /// One input record became more rows than can be named.
    TooManyRows,
}

impl Death {
    /// For the dead letter.
    pub fn text(&self) -> String {
        match self {
            Self::ByPlugin(reason) => reason.clone(),
            Self::Poison(failure) => failure.to_string(),
            Self::TooManyRows => format!("one input record became more than {ORDINAL_MAX} rows in one component"),
        }
    }

    /// A short word for verdicts and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ByPlugin(_) => "dead",
            Self::Poison(failure) => failure.code(),
            Self::TooManyRows => "too_many_rows",
        }
    }
}

/// Applies `outcome` to the batch that its view was made from. `component` is the component's number in ids.
pub fn apply(batch: Batch, outcome: &Outcome, component: u8) -> Applied {
    let mut state = Application::new(batch, component);
    let mut poison = outcome.poison.iter().peekable();
    for part in &outcome.parts {
        while let Some((row, failure)) = poison.next_if(|(row, _)| *row < part.start) {
            state.bury(*row as usize, Death::Poison(failure.clone()));
        }
        state.part(part);
    }
    for (row, failure) in poison {
        state.bury(*row as usize, Death::Poison(failure.clone()));
    }
    state.finish()
}

/// Rows that a flush gave out, as a batch of their own. `at` names the FLUSH: position and slot (1 + s) of its rows, and
/// `parent`, the index of the FLUSH as the ledger counts it.
pub fn apply_flush(batch: Batch, emitted: Vec<Emitted>, component: u8, at: FlushPlace) -> Applied {
    let mut state = Application::new(batch, component);
    for row in emitted {
        let base = Row {
            id: RowId { pos: at.pos, slot: at.slot, k: 0 },
            parent: at.parent,
            time: row.row.timestamp,
            received: at.received,
            input: Span::default(),
            text: None,
            fields_start: 0,
            fields_len: 0,
            flags: 0,
        };
        let mut draft = Draft::empty(base);
        draft.overwrite(&mut state.out.batch, &row.row);
        state.emit(&draft, row.route);
    }
    state.finish()
}

/// Where rows of a flush belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushPlace {
    /// Position of the FLUSH.
    pub pos: u64,
    /// 1 + its number at this position.
    pub slot: u16,
    /// Its index as the ledger counts it.
    pub parent: u32,
    /// The PLAN's time, unix nanoseconds.
    pub received: i64,
}

struct Application {
    component: u32,
    /// The rows as they came in.
    rows: Vec<Row>,
    out: Applied,
    /// Input record of the last emitted row and the ordinal that is next there.
    ordinal: Option<((u64, u16, u32), u32)>,
}

impl Application {
    fn new(mut batch: Batch, component: u8) -> Self {
        let rows = std::mem::take(&mut batch.rows);
        batch.rows.reserve(rows.len());
        let routes = Vec::with_capacity(rows.len());
        let out = Applied { batch, routes, dropped: Vec::new(), absorbed: Vec::new(), dead: Vec::new() };
        Self { component: u32::from(component), rows, out, ordinal: None }
    }

    fn bury(&mut self, row: usize, death: Death) {
        self.out.dead.push((self.rows[row], death));
    }

    fn part(&mut self, part: &Part) {
        let Checked(edits) = &part.edits;
        if edits.edits.is_empty() && edits.added.is_empty() && edits.dead.is_empty() && edits.absorbed.is_empty() {
            return self.filter(part.start, part.end, edits);
        }
        let mut program = Program::new(edits, &mut self.out.batch);
        let mut fates = Fates::new(edits);
        let mut added = edits.added.iter().peekable();
        for index in 0..part.end - part.start {
            let row = self.rows[(part.start + index) as usize];
            let fate = fates.of(index);
            let has_children = added.peek().is_some_and(|a| a.parent == index);
            let kept = matches!(fate, Fate::Keep);
            if kept && !has_children && !program.touches(index) {
                let route = edits.routes.get(index as usize).copied().unwrap_or(0);
                self.emit_unchanged(row, route);
                continue;
            }
            // The program goes past every row that it touches, whatever its fate: it holds its place in the updates.
            let draft = program.run(index, row, &mut self.out.batch);
            self.settle(row, fate, draft, edits.routes.get(index as usize).copied().unwrap_or(0));
            while let Some(child) = added.next_if(|a| a.parent == index) {
                self.child(row, draft, child);
            }
        }
    }

    /// The common case: rows go on as they are, or not.
    fn filter(&mut self, start: u32, end: u32, edits: &Edits) {
        let mut dropped = 0;
        for index in 0..end - start {
            let row = self.rows[(start + index) as usize];
            let reason = next_of(&edits.dropped, &mut dropped, index).map_or(0, |(_, reason)| *reason);
            if bit_or_all(&edits.keep, index as usize) {
                self.emit_unchanged(row, edits.routes.get(index as usize).copied().unwrap_or(0));
            } else {
                self.out.dropped.push((row.parent, reason));
            }
        }
    }

    fn settle(&mut self, row: Row, fate: Fate<'_>, draft: &Draft, route: u8) {
        match fate {
            Fate::Keep => self.emit(draft, route),
            Fate::Drop(reason) => self.out.dropped.push((row.parent, reason)),
            Fate::Absorbed => self.out.absorbed.push(row.parent),
            Fate::Dead(reason) => self.out.dead.push((row, Death::ByPlugin(reason.to_owned()))),
        }
    }

    fn child(&mut self, parent: Row, draft: &Draft, child: &Added) {
        let mut row = if child.inherit { draft.clone() } else { Draft::empty(Row { text: None, ..parent }) };
        row.overwrite(&mut self.out.batch, &child.row);
        self.emit(&row, child.route);
    }

    fn emit_unchanged(&mut self, row: Row, route: u8) {
        match self.next_id(&row) {
            Some(id) => {
                self.out.batch.rows.push(Row { id, ..row });
                self.out.routes.push(route);
            }
            None => self.out.dead.push((row, Death::TooManyRows)),
        }
    }

    fn emit(&mut self, draft: &Draft, route: u8) {
        let row = draft.store(&mut self.out.batch);
        self.emit_unchanged(row, route);
    }

    /// The id of the next row of the same input record: this component, the next ordinal.
    fn next_id(&mut self, row: &Row) -> Option<RowId> {
        let input = (row.id.pos, row.id.slot, row.parent);
        let ordinal = match self.ordinal {
            Some((last, next)) if last == input => next,
            _ => 0,
        };
        if ordinal > ORDINAL_MAX {
            return None;
        }
        self.ordinal = Some((input, ordinal + 1));
        Some(RowId { k: self.component << 16 | ordinal, ..row.id })
    }

    fn finish(self) -> Applied {
        self.out
    }
}

/// What becomes of one row.
#[derive(Clone, Copy)]
enum Fate<'a> {
    Keep,
    Drop(u8),
    Absorbed,
    Dead(&'a str),
}

/// Walks the fates of a part's rows in order.
struct Fates<'a> {
    edits: &'a Edits,
    dropped: usize,
    dead: usize,
}

impl<'a> Fates<'a> {
    fn new(edits: &'a Edits) -> Self {
        Self { edits, dropped: 0, dead: 0 }
    }

    /// Rows must be asked for in order.
    fn of(&mut self, row: u32) -> Fate<'a> {
        let reason = next_of(&self.edits.dropped, &mut self.dropped, row).map_or(0, |(_, reason)| *reason);
        if let Some((_, reason)) = next_of(&self.edits.dead, &mut self.dead, row) {
            return Fate::Dead(reason);
        }
        if bit(&self.edits.absorbed, row as usize) {
            return Fate::Absorbed;
        }
        if bit_or_all(&self.edits.keep, row as usize) { Fate::Keep } else { Fate::Drop(reason) }
    }
}

fn next_of<'a, T>(list: &'a [(u32, T)], at: &mut usize, row: u32) -> Option<&'a (u32, T)> {
    let found = list.get(*at).filter(|(r, _)| *r == row)?;
    *at += 1;
    Some(found)
}
