//! The stream of a partition: its PLAN entries in journal order, and the arithmetic of places in it. All lanes follow this
//! list and nothing else; it knows nothing of sinks, state or time.
//!
//! ```text
//!   entry       0           1          2              3
//!          G1 [0,500) | G2 [0,80) | FLUSH G2 80:0 | G1 [500,530) |  ← frontier = Place { entry: 4, offset: 0 }
//!                 ↑ Place { entry: 0, offset: 120 }
//! ```

use crate::plan::Planned;
use sawlog_record::id::{Cursor, Generation};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// A place in a stream: `offset` inputs bytes into entry number `entry`. Canonical: the end of an entry is the start of the
/// next. Places of one partition compare as the stream runs; entry numbers never change while a journal lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Place {
    /// Number of the entry since the stream began.
    pub entry: u64,
    /// Distance from the range's `lo`; 0 for entries that only change state.
    pub offset: u64,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{}", self.entry, self.offset)
    }
}

/// Cursors that are no prefix of the stream: an entry is covered behind one that is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cursors are no prefix of the partition's stream: entry {uncovered} is open but entry {covered} behind it is covered"
)]
pub struct NotAPrefix {
    /// The first entry that the cursors do not cover.
    pub uncovered: u64,
    /// An entry behind it that they do cover.
    pub covered: u64,
}

/// PLAN entries of one partition from `base` on; earlier ones were trimmed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    base: u64,
    entries: VecDeque<Planned>,
}

impl Stream {
    /// The end of the last entry.
    pub fn frontier(&self) -> Place {
        Place { entry: self.base + self.entries.len() as u64, offset: 0 }
    }

    /// The first place that is still described.
    pub fn base(&self) -> Place {
        Place { entry: self.base, offset: 0 }
    }

    /// Appends an entry at the frontier.
    pub fn push(&mut self, planned: Planned) {
        self.entries.push_back(planned);
    }

