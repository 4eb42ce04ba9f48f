//! Protects whole fields: removes them, replaces them, cuts them, or puts a keyed hash in their place. The host does the hashing.

use sawlog_plugin::{Batch, Columns, Config, Edits, Registration, Transform, UpdateBuilder, kernels};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
enum Action {
    /// The field goes.
    Remove,
    /// The same text for every value.
    Replace { with: String },
    /// The first letters stay.
    Truncate {
        letters: usize,
        #[serde(default)]
        mark: String,
    },
    /// A keyed hash: the same value gives the same text, and nobody without the key can try values out.
    Hash {
        #[serde(default = "sixteen")]
        digits: usize,
    },
}

fn sixteen() -> usize {
    16
}

#[derive(Deserialize)]
struct Rule {
    field: String,
    #[serde(flatten)]
    action: Action,
}

#[derive(Deserialize)]
struct Settings {
    rules: Vec<Rule>,
    /// Name of the file that holds the key.
    #[serde(default = "key")]
    key_file: String,
}

fn key() -> String {
    "key".into()
}

/// Bytes of the shortest key.
const KEY_BYTES_MIN: usize = 16;
/// Hexadecimal digits of the whole hash.
const DIGITS: usize = 64;

/// The plugin.
pub struct Protect {
    rules: Vec<Rule>,
    /// By rule.
    columns: Vec<usize>,
    key: Vec<u8>,
}

impl Transform for Protect {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let hashes = settings.rules.iter().any(|rule| matches!(rule.action, Action::Hash { .. }));
        let key = config.file(&settings.key_file).unwrap_or_default().trim_ascii().to_vec();
        if hashes && key.len() < KEY_BYTES_MIN {
            return Err(format!(
                "a rule hashes, but file {:?} below `files` has {} bytes; give it a secret of {KEY_BYTES_MIN} or more, and the same on every agent",
                settings.key_file,
                key.len()
            ));
        }
        let mut columns = Columns::default();
        let of_rules = settings.rules.iter().map(|rule| columns.of(&rule.field)).collect();
        let registration = Registration::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), columns);
        Ok((Self { rules: settings.rules, columns: of_rules, key }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        for (rule, column) in self.rules.iter().zip(&self.columns) {
            match &rule.action {
                Action::Remove => edits.remove(&rule.field),
                _ => {
                    let mut update = UpdateBuilder::new(&rule.field);
                    change(batch, *column, &rule.action, &self.key, &mut update);
                    edits.update(update);
                }
            }
        }
        Ok(())
    }
}

fn change(batch: Batch<'_>, column: usize, action: &Action, key: &[u8], update: &mut UpdateBuilder) {
    let present = batch.rows().filter_map(|row| Some((row.index(), row.words(column)?)));
    match action {
        Action::Remove => {}
        Action::Replace { with } => present.for_each(|(row, _)| update.text(row, with)),
        Action::Truncate { letters, mark } => {
            for (row, value) in present {
                if let Some((end, _)) = value.char_indices().nth(*letters) {
                    update.text(row, &format!("{}{mark}", &value[..end]));
                }
            }
        }
        Action::Hash { digits } => {
            let hashes = kernels::hash(column, key);
            for (row, _) in present {
                let start = hashes.offsets[row] as usize;
                let hash = &hashes.data[start..start + (*digits).min(DIGITS)];
                update.text(row, std::str::from_utf8(hash).unwrap_or_default());
            }
        }
    }
}

sawlog_plugin::export_transform!(Protect);
