//! The log itself: one writer that appends frames, makes them durable, rolls, trims and recycles segments.
//! It is synchronous and knows nothing of threads, waiters or what payloads mean; [`crate::SharedLog`] puts a group commit
//! in front of it.

use crate::disk::{Disk, DiskError};
use crate::error::{Damage, LogError};
use crate::frame::{self, Control, FRAME_HEADER_BYTES, Lsn};
use crate::options::{LogOptions, OnDamage};
use crate::reader::{Reader, View};
use crate::recover::{Recovered, recover};
use crate::segment::{Header, SEGMENT_HEADER_BYTES, Segment};
use crate::shelf::Shelf;
use std::sync::Arc;

/// What opening a log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The log did not exist and was made.
    pub created: bool,
    /// Random name of the log's life: addresses of one incarnation are never handed out twice.
    pub incarnation: [u8; 16],
    /// Payload frames that were read back.
    pub frames: u64,
    /// Oldest address kept.
    pub first: Lsn,
    /// Address behind the last frame.
    pub end: Lsn,
    /// Bytes of a torn tail, or of a recycled file, were cut off; none of them was ever acknowledged.
    pub tail_cut: bool,
    /// What was durable and cannot be read back ([`OnDamage::Report`] only).
    pub damage: Vec<Damage>,
}

/// An append-only log in one folder. One `Log` at a time per folder; the caller holds the lock that says so.
pub struct Log {
    options: LogOptions,
    incarnation: [u8; 16],
    shelf: Shelf,
    view: Arc<View>,
    active: Arc<Segment>,
    /// Frames not yet written, back to back.
    pending: Vec<u8>,
    /// Bytes of each pending frame.
    pending_frames: Vec<usize>,
    durable: Lsn,
    end: Lsn,
    dead: Option<String>,
}

