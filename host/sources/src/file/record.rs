//! What the journal keeps of a generation so that its file is found again. It knows bytes and their version.

use super::carry::Carried;
use sawlog_core::identity::{Evidence, FileId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The first byte of a record whose file begins and ends with whole records: builds before this one read it too.
const VERSION: u8 = 1;
/// The first byte of one with a [`Passage`] behind it; not written any more.
const VERSION_WITH_PASSAGE: u8 = 2;
/// The first byte of one with a [`Passage`] and the position behind it at which reading began.
const VERSION_WITH_START: u8 = 3;

/// One generation of a file source.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// What its partition is called.
    pub partition: PathBuf,
    /// The name that it had last.
    pub path: PathBuf,
    /// The file that held it last; `None` once it had none.
    pub file: Option<FileId>,
    /// Which of the generations with its first line it is.
    pub disamb: u32,
    /// Where in the file position 0 lies: above 0 where a power loss ended an older generation in the same file.
    pub base: u64,
    /// Ends of lines and joined records that were decided, offsets in the file.
    pub splits: BTreeSet<u64>,
    /// The boot under which it was seen last.
    pub boot_id: [u8; 8],
    /// What was consumed.
    pub evidence: Evidence,
    /// How its records pass to the files before and behind it.
    #[serde(skip)]
    pub passage: Passage,
    /// Position at which reading began: above 0 where the source was told to begin at the end.
    #[serde(skip)]
    pub start: u64,
    /// Its length when it was looked at last, bytes; behind everything else, where builds before this one read past it.
    #[serde(skip)]
    pub seen: Seen,
}

/// What the last look at a file showed of its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Bytes.
    pub size: u64,
    /// Nothing was written behind that.
    pub is_all: bool,
}

/// How records pass from file to file.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Passage {
    /// Lines of an older file that stand before its own.
    pub carried: Option<Carried>,
    /// Behind its last record, to where its end was carried into a younger file.
    pub gone_on: Option<(u64, u64)>,
}

/// Why a record can't be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IdentityError {
    /// A newer build wrote it.
    #[error(
        "file identity has version {0}, this build reads {VERSION_WITH_START}; run the build that wrote it, or a newer one"
    )]
    Version(u8),
    /// It is damaged.
    #[error("file identity can't be read: {0}; restore the checkpoint from its backup")]
    Damaged(String),
}

impl Identity {
    /// The bytes for the journal.
    pub fn encode(&self) -> Vec<u8> {
        let plain = "plain data in memory is always encoded";
        let version = match (self.start, self.passage == Passage::default()) {
            (0, true) => VERSION,
            _ => VERSION_WITH_START,
        };
        let mut bytes = postcard::to_extend(self, vec![version]).expect(plain);
        if version == VERSION_WITH_START {
            bytes = postcard::to_extend(&(&self.passage, self.start), bytes).expect(plain);
        }
        postcard::to_extend(&self.seen, bytes).expect(plain)
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        let (version, rest) = bytes.split_first().ok_or_else(|| IdentityError::Damaged("it is empty".into()))?;
        let damaged = |e: postcard::Error| IdentityError::Damaged(e.to_string());
        match *version {
            VERSION => {
                let (identity, rest) = postcard::take_from_bytes::<Self>(rest).map_err(damaged)?;
                Ok(Self { seen: seen(rest).map_err(damaged)?, ..identity })
            }
            VERSION_WITH_PASSAGE | VERSION_WITH_START => {
                let (identity, rest) = postcard::take_from_bytes::<Self>(rest).map_err(damaged)?;
                let (passage, rest) = postcard::take_from_bytes(rest).map_err(damaged)?;
                if rest.is_empty() {
                    return Ok(Self { passage, ..identity });
                }
                let (start, rest) = postcard::take_from_bytes(rest).map_err(damaged)?;
                Ok(Self { passage, start, seen: seen(rest).map_err(damaged)?, ..identity })
            }
            newer => Err(IdentityError::Version(newer)),
        }
    }
}

/// Older builds wrote none.
fn seen(bytes: &[u8]) -> postcard::Result<Seen> {
    if bytes.is_empty() { Ok(Seen::default()) } else { postcard::from_bytes(bytes) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use sawlog_core::identity::{FirstLine, Grain, Tracker};

    #[test]
    fn the_length_stands_behind_what_older_builds_wrote_and_they_read_past_it() {
        let first_line = FirstLine { hash: [7; 16], bytes: 3 };
        let plain = Identity {
            partition: PathBuf::from("/logs/app.log"),
            path: PathBuf::from("/logs/app.log.1"),
            file: Some(FileId { dev: 1, ino: 2, btime: Some(3) }),
            disamb: 4,
            base: 0,
            splits: BTreeSet::from([5]),
            boot_id: [6; 8],
            evidence: Tracker::new(Grain::DEFAULT, first_line).evidence(),
            passage: Passage::default(),
            start: 0,
            seen: Seen { size: 800, is_all: true },
        };
        let begun = Identity { start: 9, ..plain.clone() };
        for identity in [plain, begun] {
            let bytes = identity.encode();
            assert_eq!(Identity::decode(&bytes).unwrap(), identity);
            let older = Identity { seen: Seen::default(), ..identity.clone() };
            let tail = postcard::to_extend(&identity.seen, Vec::new()).unwrap().len();
            assert_eq!(Identity::decode(&bytes[..bytes.len() - tail]).unwrap(), older);
            assert!(Identity::decode(&bytes[..bytes.len() - 1]).is_err(), "a tail that is cut is damage");
        }
    }
}
