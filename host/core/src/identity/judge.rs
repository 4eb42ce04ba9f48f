//! The identity rules of one partition's files, in their order. Facts in, decisions out; it reads nothing itself and
//! remembers nothing between two judgements.

use super::evidence::{Contents, Cover, Evidence, FirstLine};
use sawlog_record::id::Generation;
use serde::{Deserialize, Serialize};

/// Which file, as the file system tells files apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct FileId {
    /// Device.
    pub dev: u64,
    /// Inode; used again for another file once this one is gone.
    pub ino: u64,
    /// Birth time, nanoseconds; `None` where the file system has none: then only an open descriptor proves anything.
    pub btime: Option<i64>,
}

/// What kind of name a file has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    /// The name that the writer opens.
    Primary,
    /// A name that rotation gives.
    Rotated,
    /// None any more: an open descriptor keeps it readable.
    Unlinked,
}

/// A file as a scan sees it. Several names of one file are one `Seen`, primary if any of them is.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which file.
    pub file: FileId,
    /// Its kind of name.
    pub name: Name,
    /// The generation for which this process has had the file open without a break.
    pub held: Option<Generation>,
    /// Nothing about a file that nobody appends to (a packed one) changed since it was found to be its generation: then
    /// it is not read again for that.
    pub unchanged: bool,
    /// When it was written last, unix nanoseconds.
    pub written: i64,
    /// Content bytes (unpacked where it is compressed).
    pub size: u64,
    /// Where its last complete line ends.
    pub complete: u64,
    /// Its first line, once complete.
    pub first_line: Option<FirstLine>,
}

/// A generation as it was left.
#[derive(Clone, Debug)]
pub struct Known {
    /// Which one.
    pub generation: Generation,
    /// The file that held it; `None` once it is gone (evidence stays a while: copies turn up late).
    pub file: Option<FileId>,
    /// What was consumed.
    pub evidence: Evidence,
}

/// Why a file waits for the next look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitReason {
    /// It has no complete line yet.
    NoLine,
    /// It is being copied from the seen file of this index, or is a copy that nothing tells from it yet.
    CopyInProgress(usize),
    /// It, or something that it must be held against, could not be read.
    Unreadable,
}

/// What is to happen. `known` and `seen` are indexes into the arguments of [`judge`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the fields are the indexes and the position that the variants speak of")]
pub enum Decision {
    /// The file still is the generation (perhaps under another name).
    Same { known: usize, seen: usize },
    /// The generation goes on in another file with the same content.
    Adopt { known: usize, seen: usize },
    /// A power loss ate the tail of the generation's file: what the file holds from `pos` on was never
    /// consumed. Where it has grown beyond `pos` again, and `pos` lies inside a line, that line is the first to consume.
    Cut { known: usize, seen: usize, pos: u64 },
    /// A new generation; these come in the order in which they are to be read.
    New { seen: usize },
    /// All of the file was consumed as part of a generation: skipped as long as that is so.
    Alias { known: usize, seen: usize },
    /// Not yet.
    Wait { seen: usize, reason: WaitReason },
    /// No file holds the generation any more.
    Gone { known: usize },
}

/// Judges the files of one partition. Every seen file gets exactly one decision; every known generation that has a file
/// gets one unless a file that might be it could not be read.
pub fn judge(known: &[Known], seen: &[Seen], boot_changed: bool, contents: &mut dyn Contents) -> Vec<Decision> {
    let mut scan = Scan {
        known,
        seen,
        contents,
        placed: vec![false; known.len()],
        claims: vec![None; seen.len()],
        doubt: vec![false; known.len()],
        decisions: Vec::new(),
    };
    scan.keep_same(false);
    scan.adopt();
    scan.keep_same(true);
    scan.cut_or_lose(boot_changed);
    scan.open_primaries();
    scan.judge_rotated();
    scan.decisions
}

struct Scan<'a> {
    known: &'a [Known],
    seen: &'a [Seen],
    contents: &'a mut dyn Contents,
    /// Generations that have a file.
    placed: Vec<bool>,
    /// Files that have a decision: `Some(live)`, live when the file belongs to a generation.
    claims: Vec<Option<bool>>,
    /// Generations of which a candidate could not be read.
    doubt: Vec<bool>,
    decisions: Vec<Decision>,
}

