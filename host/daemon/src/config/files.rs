//! Reads the files of a config: one, or all of a folder. It knows their bytes, not what they mean.

use std::path::{Path, PathBuf};

use sawlog_settings::decode::Complaint;
use sawlog_settings::node::Node;
use thiserror::Error;

use super::references::Kept;

/// Largest file of a config.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Most files of a folder.
const FILES_MAX: usize = 1_000;

/// A file of a config.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// As it was named, or as the folder has it.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// It stands in the place of a value, such as `columns: ./columns.yaml`, and is no config itself.
    pub is_included: bool,
}

impl SourceFile {
    /// A file of the config itself.
    pub fn of_config(path: PathBuf, text: String) -> Self {
        Self { path, text, is_included: false }
    }
}

/// All files of a config, in the order of their names.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// The files; a place names one by its index.
    pub files: Vec<SourceFile>,
    /// The folder that relative paths in the config start from.
    pub folder: PathBuf,
    /// What references stood for when these files were first understood; none where they never were. Secrets are not among them.
    pub kept: Kept,
}

/// Why a config can't even be read.
#[derive(Debug, Error)]
pub enum FilesError {
    /// No such file or folder, or no right to it.
    #[error("the config `{path}` can't be read: {error}; give its path with `-c`, and let this user read it", path = .path.display())]
    Unreadable {
        /// What was to be read.
        path: PathBuf,
        /// The system's word for it.
        error: std::io::Error,
    },
    /// A folder without a config.
    #[error("the folder `{folder}` holds no file that ends in .yaml, .yml or .json; put the config there, or give its path with `-c`", folder = .0.display())]
    EmptyFolder(PathBuf),
    /// A file that no person wrote.
    #[error("the config `{file}` is larger than {FILE_BYTES_MAX} bytes; split it into a folder of files", file = .0.display())]
    TooLarge(PathBuf),
    /// Too many files.
    #[error("the folder `{folder}` holds more than {FILES_MAX} files; give a folder with the config alone", folder = .0.display())]
    TooMany(PathBuf),
    /// Not UTF-8.
    #[error("the config `{file}` is not UTF-8; save it as UTF-8", file = .0.display())]
    NotText(PathBuf),
}

/// Reads the file, or the files of the folder.
pub fn read(path: &Path) -> Result<Files, FilesError> {
    let unreadable = |error| FilesError::Unreadable { path: path.to_owned(), error };
    let is_folder = std::fs::metadata(path).map_err(unreadable)?.is_dir();
    let (paths, folder) = match is_folder {
        true => (list(path)?, path.to_owned()),
        false => (vec![path.to_owned()], path.parent().unwrap_or(Path::new("")).to_owned()),
    };
    let files = paths.into_iter().map(read_one).collect::<Result<_, _>>()?;
    Ok(Files { files, folder, kept: Kept::new() })
}

/// Files of a folder in the order of their names; hidden ones (as editors and mounted secrets leave them) are passed over.
fn list(folder: &Path) -> Result<Vec<PathBuf>, FilesError> {
    let unreadable = |error| FilesError::Unreadable { path: folder.to_owned(), error };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let ours =
            path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
        if ours && !hidden && path.is_file() {
            paths.push(path);
        }
        if paths.len() > FILES_MAX {
            return Err(FilesError::TooMany(folder.to_owned()));
        }
    }
    paths.sort();
    if paths.is_empty() { Err(FilesError::EmptyFolder(folder.to_owned())) } else { Ok(paths) }
}

/// Reads one file.
pub fn read_one(path: PathBuf) -> Result<SourceFile, FilesError> {
    let unreadable = |error| FilesError::Unreadable { path: path.clone(), error };
    if std::fs::metadata(&path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(FilesError::TooLarge(path));
    }
    let bytes = std::fs::read(&path).map_err(unreadable)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(SourceFile::of_config(path, text)),
        Err(_) => Err(FilesError::NotText(path)),
    }
}

impl Files {
    /// The files as one tree: `plugins`, `sources`, `transforms`, `sinks` and `remove` may be spread over them, every other
    /// section stands in one.
    pub fn tree(&self, complaints: &mut Vec<Complaint>) -> Node {
        let mut roots = Vec::new();
        for (number, file) in self.files.iter().enumerate().filter(|(_, file)| !file.is_included) {
            match super::yaml::read(number as u32, &file.text) {
                Ok(root) => roots.push(root),
                Err(complaint) => complaints.push(complaint),
            }
        }
        super::merge::merge(roots, complaints)
    }
}
