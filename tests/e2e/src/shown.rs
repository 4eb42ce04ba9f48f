//! What a sink shows, as its reader finds it, and the negative control: the same reader over a spoiled copy of the whole output.
//! None of it shares code with the agent.

use crate::read;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The output of a sink.
pub trait Shown {
    /// The numbers of the rows.
    fn rows(&self) -> Result<Vec<u64>>;

    /// What the same reader finds in a copy of the output that lacks the row `removed` and has the row `repeated` once more: in
    /// another object, at another offset, under another document id.
    fn spoiled(&self, removed: u64, repeated: u64) -> Result<Vec<u64>>;
}

/// What rows are wrong.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Expected, and not there.
    pub lost: Vec<u64>,
    /// There once more than expected; as often in here as it is too many.
    pub repeated: Vec<u64>,
    /// Never sent.
    pub unknown: Vec<u64>,
}

impl Differences {
    /// Of rows against the numbers that must be there, each once.
    pub fn of(rows: &[u64], expected: &[u64]) -> Self {
        let mut times: BTreeMap<u64, usize> = expected.iter().map(|number| (*number, 0)).collect();
        let mut differences = Self::default();
        for row in rows {
            match times.get_mut(row) {
                None => differences.unknown.push(*row),
                Some(seen) => {
                    *seen += 1;
                    if *seen > 1 {
                        differences.repeated.push(*row);
                    }
                }
            }
        }
        differences.lost = times.into_iter().filter(|(_, seen)| *seen == 0).map(|(number, _)| number).collect();
        differences
    }

    /// How many of each, and the first few.
    pub fn summary(&self) -> String {
        let of = |numbers: &[u64]| format!("{} {:?}", numbers.len(), &numbers[..numbers.len().min(5)]);
        format!("lost {}, duplicated {}, unknown {}", of(&self.lost), of(&self.repeated), of(&self.unknown))
    }
}

/// The negative control of an output that was found exact: its reader must report what is missing and what is there twice in a
/// spoiled copy, and nothing else.
pub fn control(shown: &(impl Shown + ?Sized)) -> Result<()> {
    let rows = shown.rows()?;
    let (removed, repeated) = (rows.get(rows.len() / 3), rows.get(rows.len() * 2 / 3));
    let (removed, repeated) = removed.zip(repeated).context("no rows, so nothing to spoil")?;
    let found = Differences::of(&shown.spoiled(*removed, *repeated)?, &rows);
    let wanted = Differences { lost: vec![*removed], repeated: vec![*repeated], unknown: Vec::new() };
    ensure!(removed != repeated && found == wanted, "the reader of a spoiled copy reports {found:?}, not {wanted:?}");
    Ok(())
}

/// Rows of JSON lines in a file or below a folder.
pub struct Folder(pub PathBuf);

impl Shown for Folder {
    fn rows(&self) -> Result<Vec<u64>> {
        read::folder(&self.0)
    }

    fn spoiled(&self, removed: u64, repeated: u64) -> Result<Vec<u64>> {
        let copy = spoiled_copy(&self.0, removed, repeated)?;
        read::folder(&copy.path().join("copy"))
    }
}

/// The same folder of partitions, as a table that DuckDB reads.
pub struct Table(pub PathBuf);

impl Shown for Table {
    fn rows(&self) -> Result<Vec<u64>> {
        read::duckdb("", &format!("{}/*/*/*.jsonl", self.0.display()))
    }

    fn spoiled(&self, removed: u64, repeated: u64) -> Result<Vec<u64>> {
        let copy = spoiled_copy(&self.0, removed, repeated)?;
        Self(copy.path().join("copy")).rows()
    }
}

fn spoiled_copy(of: &Path, removed: u64, repeated: u64) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let is = |line: &str, number: u64| read::number(line).is_ok_and(|found| found == number);
    copy_lines(of, &folder.path().join("copy"), &|line| is(line, removed), &|line| is(line, repeated))?;
    Ok(folder)
}

