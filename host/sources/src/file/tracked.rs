//! One generation of the source: its file, how far it was announced and consumed. It decides nothing; offsets are those of
//! the file, positions of the port are `offset − base`.

use super::content::Content;
use super::frame::CHAIN_SPAN_BYTES_MAX;
use super::moment::Moment;
use super::reader::Records;
use super::record::{Identity, Passage, Seen};
use sawlog_core::identity::{Evidence, FileId, Known, Name, Tracker};
use sawlog_record::id::Generation;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use thin_vec::ThinVec;

/// How much is read at once to catch up with what was consumed in an earlier life, bytes.
const CATCH_UP_BYTES: u64 = 1 << 20;

/// What nearly every file has: records that pass to no other.
static NO_PASSAGE: LazyLock<Arc<Passage>> = LazyLock::new(Arc::default);
/// What nearly every file has: no decided ends.
static NO_SPLITS: LazyLock<Arc<BTreeSet<u64>>> = LazyLock::new(Arc::default);

/// What the journal keeps of a generation, shared with it.
#[derive(Debug, Clone)]
pub struct Kept {
    /// As [`Identity::encode`] wrote it, or what [`Identity::decode`] could read.
    pub identity: Arc<[u8]>,
    /// Where its evidence ends.
    pub pos: u64,
}

impl Kept {
    fn evidence(&self) -> Evidence {
        Identity::decode(&self.identity).expect("it was written or read here before").evidence
    }
}

/// What was consumed: collected while a file is read, at rest while it is quiet.
#[derive(Debug)]
pub enum Consumed {
    /// Nothing was read for a while: what the journal keeps says it.
    AtRest(Kept),
    /// Being read.
    Reading(Box<Tracker>),
}

impl Consumed {
    /// The evidence so far.
    pub fn evidence(&self) -> Evidence {
        match self {
            Self::AtRest(kept) => kept.evidence(),
            Self::Reading(tracker) => tracker.evidence(),
        }
    }

    /// Where it ends.
    pub fn pos(&self) -> u64 {
        match self {
            Self::AtRest(kept) => kept.pos,
            Self::Reading(tracker) => tracker.pos(),
        }
    }

    /// Whether `content` still is what was consumed: first line and the bytes before the end are the same.
    pub fn stands(&self, content: &Content) -> io::Result<bool> {
        let evidence = match self {
            Self::AtRest(kept) => Ok(kept.evidence()),
            Self::Reading(tracker) => Err(tracker),
        };
        let (range, first_line) = match &evidence {
            Ok(evidence) => (evidence.anchor_range(), evidence.first_line()),
            Err(tracker) => (tracker.anchor_range(), tracker.first_line()),
        };
        let Some(bytes) = content.exactly(range)? else { return Ok(false) };
        let anchored = match &evidence {
            Ok(evidence) => evidence.anchored(&bytes),
            Err(tracker) => tracker.anchored(&bytes),
        };
        Ok(anchored && content.first_line()? == Some(first_line))
    }

    /// Takes note of records that were read, and of what lies before them where an earlier life consumed it.
    pub fn consume(&mut self, content: &Content, records: &Records) -> io::Result<()> {
        let Some(end) = records.framed.records.last().map(|r| r.end).filter(|end| *end > self.pos()) else {
            return Ok(());
        };
        let Some(tracker) = self.reading(content)? else { return Ok(()) };
        while tracker.pos() < end {
            let from = tracker.pos();
            if records.raw.contains(&from) {
                let to = end.min(records.raw.end);
                let at = |offset: u64| records.lead + (offset - records.raw.start) as usize;
                tracker.consume(&records.arena[at(from)..at(to)]);
                continue;
            }
            let bytes = content.exactly(from..end.min(from + CATCH_UP_BYTES))?;
            tracker.consume(&bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        }
        Ok(())
    }

    fn reading(&mut self, content: &Content) -> io::Result<Option<&mut Tracker>> {
        if let Self::AtRest(kept) = self {
            let evidence = kept.evidence();
            let bytes = content.exactly(Tracker::needs(&evidence))?;
            let Some(tracker) = bytes.and_then(|bytes| Tracker::resume(evidence, &bytes)) else {
                return Ok(None);
            };
            *self = Self::Reading(Box::new(tracker));
        }
        match self {
            Self::Reading(tracker) => Ok(Some(tracker)),
            Self::AtRest(_) => Ok(None),
        }
    }

    /// Lets go of what only reading needs, if the journal keeps everything that was consumed.
    pub fn rest(&mut self, kept: &Kept) {
        if matches!(self, Self::Reading(tracker) if tracker.pos() == kept.pos) {
            *self = Self::AtRest(kept.clone());
        }
    }
}

/// One generation.
#[derive(Debug)]
pub struct Tracked {
    /// Its id.
    pub generation: Generation,
    /// Whether its lines carry the envelope of a container runtime.
    pub cri: bool,
    /// What the partition is called that it belongs to.
    pub partition_name: Arc<Path>,
    /// The name that it had last.
    pub path: Arc<Path>,
    /// The file that holds it.
    pub file: Option<FileId>,
    /// What kind of name it has.
    pub name: Name,
    /// Its number among those with its first line.
    pub disamb: u32,
    /// Where in the file position 0 lies.
    pub base: u64,
    /// Position at which reading began.
    pub start: u64,
    /// How its records pass to the files before and behind it.
    pub passage: Arc<Passage>,
    /// Decided ends.
    pub splits: Arc<BTreeSet<u64>>,
    /// What was consumed.
    pub consumed: Arc<Mutex<Consumed>>,
    /// The open file.
    pub content: Option<Arc<Content>>,
    /// Stored bytes and change time when it was looked at last: equal ones need no second look.
    pub stamp: (u64, i64),
    /// Content bytes.
    pub size: u64,
    /// Up to where complete records were announced.
    pub announced: u64,
    /// Up to where no line end was found behind `announced`.
    pub searched: u64,
    /// Nothing below it is read again.
    pub floor: u64,
    /// What is open at an offset, from the last read.
    pub open_at: Option<(u64, ThinVec<u64>)>,
    /// When it last grew.
    pub grown_at: Moment,
    /// When it was last read.
    pub read_at: Moment,
    /// What the journal keeps of it; `None` when more than the evidence changed.
    pub journalled: Option<Kept>,
    /// When the journal last heard of it.
    pub journalled_at: Moment,
    /// What the journal has of its length.
    pub seen: Seen,
    /// Its last byte was announced.
    pub ended: bool,
    /// It was offered for rescue.
    pub vanishing: bool,
    /// It was found by this process.
    pub met: bool,
    /// The machine was booted since the journal heard of it.
    pub booted: bool,
    /// A read found other bytes than were consumed.
    pub doubtful: bool,
}

impl Tracked {
    /// A generation that begins now.
    pub fn new(generation: Generation, partition_name: Arc<Path>, cri: bool, tracker: Tracker) -> Self {
        let now = Moment::now();
        let base = tracker.pos();
        Self {
            generation,
            cri,
            path: partition_name.clone(),
            partition_name,
            file: None,
            name: Name::Primary,
            disamb: 0,
            base,
            start: 0,
            passage: NO_PASSAGE.clone(),
            splits: NO_SPLITS.clone(),
            consumed: Arc::new(Mutex::new(Consumed::Reading(Box::new(tracker)))),
            content: None,
            stamp: (0, 0),
            size: 0,
            announced: base,
            searched: base,
            floor: base,
            open_at: None,
            grown_at: now,
            read_at: now,
            journalled: None,
            journalled_at: now,
            seen: Seen::default(),
            ended: false,
            vanishing: false,
            met: true,
            booted: false,
            doubtful: false,
        }
    }

