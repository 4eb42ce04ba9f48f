//! Log files that are rotated in every style in use, by a program that knows what it wrote. What is expected is well defined: where
//! a style takes bytes away by itself (a copy that is truncated, a file that is deleted), the program is silent just then.

use crate::feed::plain;
use crate::followed::Written;
use anyhow::{Context, Result, ensure};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write as _;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Rotated files that are kept; older ones go.
const KEPT: u32 = 6;
/// The numbers of different logs' lines are this far apart.
pub const APART: u64 = 100_000_000;
/// Longest time until the agent lets go of a deleted file, so that its inode can be had again.
const LET_GO_MAX: Duration = Duration::from_secs(3);
/// Files that are made to be given an inode again: others that are free come first.
const TRIES: u32 = 64;

/// How a log is rotated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// Renamed; the program goes on in a new file at once.
    Rename,
    /// Renamed; the program writes to the renamed file for a while.
    RenameLate,
    /// Renamed to a name with its date.
    Dated,
    /// Copied, and truncated. What is written between the two exists in no file, so nothing is.
    CopyTruncate,
    /// Renamed, and packed as soon as the program has let go of it.
    Packed,
    /// Renamed, and packed at the next rotation.
    PackedLater,
    /// Deleted, and made again.
    DeleteCreate,
    /// The same, and the new file is given the inode of the old one.
    SameInode,
    /// The live name is a link, which is set to another file.
    Link,
}

impl Style {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Rename,
        Self::RenameLate,
        Self::Dated,
        Self::CopyTruncate,
        Self::Packed,
        Self::PackedLater,
        Self::DeleteCreate,
        Self::SameInode,
        Self::Link,
    ];

    /// What it is called in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rename => "rename",
            Self::RenameLate => "rename_late",
            Self::Dated => "dated",
            Self::CopyTruncate => "copytruncate",
            Self::Packed => "packed",
            Self::PackedLater => "packed_later",
            Self::DeleteCreate => "delete_create",
            Self::SameInode => "same_inode",
            Self::Link => "link",
        }
    }

    /// Whether what was in a file is gone with it: an agent that is down then can't have it.
    pub fn deletes(self) -> bool {
        matches!(self, Self::DeleteCreate | Self::SameInode)
    }
}

/// A log and the program that writes it, which holds its file open.
pub struct Log {
    /// How it is rotated.
    pub style: Style,
    /// Rotations so far.
    pub turns: u64,
    live: PathBuf,
    file: File,
    first: u64,
    next: u64,
    /// The number of the first line of each file.
    begins: Vec<u64>,
    /// Files under names of their own, oldest first.
    named: VecDeque<PathBuf>,
}

impl Log {
    /// A log below `folder`; of each index one.
    pub fn new(folder: &Path, style: Style, index: u64) -> Result<Self> {
        let folder = folder.join(style.name());
        fs::create_dir_all(&folder)?;
        let (live, first) = (folder.join("app.log"), (index + 1) * APART);
        let mut named = VecDeque::new();
        if style == Style::Link {
            named.push_back(folder.join("app.log.000000"));
            symlink(&named[0], &live)?;
        }
        let file = open(named.front().unwrap_or(&live))?;
        Ok(Self { style, turns: 0, live, file, first, next: first, begins: vec![first], named })
    }

    /// Writes lines.
    pub fn write(&mut self, lines: u64) -> Result<()> {
        let text: String = (self.next..self.next + lines).map(|number| plain(number) + "\n").collect();
        self.next += lines;
        Ok(self.file.write_all(text.as_bytes())?)
    }

    /// Rotates it. `late` lines are written between the rotation and its end, where the style has such a time.
    pub fn turn(&mut self, late: u64) -> Result<()> {
        let is_done = match self.style {
            Style::Rename => self.rename(&self.rotated(1), 0)?,
            Style::RenameLate => self.rename(&self.rotated(1), late)?,
            Style::Dated => {
                self.rename(&self.live.with_file_name(format!("app.log-20261128{:06}", self.turns)), late)?
            }
            Style::CopyTruncate => self.copy_and_truncate()?,
            Style::Packed => self.rename(&self.rotated(1), late)? && pack(&self.rotated(1))?,
            Style::PackedLater => {
                self.shift()?;
                let plain = self.rotated(2);
                (!plain.exists() || pack(&plain)?) && self.move_away(&self.rotated(1), late)?
            }
            Style::DeleteCreate => {
                fs::remove_file(&self.live)?;
                self.file = open(&self.live)?;
                true
            }
            Style::SameInode => self.same_inode()?,
            Style::Link => self.link_anew(late)?,
        };
        self.turns += u64::from(is_done);
        self.begins.push(self.next);
        Ok(())
    }

