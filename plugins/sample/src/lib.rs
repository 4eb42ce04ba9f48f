//! Keeps one record in so many. The choice depends on a hash of a field or of the record's id, so that a replay, every lane and
//! every agent choose the same, and all records of a key stay together.

use sawlog_plugin::{Batch, Columns, Config, Edits, Fate, Registration, Row, Transform, hash64};
use serde::Deserialize;

#[derive(Deserialize)]
struct Always {
    field: String,
    values: Vec<String>,
}

#[derive(Deserialize)]
struct Settings {
    keep_one_in: u64,
    key: Option<String>,
    always: Option<Always>,
    mark: Option<String>,
}

/// Drop reason 1 of the registration.
const NOT_SAMPLED: u8 = 1;

/// The plugin. Column 0 is the record's id.
pub struct Sample {
    keep_one_in: u64,
    key: Option<usize>,
    always: Option<(usize, Vec<String>)>,
    mark: Option<String>,
}

impl Sample {
    fn keeps(&self, row: Row<'_>) -> bool {
        if let Some((column, values)) = &self.always
            && row.words(*column).is_some_and(|word| values.iter().any(|value| value.eq_ignore_ascii_case(&word)))
        {
            return true;
        }
        // A record without the key is sampled alone.
        let key = self.key.and_then(|column| row.bytes(column)).or_else(|| row.bytes(0)).unwrap_or_default();
        hash64(key).is_multiple_of(self.keep_one_in)
    }
}

impl Transform for Sample {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        if settings.keep_one_in == 0 {
            return Err("keep_one_in must be 1 or more".into());
        }
        let mut columns = Columns::default();
        columns.of("$rid");
        let key = settings.key.map(|field| columns.of(&field));
        let always = settings.always.map(|always| (columns.of(&always.field), always.values));
        let registration = Registration {
            drop_reasons: vec!["not_sampled".into()],
            ..Registration::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), columns)
        };
        Ok((Self { keep_one_in: settings.keep_one_in, key, always, mark: settings.mark }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        for row in batch.rows().filter(|row| !self.keeps(*row)) {
            edits.decide(row.index(), Fate::Drop(NOT_SAMPLED));
        }
        if let Some(field) = &self.mark {
            edits.set_all(field, &self.keep_one_in.to_string());
        }
        Ok(())
    }
}

sawlog_plugin::export_transform!(Sample);
