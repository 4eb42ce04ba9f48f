//! Answering: fates of rows, changed fields, added rows.

use crate::bindings::types::{self, Added, Column, Edit, LogRecord, Update};

/// What becomes of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It goes on to the default output.
    Keep,
    /// It goes on to route `n` of the registration (1 = the first).
    Route(u8),
    /// It ends here: 0 = filtered, `n` = the n-th drop reason of the registration.
    Drop(u8),
    /// It lives on in the plugin's state only.
    Absorb,
    /// It goes to the dead letters, with a reason.
    Dead(String),
}

/// The answer to one batch. Rows that are not mentioned are kept.
#[derive(Debug)]
pub struct Edits {
    raw: types::Edits,
    count: usize,
}

fn set(mask: &mut Vec<u64>, words: usize, row: usize, on: bool, initial: u64) {
    if mask.is_empty() {
        mask.resize(words, initial);
    }
    let bit = 1 << (row % 64);
    if on { mask[row / 64] |= bit } else { mask[row / 64] &= !bit }
}

impl Edits {
    /// An answer that keeps all `count` rows as they are.
    pub fn new(count: usize) -> Self {
        let raw = types::Edits {
            keep: Vec::new(),
            edits: Vec::new(),
            routes: Vec::new(),
            added: Vec::new(),
            dropped: Vec::new(),
            absorbed: Vec::new(),
            dead: Vec::new(),
            wake_at: None,
        };
        Self { raw, count }
    }

    /// Decides every row: `keep` gives one verdict a row, in order.
    #[inline]
    pub fn keep_each(&mut self, keep: impl IntoIterator<Item = bool>) {
        let mut words = Vec::with_capacity(self.count.div_ceil(64));
        let (mut word, mut rows) = (0u64, 0);
        for kept in keep {
            word |= u64::from(kept) << (rows % 64);
            rows += 1;
            if rows % 64 == 0 {
                words.push(std::mem::take(&mut word));
            }
        }
        if rows % 64 > 0 {
            words.push(word);
        }
        assert_eq!(rows, self.count, "one verdict a row");
        self.raw.keep = words;
    }

    /// Decides row `row`. Rows must be decided in ascending order, each at most once.
    pub fn decide(&mut self, row: usize, fate: Fate) {
        assert!(row < self.count, "row {row} of {}", self.count);
        let words = self.count.div_ceil(64);
        match fate {
            Fate::Keep => {}
            Fate::Route(route) => {
                self.raw.routes.resize(self.count, 0);
                self.raw.routes[row] = route;
            }
            Fate::Drop(reason) => {
                set(&mut self.raw.keep, words, row, false, u64::MAX);
                if reason > 0 {
                    self.raw.dropped.push((row as u32, reason));
                }
            }
            Fate::Absorb => set(&mut self.raw.absorbed, words, row, true, 0),
            Fate::Dead(reason) => self.raw.dead.push((row as u32, reason)),
        }
    }

    /// Sets `field` to the same text in every row. The text must not depend on the batch.
    pub fn set_all(&mut self, field: &str, text: &str) {
        self.raw.edits.push(Edit::SetAll((field.into(), text.into())));
    }

    /// Renames a field, overwriting its target.
    pub fn rename(&mut self, from: &str, to: &str) {
        self.raw.edits.push(Edit::Rename((from.into(), to.into())));
    }

    /// Removes a field from every row.
    pub fn remove(&mut self, field: &str) {
        self.raw.edits.push(Edit::Remove(field.into()));
    }

    /// New values for some rows of a field; nothing if the update has none.
    pub fn update(&mut self, update: UpdateBuilder) {
        if let Some(update) = update.finish() {
            self.raw.edits.push(Edit::Update(update));
        }
    }

    /// The updates of several fields, in their order; a field without new values is left out.
    pub fn update_each(&mut self, updates: Updates) {
        updates.all.into_iter().for_each(|update| self.update(update));
    }

