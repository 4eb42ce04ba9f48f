//! Keys that outlive their frames: small files beside a shard's log, each written and durable before the segments that its
//! keys come from are trimmed. Version 1, little endian:
//!
//! ```text
//! <number, 10 digits>.keys   ┌────────────┬─────────────┬───────────┬───────────┬─ count × ──────────────────────────────┐
//!                            │ "sawlkeys" │ version u32 │ count u32 │ blake3 32 │ key 16 │ body 32 │ LSN u64 │ accepted i64 │
//!                            └────────────┴─────────────┴───────────┴───────────┴────────────────────────────────────────┘
//!   the digest covers version, count and the keys
//! ```
//!
//! It knows nothing of windows or requests.

use crate::error::QueueError;
use crate::window::Seen;
use sawlog_log::disk::{read_all, write_whole};
use sawlog_log::{Damage, Disk, DiskError};

const ENDING: &str = ".keys";
const MAGIC: [u8; 8] = *b"sawlkeys";
const VERSION: u32 = 1;
const KEYS_AT: usize = 48;
const SEEN_BYTES: usize = 64;
/// More files than this are joined into one.
const FILES_MAX: usize = 32;

fn encode(keys: &[Seen]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(KEYS_AT + keys.len() * SEEN_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(keys.len()).expect("the window holds fewer keys").to_le_bytes());
    bytes.extend_from_slice(&[0; 32]);
    for seen in keys {
        bytes.extend_from_slice(&seen.key);
        bytes.extend_from_slice(&seen.body_hash);
        bytes.extend_from_slice(&seen.lsn.to_le_bytes());
        bytes.extend_from_slice(&seen.accepted.to_le_bytes());
    }
    let digest = digest(&bytes);
    bytes[16..KEYS_AT].copy_from_slice(&digest);
    bytes
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(&bytes[8..16]).update(&bytes[KEYS_AT..]).finalize().as_bytes()
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

fn decode(bytes: &[u8]) -> Result<Vec<Seen>, &'static str> {
    if bytes.len() < KEYS_AT || bytes[..8] != MAGIC || digest(bytes)[..] != bytes[16..KEYS_AT] {
        return Err("it does not match its digest");
    }
    if u32::from_le_bytes(array(bytes, 8)) != VERSION {
        return Err("it was written by a later build");
    }
    let (keys, rest) = bytes[KEYS_AT..].as_chunks::<SEEN_BYTES>();
    if !rest.is_empty() || keys.len() != u32::from_le_bytes(array(bytes, 12)) as usize {
        return Err("its count is wrong");
    }
    let seen = |key: &[u8; SEEN_BYTES]| Seen {
        key: array(key, 0),
        body_hash: array(key, 16),
        lsn: u64::from_le_bytes(array(key, 48)),
        accepted: i64::from_le_bytes(array(key, 56)),
    };
    Ok(keys.iter().map(seen).collect())
}

/// The sidecars of one shard.
pub(crate) struct Sidecars {
    dir: String,
    /// Numbers of the files, with the newest acceptance inside.
    files: Vec<(u64, i64)>,
}

impl Sidecars {
    /// Reads all sidecars in `dir`: the keys in order of acceptance, and what could not be read.
    pub fn open(disk: &dyn Disk, dir: String) -> Result<(Self, Vec<Seen>, Vec<Damage>), QueueError> {
        disk.create_dir(&dir)?;
        let (mut files, mut keys, mut damage) = (Vec::new(), Vec::new(), Vec::new());
        for name in disk.list(&dir)? {
            let Some(number) = name.strip_suffix(ENDING).and_then(|number| number.parse::<u64>().ok()) else {
                continue;
            };
            let file = format!("{dir}/{name}");
            match decode(&read_all(&*disk.open(&file)?)?) {
                Ok(read) => {
                    files.push((number, read.iter().map(|seen| seen.accepted).max().unwrap_or(i64::MIN)));
                    keys.extend(read);
                }
                // Without its keys a retry may be stored twice: never silent, and never a reason to lose requests.
                Err(what) => {
                    let what = format!("idempotency keys are lost: {what}");
                    disk.rename(&file, &format!("{file}.bad"))?;
                    damage.push(Damage { file, lo: 0, hi: 0, what });
                }
            }
        }
        keys.sort_by_key(|seen| seen.accepted);
        Ok((Self { dir, files }, keys, damage))
    }

