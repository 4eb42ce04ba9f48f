//! Names from records, of topics or indexes, at most so many. Knows nothing of what is written to them.
//!
//! Times don't count: `logs-{team}-{event_time:%Y.%m.%d}` makes a name a day for each team, and what has no end is the teams.

use sawlog_record::batch::{Batch, Row};
use sawlog_record::template::{Rendering, Template};
use std::collections::BTreeSet;

/// Names that are remembered as they are, so that most rows need no second look.
const KNOWN_MAX: usize = 4_096;
/// How far from the time when it was received a record's own time may be and still not count.
const PAST_NANOS: i64 = 7 * 86_400 * 1_000_000_000;
const FUTURE_NANOS: i64 = 86_400 * 1_000_000_000;

/// A template of names with a limit on how many it may make, and on how long they are.
pub struct Names {
    template: Template,
    /// What counts; `None` where no field changes a name.
    counted: Option<Template>,
    /// Hashes of what counts and was admitted.
    admitted: BTreeSet<u64>,
    /// Hashes that somebody was asked to admit.
    asked: BTreeSet<u64>,
    /// Names whose hashes were admitted, some of them.
    known: BTreeSet<String>,
    names_max: usize,
    bytes_max: usize,
    /// Names of times that are far from the present count like others.
    counts_far_times: bool,
    rendering: Rendering,
    spare: Rendering,
    /// Rows that got no name of their own because of a limit, so far.
    pub over_limit: u64,
}

impl Names {
    /// Names by `template`, at most `names_max` different ones beside their times, each of at most `bytes_max` bytes. Whoever calls
    /// bounds the times.
    pub fn new(template: Template, names_max: usize, bytes_max: usize) -> Self {
        let counted = template.paths().next().is_some().then(|| template.without_times());
        Self {
            template,
            counted,
            admitted: BTreeSet::new(),
            asked: BTreeSet::new(),
            known: BTreeSet::new(),
            names_max,
            bytes_max,
            counts_far_times: false,
            rendering: Rendering::default(),
            spare: Rendering::default(),
            over_limit: 0,
        }
    }

    /// The same, where nobody bounds the times of records: names of those that are far from the present count, too.
    pub fn counting_far_times(self) -> Self {
        Self { counts_far_times: true, ..self }
    }

    /// The one name, where no record changes it.
    pub fn constant(&self) -> Option<&str> {
        self.template.constant()
    }

    /// Lets names be made.
    pub fn admit(&mut self, names: impl IntoIterator<Item = u64>) {
        for name in names {
            self.asked.remove(&name);
            self.admitted.insert(name);
        }
    }

    /// The name for `row`; the one with every field replaced where a limit is met. What is new is admitted at once, and forgotten with
    /// the process.
    pub fn of(&mut self, batch: &Batch, row: &Row) -> &str {
        while let Err(new) = self.render(batch, row) {
            self.admit([new]);
        }
        &self.rendering.text
    }

    /// The name for `row`, or the hash of the one that is to be admitted before it has one: which names were first decides where the
    /// others go.
    pub fn of_admitted(&mut self, batch: &Batch, row: &Row) -> Result<&str, u64> {
        self.render(batch, row)?;
        Ok(&self.rendering.text)
    }

    fn render(&mut self, batch: &Batch, row: &Row) -> Result<(), u64> {
        self.template.render(batch, row, row.received, &mut self.rendering);
        if self.known.contains(&self.rendering.text) {
            return Ok(());
        }
        if self.rendering.text.len() <= self.bytes_max && self.has_room(batch, row)? {
            return Ok(());
        }
        self.over_limit += 1;
        let without_fields = Row { fields_len: 0, ..*row };
        self.template.render(batch, &without_fields, row.received, &mut self.rendering);
        Ok(())
    }

