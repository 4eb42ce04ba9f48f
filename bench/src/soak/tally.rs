//! Which numbers came, and how often. It shares no code with the agent.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use memchr::memmem;

/// What stands before a record's number.
const MARK: &[u8] = b"\"seq\":";

/// Numbers from some first one on.
#[derive(Debug, Default)]
pub struct Tally {
    first: u64,
    /// A bit for each number.
    seen: Vec<u64>,
    records: u64,
    repeated: u64,
    unknown: u64,
}

impl Tally {
    /// Nothing yet, of numbers from `first` on.
    pub fn from(first: u64) -> Self {
        Self { first, ..Self::default() }
    }

    /// The rows of a file.
    pub fn of_file(path: &Path, first: u64) -> Result<Self> {
        let mut tally = Self::from(first);
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        for row in BufReader::with_capacity(1 << 20, file).split(b'\n') {
            match Self::number(&row?) {
                Some(number) => tally.note(number),
                None => tally.note_unknown(),
            }
        }
        Ok(tally)
    }

    /// The number of a row.
    pub fn number(row: &[u8]) -> Option<u64> {
        let digits = row.get(memmem::find(row, MARK)? + MARK.len()..)?;
        let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
        std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
    }

    /// A row with this number came.
    pub fn note(&mut self, number: u64) {
        let Some(number) = number.checked_sub(self.first) else { return self.note_unknown() };
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        self.repeated += u64::from(self.seen[word] & bit != 0);
        self.records += u64::from(self.seen[word] & bit == 0);
        self.seen[word] |= bit;
    }

    /// A row came without a number.
    pub fn note_unknown(&mut self) {
        self.unknown += 1;
    }

    /// Fails unless the first `records` numbers came once each, and nothing else.
    pub fn judge(&self, records: u64) -> Result<()> {
        let is_there =
            |number: u64| self.seen.get((number / 64) as usize).is_some_and(|w| w & (1 << (number % 64)) != 0);
        let there = (0..records).filter(|number| is_there(*number)).count() as u64;
        let (lost, unknown) = (records - there, self.unknown + self.records - there);
        ensure!(
            (lost, self.repeated, unknown) == (0, 0, 0),
            "of {records} records {lost} are lost, {} came again, {unknown} nobody sent",
            self.repeated
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(rows: &[&str]) -> String {
        let mut tally = Tally::from(100);
        for row in rows {
            match Tally::number(row.as_bytes()) {
                Some(number) => tally.note(number),
                None => tally.note_unknown(),
            }
        }
        tally.judge(3).err().map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn what_is_missing_what_came_again_and_what_nobody_sent_are_told_apart() {
        let row = |n: u64| format!("{{\"seq\":{n},\"a\":1}}");
        let rows: Vec<String> = [100, 101, 102, 101, 103, 7].map(row).to_vec();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        assert_eq!(judged(&rows[..3]), "");
        assert_eq!(judged(&rows[..2]), "of 3 records 1 are lost, 0 came again, 0 nobody sent");
        assert_eq!(judged(&rows[..4]), "of 3 records 0 are lost, 1 came again, 0 nobody sent");
        assert_eq!(judged(&rows), "of 3 records 0 are lost, 1 came again, 2 nobody sent");
        assert_eq!(judged(&[rows[0], rows[1], rows[2], "{}"]), "of 3 records 0 are lost, 0 came again, 1 nobody sent");
    }
}
