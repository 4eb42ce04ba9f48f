//! Generations that the sinks know and this journal does not, after a lost or an older data directory: which file is which of
//! them, and which numbers are taken. It reads nothing itself.
//!
//! A cursor that a sink holds is believed only where the file's bytes before it are the ones that were read, and only where
//! no other file or cursor could be meant as well: whatever is in doubt is a new generation, and sent again.

use super::disamb::{Disambs, generation};
use super::evidence::{FirstLine, hash_of};
use super::judge::{FileId, Name, Seen};
use crate::journal::Mark;
use crate::mutation;
use sawlog_record::id::Generation;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The first byte of an encoded anchor.
const VERSION: u8 = 1;

/// What a cursor of a file carries beside its position, so that the file is found again by the cursor alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Anchor {
    /// Hash of the last bytes before the cursor.
    pub bytes: u64,
    /// Which file, as [`file_hash`] tells.
    pub file: u64,
    /// The number of the generation among those with its first line.
    pub disamb: u32,
    /// Position at which reading began: above 0 where the source was told to begin at the end.
    pub start: u64,
}

impl Anchor {
    /// The bytes of a cursor's anchor.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![VERSION]).expect("plain data in memory is always encoded")
    }

    /// Reads what [`Self::encode`] wrote; `None` for anything else, which then proves nothing.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        postcard::from_bytes(rest).ok().filter(|_| *version == VERSION)
    }
}

/// Which file, in short. Device numbers change from boot to boot, births don't.
pub fn file_hash(file: FileId) -> u64 {
    let birth = file.btime.unwrap_or(i64::MIN);
    hash_of(&[file.ino.to_le_bytes(), birth.to_le_bytes()].concat())
}

/// A file that no generation of the journal has.
#[derive(Clone, Copy, Debug)]
pub struct Newcomer {
    /// Its first line.
    pub first_line: FirstLine,
    /// Which file.
    pub file: FileId,
    /// Its kind of name.
    pub name: Name,
    /// Content bytes.
    pub size: u64,
}

impl Newcomer {
    /// A file that begins with `first_line`, as it was seen.
    pub fn of(first_line: FirstLine, seen: &Seen) -> Self {
        let Seen { file, name, size, .. } = *seen;
        Self { first_line, file, name, size }
    }
}

/// The generation that a newcomer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recognised {
    /// Its id.
    pub generation: Generation,
    /// Its number among those with its first line.
    pub disamb: u32,
    /// Where reading of it began, if a sink holds a cursor of it; `None` for a new generation.
    pub start: Option<u64>,
}

/// What sinks hold and the journal does not know, and the ids that are no newcomer's.
#[derive(Clone, Debug, Default)]
pub struct Held {
    cursors: BTreeMap<Generation, Vec<(u64, Option<Anchor>)>>,
    disambs: BTreeSet<u32>,
    taken: BTreeSet<Generation>,
    fresh: u32,
    knows_source: bool,
}

impl Held {
    /// From the cursors that sinks hold of generations that the journal does not know, and the ids that it knows or knew.
    pub fn new(marks: impl IntoIterator<Item = (Generation, Mark)>, taken: BTreeSet<Generation>) -> Self {
        let mut held = Self { taken, ..Self::default() };
        for (generation, mark) in marks {
            let anchor = Anchor::decode(&mark.anchor);
            held.disambs.extend(anchor.map(|a| a.disamb));
            held.cursors.entry(generation).or_default().push((mark.cursor.pos, anchor));
        }
        held
    }

    /// Not all sinks said what they hold: whatever nothing is known of is numbered from `fresh` on, so that no number meets one
    /// that a sink has cursors of.
    #[must_use]
    pub fn with_silent_sinks(self, fresh: u32) -> Self {
        Self { fresh: fresh | 1 << 31, ..self }
    }

    /// Whether the journal has known anything of the source, though all of it may be gone.
    #[must_use]
    pub fn of_known_source(self, knows_source: bool) -> Self {
        Self { knows_source, ..self }
    }

    /// Whether nobody has ever read anything of the source.
    pub fn is_first_start(&self) -> bool {
        self.cursors.is_empty() && !self.knows_source
    }

    /// Whether not all sinks said what they hold.
    pub fn is_partial(&self) -> bool {
        self.fresh > 0
    }