    /// Makes `fresh` keys durable. Where files have become many, all keys that are in sidecars (`beside`) and the fresh ones
    /// go to one new file. Files with nothing accepted since `oldest` are removed.
    pub fn add(
        &mut self,
        disk: &dyn Disk,
        fresh: &[Seen],
        beside: impl FnOnce() -> Vec<Seen>,
        oldest: Option<i64>,
    ) -> Result<(), DiskError> {
        if self.files.len() >= FILES_MAX {
            let replaced = std::mem::take(&mut self.files);
            let written = self.write(disk, &[beside(), fresh.to_vec()].concat(), &replaced);
            self.remove(disk, replaced, written.is_err())?;
            return written;
        }
        if !fresh.is_empty() {
            self.write(disk, fresh, &[])?;
        }
        let oldest = oldest.unwrap_or(i64::MAX);
        let (spent, kept) = std::mem::take(&mut self.files).into_iter().partition(|file| file.1 < oldest);
        self.files = kept;
        self.remove(disk, spent, false)
    }

    fn write(&mut self, disk: &dyn Disk, keys: &[Seen], others: &[(u64, i64)]) -> Result<(), DiskError> {
        let number = self.files.iter().chain(others).map(|file| file.0).max().unwrap_or(0) + 1;
        write_whole(disk, &self.dir, &format!("{number:010}{ENDING}"), &encode(keys))?;
        self.files.push((number, keys.iter().map(|seen| seen.accepted).max().unwrap_or(i64::MIN)));
        Ok(())
    }

    fn remove(&mut self, disk: &dyn Disk, files: Vec<(u64, i64)>, keep: bool) -> Result<(), DiskError> {
        if keep {
            self.files.extend(files);
            return Ok(());
        }
        for (number, _) in files {
            disk.remove(&format!("{}/{number:010}{ENDING}", self.dir))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sawlog_log::sim::SimDisk;

    fn seen(n: u64) -> Seen {
        Seen { key: [n as u8; 16], body_hash: [7; 32], lsn: n * 100, accepted: n as i64 }
    }

    #[test]
    fn the_sample_of_version_1_loads() {
        let bytes = include_bytes!("../tests/data/v1.keys");
        assert_eq!(decode(bytes).unwrap(), [seen(1), seen(2)]);
        assert_eq!(encode(&[seen(1), seen(2)]), bytes, "the writer of version 1 changed; raise the version instead");
    }

    #[test]
    fn no_flipped_bit_and_no_cut_passes() {
        let mut bytes = encode(&[seen(1), seen(2)]);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "length {len}");
        }
    }

    #[test]
    fn files_are_joined_and_spent_ones_go() {
        let disk = SimDisk::new(1);
        let (mut sidecars, _, _) = Sidecars::open(&disk, "keys".into()).unwrap();
        let mut all = Vec::new();
        for n in 0..100 {
            let beside = all.clone();
            sidecars.add(&disk, &[seen(n)], || beside, Some(0)).unwrap();
            all.push(seen(n));
            assert!(disk.list("keys").unwrap().len() <= FILES_MAX);
        }
        disk.crash();
        let (mut sidecars, keys, damage) = Sidecars::open(&disk, "keys".into()).unwrap();
        assert!(damage.is_empty());
        assert!(all.iter().all(|seen| keys.contains(seen)));
        sidecars.add(&disk, &[], Vec::new, Some(1000)).unwrap();
        assert!(disk.list("keys").unwrap().is_empty());
    }

    #[test]
    fn a_damaged_file_is_told_and_put_aside() {
        let disk = SimDisk::new(1);
        let (mut sidecars, _, _) = Sidecars::open(&disk, "keys".into()).unwrap();
        sidecars.add(&disk, &[seen(1)], Vec::new, Some(0)).unwrap();
        disk.flip_bit("keys/0000000001.keys", 500).unwrap();
        let (_, keys, damage) = Sidecars::open(&disk, "keys".into()).unwrap();
        assert!(keys.is_empty());
        assert_eq!(damage.len(), 1);
        assert_eq!(disk.list("keys").unwrap(), ["0000000001.keys.bad"]);
    }
}
