//! Joins the lines of an exception that came as records of their own: Java, Python, Go, Node, Ruby and .NET, by the shape of
//! the lines. The joined record leaves right behind the record that ended it, or when its partition falls silent.

mod held;
mod lines;

use held::Held;
use lines::{Begins, Language};
use sawlog_plugin::{
    Batch, Columns, Config, Edits, Emitted, Fate, Keyed, Registration, Row, Stateful, Transform, Watermark,
};
use serde::Deserialize;

const SECOND: i64 = 1_000_000_000;

#[derive(Deserialize)]
#[serde(default)]
struct Settings {
    field: String,
    key: Option<String>,
    languages: Vec<Language>,
    timeout_seconds: i64,
    lines_max: usize,
    keys_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            field: "body".into(),
            key: None,
            languages: Language::ALL.to_vec(),
            timeout_seconds: 5,
            lines_max: 500,
            keys_max: 1_000,
        }
    }
}

/// The plugin. Columns: the text, the whole record, the key.
pub struct JoinExceptions {
    settings: Settings,
    key: Option<usize>,
    held: Keyed<Held>,
}

/// Bytes of a joined text: what one record may give rise to is bounded by the host.
const TEXT_BYTES_MAX: usize = 22 << 10;
/// A first record this large is not held: what else it has must fit beside the joined text.
const FIRST_BYTES_MAX: usize = 8 << 10;
/// Joined records that one record may give rise to, for the same reason.
const JOINED_MAX: usize = 2;

impl JoinExceptions {
    fn row(&mut self, row: Row<'_>, watermark: i64, edits: &mut Edits) -> Result<(), String> {
        let key = self.key.and_then(|column| row.words(column)).unwrap_or_default();
        let text = row.text(0);
        if let Some(held) = self.held.get_mut(&key)
            && let Some(text) = text
            && held.takes(text, self.settings.lines_max, TEXT_BYTES_MAX)
        {
            edits.decide(row.index(), Fate::Absorb);
            return Ok(());
        }
        let mut ended: Vec<Held> = self.held.remove(&key).map(|(_, held)| held).into_iter().collect();
        let record = row.bytes(1).unwrap_or_default();
        let begins = text.and_then(|text| Begins::of(text, &self.settings.languages));
        if let (Some(begins), Some(text)) = (begins, text)
            && record.len() <= FIRST_BYTES_MAX
        {
            let held = Held::new(begins, text, record, row.time());
            edits.decide(row.index(), Fate::Absorb);
            ended.extend(self.held.set(&key, row.time(), held).map(|(_, held)| held));
        }
        while ended.len() < JOINED_MAX
            && let Some((_, held)) = self.held.pop_before(watermark.saturating_sub(self.timeout()))
        {
            ended.push(held);
        }
        for held in ended {
            edits.add(row.index(), 0, held.record(&self.settings.field)?);
        }
        Ok(())
    }

    fn timeout(&self) -> i64 {
        self.settings.timeout_seconds * SECOND
    }
}

impl Transform for JoinExceptions {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let mut columns = Columns::default();
        columns.of(&settings.field);
        columns.of("$record");
        let key = settings.key.as_ref().map(|key| columns.of(key));
        let registration = Registration {
            timestamps: true,
            state_version: 1,
            ..Registration::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), columns)
        };
        let held = Keyed::new(settings.keys_max);
        Ok((Self { settings, key, held }, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        let mut watermark = Watermark::before(batch, 0);
        for row in batch.rows() {
            watermark.pass(row);
            self.row(row, watermark.now(), edits)?;
        }
        edits.wake_at(self.held.oldest().map(|oldest| oldest.saturating_add(self.timeout())));
        Ok(())
    }
}

impl Stateful for JoinExceptions {
    fn snapshot(&self) -> Vec<u8> {
        self.held.to_bytes()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.held.read(snapshot)
    }

    fn flush(&mut self, now: i64) -> Result<Vec<Emitted>, String> {
        let before = if now == i64::MAX { now } else { now.saturating_sub(self.timeout()).saturating_add(1) };
        let mut emitted = Vec::new();
        while let Some((_, held)) = self.held.pop_before(before) {
            emitted.push(Emitted { route: 0, row: held.record(&self.settings.field)? });
        }
        Ok(emitted)
    }
}

sawlog_plugin::export_stateful!(JoinExceptions);
