//! Making segments out of spare files, and spare files out of segments nobody needs.
//!
//! A segment gets its final name only after its header is durable, so a file named `.seg` always has a sound header unless
//! the disk damaged it. Recycled files are faster than fresh ones: their extents are written already.

use crate::disk::{Disk, DiskError};
use crate::frame::{self, Control, Lsn};
use crate::segment::{Header, Segment, segment_name};
use std::sync::Arc;

/// Ending of a file that waits to become a segment.
const SPARE_ENDING: &str = ".spare";
/// Ending of a damaged segment that was trimmed: kept for whoever looks into the damage, never read again.
const BAD_ENDING: &str = ".bad";

/// A segment could not be made.
pub(crate) struct NotMade {
    pub error: DiskError,
    /// The segment may be in its place all the same, so nothing may be written elsewhere any more.
    pub in_doubt: bool,
}

impl From<DiskError> for NotMade {
    fn from(error: DiskError) -> Self {
        Self { error, in_doubt: false }
    }
}

/// The spare files of one log.
pub(crate) struct Shelf {
    pub disk: Arc<dyn Disk>,
    pub dir: String,
    pub segment_bytes: u64,
    spares_max: usize,
    spares: Vec<String>,
    made: u64,
}

impl Shelf {
    /// `names` are the files of the folder; the spares among them are taken over.
    pub fn new(disk: Arc<dyn Disk>, dir: &str, segment_bytes: u64, spares_max: usize, names: &[String]) -> Self {
        let spares = names.iter().filter(|n| n.ends_with(SPARE_ENDING));
        let made = spares.clone().filter_map(|n| n.strip_suffix(SPARE_ENDING)?.parse::<u64>().ok()).max().unwrap_or(0);
        let spares = spares.map(|n| format!("{dir}/{n}")).collect();
        Self { disk, dir: dir.to_owned(), segment_bytes, spares_max: spares_max.max(1), spares, made }
    }

    /// Bytes that the spares take on the disk, about.
    pub fn bytes(&self) -> u64 {
        self.spares.len() as u64 * self.segment_bytes
    }

    fn fresh(&mut self, bytes: u64) -> Result<String, DiskError> {
        self.made += 1;
        let name = format!("{}/{:010}{SPARE_ENDING}", self.dir, self.made);
        let file = self.disk.create(&name)?;
        match file.preallocate(bytes) {
            Ok(()) => Ok(name),
            Err(error) => {
                // Half a spare only takes room. Where even removing fails, the next start finds it and uses it.
                Err(self.disk.remove(&name).err().map_or(error.clone(), |_| error))
            }
        }
    }

    /// Brings the spares up to their number.
    pub fn refill(&mut self) -> Result<(), DiskError> {
        while self.spares.len() < self.spares_max {
            let name = self.fresh(self.segment_bytes)?;
            self.spares.push(name);
        }
        Ok(())
    }

    /// Makes the segment `header` of at least `bytes`, beginning with `control`, durable when this returns.
    pub fn make(&mut self, header: Header, bytes: u64, control: Option<Control>) -> Result<Segment, NotMade> {
        let draft = match self.spares.pop() {
            Some(spare) => spare,
            None => self.fresh(bytes)?,
        };
        let file_bytes = self.prepare(&draft, header, bytes, control).inspect_err(|_| self.forget(&draft))?;
        let name = format!("{}/{}", self.dir, segment_name(header.number, header.first));
        let placed = self.disk.rename(&draft, &name).and_then(|()| self.disk.sync_dir(&self.dir));
        placed.map_err(|error| NotMade { error, in_doubt: true })?;
        let segment = Segment::new(header, name.clone(), self.disk.open(&name)?, file_bytes);
        segment.set_end(header.first + control.map_or(0, |_| frame::CONTROL_FRAME_BYTES as u64));
        Ok(segment)
    }

    fn prepare(&self, draft: &str, header: Header, bytes: u64, control: Option<Control>) -> Result<u64, DiskError> {
        let file = self.disk.open(draft)?;
        if file.len()? < bytes {
            file.preallocate(bytes)?;
        }
        let mut head = header.encode().to_vec();
        if let Some(control) = control {
            let durable: Lsn = header.first;
            frame::encode_control(&mut head, &header.incarnation, header.first, durable, control);
        }
        file.write_at(0, &head)?;
        file.datasync()?;
        file.len()
    }

    /// A draft whose sync failed is never used again; one that cannot even be removed is only untidy.
    fn forget(&self, draft: &str) {
        if self.disk.remove(draft).is_err() {
            // Found again by the next start, which writes and syncs it anew.
        }
    }

    /// Takes a trimmed segment out of the log: to the shelf, or away. Durable when this returns.
    pub fn retire(&mut self, segment: &Segment) -> Result<(), DiskError> {
        if !segment.damaged.is_empty() {
            self.disk.rename(&segment.name, &format!("{}{BAD_ENDING}", segment.name))?;
        } else if segment.file_bytes == self.segment_bytes && self.spares.len() < self.spares_max {
            self.made += 1;
            let spare = format!("{}/{:010}{SPARE_ENDING}", self.dir, self.made);
            self.disk.rename(&segment.name, &spare)?;
            self.spares.push(spare);
        } else {
            self.disk.remove(&segment.name)?;
        }
        self.disk.sync_dir(&self.dir)
    }
}
