//! How far complete records of a file reach, told a piece at a time so that a large file does not hold up the others.

use super::carry;
use super::content::Content;
use super::frame::{Framing, line_end};
use super::hold::{self, Reach};
use super::reader::{self, Records, Wanted};
use super::record::Passage;
use super::scanner::Scanner;
use super::source::Shared;
use sawlog_core::ports::SourceEvent;
use sawlog_record::id::Generation;
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Bytes framed for one announcement, so that a large file does not hold up the others.
const ANNOUNCE_BYTES: usize = 8 << 20;
/// Pieces framed in one turn.
const ANNOUNCE_TURNS: usize = 4;

/// A generation as its records are looked for.
pub(super) struct View<'a> {
    size: u64,
    /// More was delivered in an earlier life than was announced in this one.
    is_known: bool,
    /// Behind what was announced; where its end was carried into the next file, only to there.
    range: Range<u64>,
    searched: u64,
    splits: Arc<BTreeSet<u64>>,
    framing: &'a Framing,
    passage: Arc<Passage>,
}

impl View<'_> {
    /// The first records behind `from`.
    pub fn records(&self, content: &Content, from: u64) -> io::Result<Option<Records>> {
        let Self { splits, framing, passage, .. } = self;
        let lead = passage.carried.as_ref().map_or(&[][..], |carried| &carried.lines);
        let low = passage.gone_on.map_or(0, |(_, end)| if from >= end { end } else { 0 });
        let (to, bytes_max, records_max) = (self.range.end, ANNOUNCE_BYTES, usize::MAX);
        reader::read(content, &Wanted { framing, splits, from, to, bytes_max, records_max, open: None, lead, low })
    }
}

impl Shared {
    /// `None` where nothing is left to look for.
    pub(super) fn view(&self, generation: Generation) -> Option<View<'_>> {
        let table = self.lock();
        let t = table.get(generation)?;
        let (splits, passage) = (t.splits.clone(), t.passage.clone());
        // Nothing below the floor is read again, so nothing is looked for there after a restart.
        let range = carry::around(passage.gone_on, t.announced.max(t.floor)..u64::MAX)?;
        let is_known = t.floor > t.announced && passage.gone_on.is_none_or(|(begin, _)| t.floor <= begin);
        let searched = t.searched.max(t.announced);
        Some(View { size: t.size, is_known, range, searched, splits, framing: self.framing(t.cri), passage })
    }
}

impl Scanner {
    /// Tells how far complete records of a generation reach; what is framed for that is a piece at a time, and the rest
    /// of a large file waits for the next turn.
    pub(super) fn announce(&mut self, generation: Generation) -> io::Result<()> {
        for _ in 0..ANNOUNCE_TURNS {
            if !self.announce_piece(generation)? {
                return Ok(());
            }
        }
        let name = self.shared.lock().get(generation).map(|t| t.partition_name.to_path_buf());
        self.restless.extend(name);
        Ok(())
    }

    /// Whether there may be more.
    pub(super) fn announce_piece(&mut self, generation: Generation) -> io::Result<bool> {
        let Some(view) = self.shared.view(generation) else { return Ok(false) };
        let (size, from) = (view.size, view.range.start);
        if size <= view.searched || size < from || (size == from && !view.is_known) {
            return Ok(false);
        }
        let Some(content) = self.shared.content(generation)? else { return Ok(false) };
        let is_simple = !carry::applies(view.framing);
        let end = if is_simple {
            let last = content.last_line_end(view.searched..size, line_end(view.framing.encoding))?;
            if last > view.searched { last } else { from }
        } else {
            match self.reach(generation, &view, view.records(&content, from)?) {
                Reach::Upto(end) => end,
                Reach::Ended(ends) => return Ok(self.end_fragments(generation, &ends)),
            }
        };
        let mut table = self.shared.lock();
        let Some(tracked) = table.get_mut(generation) else { return Ok(false) };
        tracked.searched = if is_simple { size } else { size.min(end.max(from)) };
        if end <= tracked.announced {
            tracked.searched = size;
            return Ok(false);
        }
        tracked.announced = end;
        tracked.ended = false;
        let end = tracked.position(end);
        drop(table);
        self.shared.outbox.send(SourceEvent::Available { generation, end });
        Ok(!is_simple)
    }

    fn reach(&self, generation: Generation, view: &View<'_>, records: Option<Records>) -> Reach {
        let Some(records) = records else { return Reach::Upto(view.range.start) };
        // Fragments that were carried into the next file wait for nothing here.
        if !view.framing.cri || view.range.end != u64::MAX {
            return Reach::Upto(records.framed.records.last().map_or(view.range.start, |record| record.end));
        }
        let mut table = self.shared.lock();
        let mut holds = table.holds.remove(&generation).unwrap_or_default();
        let reach = hold::reach(&mut holds, &records, view.range.start..view.size, self.shared.options.idle_timeout);
        if !holds.is_empty() {
            table.holds.insert(generation, holds);
        }
        reach
    }

    /// Journals ends of fragments whose rest never came; whether that is news.
    fn end_fragments(&self, generation: Generation, ends: &[u64]) -> bool {
        let mut table = self.shared.lock();
        let Some(tracked) = table.get_mut(generation) else { return false };
        let is_news = ends.iter().any(|end| !tracked.splits.contains(end));
        if is_news {
            Arc::make_mut(&mut tracked.splits).extend(ends);
            self.shared.send_identity(tracked);
        }
        is_news
    }
}