/// Copies a file or a folder of lines, without those that are `removed`, and with those that are `repeated` once more: in a file
/// of their own beside the first where it is a folder, else at the end.
pub fn copy_lines(
    from: &Path,
    to: &Path,
    removed: &dyn Fn(&str) -> bool,
    repeated: &dyn Fn(&str) -> bool,
) -> Result<()> {
    if from.is_dir() {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let name = entry?.file_name();
            copy_lines(&from.join(&name), &to.join(&name), removed, repeated)?;
        }
        return Ok(());
    }
    // The agent's own files are no rows.
    let Ok(text) = std::fs::read_to_string(from) else { return Ok(()) };
    let text_of = |lines: Vec<&str>| lines.into_iter().map(|line| format!("{line}\n")).collect::<String>();
    let mut kept = text_of(text.lines().filter(|line| !removed(line)).collect());
    let again = text_of(text.lines().filter(|line| repeated(line)).collect());
    match to.file_name().and_then(|name| name.to_str()).filter(|name| *name != "copy") {
        Some(name) if !again.is_empty() => std::fs::write(to.with_file_name(format!("again-{name}")), again)?,
        _ => kept.push_str(&again),
    }
    Ok(std::fs::write(to, kept)?)
}

/// Committed messages of a Kafka topic.
pub struct Committed {
    /// `HOST:PORT` of a broker.
    pub brokers: String,
    /// The topic.
    pub topic: String,
}

impl Committed {
    /// The messages of `topic`.
    pub fn of(brokers: &str, topic: &str) -> Self {
        Self { brokers: brokers.to_owned(), topic: topic.to_owned() }
    }
}

impl Shown for Committed {
    fn rows(&self) -> Result<Vec<u64>> {
        read::kafka(&self.brokers, &self.topic)
    }

    fn spoiled(&self, removed: u64, repeated: u64) -> Result<Vec<u64>> {
        let copy = format!("copy-of-{}", self.topic);
        let messages = read::messages(&self.brokers, &self.topic)?;
        let partitions = messages.iter().map(|(partition, _)| partition + 1).max().unwrap_or(1);
        read::make_topics(&self.brokers, &[(&copy, partitions, false)])?;
        let (mut kept, mut again) = (Vec::new(), Vec::new());
        for (partition, text) in messages {
            let number = read::number(&text)?;
            if number == repeated {
                again.push((partition, text.clone()));
            }
            if number != removed {
                kept.push((partition, text));
            }
        }
        kept.extend(again);
        read::send(&self.brokers, &copy, &kept)?;
        read::kafka(&self.brokers, &copy)
    }
}

/// Rows of JSON lines below a folder of HDFS.
pub struct Hdfs {
    /// WebHDFS; ends with `/webhdfs/v1`.
    pub url: String,
    /// The folder.
    pub root: String,
}

impl Shown for Hdfs {
    fn rows(&self) -> Result<Vec<u64>> {
        read::webhdfs(&self.url, &self.root)
    }

    fn spoiled(&self, removed: u64, repeated: u64) -> Result<Vec<u64>> {
        let copy = format!("{}-copy", self.root);
        for file in read::files_of_hdfs(&self.url, &self.root)? {
            let lines = read::lines_of_hdfs(&self.url, &file.path)?;
            let numbered = lines.into_iter().map(|line| Ok((read::number(&line)?, line + "\n")));
            let numbered = numbered.collect::<Result<Vec<_>>>()?;
            let of = |is: &dyn Fn(u64) -> bool| -> String {
                numbered.iter().filter(|(number, _)| is(*number)).map(|(_, line)| line.as_str()).collect()
            };
            let to = file.path.replacen(&self.root, &copy, 1);
            read::put_to_hdfs(&self.url, &to, &file.owner, of(&|number| number != removed))?;
            let again = of(&|number| number == repeated);
            if !again.is_empty() {
                read::put_to_hdfs(&self.url, &format!("{to}.again"), &file.owner, again)?;
            }
        }
        read::webhdfs(&self.url, &copy)
    }
}
