//! Names from records, of topics or indexes, at most so many in the life of a process. Knows nothing of what is written to them.

use sawlog_record::batch::{Batch, Row};
use sawlog_record::template::{Rendering, Template};
use std::collections::BTreeSet;

/// A template of names with a limit on how many it may make, and on how long they are.
pub struct Names {
    template: Template,
    seen: BTreeSet<String>,
    names_max: usize,
    bytes_max: usize,
    rendering: Rendering,
    /// Names that were not made because of a limit, so far.
    pub over_limit: u64,
}

impl Names {
    /// Names by `template`, at most `names_max` different ones, each of at most `bytes_max` bytes.
    pub fn new(template: Template, names_max: usize, bytes_max: usize) -> Self {
        Self { template, seen: BTreeSet::new(), names_max, bytes_max, rendering: Rendering::default(), over_limit: 0 }
    }

    /// The one name, where no record changes it.
    pub fn constant(&self) -> Option<&str> {
        self.template.constant()
    }

    /// The name for `row`; the one with every field replaced where a limit is met.
    pub fn of(&mut self, batch: &Batch, row: &Row) -> &str {
        self.template.render(batch, row, row.received, &mut self.rendering);
        if self.seen.contains(&self.rendering.text) {
            return &self.rendering.text;
        }
        if self.seen.len() < self.names_max && self.rendering.text.len() <= self.bytes_max {
            self.seen.insert(self.rendering.text.clone());
            return &self.rendering.text;
        }
        self.over_limit += 1;
        let without_fields = Row { fields_len: 0, ..*row };
        self.template.render(batch, &without_fields, row.received, &mut self.rendering);
        &self.rendering.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sawlog_record::batch::{Field, ValueKind};
    use sawlog_record::id::{Generation, RowId};
    use sawlog_record::template::Values;

    /// A row for each team.
    fn rows_of(teams: &[&str]) -> Batch {
        let mut batch = Batch::new(Generation([1; 16]));
        for (at, team) in (0..).zip(teams) {
            let (key, value) = (batch.push_bytes(b"team"), batch.push_bytes(team.as_bytes()));
            batch.fields.push(Field { key, value, kind: ValueKind::Text });
            let input = batch.push_bytes(b"");
            batch.rows.push(Row {
                id: RowId { pos: u64::from(at), slot: 0, k: 0 },
                parent: at,
                time: 0,
                received: 0,
                input,
                text: None,
                fields_start: at,
                fields_len: 1,
                flags: 0,
            });
        }
        batch
    }

    #[test]
    fn names_beyond_the_limit_go_to_the_one_without_fields_and_those_that_were_made_stay() {
        let template = Template::parse("logs-{team}", Values::Names).expect("a template");
        let mut names = Names::new(template, 2, 249);
        let batch = rows_of(&["blue", "red", "green", "Blue", "red", "../x", "green"]);
        let found: Vec<String> = batch.rows.iter().map(|row| names.of(&batch, row).to_owned()).collect();
        let other = "logs-other";
        assert_eq!(found, ["logs-blue", "logs-red", other, "logs-blue", "logs-red", other, other]);
        assert_eq!(names.over_limit, 3);
        assert_eq!(names.constant(), None);
    }

    #[test]
    fn values_that_make_a_name_too_long_together_go_to_the_one_without_fields() {
        let template = Template::parse("logs-{team}.{team}", Values::Names).expect("a template");
        let mut names = Names::new(template, 9, 70);
        let long = "a".repeat(64);
        let batch = rows_of(&[&long, &"b".repeat(32), &"c".repeat(33)]);
        let found: Vec<String> = batch.rows.iter().map(|row| names.of(&batch, row).to_owned()).collect();
        let fits = format!("logs-{0}.{0}", "b".repeat(32));
        assert_eq!(found, ["logs-other.other", fits.as_str(), "logs-other.other"]);
        assert_eq!(names.over_limit, 2);
    }

    #[test]
    fn what_is_no_name_takes_the_place_of_one() {
        let template = Template::parse("logs-{team}", Values::Names).expect("a template");
        let mut names = Names::new(template, 2, 249);
        let batch = rows_of(&["../x", "a", "b"]);
        let found: Vec<String> = batch.rows.iter().map(|row| names.of(&batch, row).to_owned()).collect();
        assert_eq!(found, ["logs-other", "logs-a", "logs-other"]);
        assert_eq!(names.over_limit, 1, "a value that is no name is no name too many");
    }
}