impl Log {
    /// Opens the log in the folder `dir`, making it where there is none. `on_frame` gets every frame that counts, in order,
    /// with its address.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &str,
        options: LogOptions,
        mut on_frame: impl FnMut(Lsn, &[u8]),
    ) -> Result<(Self, Opening), LogError> {
        let failed = |source| LogError::Disk { dir: dir.to_owned(), source };
        let options = options.checked(dir)?;
        disk.create_dir(dir).map_err(failed)?;
        let names = disk.list(dir).map_err(failed)?;
        let recovered = recover(&*disk, dir, &names, &mut on_frame)?;
        let shelf = Shelf::new(disk, dir, options.segment_bytes, options.spare_segments, &names);
        let (mut log, opening) = match recovered {
            None => Self::create(shelf, options)?,
            Some(recovered) => Self::resume(shelf, options, recovered)?,
        };
        log.refill()?;
        Ok((log, opening))
    }

    fn create(mut shelf: Shelf, options: LogOptions) -> Result<(Self, Opening), LogError> {
        let incarnation = options.incarnation_if_new;
        let header = Header { incarnation, number: 1, first: 0 };
        let made = shelf.make(header, options.segment_bytes, None);
        let active = Arc::new(made.map_err(|not| LogError::Disk { dir: shelf.dir.clone(), source: not.error })?);
        let log = Self::assemble(shelf, options, incarnation, vec![active.clone()], active, 0);
        let (first, end) = (0, 0);
        Ok((log, Opening { created: true, incarnation, frames: 0, first, end, tail_cut: false, damage: Vec::new() }))
    }

    fn resume(shelf: Shelf, options: LogOptions, found: Recovered) -> Result<(Self, Opening), LogError> {
        if let (OnDamage::Refuse, Some(damage)) = (options.on_damage, found.damage.first()) {
            return Err(LogError::Corrupt(damage.clone()));
        }
        let active = found.segments.last().cloned().expect("recovery returns at least one segment");
        if found.leftover {
            cut(&active, found.end).map_err(|source| LogError::Disk { dir: shelf.dir.clone(), source })?;
        }
        let opening = Opening {
            created: false,
            incarnation: found.incarnation,
            frames: found.frames,
            first: found.segments[0].first,
            end: found.end,
            tail_cut: found.leftover,
            damage: found.damage,
        };
        Ok((Self::assemble(shelf, options, found.incarnation, found.segments, active, found.end), opening))
    }

    fn assemble(
        shelf: Shelf,
        options: LogOptions,
        incarnation: [u8; 16],
        segments: Vec<Arc<Segment>>,
        active: Arc<Segment>,
        end: Lsn,
    ) -> Self {
        let view = Arc::new(View::new(&shelf.dir, incarnation, segments, end));
        let (pending, pending_frames) = (Vec::new(), Vec::new());
        Self { options, incarnation, shelf, view, active, pending, pending_frames, durable: end, end, dead: None }
    }

    /// A handle that reads what is durable while this log goes on.
    pub fn reader(&self) -> Reader {
        Reader::new(self.view.clone())
    }

    /// The folder that the log lives in.
    pub fn dir(&self) -> &str {
        &self.shelf.dir
    }

    /// Address behind the last frame appended, durable or not.
    pub fn end(&self) -> Lsn {
        self.end
    }

    /// Address behind the last durable frame.
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// Appends a frame in memory and returns its address; [`Log::commit`] makes it durable. A frame whose commit failed
    /// never existed.
    pub fn append(&mut self, payload: &[u8]) -> Result<Lsn, LogError> {
        self.check_payloads(std::slice::from_ref(&payload))?;
        let lsn = self.end;
        frame::encode(&mut self.pending, &self.incarnation, lsn, self.durable, payload);
        let bytes = FRAME_HEADER_BYTES + payload.len();
        self.pending_frames.push(bytes);
        self.end += bytes as u64;
        Ok(lsn)
    }

    /// Whether these payloads could be appended.
    pub(crate) fn check_payloads(&self, payloads: &[impl AsRef<[u8]>]) -> Result<(), LogError> {
        self.check_alive()?;
        let bytes_max = self.options.payload_bytes_max;
        match payloads.iter().map(|payload| payload.as_ref().len()).find(|&bytes| bytes > bytes_max) {
            Some(bytes) => Err(LogError::TooLarge { dir: self.shelf.dir.clone(), bytes, bytes_max }),
            None => Ok(()),
        }
    }

    /// Writes the pending frames and makes them durable; returns the durable end. After an error [`Log::durable`] tells how
    /// far it came: frames below are durable, frames above never existed.
    pub fn commit(&mut self) -> Result<Lsn, LogError> {
        self.check_alive()?;
        while !self.pending_frames.is_empty() {
            let room = self.active.file_bytes.saturating_sub(self.active.offset(self.durable));
            let (frames, bytes) = self.fitting(room);
            if frames == 0 {
                self.roll()?;
            } else {
                self.write(frames, bytes)?;
            }
        }
        Ok(self.durable)
    }

    /// How many pending frames fit into `room` bytes, and their size.
    fn fitting(&self, room: u64) -> (usize, usize) {
        let mut bytes = 0;
        let fits = |frame: &&usize| {
            bytes += **frame;
            bytes as u64 <= room
        };
        let frames = self.pending_frames.iter().take_while(fits).count();
        (frames, self.pending_frames[..frames].iter().sum())
    }

    fn write(&mut self, frames: usize, bytes: usize) -> Result<(), LogError> {
        let at = self.active.offset(self.durable);
        if let Err(error) = self.active.file.write_at(at, &self.pending[..bytes]) {
            return Err(self.after_failed_write(error));
        }
        if let Err(error) = self.active.file.datasync() {
            return Err(self.poison(error));
        }
        for frame in self.pending_frames.drain(..frames) {
            self.active.note_frame(self.durable);
            self.durable += frame as u64;
        }
        self.pending.drain(..bytes);
        self.active.set_end(self.durable);
        self.view.set_durable(self.durable);
        Ok(())
    }

    /// A write that met a full disk is taken back, and the frames with it. Any other failed write leaves the file in a state
    /// that nobody knows: the same as a failed sync.
    fn after_failed_write(&mut self, error: DiskError) -> LogError {
        match error {
            DiskError::NoSpace { .. } if cut(&self.active, self.durable).is_ok() => self.withdraw(error),
            error => self.poison(error),
        }
    }

    /// Forgets the pending frames. Their addresses are free again: nothing of them is on the disk.
    fn withdraw(&mut self, source: DiskError) -> LogError {
        self.pending.clear();
        self.pending_frames.clear();
        self.end = self.durable;
        LogError::Disk { dir: self.shelf.dir.clone(), source }
    }

    fn roll(&mut self) -> Result<(), LogError> {
        let frame_bytes = self.pending_frames.first().copied().unwrap_or(0) as u64;
        let header = Header { incarnation: self.incarnation, number: self.active.number + 1, first: self.durable };
        let bytes = self.options.segment_bytes.max(SEGMENT_HEADER_BYTES + frame_bytes);
        match self.shelf.make(header, bytes, None) {
            Ok(segment) => {
                self.activate(segment);
                self.refill()
            }
            Err(not) if not.in_doubt => Err(self.die(format!("a new segment may be in place or not: {}", not.error))),
            Err(not) => Err(self.withdraw(not.error)),
        }
    }

    /// After a failed sync nothing on this file is trusted any more. What it holds above the durable end is void; the log
    /// says so in a new segment, or stops.
    fn poison(&mut self, error: DiskError) -> LogError {
        let (lo, hi) = (self.durable, self.end);
        let header = Header { incarnation: self.incarnation, number: self.active.number + 1, first: hi };
        match self.shelf.make(header, self.options.segment_bytes, Some(Control::Void { lo, hi })) {
            Ok(segment) => {
                self.pending.clear();
                self.pending_frames.clear();
                self.durable = segment.end();
                self.end = self.durable;
                self.activate(segment);
                self.view.set_durable(self.durable);
                LogError::Void { dir: self.shelf.dir.clone(), lo, hi, source: error }
            }
            Err(not) => self.die(format!("{error}; then the void frame could not be written: {}", not.error)),
        }
    }

    fn activate(&mut self, segment: Segment) {
        self.active = Arc::new(segment);
        self.view.push(self.active.clone());
    }

    /// Spares are a reserve: a disk too full to have one stops nothing yet.
    fn refill(&mut self) -> Result<(), LogError> {
        let refilled = self.shelf.refill();
        self.view.set_spare_bytes(self.shelf.bytes());
        match refilled {
            Ok(()) | Err(DiskError::NoSpace { .. }) => Ok(()),
            Err(source) => Err(LogError::Disk { dir: self.shelf.dir.clone(), source }),
        }
    }

    fn die(&mut self, reason: String) -> LogError {
        self.dead = Some(reason.clone());
        LogError::Dead { dir: self.shelf.dir.clone(), reason }
    }

    fn check_alive(&self) -> Result<(), LogError> {
        match &self.dead {
            None => Ok(()),
            Some(reason) => Err(LogError::Dead { dir: self.shelf.dir.clone(), reason: reason.clone() }),
        }
    }

    /// Gives back every whole segment that lies below `floor`; returns the oldest address still kept. The segment that is
    /// written to stays. First the ledger, then this: the caller has made durable that nobody needs them.
    pub fn trim(&mut self, floor: Lsn) -> Result<Lsn, LogError> {
        self.check_alive()?;
        while let Some(segment) = self.view.oldest_below(floor) {
            // Readers lose it first; on the disk oldest before newer, each durable before the next, so that a crash leaves
            // no gap.
            self.view.drop_oldest();
            self.shelf.retire(&segment).map_err(|source| LogError::Disk { dir: self.shelf.dir.clone(), source })?;
        }
        self.view.set_spare_bytes(self.shelf.bytes());
        Ok(self.view.first())
    }
}

/// Cuts a segment behind `end`, durably, and takes the space for more frames again as far as the disk has it.
fn cut(segment: &Segment, end: Lsn) -> Result<(), DiskError> {
    segment.file.set_len(segment.offset(end))?;
    segment.file.datasync()?;
    match segment.file.preallocate(segment.file_bytes) {
        Ok(()) | Err(DiskError::NoSpace { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
