//! Names from records, of topics or indexes, at most so many in the life of a process. Knows nothing of what is written to them.

use sawlog_record::batch::{Batch, Row};
use sawlog_record::template::{Rendering, Template};
use std::collections::BTreeSet;

/// A template of names with a limit on how many it may make.
pub struct Names {
    template: Template,
    seen: BTreeSet<String>,
    names_max: usize,
    rendering: Rendering,
    /// Names that were not made because of the limit, so far.
    pub over_limit: u64,
}

impl Names {
    /// Names by `template`, at most `names_max` different ones.
    pub fn new(template: Template, names_max: usize) -> Self {
        Self { template, seen: BTreeSet::new(), names_max, rendering: Rendering::default(), over_limit: 0 }
    }

    /// The one name, where no record changes it.
    pub fn constant(&self) -> Option<&str> {
        self.template.constant()
    }

    /// The name for `row`; the one with every field replaced where the limit is met.
    pub fn of(&mut self, batch: &Batch, row: &Row) -> &str {
        self.template.render(batch, row, row.received, &mut self.rendering);
        if self.seen.contains(&self.rendering.text) {
            return &self.rendering.text;
        }
        if self.seen.len() < self.names_max {
            self.seen.insert(self.rendering.text.clone());
            return &self.rendering.text;
        }
        self.over_limit += 1;
        let without_fields = Row { fields_len: 0, ..*row };
        self.template.render(batch, &without_fields, row.received, &mut self.rendering);
        &self.rendering.text
    }
}