    /// Which generation a newcomer is. `hash(pos)` gives the hash of the bytes before `pos` that an anchor is made of; `None`
    /// where they can't be read now, and so the answer.
    pub fn recognise(
        &mut self,
        (agent_id, source_id): (&str, &str),
        disambs: &mut Disambs,
        newcomer: &Newcomer,
        hash: &mut dyn FnMut(u64) -> Option<u64>,
    ) -> Option<Recognised> {
        let first_line = newcomer.first_line.hash;
        let name = |disamb: u32| generation(agent_id, source_id, first_line, disamb);
        let numbered = self.disambs.iter().map(|disamb| (*disamb, name(*disamb)));
        let candidates: Vec<(u32, Generation)> = numbered.filter(|(_, g)| self.cursors.contains_key(g)).collect();
        let mut standing = Vec::new();
        for (disamb, generation) in candidates {
            let cursors = self.cursors.get(&generation).map_or(&[][..], Vec::as_slice);
            if stands(cursors, newcomer.size, hash)? {
                standing.push((disamb, generation));
            }
        }
        if let Some((disamb, generation)) = self.choose(newcomer, &standing) {
            let cursors = self.cursors.remove(&generation).unwrap_or_default();
            self.taken.insert(generation);
            disambs.note(first_line, disamb);
            let start = cursors.iter().filter_map(|(_, anchor)| anchor.map(|a| a.start)).min();
            return Some(Recognised { generation, disamb, start });
        }
        loop {
            let disamb = disambs.take(first_line, self.fresh);
            let generation = name(disamb);
            if !self.taken.contains(&generation) && !self.cursors.contains_key(&generation) {
                return Some(Recognised { generation, disamb, start: None });
            }
        }
    }

    /// The same file, or else, under a name that rotation gives, the only one that can be meant: a file under the live name that
    /// begins like an old one is likelier a writer that repeats itself.
    fn choose(&self, newcomer: &Newcomer, standing: &[(u32, Generation)]) -> Option<(u32, Generation)> {
        let file = file_hash(newcomer.file);
        let cursors = |g: &Generation| self.cursors.get(g).into_iter().flatten();
        let is_same = |g: &Generation| cursors(g).any(|(_, anchor)| anchor.is_some_and(|a| a.file == file));
        if let Some(same) = standing.iter().find(|(_, g)| is_same(g)) {
            return Some(*same);
        }
        let header = u64::from(newcomer.first_line.bytes);
        let is_proof = |g: &Generation| cursors(g).any(|(pos, _)| *pos > header);
        match standing {
            [only] if newcomer.name == Name::Rotated && is_proof(&only.1) => Some(*only),
            _ => None,
        }
    }
}

