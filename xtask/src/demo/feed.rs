//! The sender: writes numbered log lines to a file that it rotates, and keeps its own record of what it wrote.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

/// Lines of one file before it is rotated.
const LINES_PER_FILE: u64 = 4_000;
/// Lines written in one go.
const BURST: u64 = 250;

/// What was written, and where the next line goes.
pub struct Feed {
    path: PathBuf,
    lines: u64,
    next: u64,
    files: u32,
}

/// The level of a line, by its number.
fn level(number: u64) -> &'static str {
    ["debug", "info", "info", "warn", "info"][(number % 5) as usize]
}

impl Feed {
    /// A feed of `lines` lines.
    pub fn new(path: &Path, lines: u64) -> Self {
        Self { path: path.to_owned(), lines, next: 0, files: 1 }
    }

    /// Writes on until line `end`, in bursts, as a program would.
    pub fn write_until(&mut self, end: u64) -> Result<()> {
        while self.next < end.min(self.lines) {
            let mut text = String::new();
            let burst_end = (self.next + BURST).min(end).min((self.next / LINES_PER_FILE + 1) * LINES_PER_FILE);
            for n in self.next..burst_end {
                let level = level(n);
                text.push_str(&format!(
                    r#"{{"seq":{n},"level":"{level}","service":"checkout","message":"order {n} of user{n}@example.org took {} ms","trace":"{:016x}"}}"#,
                    n % 977,
                    n.wrapping_mul(0x9E37_79B9_7F4A_7C15)
                ));
                text.push('\n');
            }
            File::options().create(true).append(true).open(&self.path)?.write_all(text.as_bytes())?;
            self.next = burst_end;
            if self.next.is_multiple_of(LINES_PER_FILE) {
                self.rotate()?;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// By renaming, as logrotate does.
    fn rotate(&mut self) -> Result<()> {
        for number in (1..self.files).rev() {
            fs::rename(self.rotated(number), self.rotated(number + 1))?;
        }
        fs::rename(&self.path, self.rotated(1))?;
        self.files += 1;
        Ok(())
    }

    fn rotated(&self, number: u32) -> PathBuf {
        PathBuf::from(format!("{}.{number}", self.path.display()))
    }

    /// Lines written.
    pub fn written(&self) -> u64 {
        self.next
    }

    /// Files written to.
    pub fn files(&self) -> u32 {
        self.files
    }

    /// Numbers of the lines that a reader of the lake must find: all but those at debug level.
    pub fn kept(&self) -> BTreeSet<u64> {
        (0..self.next).filter(|n| level(*n) != "debug").collect()
    }

    /// Numbers of the lines at warn level.
    pub fn warnings(&self) -> BTreeSet<u64> {
        (0..self.next).filter(|n| level(*n) == "warn").collect()
    }
}