    /// How many entries are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Kept entries with their numbers.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Planned)> {
        self.entries.iter().enumerate().map(|(i, p)| (self.base + i as u64, p))
    }

    /// The entry that `place` lies in or before; `None` at the frontier.
    pub fn at(&self, place: Place) -> Option<&Planned> {
        self.entries.get(usize::try_from(place.entry.checked_sub(self.base)?).ok()?)
    }

    /// The entry that ends at `place`, if one does and it is kept.
    pub fn before(&self, place: Place) -> Option<&Planned> {
        let number = place.entry.checked_sub(1).filter(|_| place.offset == 0)?;
        self.at(Place { entry: number, offset: 0 })
    }

    /// The last entry, which is never trimmed.
    pub fn last(&self) -> Option<&Planned> {
        self.entries.back()
    }

    /// The place after `cursor` inside entry `number`, in canonical form.
    pub fn place_in(&self, number: u64, cursor: Cursor) -> Place {
        let Some(planned) = self.at(Place { entry: number, offset: 0 }) else {
            return self.frontier();
        };
        if cursor >= planned.entry.end() {
            return Place { entry: number + 1, offset: 0 };
        }
        Place { entry: number, offset: cursor.pos.saturating_sub(planned.entry.start().pos) }
    }

    /// The place that cursors mean which were made along another list of entries, before the data directory was lost: the first
    /// entry that they do not cover, whatever they cover behind it; [`Stream::skip_covered`] passes over that.
    pub fn first_open(&self, cursor: impl Fn(Generation) -> Cursor) -> Place {
        let mut cursor = in_a_row(cursor);
        let mut placed = self.iter().map(|(number, p)| (number, p, cursor(p.entry.generation())));
        let open = placed.find(|(_, p, at)| *at < p.entry.end());
        let place = |(number, p, at): (u64, &Planned, Cursor)| self.place_in(number, at.max(p.entry.start()));
        open.map_or_else(|| self.frontier(), place)
    }

    /// The first place at or behind `place` that the cursors do not cover, as far as entries are there.
    pub fn skip_covered(&self, mut place: Place, cursor: impl Fn(Generation) -> Cursor) -> Place {
        while let Some(planned) = self.at(place) {
            let reached = self.place_in(place.entry, cursor(planned.entry.generation()));
            if cursor(planned.entry.generation()) <= planned.entry.start() || reached <= place {
                break;
            }
            place = reached;
        }
        place
    }

    /// The first place at or behind `place` that is not lost; `end` tells where the loss ends that holds a cursor.
    pub fn skip(&self, mut place: Place, end: impl Fn(Generation, Cursor) -> Option<Cursor>) -> Place {
        while let Some(planned) = self.at(place) {
            let Some(end) = end(planned.entry.generation(), cursor_in(planned, place)) else { break };
            let reached = self.place_in(place.entry, end);
            if reached <= place {
                break;
            }
            place = reached;
        }
        place
    }

    /// The place that per-generation cursors mean: inside or before the first entry that they do not cover.
    pub fn place_of(&self, cursor: impl Fn(Generation) -> Cursor) -> Result<Place, NotAPrefix> {
        let mut first_open: Option<Place> = None;
        let mut cursor = in_a_row(cursor);
        for (number, planned) in self.iter() {
            let at = cursor(planned.entry.generation());
            let covered = at >= planned.entry.end();
            match (first_open, covered) {
                (None, false) => first_open = Some(self.place_in(number, at.max(planned.entry.start()))),
                (Some(open), true) => return Err(NotAPrefix { uncovered: open.entry, covered: number }),
                _ => {}
            }
        }
        Ok(first_open.unwrap_or_else(|| self.frontier()))
    }

    /// Cursors per generation at `place`, for the generations that kept entries before it name.
    pub fn cursors_at(&self, place: Place) -> BTreeMap<Generation, Cursor> {
        let mut cursors = BTreeMap::new();
        let mut last = None;
        for (number, planned) in self.iter() {
            let end = match number {
                _ if number < place.entry => planned.entry.end(),
                _ if number == place.entry && place.offset > 0 => Cursor::at(planned.entry.start().pos + place.offset),
                _ => break,
            };
            // Most entries are of the generation of the one before.
            match &mut last {
                Some((generation, at)) if *generation == planned.entry.generation() => *at = end,
                _ => cursors.extend(last.replace((planned.entry.generation(), end))),
            }
        }
        cursors.extend(last);
        cursors
    }

    /// Where each generation that kept entries name begins in them.
    pub fn starts(&self) -> BTreeMap<Generation, Cursor> {
        let mut starts = BTreeMap::new();
        let mut last = None;
        for planned in &self.entries {
            let generation = planned.entry.generation();
            if last.replace(generation) != Some(generation) {
                starts.entry(generation).or_insert_with(|| planned.entry.start());
            }
        }
        starts
    }

    /// The name of `place`: the end of what lies before it. `None` where nothing before it is kept.
    pub fn name_of(&self, place: Place) -> Option<(Generation, Cursor)> {
        if place.offset > 0 {
            let entry = &self.at(place)?.entry;
            return Some((entry.generation(), Cursor::at(entry.start().pos + place.offset)));
        }
        let before = self.at(Place { entry: place.entry.checked_sub(1)?, offset: 0 })?;
        Some((before.entry.generation(), before.entry.end()))
    }

    /// The next free slot for an entry without bytes at the frontier, and where: `None` before the first entry.
    pub fn next_slot(&self) -> Option<(Generation, Cursor)> {
        self.last().map(|p| (p.entry.generation(), p.entry.end()))
    }

    /// How far `generation` is planned; `None` where no kept entry names it.
    pub fn end_of(&self, generation: Generation) -> Option<Cursor> {
        self.iter().rev().find(|(_, p)| p.entry.generation() == generation).map(|(_, p)| p.entry.end())
    }

    /// Forgets entries before `place`, but never the last entry.
    pub fn trim(&mut self, place: Place) {
        while self.base < place.entry && self.entries.len() > 1 {
            self.entries.pop_front();
            self.base += 1;
        }
        self.entries.shrink_to_fit();
    }

    /// Generations that kept entries name.
    pub fn generations(&self) -> impl Iterator<Item = Generation> {
        self.entries.iter().map(|p| p.entry.generation())
    }
}