/// Whether the bytes before every cursor are those that were read. A cursor that carries no proof (of input that was given up)
/// is covered by one further on that does.
fn stands(cursors: &[(u64, Option<Anchor>)], size: u64, hash: &mut dyn FnMut(u64) -> Option<u64>) -> Option<bool> {
    let mut proven = 0;
    for (pos, anchor) in cursors {
        let Some(anchor) = anchor else { continue };
        if *pos > size || (hash(*pos)? != anchor.bytes && !mutation::on("anchor_believed")) {
            return Some(false);
        }
        proven = proven.max(*pos);
    }
    Some(cursors.iter().all(|(pos, _)| *pos <= proven))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Standing;
    use sawlog_record::id::Cursor;

    const AGENT: (&str, &str) = ("agent", "app");

    fn file(ino: u64) -> FileId {
        FileId { dev: 1, ino, btime: Some(ino as i64 * 10) }
    }

    fn newcomer(bytes: &[u8], ino: u64, name: Name) -> Newcomer {
        let first_line = FirstLine::find(bytes).expect("a whole line");
        Newcomer { first_line, file: file(ino), name, size: bytes.len() as u64 }
    }

    fn before(bytes: &[u8]) -> impl FnMut(u64) -> Option<u64> + '_ {
        |pos| bytes.get((pos as usize).saturating_sub(8)..pos as usize).map(hash_of)
    }

    /// A cursor of generation `disamb` at the end of `bytes`, held of file `ino`.
    fn mark(bytes: &[u8], ino: u64, disamb: u32, start: u64) -> (Generation, Mark) {
        let first_line = FirstLine::find(bytes).expect("a whole line").hash;
        let pos = bytes.len() as u64;
        let hash = before(bytes)(pos).expect("in range");
        let anchor = Anchor { bytes: hash, file: file_hash(file(ino)), disamb, start }.encode();
        let mark = Mark::from(Standing { cursor: Cursor::at(pos), anchor: anchor.into(), ..Standing::default() });
        (generation(AGENT.0, AGENT.1, first_line, disamb), mark)
    }

    fn recognise(held: &mut Held, bytes: &[u8], ino: u64, name: Name) -> (u32, Option<u64>) {
        let mut hash = before(bytes);
        let found = held.recognise(AGENT, &mut Disambs::default(), &newcomer(bytes, ino, name), &mut hash);
        let found = found.expect("readable");
        (found.disamb, found.start)
    }

    #[test]
    fn a_file_is_what_a_sink_holds_a_matching_cursor_of() {
        let (old, new) = (b"head\none\ntwo\n", b"head\none\ntwo\nthree\n");
        let mut held = Held::new([mark(old, 7, 3, 5)], BTreeSet::new());
        assert_eq!(recognise(&mut held, new, 7, Name::Primary), (3, Some(5)));
        assert!(held.is_first_start(), "no other file is it too");
        assert_eq!(recognise(&mut held, new, 8, Name::Primary), (0, None));
    }

    #[test]
    fn a_file_with_the_first_line_of_one_that_is_gone_is_new() {
        let (gone, here) = (b"head\none\ntwo\n", b"head\nuno\ndue\ntre\n");
        for name in [Name::Primary, Name::Rotated] {
            let mut held = Held::new([mark(gone, 7, 0, 0)], BTreeSet::new());
            assert_eq!(recognise(&mut held, here, 8, name), (1, None), "number 0 is the one that is gone");
            // An inode that is used again proves nothing either.
            assert_eq!(recognise(&mut held, here, 7, name), (1, None));
        }
    }

    #[test]
    fn a_writer_that_repeats_itself_is_not_taken_for_a_file_that_is_gone() {
        let bytes = b"head\none\ntwo\n";
        let mut held = Held::new([mark(bytes, 7, 0, 0)], BTreeSet::new());
        assert_eq!(recognise(&mut held, bytes, 8, Name::Primary), (1, None));
        assert_eq!(recognise(&mut held, bytes, 8, Name::Rotated), (0, Some(0)), "a packed copy");
        let mut held = Held::new([mark(bytes, 7, 0, 0), mark(&bytes[..9], 9, 1, 0)], BTreeSet::new());
        assert_eq!(recognise(&mut held, bytes, 8, Name::Rotated), (2, None), "either may be meant");
        assert_eq!(recognise(&mut held, bytes, 9, Name::Rotated), (1, Some(0)), "the same file");
    }

    #[test]
    fn one_sink_that_disagrees_is_enough() {
        let (long, other) = (b"head\none\ntwo\n", b"head\none\nTWO\n");
        let marks = [mark(&long[..9], 7, 0, 0), mark(long, 7, 0, 0)];
        assert_eq!(recognise(&mut Held::new(marks.clone(), BTreeSet::new()), long, 7, Name::Primary), (0, Some(0)));
        assert_eq!(recognise(&mut Held::new(marks, BTreeSet::new()), other, 7, Name::Primary), (1, None));
        for (pos, found) in [(9, (0, Some(0))), (14, (1, None))] {
            let unproven = (mark(long, 7, 0, 0).0, Mark::at(Cursor::at(pos)));
            let mut held = Held::new([mark(long, 7, 0, 0), unproven], BTreeSet::new());
            assert_eq!(recognise(&mut held, long, 7, Name::Primary), found, "a cursor without an anchor at {pos}");
        }
    }

    #[test]
    fn numbers_that_the_journal_knew_are_not_given_again_and_silent_sinks_get_none_of_theirs() {
        let bytes = b"head\none\n";
        let taken = (0..4).map(|n| mark(bytes, 1, n, 0).0).collect();
        assert_eq!(recognise(&mut Held::new([], taken), bytes, 7, Name::Primary), (4, None));
        let mut held = Held::new([mark(bytes, 7, 2, 0)], BTreeSet::new()).with_silent_sinks(77);
        assert_eq!(recognise(&mut held, bytes, 7, Name::Primary), (2, Some(0)), "one sink said enough");
        assert_eq!(recognise(&mut held, bytes, 8, Name::Primary), (77 | 1 << 31, None));
    }

    #[test]
    fn what_cannot_be_read_waits() {
        let bytes = b"head\none\n";
        let mut held = Held::new([mark(bytes, 7, 0, 0)], BTreeSet::new());
        let newcomer = newcomer(bytes, 7, Name::Primary);
        assert_eq!(held.recognise(AGENT, &mut Disambs::default(), &newcomer, &mut |_| None), None);
    }
}
