//! Checkpoint files: writing, finding and checking them. What the state inside means is not known here.

use crate::error::CheckpointError;
use sawlog_log::disk::{read_all, write_whole};
use sawlog_log::{Disk, DiskError, Lsn};

/// Folder of the checkpoint files.
pub(crate) const DIR: &str = "checkpoints";
const ENDING: &str = ".ckpt";
const MAGIC: [u8; 8] = *b"sawlckpt";
/// Version of the file format that this build writes and reads.
const VERSION: u32 = 1;
const DIGEST_AT: usize = 56;
const STATE_AT: usize = DIGEST_AT + 32;

/// One snapshot and its place in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub number: u64,
    /// Every record below this address is in the state.
    pub lsn: Lsn,
    pub incarnation: [u8; 16],
    pub state: Vec<u8>,
}

pub(crate) fn file_name(number: u64) -> String {
    format!("{number:010}{ENDING}")
}

fn digest(head: &[u8], state: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(head).update(state).finalize().as_bytes()
}

impl Snapshot {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(STATE_AT + self.state.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.lsn.to_le_bytes());
        bytes.extend_from_slice(&self.incarnation);
        bytes.extend_from_slice(&(self.state.len() as u64).to_le_bytes());
        let digest = digest(&bytes, &self.state);
        bytes.extend_from_slice(&digest);
        bytes.extend_from_slice(&self.state);
        bytes
    }

    fn decode(name: &str, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let corrupt = |what: &str| CheckpointError::Corrupt { what: format!("checkpoint {name:?} {what}") };
        if bytes.len() < STATE_AT || bytes[..8] != MAGIC {
            return Err(corrupt("does not begin like a checkpoint"));
        }
        let u64_at = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(eight)
        };
        let state = &bytes[STATE_AT..];
        if digest(&bytes[..DIGEST_AT], state)[..] != bytes[DIGEST_AT..STATE_AT] || u64_at(48) != state.len() as u64 {
            return Err(corrupt("does not match its digest"));
        }
        let version = u64_at(8) as u32;
        if version != VERSION {
            let what = format!("checkpoint {name:?} has format version {version}, this build reads {VERSION}");
            return Err(CheckpointError::NewerFormat { what });
        }
        let mut incarnation = [0; 16];
        incarnation.copy_from_slice(&bytes[32..48]);
        Ok(Self { number: u64_at(16), lsn: u64_at(24), incarnation, state: state.to_vec() })
    }

    /// Puts the file in place; durable when this returns.
    pub fn write(&self, disk: &dyn Disk) -> Result<(), DiskError> {
        write_whole(disk, DIR, &file_name(self.number), &self.encode())
    }

    /// Reads checkpoint `number`.
    pub fn read(disk: &dyn Disk, number: u64) -> Result<Self, CheckpointError> {
        let name = format!("{DIR}/{}", file_name(number));
        let snapshot = Self::decode(&name, &read_all(&*disk.open(&name)?)?)?;
        if snapshot.number != number {
            return Err(CheckpointError::Corrupt {
                what: format!("checkpoint {name:?} is number {}", snapshot.number),
            });
        }
        Ok(snapshot)
    }
}

/// Numbers of the checkpoints on the disk, ascending.
pub(crate) fn numbers(disk: &dyn Disk) -> Result<Vec<u64>, DiskError> {
    let names = disk.list(DIR)?;
    let mut numbers = names.iter().filter_map(|name| name.strip_suffix(ENDING)?.parse().ok()).collect::<Vec<u64>>();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes drafts that a crash left, and all checkpoints but the newest `keep`.
pub(crate) fn prune(disk: &dyn Disk, keep: usize) -> Result<(), DiskError> {
    let numbers = numbers(disk)?;
    for number in &numbers[..numbers.len().saturating_sub(keep.max(1))] {
        disk.remove(&format!("{DIR}/{}", file_name(*number)))?;
    }
    for draft in disk.list(DIR)?.iter().filter(|name| name.ends_with(".tmp")) {
        disk.remove(&format!("{DIR}/{draft}"))?;
    }
    disk.sync_dir(DIR)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample() -> Snapshot {
        Snapshot { number: 7, lsn: 4096, incarnation: [9; 16], state: b"cursors and all".to_vec() }
    }

    #[test]
    fn checkpoints_read_back_and_no_flipped_bit_or_cut_passes() {
        let mut bytes = sample().encode();
        assert_eq!(Snapshot::decode("x", &bytes).unwrap(), sample());
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Snapshot::decode("x", &bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for len in 0..bytes.len() {
            assert!(Snapshot::decode("x", &bytes[..len]).is_err(), "length {len}");
        }
    }

    #[test]
    fn the_sample_of_version_1_loads() {
        let bytes = include_bytes!("../tests/data/v1.ckpt");
        assert_eq!(Snapshot::decode("v1", bytes).unwrap(), sample());
        assert_eq!(sample().encode(), bytes, "the writer of version 1 changed; raise the version instead");
    }
}
