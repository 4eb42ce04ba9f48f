//! What the journal keeps of a generation so that its file is found again. It knows bytes and their version.

use super::carry::Carried;
use sawlog_core::identity::{Evidence, FileId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The first byte of a record whose file begins and ends with whole records: builds before this one read it too.
const VERSION: u8 = 1;
/// The first byte of one with a [`Passage`] behind it.
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
            (0, true) => return postcard::to_extend(self, vec![VERSION]).expect(plain),
            (0, false) => VERSION_WITH_PASSAGE,
            _ => VERSION_WITH_START,
        };
        let mut bytes = postcard::to_extend(self, vec![version]).expect(plain);
        bytes = postcard::to_extend(&self.passage, bytes).expect(plain);
        match version {
            VERSION_WITH_START => postcard::to_extend(&self.start, bytes).expect(plain),
            _ => bytes,
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        let (version, rest) = bytes.split_first().ok_or_else(|| IdentityError::Damaged("it is empty".into()))?;
        let damaged = |e: postcard::Error| IdentityError::Damaged(e.to_string());
        match *version {
            VERSION => postcard::from_bytes(rest).map_err(damaged),
            VERSION_WITH_PASSAGE | VERSION_WITH_START => {
                let (identity, rest) = postcard::take_from_bytes::<Self>(rest).map_err(damaged)?;
                let (passage, rest) = postcard::take_from_bytes(rest).map_err(damaged)?;
                let start = if rest.is_empty() { 0 } else { postcard::from_bytes(rest).map_err(damaged)? };
                Ok(Self { passage, start, ..identity })
            }
            newer => Err(IdentityError::Version(newer)),
        }
    }
}
