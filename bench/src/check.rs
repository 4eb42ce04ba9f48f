//! The reader: every record's number must stand in the output exactly once. It shares no code with the agent.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use memchr::memmem;

/// Where a record's number stands in a row.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// After `"seq":`, or after `\"seq\":` where the record is text.
    Seq,
    /// After `user` in the row of a web server's line, else the row's text begins with it.
    User,
}

/// Fails unless the rows below `folder` are exactly the records below `records` that `keep` says.
pub fn exactly_once(folder: &Path, records: u64, number: Number, keep: impl Fn(u64) -> bool) -> Result<()> {
    let mut seen = vec![false; records as usize];
    let (mut repeated, mut unknown) = (0_u64, 0_u64);
    for path in files(folder)? {
        let bytes = fs::read(&path)?;
        for row in bytes.split(|byte| *byte == b'\n').filter(|row| !row.is_empty()) {
            let found = find(row, number).with_context(|| format!("no number: {}", String::from_utf8_lossy(row)))?;
            match seen.get_mut(found as usize) {
                Some(slot) if *slot => repeated += 1,
                Some(slot) if keep(found) => *slot = true,
                _ => unknown += 1,
            }
        }
    }
    let lost = (0..records).filter(|n| keep(*n) && !seen[*n as usize]).count();
    ensure!(
        lost == 0 && repeated == 0 && unknown == 0,
        "of {records} records {lost} are lost, {repeated} came again, {unknown} nobody sent"
    );
    Ok(())
}

/// What the agent appends to the members of a record.
const PROVENANCE: &[u8] = b",\"sawlog\":{";

/// Fails unless the row of each record is what `expected` says of its line in `input`, up to what the agent appends; where it says
/// nothing it does not matter.
pub fn each_is(
    folder: &Path,
    input: &Path,
    records: u64,
    expected: impl Fn(u64, &[u8]) -> Option<Vec<u8>>,
) -> Result<()> {
    let outputs = files(folder)?.into_iter().map(fs::read).collect::<Result<Vec<_>, _>>()?;
    let mut rows = vec![b"".as_slice(); records as usize];
    for row in outputs.iter().flat_map(|bytes| bytes.split(|byte| *byte == b'\n')).filter(|row| !row.is_empty()) {
        let number = find(row, Number::Seq).context("a row without a number")?;
        *rows.get_mut(number as usize).context("a row that nobody sent")? = row;
    }
    let lines = BufReader::with_capacity(1 << 20, File::open(input)?).split(b'\n');
    for (number, (line, row)) in lines.zip(rows).enumerate() {
        let Some(expected) = expected(number as u64, &line?) else { continue };
        let is_it = row.strip_prefix(expected.as_slice()).is_some_and(|rest| rest.starts_with(PROVENANCE));
        let [expected, row] = [&expected, row].map(String::from_utf8_lossy);
        ensure!(is_it, "record {number} should begin\n{expected}\nand is\n{row}");
    }
    Ok(())
}

/// Rows that are there, whatever they are.
pub fn count(folder: &Path) -> Result<u64> {
    let mut rows = 0;
    for path in files(folder)? {
        rows += memchr::memchr_iter(b'\n', &fs::read(&path)?).count() as u64;
    }
    Ok(rows)
}

fn find(row: &[u8], number: Number) -> Option<u64> {
    let digits = match number {
        Number::Seq => {
            let at = memmem::find(row, b"seq")?;
            row.get(at + 3..)?
        }
        Number::User => match memmem::find(row, b"\"user") {
            Some(at) if row.get(at + 5).is_some_and(u8::is_ascii_digit) => row.get(at + 5..)?,
            _ => match memmem::find(row, b":\"user") {
                Some(at) => row.get(at + 6..)?,
                None => row.get(memmem::find(row, b"\"body\":\"")? + 8..)?,
            },
        },
    };
    let begin = digits.iter().position(u8::is_ascii_digit)?;
    let end = digits[begin..].iter().position(|byte| !byte.is_ascii_digit()).map_or(digits.len(), |end| begin + end);
    std::str::from_utf8(&digits[begin..end]).ok()?.parse().ok()
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    let mut found = Vec::new();
    if !folder.exists() {
        return Ok(found);
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('_')) {
            found.extend(files(&path)?);
        }
    }
    Ok(found)
}
