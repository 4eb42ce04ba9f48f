//! The reader: counts rows of JSON lines below a folder, by the numbers that the sender gave them. It shares no code with the
//! agent, and proves on a spoiled copy of what it read that it would notice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// What was found of what was sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Count {
    /// Rows that must be there.
    pub expected: usize,
    /// Rows that are not.
    pub lost: usize,
    /// Rows beyond the first of their number.
    pub duplicated: usize,
    /// Rows that nobody sent here.
    pub unknown: usize,
    /// Whether one row removed and one repeated were both noticed.
    pub control: bool,
}

/// How many rows lie at `path`, a file or a folder. Names that begin with `_` or end with `.part` are the agent's own.
pub fn rows(path: &Path) -> Result<usize> {
    let mut rows = 0;
    each_line(path, &mut |_| {
        rows += 1;
        Ok(())
    })?;
    Ok(rows)
}

/// Compares the rows at `path` with the numbers that were sent.
pub fn count(path: &Path, expected: &BTreeSet<u64>) -> Result<Count> {
    let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
    each_line(path, &mut |line| {
        let row: serde_json::Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        let number = row.get("seq").and_then(serde_json::Value::as_u64).with_context(|| format!("no seq: {line}"))?;
        *seen.entry(number).or_default() += 1;
        Ok(())
    })?;
    let (lost, duplicated, unknown) = compare(&seen, expected);
    Ok(Count { expected: expected.len(), lost, duplicated, unknown, control: notices(&seen, expected) })
}

fn compare(seen: &BTreeMap<u64, usize>, expected: &BTreeSet<u64>) -> (usize, usize, usize) {
    let lost = expected.iter().filter(|n| !seen.contains_key(n)).count();
    let duplicated = seen.values().map(|times| times - 1).sum();
    let unknown = seen.keys().filter(|n| !expected.contains(n)).count();
    (lost, duplicated, unknown)
}

/// Spoils a copy: one row less, another one twice.
fn notices(seen: &BTreeMap<u64, usize>, expected: &BTreeSet<u64>) -> bool {
    let mut spoiled = seen.clone();
    let (Some(first), Some(last)) = (seen.keys().next(), seen.keys().next_back()) else { return false };
    spoiled.remove(first);
    *spoiled.entry(*last).or_default() += 1;
    let (before, after) = (compare(seen, expected), compare(&spoiled, expected));
    after.0 == before.0 + 1 && after.1 == before.1 + 1
}

fn each_line(path: &Path, take: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if name.starts_with('_') || name.ends_with(".part") || !path.exists() {
        return Ok(());
    }
    if path.is_dir() {
        let mut entries = fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::path);
        return entries.iter().try_for_each(|entry| each_line(&entry.path(), take));
    }
    // A file may become another name while the folder is read; the next look finds it.
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    text.lines().filter(|line| !line.is_empty()).try_for_each(take)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_and_repetition_are_counted_apart() {
        let seen = BTreeMap::from([(1, 1), (2, 3), (9, 1)]);
        assert_eq!(compare(&seen, &BTreeSet::from([1, 2, 3])), (1, 2, 1));
        assert!(notices(&seen, &BTreeSet::from([1, 2, 3])));
        assert!(!notices(&BTreeMap::new(), &BTreeSet::new()));
    }
}
