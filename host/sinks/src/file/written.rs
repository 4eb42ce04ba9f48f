//! What a `file` sink has written, read back: its files, oldest name first, and their bytes without compression. It knows no
//! rows.

use super::below_data_dir;
use super::config::FileSink;
use flate2::read::MultiGzDecoder;
use sawlog_settings::format::ObjectFormat;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The files of one sink that hold JSON lines.
#[derive(Debug)]
pub struct Written {
    format: ObjectFormat,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Everything in this folder and below.
    Folder(PathBuf),
    /// One file; and its like of partitions that move, which have theirs before the extension.
    Plain(PathBuf),
}

/// A file that can't be looked at, and what the system says.
pub type Unreadable = (PathBuf, io::Error);

impl Written {
    /// The files of a sink with these options; `None` for Parquet.
    pub fn of(options: &FileSink, data_dir: &Path) -> Option<Self> {
        if options.format == ObjectFormat::Parquet {
            return None;
        }
        let place = match (options.is_lake(), super::plain(options, data_dir)) {
            (false, Some(path)) => Place::Plain(path),
            _ => Place::Folder(below_data_dir(options.root(), data_dir)),
        };
        Some(Self { format: options.format, place })
    }

    /// The files with their lengths in bytes as they are now, in the order of their paths; none where nothing was written yet.
    ///
    /// # Errors
    /// A folder or file that can't be looked at.
    pub fn files(&self) -> Result<Vec<(PathBuf, u64)>, Unreadable> {
        let mut found = BTreeMap::new();
        match &self.place {
            Place::Folder(folder) => self.gather(folder, &|_| true, &mut found)?,
            Place::Plain(path) => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let mine = |name: &str| name.strip_prefix(&stem).is_some_and(|rest| rest.starts_with('.'));
                self.gather(path.parent().unwrap_or(Path::new("/")), &mine, &mut found)?;
            }
        }
        Ok(found.into_iter().collect())
    }

    fn gather(
        &self,
        folder: &Path,
        is_mine: &dyn Fn(&str) -> bool,
        found: &mut BTreeMap<PathBuf, u64>,
    ) -> Result<(), Unreadable> {
        let fail = |error| (folder.to_owned(), error);
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(fail)?,
        };
        for entry in entries {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(fail)?;
            // What begins so is no data: claims, and files that are not finished.
            if name.starts_with('_') || name.starts_with('.') {
                continue;
            }
            if kind.is_dir() && matches!(self.place, Place::Folder(_)) {
                self.gather(&entry.path(), is_mine, found)?;
            } else if kind.is_file() && is_mine(&name) && self.is_data(&name) {
                let length = entry.metadata().map_err(fail)?.len();
                found.insert(entry.path(), length);
            }
        }
        Ok(())
    }

    fn is_data(&self, name: &str) -> bool {
        let name = name.strip_suffix(".part").unwrap_or(name);
        name.strip_suffix(self.format.extension()).is_some_and(|stem| stem.ends_with('.'))
    }

    /// The bytes of one of the files without its compression. A frame that is cut short ends them with
    /// [`io::ErrorKind::UnexpectedEof`].
    ///
    /// # Errors
    /// The decompressor has no memory.
    pub fn unpacked<'a>(&self, file: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self.format {
            ObjectFormat::JsonLinesGzip => Box::new(MultiGzDecoder::new(file)),
            ObjectFormat::JsonLinesZstd => Box::new(zstd::stream::read::Decoder::new(file)?),
            ObjectFormat::JsonLines | ObjectFormat::Parquet => Box::new(file),
        })
    }
}
