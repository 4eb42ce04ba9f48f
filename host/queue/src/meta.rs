//! The one number that a queue's folder fixes for its life: how many shards it has. One line of text, so that it can be
//! mended by hand.

use crate::error::QueueError;
use sawlog_log::disk::{read_all, write_whole};
use sawlog_log::{Disk, DiskError};

const FILE: &str = "meta";

/// The number of shards of the queue in `dir`; `shards` where the queue is made now.
pub(crate) fn shards(disk: &dyn Disk, dir: &str, shards: u32) -> Result<u32, QueueError> {
    if let Some(existing) = existing(disk, dir)? {
        return Ok(existing);
    }
    write_whole(disk, dir, FILE, format!("sawlog-queue 1 shards {shards}\n").as_bytes())?;
    Ok(shards)
}

/// The number of shards of the queue in `dir`; `None` where there is none.
pub(crate) fn existing(disk: &dyn Disk, dir: &str) -> Result<Option<u32>, QueueError> {
    match disk.open(&format!("{dir}/{FILE}")) {
        Ok(file) => parse(&read_all(&*file)?).map(Some).ok_or_else(|| QueueError::Meta { dir: dir.to_owned() }),
        Err(DiskError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn parse(bytes: &[u8]) -> Option<u32> {
    let number = std::str::from_utf8(bytes).ok()?.trim().strip_prefix("sawlog-queue 1 shards ")?;
    number.parse().ok().filter(|&shards| shards > 0)
}
