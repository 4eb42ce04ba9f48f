//! The content-addressed store: bytes under their BLAKE3 digest. What they are is not known here.

use crate::error::CheckpointError;
use sawlog_log::disk::{read_all, write_whole};
use sawlog_log::{Disk, DiskError};

/// Folder of the blobs.
pub(crate) const DIR: &str = "blobs";

fn file_name(digest: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*digest).to_hex().to_string()
}

/// Stores `bytes`; durable when this returns. Bytes that are there already are not written again.
pub(crate) fn put(disk: &dyn Disk, bytes: &[u8]) -> Result<[u8; 32], CheckpointError> {
    let digest = *blake3::hash(bytes).as_bytes();
    if matches!(get(disk, &digest), Ok(Some(_))) {
        // It may be here by a rename that no sync of the folder has followed yet.
        disk.sync_dir(DIR)?;
    } else {
        write_whole(disk, DIR, &file_name(&digest), bytes)?;
    }
    Ok(digest)
}

/// Reads the blob `digest`; `None` where there is none.
pub(crate) fn get(disk: &dyn Disk, digest: &[u8; 32]) -> Result<Option<Vec<u8>>, CheckpointError> {
    let name = format!("{DIR}/{}", file_name(digest));
    let bytes = match disk.open(&name) {
        Ok(file) => read_all(&*file)?,
        Err(DiskError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if blake3::hash(&bytes).as_bytes() != digest {
        return Err(CheckpointError::Corrupt { what: format!("blob {name:?} does not match its digest") });
    }
    Ok(Some(bytes))
}

/// Removes every blob that is not in `keep`, and drafts that a crash left.
pub(crate) fn retain(disk: &dyn Disk, keep: &[[u8; 32]]) -> Result<(), CheckpointError> {
    let kept = keep.iter().map(file_name).collect::<std::collections::BTreeSet<_>>();
    for name in disk.list(DIR)?.iter().filter(|name| !kept.contains(*name)) {
        disk.remove(&format!("{DIR}/{name}"))?;
    }
    Ok(disk.sync_dir(DIR)?)
}
