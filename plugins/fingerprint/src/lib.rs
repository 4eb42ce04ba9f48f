//! Gives errors of one kind one short name: what varies between them (numbers, ids, addresses, quoted words) is left out.

mod shape;

use sawlog_plugin::{Batch, Columns, Config, Edits, Hasher, Registration, Row, Transform, Updates};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default)]
struct Settings {
    fields: Vec<String>,
    into: String,
    shape_into: Option<String>,
    frames: usize,
    only: Option<Only>,
}

#[derive(Deserialize)]
struct Only {
    field: String,
    values: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { fields: vec!["body".into()], into: "fingerprint".into(), shape_into: None, frames: 5, only: None }
    }
}

/// The plugin. Columns: the fields that make the kind, then that of `only`.
pub struct Fingerprint {
    settings: Settings,
    only: Option<usize>,
}

impl Fingerprint {
    fn is_wanted(&self, row: Row<'_>) -> bool {
        let (Some(only), Some(column)) = (&self.settings.only, self.only) else { return true };
        let word = row.words(column);
        word.is_some_and(|word| only.values.iter().any(|value| value.eq_ignore_ascii_case(&word)))
    }

    /// The shape of the record and its hash; `None` if it has none of the fields.
    fn of(&self, row: Row<'_>) -> Option<(String, u64)> {
        let (mut hasher, mut shape) = (Hasher::default(), String::new());
        let mut any = false;
        for column in 0..self.settings.fields.len() {
            if let Some(text) = row.words(column) {
                let of_field = shape::of(&text, self.settings.frames);
                hasher.write(of_field.as_bytes());
                if any {
                    shape.push('\n');
                }
                shape.push_str(&of_field);
                any = true;
            }
            hasher.end_part();
        }
        any.then(|| (shape, hasher.finish()))
    }
}

impl Transform for Fingerprint {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let mut columns = Columns::default();
        columns.of_each(&settings.fields);
        let only = settings.only.as_ref().map(|only| columns.of(&only.field));
        let registration = Registration::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), columns);
        Ok((Self { settings, only }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        let shape_into = self.settings.shape_into.iter();
        let mut updates = Updates::new(std::iter::once(&self.settings.into).chain(shape_into));
        for row in batch.rows().filter(|row| self.is_wanted(*row)) {
            let Some((shape, hash)) = self.of(row) else { continue };
            updates.at(0).text(row.index(), &format!("{hash:016x}"));
            if self.settings.shape_into.is_some() {
                updates.at(1).text(row.index(), &shape);
            }
        }
        edits.update_each(updates);
        Ok(())
    }
}

sawlog_plugin::export_transform!(Fingerprint);
