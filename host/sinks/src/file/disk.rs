//! Durable steps on a local disk, and what their failures mean to a person. Decides nothing about names or contents.

use rustix::fs::{AtFlags, CWD, RenameFlags, linkat, renameat_with, unlinkat};
use rustix::io::Errno;
use sawlog_core::ports::SinkError;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Folders that are remembered as durable; beyond that the memory begins anew.
const DURABLE_FOLDERS_MAX: usize = 4096;

/// What a failed step on `path` means.
pub(super) fn failed(what: &str, path: &Path, error: io::Error) -> SinkError {
    let at = path.display();
    match Errno::from_io_error(&error) {
        Some(Errno::NOSPC | Errno::DQUOT) => {
            SinkError::Unavailable(format!("{what} {at}: {error}; free some space, delivery goes on by itself"))
        }
        Some(Errno::ROFS) => SinkError::Refused(format!("{what} {at}: {error}; remount it writable, or change `path`")),
        Some(Errno::ACCESS | Errno::PERM) => SinkError::Refused(format!(
            "{what} {at}: {error}; give the user that runs sawlog read, write and execute there, or change `path`"
        )),
        Some(Errno::NOTDIR | Errno::ISDIR | Errno::NAMETOOLONG | Errno::LOOP) => {
            SinkError::Refused(format!("{what} {at}: {error}; move away what stands there, or change `path`"))
        }
        _ => SinkError::Unavailable(format!("{what} {at}: {error}")),
    }
}

/// Makes the entries of `folder` durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), SinkError> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| failed("can't make durable the folder", folder, e))
}

/// Gives `from` the name `to` unless there is something of that name; `false` where there is. Durable after the folder is.
pub(super) fn rename_over_nothing(from: &Path, to: &Path) -> Result<bool, SinkError> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // File systems without the flag (NFS): a hard link never replaces either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_over_nothing(from, to),
        Err(error) => Err(failed("can't rename to", to, error.into())),
    }
}

fn link_over_nothing(from: &Path, to: &Path) -> Result<bool, SinkError> {
    match linkat(CWD, from, CWD, to, AtFlags::empty()) {
        Ok(()) => {
            unlinkat(CWD, from, AtFlags::empty()).map_err(|e| failed("can't remove", from, e.into()))?;
            Ok(true)
        }
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(failed("can't link to", to, error.into())),
    }
}

/// Folders whose own entries are durable, so that not every file costs a sync of every parent.
#[derive(Debug, Default)]
pub(super) struct Folders {
    durable: Mutex<BTreeSet<PathBuf>>,
}

impl Folders {
    /// Makes `folder` and whatever is missing above it, durably.
    pub(super) fn make(&self, folder: &Path) -> Result<(), SinkError> {
        if self.holds(folder) && folder.is_dir() {
            return Ok(());
        }
        std::fs::create_dir_all(folder).map_err(|e| failed("can't make the folder", folder, e))?;
        let mut durable = vec![folder.to_owned()];
        // An earlier life may have made any of them and died before the sync.
        for parent in folder.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()) {
            match sync_folder(parent) {
                Ok(()) if self.holds(parent) => break,
                Ok(()) => durable.push(parent.to_owned()),
                // Parents that we may pass but not read are not ours to make.
                Err(SinkError::Refused(_)) => break,
                Err(error) => return Err(error),
            }
        }
        let mut known = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= DURABLE_FOLDERS_MAX {
            known.clear();
        }
        known.extend(durable);
        Ok(())
    }

    fn holds(&self, folder: &Path) -> bool {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(folder)
    }
}
