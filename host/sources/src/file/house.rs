//! What follows from the passing of time: ends that nobody writes, last bytes, rescue, what the journal hears, rest. It
//! looks at no folder.

use super::carry;
use super::content::Content;
use super::frame::line_end;
use super::moment::Moment;
use super::reader::{self, Wanted};
use super::scanner::Scanner;
use super::source::Shared;
use super::tracked::Tracked;
use sawlog_core::identity::Name;
use sawlog_core::ports::SourceEvent;
use sawlog_record::id::Generation;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Bytes consumed after which the journal hears of a file again, though it is not quiet.
const JOURNAL_BYTES: u64 = 16 << 20;
/// Time after which it hears of it all the same.
const JOURNAL_EVERY: Duration = Duration::from_secs(10);
/// Time without a read after which a file is quiet.
const QUIET: Duration = Duration::from_secs(1);

impl Scanner {
    /// Attends to every generation for which time matters.
    pub(super) fn keep_house(&mut self) {
        let awake: Vec<Generation> = self.shared.lock().awake.iter().copied().collect();
        for generation in awake {
            if self.shared.look_again(generation)
                && let Err(error) = self.announce(generation)
            {
                tracing::debug!(%generation, %error, "a file without a name can't be read now; trying again");
            }
            let mut table = self.shared.lock();
            if !table.get_mut(generation).is_some_and(|tracked| self.shared.attend(tracked)) {
                table.awake.remove(&generation);
                if table.awake.is_empty() {
                    table.pack();
                }
            }
        }
    }

    /// Where the source is to end: it does once everything that is there was announced.
    pub(super) fn finish(&mut self) {
        if self.finished || !self.shared.options.until_eof || !self.restless.is_empty() || self.shared.is_to_unpack() {
            return;
        }
        let all = self.shared.lock().all().all(|t| t.is_told() && t.ended);
        if all {
            self.finished = true;
            self.shared.outbox.send(SourceEvent::Finished);
        }
    }
}

impl Shared {
    /// Whether a file that no look shows any more has grown.
    fn look_again(&self, generation: Generation) -> bool {
        let mut table = self.lock();
        let Some(tracked) = table.get_mut(generation).filter(|t| t.name == Name::Unlinked) else { return false };
        let size = tracked.content.as_ref().and_then(|content| content.size().ok()).unwrap_or(tracked.size);
        let grew = size > tracked.size;
        if grew {
            (tracked.size, tracked.grown_at) = (size, Moment::now());
        }
        grew
    }

    /// Does what is due; whether something is still waited for.
    fn attend(&self, tracked: &mut Tracked) -> bool {
        let options = &self.options;
        let (idle, framing) = (tracked.grown_at.elapsed(), self.framing(tracked.cri));
        let over = (tracked.name != Name::Primary && idle >= options.rotate_wait) || options.until_eof;
        let joins = framing.multiline.is_some() || framing.cri;
        let is_searched = !joins || tracked.searched >= tracked.size;
        if tracked.met && !tracked.is_told() && is_searched && (over || (joins && idle >= options.idle_timeout)) {
            self.split(tracked, over);
        }
        if over && tracked.met && tracked.is_told() {
            self.end(tracked);
        }
        let journal_waits = self.journal(tracked);
        if tracked.name != Name::Primary && tracked.ended && tracked.may_close() {
            tracked.content = None;
        }
        let rest = !tracked.is_told() && (tracked.name != Name::Primary || (joins && idle < options.idle_timeout));
        rest || journal_waits || (tracked.name != Name::Primary && !tracked.ended)
    }

    /// Nothing more comes: the last byte is told, and what has no name is offered for rescue.
    fn end(&self, tracked: &mut Tracked) {
        let (generation, end) = (tracked.generation, tracked.position(tracked.announced));
        if !std::mem::replace(&mut tracked.ended, true) {
            self.outbox.send(SourceEvent::Ended { generation, len: end });
        }
        if tracked.name == Name::Unlinked && !std::mem::replace(&mut tracked.vanishing, true) {
            self.send_identity(tracked);
            self.outbox.send(SourceEvent::Vanishing { generation, end });
        }
    }

    /// Lets the journal hear of what was consumed and how long it is, now and then while a file is read or written, and once it is
    /// quiet; then only the evidence stays in memory. Whether it is still to hear.
    fn journal(&self, tracked: &mut Tracked) -> bool {
        let consumed = tracked.consumed().pos();
        let quiet = tracked.read_at.elapsed() >= QUIET;
        let behind = tracked.journalled.as_ref().map_or(u64::MAX, |kept| consumed.saturating_sub(kept.pos));
        let is_due = tracked.journalled_at.elapsed() >= JOURNAL_EVERY;
        let has_grown = tracked.met && tracked.size > tracked.seen.size;
        let grown = has_grown && (is_due || tracked.grown_at.elapsed() >= QUIET);
        if grown || (behind > 0 && (quiet || behind >= JOURNAL_BYTES || is_due)) {
            self.send_identity(tracked);
        }
        if let Some(kept) = tracked.journalled.as_ref().filter(|_| quiet) {
            tracked.consumed().rest(kept);
        }
        !quiet || (has_grown && !grown)
    }

    /// Journals an end, then announces it: of all that is there, or of the record that its last whole line may end.
    fn split(&self, tracked: &mut Tracked, over: bool) {
        let Some(content) = tracked.content.clone() else { return };
        let framing = self.framing(tracked.cri);
        let unit = line_end(framing.encoding);
        // What was carried into the next file ends nothing here; what stands before it is announced without.
        let left = carry::around(tracked.passage.gone_on, tracked.announced..tracked.size);
        let Some(left) = left.filter(|left| left.end == tracked.size) else { return };
        let from = left.start;
        let Ok(last) = content.last_line_end(left, unit) else { return };
        let at = if over { tracked.size } else { last };
        if at <= from {
            return;
        }
        let mut splits = (*tracked.splits).clone();
        if last > from && carry::applies(framing) {
            let Ok(fragments) = self.fragments(tracked, &content, last) else { return };
            splits.extend(fragments);
            splits.insert(last);
        }
        splits.insert(at);
        tracked.splits = Arc::new(splits);
        self.send_identity(tracked);
        (tracked.announced, tracked.searched) = (at, at);
        let (generation, end) = (tracked.generation, tracked.position(at));
        self.outbox.send(SourceEvent::Available { generation, end });
    }
    /// Ends of fragments whose rest has not come before `last`, of which nothing was announced.
    fn fragments(&self, tracked: &Tracked, content: &Content, last: u64) -> io::Result<Vec<u64>> {
        let framing = self.framing(tracked.cri);
        if !framing.cri {
            return Ok(Vec::new());
        }
        let lead = tracked.passage.carried.as_ref().map_or(&[][..], |carried| &carried.lines);
        let low = tracked.passage.gone_on.map_or(0, |(_, end)| if last >= end { end } else { 0 });
        let (splits, to, bytes_max, records_max) = (&tracked.splits, last, 0, 0);
        let wanted = Wanted { framing, splits, from: last, to, bytes_max, records_max, open: None, lead, low };
        let open = reader::open_before(content, &wanted)?;
        Ok(open.into_iter().map(|chain| chain.end).filter(|end| *end >= tracked.announced).collect())
    }
}