impl Scan<'_> {
    fn place(&mut self, known: usize, seen: usize, decision: Decision) {
        self.placed[known] = true;
        self.claims[seen] = Some(true);
        self.decisions.push(decision);
    }

    fn settle(&mut self, seen: usize, decision: Decision) {
        self.claims[seen] = Some(matches!(decision, Decision::New { .. }));
        self.decisions.push(decision);
    }

    /// Generations without a file, the longest first: the more was consumed, the less is left to chance.
    fn orphans(&self) -> Vec<usize> {
        let mut orphans: Vec<usize> = (0..self.known.len()).filter(|k| !self.placed[*k]).collect();
        orphans.sort_by_key(|k| std::cmp::Reverse(self.known[*k].evidence.pos()));
        orphans
    }

    fn same_file(&self, known: usize, seen: usize) -> bool {
        let (known, seen) = (&self.known[known], &self.seen[seen]);
        known.file.is_some_and(|file| {
            (file.dev, file.ino) == (seen.file.dev, seen.file.ino)
                && match (file.btime, seen.file.btime) {
                    (Some(a), Some(b)) => a == b,
                    _ => seen.held == Some(known.generation),
                }
        })
    }

    /// Rule 1: same device, inode and birth, and the content stands. What has lost its name gives way to a named file
    /// that begins with all of it: after a restart only that one can be found.
    fn keep_same(&mut self, unlinked: bool) {
        for k in self.orphans() {
            let Some(s) = self.own_file(k).filter(|s| (self.seen[*s].name == Name::Unlinked) == unlinked) else {
                continue;
            };
            let (seen, evidence) = (&self.seen[s], &self.known[k].evidence);
            if seen.unchanged {
                self.place(k, s, Decision::Same { known: k, seen: s });
                continue;
            }
            if seen.size < evidence.pos() {
                continue;
            }
            match evidence.stands(self.contents, s, seen.first_line) {
                Some(true) => self.place(k, s, Decision::Same { known: k, seen: s }),
                Some(false) => {}
                None => {
                    self.doubt[k] = true;
                    self.settle(s, Decision::Wait { seen: s, reason: WaitReason::Unreadable });
                }
            }
        }
    }

    fn own_file(&self, k: usize) -> Option<usize> {
        (0..self.seen.len()).find(|s| self.claims[*s].is_none() && self.same_file(k, *s))
    }

    /// Rule 2: what lost its file goes on in an unclaimed one that begins with everything consumed. Where several do,
    /// the one with the most.
    fn adopt(&mut self) {
        for k in self.orphans() {
            if self.proves_nothing(k) {
                continue;
            }
            let mut candidates: Vec<usize> = (0..self.seen.len()).filter(|s| self.may_adopt(k, *s)).collect();
            candidates.sort_by_key(|s| (std::cmp::Reverse(self.seen[*s].complete), *s));
            for s in candidates {
                match self.holds(k, s) {
                    Some(true) => {
                        self.place(k, s, Decision::Adopt { known: k, seen: s });
                        break;
                    }
                    Some(false) => {}
                    None => self.doubt[k] = true,
                }
            }
        }
    }

    /// Whether what was consumed of `k` is also the beginning of another generation: a header proves nothing.
    fn proves_nothing(&self, k: usize) -> bool {
        let evidence = &self.known[k].evidence;
        (0..self.known.len()).any(|other| other != k && evidence.is_prefix_of(&self.known[other].evidence))
    }

    /// A generation that was gone before this look comes back under a rotated name only: a new file that begins like an
    /// old one is likelier a writer that repeats itself.
    fn may_adopt(&self, k: usize, s: usize) -> bool {
        let (known, seen) = (&self.known[k], &self.seen[s]);
        self.claims[s].is_none()
            && seen.first_line == Some(known.evidence.first_line())
            && (known.file.is_some() || seen.name == Name::Rotated)
    }

    fn holds(&mut self, k: usize, s: usize) -> Option<bool> {
        let evidence = &self.known[k].evidence;
        if !evidence.covered_by(self.contents, s, self.seen[s].size)? {
            return Some(false);
        }
        let foreign =
            self.seen[s].name == Name::Rotated && (self.alias_of(s, Some(k))?.is_some() || self.copy_of(s)?.is_some());
        Some(!foreign)
    }

    /// Rule 5 for what kept its file but not its bytes; whoever has neither is gone.
    fn cut_or_lose(&mut self, boot_changed: bool) {
        for k in self.orphans() {
            if self.known[k].file.is_none() || self.doubt[k] {
                continue;
            }
            let cut = match self.own_file(k).filter(|_| boot_changed).map(|s| Some((s, self.eaten(k, s)?))) {
                Some(None) => continue, // can't be read: the next look decides
                Some(Some((s, Some(pos)))) => Some((s, pos)),
                Some(Some((_, None))) | None => None,
            };
            match cut {
                Some((seen, pos)) => self.place(k, seen, Decision::Cut { known: k, seen, pos }),
                None => self.decisions.push(Decision::Gone { known: k }),
            }
        }
    }

    /// Where the part of a file that a power loss spared ends, if there is one: at its end, or, where it has been written
    /// since, at the last line end that it has in common with what was consumed.
    fn eaten(&mut self, k: usize, s: usize) -> Option<Option<u64>> {
        let (evidence, seen) = (&self.known[k].evidence, &self.seen[s]);
        if seen.first_line != Some(evidence.first_line()) {
            return Some(None);
        }
        if seen.size < evidence.pos() && evidence.covers(self.contents, s, seen.complete)? != Cover::No {
            return Some(Some(seen.size));
        }
        let common = evidence.common(self.contents, s, seen.size)?;
        let header =
            self.known.iter().enumerate().any(|(i, o)| i != k && o.evidence.first_line() == evidence.first_line());
        let enough = common > u64::from(evidence.first_line().bytes) || (common > 0 && !header);
        Some(enough.then_some(common))
    }

    /// Rule 3: a primary name that is nobody's begins a generation, before rotated names are judged.
    fn open_primaries(&mut self) {
        let mut new: Vec<usize> =
            (0..self.seen.len()).filter(|s| self.claims[*s].is_none() && self.seen[*s].name == Name::Primary).collect();
        new.sort_by_key(|s| (self.seen[*s].file.btime, *s));
        for s in new {
            match self.seen[s].first_line {
                Some(_) => self.settle(s, Decision::New { seen: s }),
                None => self.settle(s, Decision::Wait { seen: s, reason: WaitReason::NoLine }),
            }
        }
    }

    /// Rule 4: a rotated name that is nobody's is a copy of what was consumed, a copy in the making, or new. The longest
    /// first: of two equal newcomers one is the original.
    fn judge_rotated(&mut self) {
        let mut left: Vec<usize> = (0..self.seen.len()).filter(|s| self.claims[*s].is_none()).collect();
        left.sort_by_key(|s| (std::cmp::Reverse(self.seen[*s].complete), *s));
        for s in left {
            let decision = self.rotated(s);
            self.settle(s, decision);
        }
        // New generations in the order in which they were written, whichever rule found them, and the live file last. Births do not tell
        // that: a packed file, and a copy of what was cut off then, are younger than what was written later.
        let seen = self.seen;
        let age = |d: &Decision| match d {
            Decision::New { seen: s } => {
                let Seen { name, written, file, .. } = &seen[*s];
                (1, *name == Name::Primary, *written, file.btime, *s)
            }
            _ => (0, false, 0, None, 0),
        };
        self.decisions.sort_by_key(age);
    }

    fn rotated(&mut self, s: usize) -> Decision {
        let wait = |reason| Decision::Wait { seen: s, reason };
        if self.seen[s].first_line.is_none() {
            return wait(WaitReason::NoLine);
        }
        match (self.alias_of(s, None), self.copy_of(s)) {
            (Some(Some(known)), _) => Decision::Alias { known, seen: s },
            (_, Some(Some(original))) => wait(WaitReason::CopyInProgress(original)),
            (Some(None), Some(None)) => Decision::New { seen: s },
            _ => wait(WaitReason::Unreadable),
        }
    }

    /// Rule 4a: the generation (other than `except`) of which all complete lines of `s` are a consumed beginning. Where
    /// only whole blocks can be compared, and they are those of several generations, they prove nothing.
    fn alias_of(&mut self, s: usize, except: Option<usize>) -> Option<Option<usize>> {
        let (mut candidate, mut candidates) = (None, 0);
        for k in (0..self.known.len()).filter(|k| Some(*k) != except) {
            let (evidence, seen) = (&self.known[k].evidence, &self.seen[s]);
            if seen.first_line != Some(evidence.first_line()) {
                continue;
            }
            match evidence.covers(self.contents, s, seen.complete)? {
                Cover::Exact => return Some(Some(k)),
                Cover::Blocks => (candidate, candidates) = (Some(k), candidates + 1),
                Cover::No => {}
            }
        }
        Some(candidate.filter(|_| candidates == 1))
    }

    /// Rule 4b: the file of a generation of which `s` is a byte-equal beginning.
    fn copy_of(&mut self, s: usize) -> Option<Option<usize>> {
        for original in (0..self.seen.len()).filter(|o| *o != s && self.claims[*o] == Some(true)) {
            let (copy, live) = (&self.seen[s], &self.seen[original]);
            if copy.first_line == live.first_line
                && copy.complete <= live.size
                && equal_contents(self.contents, s, original, copy.complete)?
            {
                return Some(Some(original));
            }
        }
        Some(None)
    }
}

/// Compares two files' first `len` bytes, the last ones first: files that differ mostly differ there.
fn equal_contents(contents: &mut dyn Contents, a: usize, b: usize, len: u64) -> Option<bool> {
    let block = contents.block_bytes();
    let mut end = len;
    while end > 0 {
        let start = (end - 1) / block * block;
        if contents.hash(a, start..end)? != contents.hash(b, start..end)? {
            return Some(false);
        }
        end = start;
    }
    Some(true)
}