    /// Whether the name that was rendered may be made.
    fn has_room(&mut self, batch: &Batch, row: &Row) -> Result<bool, u64> {
        let Some(hash) = self.hash(batch, row) else { return Ok(true) };
        if self.admitted.contains(&hash) {
            if self.known.len() >= KNOWN_MAX {
                self.known.clear();
            }
            self.known.insert(self.rendering.text.clone());
            return Ok(true);
        }
        if !self.asked.contains(&hash) && self.admitted.len() + self.asked.len() < self.names_max {
            self.asked.insert(hash);
        }
        match self.asked.contains(&hash) {
            true => Err(hash),
            // Whether there is room is known when those before it are admitted.
            false => self.asked.first().map_or(Ok(false), |first| Err(*first)),
        }
    }

    /// What counts of the name that was rendered; `None` where nothing does.
    fn hash(&mut self, batch: &Batch, row: &Row) -> Option<u64> {
        let far = self.template.reads_event_time()
            && !(row.received.saturating_sub(PAST_NANOS)..=row.received.saturating_add(FUTURE_NANOS))
                .contains(&row.time);
        if far && self.counts_far_times {
            return Some(hash(&self.rendering.text));
        }
        self.counted.as_ref()?.render(batch, row, row.received, &mut self.spare);
        Some(hash(&self.spare.text))
    }
}

/// Journals hold it.
fn hash(name: &str) -> u64 {
    let hash = sawlog_record::id::hash("sawlog.name", &[name.as_bytes()]);
    u64::from_le_bytes(*hash.first_chunk().expect("a hash has 32 bytes"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use sawlog_record::batch::{Field, ValueKind};
    use sawlog_record::id::{Generation, RowId};
    use sawlog_record::template::Values;

    const DAY: i64 = 86_400_000_000_000;

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

    #[test]
    fn a_name_of_another_day_is_no_name_more() {
        let template = Template::parse("{team}-{event_time:%d}", Values::Names).expect("a template");
        let mut names = Names::new(template.clone(), 2, 249).counting_far_times();
        let mut batch = rows_of(&["blue", "red", "green", "blue", "blue"]);
        let days = [0, 0, 0, 1, 40];
        for (row, day) in batch.rows.iter_mut().zip(days) {
            (row.time, row.received) = (day * DAY, day.min(1) * DAY);
        }
        let found: Vec<String> = batch.rows.iter().map(|row| names.of(&batch, row).to_owned()).collect();
        assert_eq!(found, ["blue-01", "red-01", "other-01", "blue-02", "other-10"], "a far day counts");
        let mut names = Names::new(template, 2, 249);
        let found: Vec<String> = batch.rows.iter().map(|row| names.of(&batch, row).to_owned()).collect();
        assert_eq!(found, ["blue-01", "red-01", "other-01", "blue-02", "blue-10"], "somebody else bounds the days");
    }

    #[test]
    fn where_rows_go_is_settled_by_what_was_admitted_and_by_nothing_else() {
        let template = Template::parse("logs-{team}", Values::Names).expect("a template");
        let batch = rows_of(&["blue", "red", "green", "blue"]);
        let fresh = || Names::new(template.clone(), 2, 249);
        let look = |names: &mut Names, at: usize| names.of_admitted(&batch, &batch.rows[at]).map(str::to_owned);
        let mut first = fresh();
        let blue = look(&mut first, 0).unwrap_err();
        let red = look(&mut first, 1).unwrap_err();
        assert_eq!(look(&mut first, 2), Err(blue.min(red)), "there may be room if those are not admitted");
        assert_eq!(look(&mut first, 3), Err(blue), "nothing has a name before it is admitted");
        first.admit([blue, red]);
        let teams = |names: &mut Names| [0, 1, 2, 3].map(|at| look(names, at).unwrap());
        let found = teams(&mut first);
        assert_eq!(found, ["logs-blue", "logs-red", "logs-other", "logs-blue"]);
        // The next life meets the rows in another order.
        let mut next = fresh();
        next.admit([red, blue]);
        assert_eq!(look(&mut next, 2).unwrap(), "logs-other");
        assert_eq!(teams(&mut next), found);
    }
}