    fn rotated(&self, number: u32) -> PathBuf {
        self.live.with_file_name(format!("app.log.{number}"))
    }

    /// Every rotated file gets the next number, and the oldest goes.
    fn shift(&self) -> Result<()> {
        for number in (1..=KEPT).rev() {
            for end in ["", ".gz"] {
                let name = |number: u32| self.live.with_file_name(format!("app.log.{number}{end}"));
                match (name(number).exists(), number == KEPT) {
                    (false, _) => {}
                    (true, true) => fs::remove_file(name(number))?,
                    (true, false) => fs::rename(name(number), name(number + 1))?,
                }
            }
        }
        Ok(())
    }

    fn rename(&mut self, to: &Path, late: u64) -> Result<bool> {
        match self.style {
            Style::Dated => self.keep(to)?,
            _ => self.shift()?,
        }
        self.move_away(to, late)
    }

    fn move_away(&mut self, to: &Path, late: u64) -> Result<bool> {
        fs::rename(&self.live, to)?;
        self.write(late)?;
        self.file = open(&self.live)?;
        Ok(true)
    }

    /// A new name joins those that are kept, and the oldest goes.
    fn keep(&mut self, name: &Path) -> Result<()> {
        self.named.push_back(name.to_owned());
        match self.named.len() > KEPT as usize {
            true => Ok(fs::remove_file(self.named.pop_front().context("a name")?)?),
            false => Ok(()),
        }
    }

    fn copy_and_truncate(&mut self) -> Result<bool> {
        self.shift()?;
        fs::copy(&self.live, self.rotated(1))?;
        self.file.set_len(0)?;
        Ok(true)
    }

    fn link_anew(&mut self, late: u64) -> Result<bool> {
        let target = self.live.with_file_name(format!("app.log.{:06}", self.turns + 1));
        self.keep(&target)?;
        let file = open(&target)?;
        let link = self.live.with_file_name("next");
        symlink(&target, &link)?;
        fs::rename(&link, &self.live)?;
        self.write(late)?;
        self.file = file;
        Ok(true)
    }

    /// Whether the new file was given the inode of the old one.
    fn same_inode(&mut self) -> Result<bool> {
        let inode = self.file.metadata()?.ino();
        fs::remove_file(&self.live)?;
        // The program is one of those who hold it.
        self.file = open(&self.live.with_file_name("none"))?;
        let until = Instant::now() + LET_GO_MAX;
        let found = loop {
            let found = file_with_inode(self.live.with_file_name("tries"), inode)?;
            if found.is_some() || Instant::now() > until {
                break found;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        if let Some(found) = &found {
            fs::rename(found, &self.live)?;
        }
        self.file = open(&self.live)?;
        Ok(found.is_some())
    }
}

impl Written for Log {
    fn name(&self) -> &str {
        self.style.name()
    }

    fn numbers(&self) -> Range<u64> {
        self.first..self.next
    }

    fn begins(&self) -> &[u64] {
        &self.begins
    }
}

fn open(path: &Path) -> Result<File> {
    File::options().create(true).append(true).open(path).with_context(|| format!("cannot open {}", path.display()))
}

/// An empty file with this inode, where the file system gives it again.
fn file_with_inode(name: PathBuf, inode: u64) -> Result<Option<PathBuf>> {
    let (mut made, mut found) = (Vec::new(), None);
    for number in 0..TRIES {
        let path = name.with_extension(number.to_string());
        if File::create(&path)?.metadata()?.ino() == inode {
            found = Some(path);
            break;
        }
        made.push(path);
    }
    made.iter().try_for_each(fs::remove_file)?;
    Ok(found)
}

/// Whether the file system of a folder gives the inode of a deleted file again.
pub fn gives_inodes_again(folder: &Path) -> Result<bool> {
    let path = folder.join("first");
    let inode = File::create(&path)?.metadata()?.ino();
    fs::remove_file(&path)?;
    let found = file_with_inode(folder.join("again"), inode)?;
    found.as_ref().map_or(Ok(()), fs::remove_file)?;
    Ok(found.is_some())
}

/// Packs a file as logrotate does: the packed one beside it, then the plain one goes.
fn pack(plain: &Path) -> Result<bool> {
    let status = Command::new("gzip").arg("--fast").arg(plain).status().context("cannot run gzip")?;
    ensure!(status.success(), "gzip {} ended with {status}", plain.display());
    Ok(true)
}