/// Asks for a generation's cursor once where many entries in a row are of it: a stream may have hundreds of thousands.
fn in_a_row(cursor: impl Fn(Generation) -> Cursor) -> impl FnMut(Generation) -> Cursor {
    let mut last = None;
    move |generation| match last {
        Some((known, at)) if known == generation => at,
        _ => {
            let at = cursor(generation);
            last = Some((generation, at));
            at
        }
    }
}

/// The cursor of the entry's generation at a place inside or before it.
pub fn cursor_in(planned: &Planned, place: Place) -> Cursor {
    let start = planned.entry.start();
    if place.offset == 0 { start } else { Cursor::at(start.pos + place.offset) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EpochId;
    use crate::plan::Entry;

    fn range(g: u8, lo: u64, hi: u64) -> Planned {
        Planned { time: 0, epoch: EpochId([0; 16]), entry: Entry::Range { generation: Generation([g; 16]), lo, hi } }
    }

    fn flush(g: u8, pos: u64, slot: u16) -> Planned {
        let entry = Entry::Flush { generation: Generation([g; 16]), at: Cursor { pos, slot }, component: 0, now: 0 };
        Planned { time: 0, epoch: EpochId([0; 16]), entry }
    }

    fn stream() -> Stream {
        let mut s = Stream::default();
        for p in [range(1, 0, 500), range(2, 0, 80), flush(2, 80, 0), range(1, 500, 530)] {
            s.push(p);
        }
        s
    }

    #[test]
    fn cursors_name_the_first_open_entry() {
        let s = stream();
        let place = |g1: u64, g2: Cursor| s.place_of(|g| if g.0[0] == 1 { Cursor::at(g1) } else { g2 });
        assert_eq!(place(120, Cursor::at(0)), Ok(Place { entry: 0, offset: 120 }));
        assert_eq!(place(500, Cursor::at(80)), Ok(Place { entry: 2, offset: 0 }));
        assert_eq!(place(500, Cursor { pos: 80, slot: 1 }), Ok(Place { entry: 3, offset: 0 }));
        assert_eq!(place(530, Cursor { pos: 80, slot: 1 }), Ok(s.frontier()));
        assert_eq!(place(120, Cursor::at(80)), Err(NotAPrefix { uncovered: 0, covered: 1 }));
    }

    #[test]
    fn cursors_of_another_life_are_passed_over_where_they_are_met() {
        let s = stream();
        // The other life had read generation 2 to its end and 1 to 510, in another order.
        let other = |g: Generation| if g.0[0] == 1 { Cursor::at(510) } else { Cursor::at(80) };
        assert_eq!(s.first_open(other), Place { entry: 2, offset: 0 });
        assert_eq!(s.skip_covered(Place { entry: 0, offset: 0 }, other), Place { entry: 2, offset: 0 });
        assert_eq!(s.skip_covered(Place { entry: 3, offset: 0 }, other), Place { entry: 3, offset: 10 });
        assert_eq!(s.skip_covered(s.frontier(), other), s.frontier());
    }

    #[test]
    fn a_place_is_named_by_what_lies_before_it() {
        let s = stream();
        assert_eq!(s.name_of(Place { entry: 0, offset: 0 }), None);
        assert_eq!(s.name_of(Place { entry: 0, offset: 7 }), Some((Generation([1; 16]), Cursor::at(7))));
        assert_eq!(s.name_of(Place { entry: 3, offset: 0 }), Some((Generation([2; 16]), Cursor { pos: 80, slot: 1 })));
        let round = s.cursors_at(Place { entry: 1, offset: 9 });
        assert_eq!(s.place_of(|g| round.get(&g).copied().unwrap_or_default()), Ok(Place { entry: 1, offset: 9 }));
    }

    #[test]
    fn trimming_keeps_numbers_and_the_last_entry() {
        let mut s = stream();
        s.trim(Place { entry: 2, offset: 0 });
        assert_eq!(s.base(), Place { entry: 2, offset: 0 });
        assert_eq!(s.frontier(), Place { entry: 4, offset: 0 });
        s.trim(s.frontier());
        assert_eq!(s.last(), Some(&range(1, 500, 530)));
        assert_eq!(s.frontier(), Place { entry: 4, offset: 0 });
    }
}
