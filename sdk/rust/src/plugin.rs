//! What a plugin is: the traits that it implements.

use crate::{Batch, Edits, Emitted, Fate};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What the configuration says for this plugin.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// The plugin's section, JSON text.
    pub json: &'a str,
    /// Files that the configuration names for it: (name, content).
    pub files: &'a [(String, Vec<u8>)],
}

impl Config<'_> {
    /// The section as `T`; the error names the place of the mistake.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_str(self.json).map_err(|e| e.to_string())
    }

    /// The content of file `name`.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.iter().find(|(n, _)| n == name).map(|(_, content)| content.as_slice())
    }
}

/// What a plugin wants and offers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Registration {
    /// Name, as its author gives it.
    pub name: String,
    /// Version, as its author gives it.
    pub version: String,
    /// Field paths and pseudo-columns (`$record`, `$rid`, `$received`, `$source`) that it reads, in the order of
    /// [`Row::get`](crate::Row::get).
    pub columns: Vec<String>,
    /// Whether it reads event times.
    pub timestamps: bool,
    /// Names of routes 1, 2, …
    pub routes: Vec<String>,
    /// Names of drop reasons 1, 2, …
    pub drop_reasons: Vec<String>,
    /// Version of the snapshot format.
    pub state_version: u32,
    /// How far event time may run behind the newest row, nanoseconds.
    pub lateness: i64,
}

impl Registration {
    /// Of a plugin that reads `columns`; `env!("CARGO_PKG_NAME")` and `env!("CARGO_PKG_VERSION")` are its name and version.
    pub fn new(name: &str, version: &str, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self { name: name.into(), version: version.into(), columns, ..Self::default() }
    }
}

/// Gathers the columns of a registration: each field once, however many options name it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Columns {
    fields: Vec<String>,
}

impl Columns {
    /// The number of the column of `field`.
    pub fn of(&mut self, field: &str) -> usize {
        let found = self.fields.iter().position(|one| one == field);
        found.unwrap_or_else(|| {
            self.fields.push(field.to_owned());
            self.fields.len() - 1
        })
    }

    /// The numbers of the columns of `fields`.
    pub fn of_each<'f>(&mut self, fields: impl IntoIterator<Item = &'f String>) -> Vec<usize> {
        fields.into_iter().map(|field| self.of(field)).collect()
    }
}

impl IntoIterator for Columns {
    type Item = String;
    type IntoIter = std::vec::IntoIter<String>;

    fn into_iter(self) -> Self::IntoIter {
        self.fields.into_iter()
    }
}

/// What a plugin does with a record that it can't read, as its users configure it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It goes on as it is.
    #[default]
    Keep,
    /// It is dropped for the first drop reason of the registration.
    Drop,
    /// It goes to the dead letters.
    DeadLetter,
}

impl OnFailure {
    /// The fate of a record that can't be read because of `reason`.
    pub fn fate(self, reason: &str) -> Fate {
        match self {
            Self::Keep => Fate::Keep,
            Self::Drop => Fate::Drop(1),
            Self::DeadLetter => Fate::Dead(reason.to_owned()),
        }
    }
}

/// Takes batches, gives edits.
pub trait Transform: Sized + 'static {
    /// Called once per instance. The error refuses the configuration and is shown to the operator.
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String>;

    /// Decides and edits the rows of `batch`. An error makes the host cut the batch until single rows are refused; those go
    /// to the dead letters. What this does must not depend on where batches are cut.
    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String>;
}

/// Keeps state over batches.
pub trait Stateful: Transform {
    /// The state as bytes. The same state must give the same bytes.
    fn snapshot(&self) -> Vec<u8>;

    /// Takes over a snapshot of the same `state_version`.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String>;

    /// Takes over a snapshot of an older `state_version`.
    fn upgrade(&mut self, version: u32, _old: &[u8]) -> Result<(), String> {
        Err(format!("state of version {version} is not understood"))
    }

    /// The partition is idle or has ended and event time is taken to be `now` (unix nanoseconds): give out what was held
    /// back.
    fn flush(&mut self, now: i64) -> Result<Vec<Emitted>, String>;
}
