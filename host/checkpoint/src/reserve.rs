//! Room for the next checkpoint, taken in advance: on a full disk nothing can be trimmed before one is written.

use crate::snapshot;
use sawlog_log::{Disk, DiskError};
use std::sync::atomic::{AtomicBool, Ordering};

const NAME: &str = "reserve";
/// The reserve grows in steps of this, bytes.
const STEP_BYTES: u64 = 1 << 20;

/// A file without content that keeps space for a checkpoint.
#[derive(Debug)]
pub(crate) struct Reserve {
    bytes_min: u64,
    used: AtomicBool,
}

/// Bytes to keep free where the newest state has `state_bytes`: the next one may be half as large again.
fn wanted(state_bytes: u64, bytes_min: u64) -> u64 {
    let larger = state_bytes + state_bytes / 2;
    if larger <= bytes_min { bytes_min } else { larger.next_multiple_of(STEP_BYTES) }
}

impl Reserve {
    pub fn new(bytes_min: u64) -> Self {
        Self { bytes_min, used: AtomicBool::new(false) }
    }

    /// Whether the space is not there: it was given to a checkpoint, and the disk has no more.
    pub fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// Gives the space back to the disk.
    pub fn release(&self, disk: &dyn Disk) -> Result<(), DiskError> {
        self.used.store(true, Ordering::Relaxed);
        match disk.remove(&format!("{}/{NAME}", snapshot::DIR)) {
            Ok(()) => disk.sync_dir(snapshot::DIR),
            Err(DiskError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes the space, as far as the disk has it; it is enough for a state a little larger than `state_bytes`.
    pub fn refill(&self, disk: &dyn Disk, state_bytes: u64) -> Result<(), DiskError> {
        let (name, bytes) = (format!("{}/{NAME}", snapshot::DIR), wanted(state_bytes, self.bytes_min));
        let file = match disk.open(&name) {
            Err(DiskError::NotFound { .. }) => disk.create(&name),
            opened => opened,
        };
        let taken = file.and_then(|file| if file.len()? < bytes { file.preallocate(bytes) } else { Ok(()) });
        match taken {
            Ok(()) => {
                self.used.store(false, Ordering::Relaxed);
                Ok(())
            }
            // A part of it would be of no use to a checkpoint, and of some to everybody else.
            Err(DiskError::NoSpace { .. }) => self.release(disk),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_holds_the_state_and_half_of_it_again() {
        assert_eq!(wanted(0, STEP_BYTES), STEP_BYTES);
        assert_eq!(wanted(700_000, STEP_BYTES), 2 * STEP_BYTES);
        assert_eq!(wanted(100, 4_096), 4_096);
        assert!(wanted(50 << 20, STEP_BYTES) >= 75 << 20);
    }
}