    /// A generation that the journal knows; `floor` is a position.
    pub fn restored(generation: Generation, cri: bool, floor: u64, (identity, encoded): (Identity, Arc<[u8]>)) -> Self {
        let tracker = Tracker::new(sawlog_core::identity::Grain::DEFAULT, identity.evidence.first_line());
        let mut tracked = Self::new(generation, identity.partition.into(), cri, tracker);
        if identity.path != *tracked.path {
            tracked.path = identity.path.into();
        }
        tracked.file = identity.file;
        tracked.disamb = identity.disamb;
        tracked.base = identity.base;
        tracked.start = identity.start;
        tracked.seen = identity.seen;
        tracked.floor = identity.base.saturating_add(floor);
        tracked.announced = identity.base;
        tracked.searched = identity.base;
        if !identity.splits.is_empty() {
            tracked.splits = Arc::new(identity.splits);
        }
        tracked.set_passage(identity.passage);
        let kept = Kept { identity: encoded, pos: identity.evidence.pos() };
        tracked.journalled = Some(kept.clone());
        tracked.consumed = Arc::new(Mutex::new(Consumed::AtRest(kept)));
        tracked.met = false;
        tracked
    }

    /// Its records pass to other files like this.
    pub fn set_passage(&mut self, passage: Passage) {
        self.passage = if passage == Passage::default() { NO_PASSAGE.clone() } else { Arc::new(passage) };
    }

    /// What was consumed.
    pub fn consumed(&self) -> MutexGuard<'_, Consumed> {
        self.consumed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the journal is to keep.
    pub fn identity(&self, boot_id: [u8; 8]) -> Identity {
        Identity {
            partition: self.partition_name.to_path_buf(),
            path: self.path.to_path_buf(),
            file: self.file,
            disamb: self.disamb,
            base: self.base,
            start: self.start,
            splits: self.splits.range(self.splits_kept_from()..).copied().collect(),
            boot_id,
            evidence: self.consumed().evidence(),
            passage: self.passage_kept(),
            seen: self.seen(),
        }
    }

    /// Fragments that were ended are known for ended as long as a reader looks back for them.
    fn splits_kept_from(&self) -> u64 {
        self.floor.min(self.announced).saturating_sub(if self.cri { CHAIN_SPAN_BYTES_MAX } else { 0 })
    }

    /// Its length as it was looked at last, by this process or the one before.
    pub fn seen(&self) -> Seen {
        match self.met {
            true => Seen { size: self.size, is_all: self.vanishing },
            false => self.seen,
        }
    }

    /// Lines of an older file are kept until the record that they begin is delivered.
    fn passage_kept(&self) -> Passage {
        let mut passage = (*self.passage).clone();
        if self.floor > self.base
            && let Some(carried) = &mut passage.carried
        {
            carried.lines.clear();
        }
        passage
    }

    /// Whether its last byte was announced, or carried into the next file and what stands before that announced.
    pub fn is_told(&self) -> bool {
        let is_carried = |(begin, end)| end == self.size && self.announced >= begin;
        self.announced >= self.size || self.passage.gone_on.is_some_and(is_carried)
    }

    /// As the judgement sees it.
    pub fn known(&self) -> Known {
        Known { generation: self.generation, file: self.file, evidence: self.consumed().evidence() }
    }

    /// Whether nothing of it is left to read or to wait for.
    pub fn is_quiet(&self) -> bool {
        self.is_told() && self.floor >= self.announced
    }

    /// Whether its file can be closed: it is read to its end, and can be opened again and known for the same.
    pub fn may_close(&self) -> bool {
        self.is_quiet() && self.name != Name::Unlinked && self.file.is_some_and(|f| f.btime.is_some())
    }

    /// A position of the port.
    pub fn position(&self, offset: u64) -> u64 {
        offset - self.base
    }
}
