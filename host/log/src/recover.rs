//! Opening a log: find its segments, read them back, and say what it holds. It repairs nothing; `log.rs` cuts the torn tail.

use crate::disk::{Disk, read_all};
use crate::error::{Damage, LogError};
use crate::frame::{self, Control, Lsn};
use crate::scan::{Limit, OnFrame, Scanned, scan};
use crate::segment::{BadHeader, FORMAT_VERSION, Header, SEGMENT_HEADER_BYTES, Segment, parse_segment_name};
use std::sync::Arc;

/// What the folder of a log holds.
pub(crate) struct Recovered {
    pub incarnation: [u8; 16],
    /// In order; never empty.
    pub segments: Vec<Arc<Segment>>,
    /// Address behind the last frame that counts.
    pub end: Lsn,
    /// Payload frames that count.
    pub frames: u64,
    /// Damage met now.
    pub damage: Vec<Damage>,
    /// The last segment has bytes behind `end` that must be cut before anything is appended.
    pub leftover: bool,
}

/// A segment file whose place in the log is known, not yet read.
struct Opened {
    header: Header,
    name: String,
    bytes_on_disk: u64,
    /// The header could not be read; the name told what it must have been.
    header_damage: Option<String>,
    /// Enough of what follows the header to hold a frame of the log's own.
    body_head: Vec<u8>,
    /// That frame, once the incarnation is known.
    control: Option<Control>,
}

/// Reads the segments among `names`, files of the folder `dir`. `None`: there are none, the log is new.
pub(crate) fn recover(
    disk: &dyn Disk,
    dir: &str,
    names: &[String],
    on_frame: &mut OnFrame<'_>,
) -> Result<Option<Recovered>, LogError> {
    let mut opened = Vec::new();
    for (name, told) in names.iter().filter_map(|name| Some((name, parse_segment_name(name)?))) {
        opened.push(open_segment(disk, dir, name, told)?);
    }
    let Some(first) = opened.first() else { return Ok(None) };
    let start = first.header.first;
    let Some(incarnation) = opened.iter().find(|o| o.header_damage.is_none()).map(|o| o.header.incarnation) else {
        let (file, lo, hi) = (first.name.clone(), first.header.first, first.header.first + first.bytes_on_disk);
        return Err(LogError::Corrupt(Damage { file, lo, hi, what: "no segment has a sound header".into() }));
    };
    for segment in &mut opened {
        segment.control =
            frame::decode(&segment.body_head, &incarnation, segment.header.first).and_then(|found| found.control);
    }
    let mut reading = Reading::new(incarnation, start);
    for i in 0..opened.len() {
        reading.segment(disk, dir, &opened[i], opened.get(i + 1), on_frame)?;
    }
    Ok(Some(reading.recovered))
}

fn open_segment(disk: &dyn Disk, dir: &str, name: &str, (number, first): (u64, Lsn)) -> Result<Opened, LogError> {
    let failed = |source| LogError::Disk { dir: dir.to_owned(), source };
    let name = format!("{dir}/{name}");
    let file = disk.open(&name).map_err(failed)?;
    let mut head = vec![0; SEGMENT_HEADER_BYTES as usize + frame::CONTROL_FRAME_BYTES];
    let read = file.read_at(0, &mut head).map_err(failed)?;
    let bytes_on_disk = file.len().map_err(failed)?;
    let told = Header { incarnation: [0; 16], number, first };
    let (header, header_damage) = match Header::decode(&head[..read]) {
        Ok(header) if (header.number, header.first) == (number, first) => (header, None),
        Ok(header) => (told, Some(format!("its header says number {}, address {}", header.number, header.first))),
        Err(BadHeader::Damaged) => (told, Some("its header does not check out".to_owned())),
        Err(BadHeader::Newer(found)) => {
            return Err(LogError::NewerFormat { file: name, found, known: FORMAT_VERSION });
        }
    };
    let body_head = head[..read].get(SEGMENT_HEADER_BYTES as usize..).unwrap_or_default().to_vec();
    Ok(Opened { header, name, bytes_on_disk, header_damage, body_head, control: None })
}

/// Where the frames of a segment must end, given the one that follows.
fn limit_before(next: Option<&Opened>) -> Limit {
    match next {
        None => Limit::Open,
        Some(next) => match next.control {
            Some(Control::Void { lo, hi }) if hi == next.header.first => Limit::Exact(lo),
            _ => Limit::Exact(next.header.first),
        },
    }
}

struct Reading {
    recovered: Recovered,
    /// The highest address known to be durable, by the frames read so far.
    durable: Lsn,
    /// Where the next segment must begin.
    expected: Lsn,
    number: Option<u64>,
}

impl Reading {
    fn new(incarnation: [u8; 16], first: Lsn) -> Self {
        let recovered =
            Recovered { incarnation, segments: Vec::new(), end: first, frames: 0, damage: Vec::new(), leftover: false };
        Self { recovered, durable: 0, expected: first, number: None }
    }

    fn segment(
        &mut self,
        disk: &dyn Disk,
        dir: &str,
        opened: &Opened,
        next: Option<&Opened>,
        on_frame: &mut OnFrame<'_>,
    ) -> Result<(), LogError> {
        let failed = |source| LogError::Disk { dir: dir.to_owned(), source };
        self.check_place(opened);
        let incarnation = self.recovered.incarnation;
        let file = disk.open(&opened.name).map_err(failed)?;
        let bytes = read_all(&*file).map_err(failed)?;
        let header = Header { incarnation, ..opened.header };
        let mut segment = Segment::new(header, opened.name.clone(), file, opened.bytes_on_disk);
        let limit = limit_before(next);
        let scanned = scan(&bytes, &incarnation, header.first, limit, self.durable, &mut |lsn, payload| {
            segment.note_frame(lsn);
            on_frame(lsn, payload);
        });
        segment.damaged = scanned.damaged.iter().map(|&(lo, hi, _)| (lo, hi)).collect();
        segment.set_end(scanned.end);
        self.recovered.segments.push(Arc::new(segment));
        self.expected = match limit {
            Limit::Exact(_) => {
                next.map_or(scanned.end, |next| if next.control.is_some() { next.header.first } else { scanned.end })
            }
            Limit::Open => scanned.end,
        };
        self.take(opened, scanned);
        Ok(())
    }

    /// Notes what the headers alone tell: a header that is gone, segments that are missing.
    fn check_place(&mut self, opened: &Opened) {
        let Header { number, first, .. } = opened.header;
        let file = || opened.name.clone();
        if let Some(what) = &opened.header_damage {
            self.recovered.damage.push(Damage { file: file(), lo: first, hi: first, what: what.clone() });
        }
        // A gap that the end of the segment before has shown already is not told twice.
        let told = self.recovered.damage.last().is_some_and(|damage| damage.hi == first);
        if first != self.expected || (self.number.is_some_and(|n| n + 1 != number) && !told) {
            let what = "the segment before it is missing or too short".to_owned();
            self.recovered.damage.push(Damage { file: file(), lo: self.expected.min(first), hi: first, what });
        }
        self.number = Some(number);
    }

    fn take(&mut self, opened: &Opened, scanned: Scanned) {
        let damage = |(lo, hi, what): (Lsn, Lsn, &str)| Damage { file: opened.name.clone(), lo, hi, what: what.into() };
        self.recovered.damage.extend(scanned.damaged.into_iter().map(damage));
        self.recovered.end = scanned.end;
        self.recovered.frames += scanned.frames;
        self.recovered.leftover = scanned.leftover;
        self.durable = self.durable.max(scanned.durable);
    }
}
