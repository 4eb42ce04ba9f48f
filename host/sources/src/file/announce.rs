//! How far complete records of a file reach, told a piece at a time so that a large file does not hold up the others.

use super::carry;
use super::frame::line_end;
use super::reader::{self, Wanted};
use super::scanner::Scanner;
use sawlog_core::ports::SourceEvent;
use sawlog_record::id::Generation;
use std::io;
use std::ops::Range;

/// Bytes framed for one announcement, so that a large file does not hold up the others.
const ANNOUNCE_BYTES: usize = 8 << 20;
/// Pieces framed in one turn.
const ANNOUNCE_TURNS: usize = 4;

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
        let Some((size, from, searched, splits, framing, passage)) = self.shared.lock().get(generation).map(|t| {
            let (searched, framing) = (t.searched.max(t.announced), self.shared.framing(t.cri));
            (t.size, t.announced, searched, t.splits.clone(), framing, t.passage.clone())
        }) else {
            return Ok(false);
        };
        let Some(Range { start: from, end: to }) = carry::around(passage.gone_on, from..u64::MAX) else {
            return Ok(false);
        };
        if size <= searched || size <= from {
            return Ok(false);
        }
        let Some(content) = self.shared.content(generation)? else { return Ok(false) };
        let simple = !framing.cri && framing.multiline.is_none();
        let end = if simple {
            let last = content.last_line_end(searched..size, line_end(framing.encoding))?;
            if last > searched { last } else { from }
        } else {
            let (bytes_max, records_max) = (ANNOUNCE_BYTES, usize::MAX);
            let lead = passage.carried.as_ref().map_or(&[][..], |carried| &carried.lines);
            let low = passage.gone_on.map_or(0, |(_, end)| if from >= end { end } else { 0 });
            let wanted = Wanted { framing, splits: &splits, from, to, bytes_max, records_max, open: None, lead, low };
            let records = reader::read(&content, &wanted)?;
            records.and_then(|r| r.framed.records.last().map(|r| r.end)).unwrap_or(from)
        };
        let mut table = self.shared.lock();
        let Some(tracked) = table.get_mut(generation) else { return Ok(false) };
        tracked.searched = if simple { size } else { size.min(end.max(from)) };
        if end <= tracked.announced {
            tracked.searched = size;
            return Ok(false);
        }
        tracked.announced = end;
        tracked.ended = false;
        let end = tracked.position(end);
        drop(table);
        self.shared.outbox.send(SourceEvent::Available { generation, end });
        Ok(!simple)
    }
}
