//! The sender: numbered lines into a file that it rotates by renaming.

use anyhow::Result;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Lines of one file before it is rotated.
const LINES_PER_FILE: u64 = 700;

/// What was written.
pub struct Feed {
    path: PathBuf,
    next: u64,
    files: u32,
}

impl Feed {
    /// A feed that has written nothing.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), next: 0, files: 1 }
    }

    /// Writes `lines` more lines, in bursts.
    pub fn write(&mut self, lines: u64) -> Result<()> {
        let end = self.next + lines;
        while self.next < end {
            let burst_end = (self.next + 100).min(end).min((self.next / LINES_PER_FILE + 1) * LINES_PER_FILE);
            let text: String = (self.next..burst_end)
                .map(|n| format!("{{\"seq\":{n},\"level\":\"info\",\"message\":\"line {n}\"}}\n"))
                .collect();
            File::options().create(true).append(true).open(&self.path)?.write_all(text.as_bytes())?;
            self.next = burst_end;
            if self.next.is_multiple_of(LINES_PER_FILE) {
                self.rotate()?;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

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

    /// How many lines were written, numbered from 0.
    pub fn written(&self) -> u64 {
        self.next
    }
}
