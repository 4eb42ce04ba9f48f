//! How a log is kept: sizes, limits and what damage means. It does nothing.

use crate::error::LogError;
use crate::segment::SEGMENT_HEADER_BYTES;

/// The largest payload any log may allow, in bytes.
pub const PAYLOAD_BYTES_LIMIT: usize = 1 << 30;
/// The smallest segment any log may use, in bytes.
pub const SEGMENT_BYTES_MIN: u64 = 2 * SEGMENT_HEADER_BYTES;

/// What to do where durable bytes cannot be read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDamage {
    /// Do not open; [`LogError::Corrupt`] says where. For logs whose records depend on one another.
    Refuse,
    /// Open, serve every frame that can be read, and report the rest in [`crate::Opening::damage`] at this and every later
    /// opening until it is trimmed. For logs whose frames stand alone.
    Report,
}

/// How a log is kept.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Size of a segment file in bytes, header included. A payload that does not fit makes a larger one.
    pub segment_bytes: u64,
    /// Largest payload accepted, in bytes; at most [`PAYLOAD_BYTES_LIMIT`].
    pub payload_bytes_max: usize,
    /// Segments kept ready with their space taken, so that a full disk does not stop the log at once. At least 1: the
    /// VOID frame after a failed sync goes there.
    pub spare_segments: usize,
    /// The incarnation of a log that is made now: random, and seeded where runs must repeat. See [`random_incarnation`].
    pub incarnation_if_new: [u8; 16],
    /// What to do where durable bytes cannot be read back.
    pub on_damage: OnDamage,
}

impl LogOptions {
    /// Segments of 4 MiB, payloads up to 64 MiB, one spare, damage refused.
    pub fn new(incarnation_if_new: [u8; 16]) -> Self {
        Self {
            segment_bytes: 4 << 20,
            payload_bytes_max: 64 << 20,
            spare_segments: 1,
            incarnation_if_new,
            on_damage: OnDamage::Refuse,
        }
    }

    /// Refuses what cannot work.
    pub(crate) fn checked(self, dir: &str) -> Result<Self, LogError> {
        let wrong = |what: String| LogError::Options { dir: dir.to_owned(), what };
        if self.segment_bytes < SEGMENT_BYTES_MIN {
            return Err(wrong(format!(
                "segment_bytes is {}, at least {SEGMENT_BYTES_MIN} are needed",
                self.segment_bytes
            )));
        }
        if self.payload_bytes_max > PAYLOAD_BYTES_LIMIT {
            return Err(wrong(format!(
                "payload_bytes_max is {}, at most {PAYLOAD_BYTES_LIMIT}",
                self.payload_bytes_max
            )));
        }
        if self.spare_segments == 0 {
            return Err(wrong("spare_segments is 0, at least 1 is needed".to_owned()));
        }
        Ok(self)
    }
}

/// 128 bits of the system's entropy, for [`LogOptions::incarnation_if_new`].
pub fn random_incarnation() -> std::io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::from)?;
    Ok(bytes)
}
