//! What passes from one file of a partition to the next: which file was written before, and what is open at its end.

use super::carry::{self, Carried, Passing};
use super::content::{Content, Slot};
use super::frame::{CHAIN_SPAN_BYTES_MAX, Framing, line_end};
use super::reader::{self, Wanted};
use super::scanner::{Candidate, Scanner};
use sawlog_record::id::Generation;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How much of a new file is read first for its first line, bytes.
const FIRST_BYTES: usize = 64 << 10;

/// What a new file begins with.
pub(super) enum Beginning {
    /// With a record of its own.
    Own,
    /// With lines of the file before it, in whose record it goes on.
    Carried(Carried),
    /// It does not show yet.
    Unknown,
}

impl Scanner {
    /// What a new file begins with. The file before it is read to its end for that.
    pub(super) fn beginning(&mut self, partition: &Path, candidate: &Candidate) -> io::Result<Beginning> {
        let Slot::Open(younger) = &candidate.content else { return Ok(Beginning::Own) };
        let Some((older, framing)) = self.predecessor(partition, candidate).filter(|(_, f)| carry::applies(f)) else {
            return Ok(Beginning::Own);
        };
        let Some(content) = self.shared.content(older)? else { return Ok(Beginning::Own) };
        while self.announce_piece(older)? {}
        let size = content.size()?;
        let (mut end, passage, splits, is_whole, is_fresh) = {
            let table = self.shared.lock();
            let Some(tracked) = table.get(older) else { return Ok(Beginning::Own) };
            let is_whole = tracked.base == 0 && tracked.passage.gone_on.is_none() && tracked.size == size;
            let is_fresh = tracked.grown_at.elapsed() < self.shared.options.idle_timeout;
            (tracked.announced, tracked.passage.clone(), tracked.splits.clone(), is_whole, is_fresh)
        };
        // What fragments hold back is whole all the same.
        let view = self.shared.view(older);
        while let Some(records) = view.as_ref().map_or(Ok(None), |view| view.records(&content, end))? {
            end = records.framed.records.last().map_or(end, |record| record.end);
        }
        if !is_whole || content.last_line_end(0..size, line_end(framing.encoding))? != size {
            return Ok(Beginning::Own);
        }
        let lead = passage.carried.as_ref().map_or(&[][..], |carried| &carried.lines);
        let (framing, splits, records_max) = (&framing, &splits, usize::MAX);
        let wanted =
            Wanted { framing, splits, from: end, to: size, bytes_max: 0, records_max, open: None, lead, low: 0 };
        let Some(waiting) = reader::waiting(&content, &wanted)? else { return Ok(Beginning::Own) };
        Ok(match shown(younger, |bytes| carry::pass(framing, &waiting, end, bytes))? {
            Passing::Carried { end, lines } => Beginning::Carried(Carried { from: older.0, rest: (end, size), lines }),
            // What waits for longer is ended in any case.
            Passing::Unknown if is_fresh && !self.shared.options.until_eof => Beginning::Unknown,
            Passing::Unknown | Passing::Stays => Beginning::Own,
        })
    }

    /// The file that was born last before this one, of those that had its live name. What begins at its end has none.
    fn predecessor(&self, partition: &Path, candidate: &Candidate) -> Option<(Generation, Framing)> {
        let mut table = self.shared.lock();
        if self.shared.options.from_end && table.first_start {
            return None;
        }
        let (born, name) = (candidate.seen.file.btime?, live_part(&candidate.found.as_ref()?.path));
        let own = table.own(partition);
        let born_before = |g: &Generation| {
            let tracked = table.get(*g).filter(|t| t.met && (!t.cri || live_part(&t.path) == name))?;
            Some((tracked.file?.btime.filter(|btime| *btime < born)?, *g))
        };
        let (_, older) = own.iter().filter_map(born_before).max()?;
        let tracked = table.get_mut(older)?;
        if let Some(content) = &tracked.content {
            tracked.size = content.size().ok()?.max(tracked.size);
        }
        Some((older, self.shared.framing(tracked.cri).clone()))
    }

    /// The end of a file is in the next one now, as the journal hears of that one: it is no record here, and what waits before it
    /// is one.
    pub(super) fn go_on(&self, older: Generation, rest: (u64, u64)) {
        let mut table = self.shared.lock();
        if let Some(tracked) = table.get_mut(older) {
            Arc::make_mut(&mut tracked.passage).gone_on = Some(rest);
            tracked.searched = tracked.announced;
            self.shared.send_identity(tracked);
        }
    }
}

/// Shows `decide` as much of a file as it needs.
fn shown(younger: &Content, decide: impl Fn(&[u8]) -> Passing) -> io::Result<Passing> {
    let mut len = FIRST_BYTES;
    loop {
        let mut bytes = Vec::new();
        let is_all = younger.read_at(0, len, &mut bytes)? < len;
        match decide(&bytes) {
            Passing::Unknown if !is_all && (len as u64) < 2 * CHAIN_SPAN_BYTES_MAX => len *= 2,
            passing => return Ok(passing),
        }
    }
}

/// What a container's log file keeps of its name through rotation: the number of the container's start.
fn live_part(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()?.split(".log").next()
}