    /// An update as the contract has it, such as a kernel returns.
    pub fn update_raw(&mut self, update: Update) {
        self.raw.edits.push(Edit::Update(update));
    }

    /// New event times, unix nanoseconds, for `rows` (strictly ascending).
    pub fn set_times(&mut self, rows: Vec<u32>, times: Vec<i64>) {
        if !rows.is_empty() {
            self.raw.edits.push(Edit::Timestamps((rows, times)));
        }
    }

    /// Adds a row behind row `parent`, which gave rise to it. Parents must ascend.
    pub fn add(&mut self, parent: usize, route: u8, row: LogRecord) {
        self.raw.added.push(Added { parent: parent as u32, inherit: false, route, row });
    }

    /// Adds a row that begins as a copy of its parent's fields.
    pub fn add_inheriting(&mut self, parent: usize, route: u8, row: LogRecord) {
        self.raw.added.push(Added { parent: parent as u32, inherit: true, route, row });
    }

    /// Asks to be flushed once event time passes `time` (unix nanoseconds), because rows are held back.
    pub fn wake_at(&mut self, time: Option<i64>) {
        self.raw.wake_at = time;
    }

    /// The answer as the contract has it.
    pub fn into_raw(self) -> types::Edits {
        self.raw
    }
}

/// Builds updates of several fields. Their order, and so that of new fields in a record, is the same in every batch.
#[derive(Debug)]
pub struct Updates {
    all: Vec<UpdateBuilder>,
}

impl Updates {
    /// Updates of `fields`, paths.
    pub fn new(fields: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        Self { all: fields.into_iter().map(|field| UpdateBuilder::new(field.as_ref())).collect() }
    }

    /// The update of field `index`, in the order in which they were named.
    pub fn at(&mut self, index: usize) -> &mut UpdateBuilder {
        &mut self.all[index]
    }
}

/// Builds an update of one field, row by row.
#[derive(Debug)]
pub struct UpdateBuilder {
    field: String,
    rows: Vec<u32>,
    values: Column,
}

impl UpdateBuilder {
    /// An update of `field`, a path.
    pub fn new(field: &str) -> Self {
        let values = Column { offsets: vec![0], data: Vec::new(), present: Vec::new(), json: Vec::new() };
        Self { field: field.into(), rows: Vec::new(), values }
    }

    /// Sets the field of `row` to text. Rows must ascend strictly, here and below.
    pub fn text(&mut self, row: usize, text: &str) {
        self.values.data.extend_from_slice(text.as_bytes());
        self.end(row, true, false);
    }

    /// Sets the field of `row` to what `write` appends, valid UTF-8.
    pub fn text_with(&mut self, row: usize, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.values.data);
        self.end(row, true, false);
    }

    /// Sets the field of `row` to a JSON token.
    pub fn json(&mut self, row: usize, token: &str) {
        self.values.data.extend_from_slice(token.as_bytes());
        self.end(row, true, true);
    }

    /// Removes the field from `row`.
    pub fn remove(&mut self, row: usize) {
        self.end(row, false, false);
    }

    /// Number of rows so far.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none so far.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn end(&mut self, row: usize, present: bool, json: bool) {
        let i = self.rows.len();
        if i.is_multiple_of(64) {
            self.values.present.push(0);
            self.values.json.push(0);
        }
        self.values.present[i / 64] |= u64::from(present) << (i % 64);
        self.values.json[i / 64] |= u64::from(json) << (i % 64);
        self.rows.push(row as u32);
        self.values.offsets.push(self.values.data.len() as u32);
    }

    fn finish(mut self) -> Option<Update> {
        if self.values.json.iter().all(|word| *word == 0) {
            self.values.json.clear(); // all text: spares the host a look at every value
        }
        (!self.rows.is_empty()).then_some(Update { field: self.field, rows: self.rows, values: self.values })
    }
}
