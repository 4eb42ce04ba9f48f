//! Numbers that keep generations with equal first lines apart. It counts and knows nothing of files.

use crate::memory::pack;
use sawlog_record::id::Generation;
use std::collections::BTreeMap;

/// How many first lines are remembered at most, the latest used ones.
pub const FIRST_LINES_MAX: usize = 1 << 16;

/// For each first line of a source, the number that its next generation gets. A number is never given twice, also when the
/// generations that had it are long forgotten: a crash-looping writer makes the same bytes again and again, and each time they are
/// another generation. One whose first line is not remembered may have had it before, and gets a number above all that are forgotten.
#[derive(Clone, Debug, Default)]
pub struct Disambs {
    next: BTreeMap<[u8; 16], (u32, u64)>,
    uses: u64,
    /// Above every number that a first line which is remembered no more has had.
    forgotten: u32,
}

impl Disambs {
    /// Takes note that a generation with this first line and number exists.
    pub fn note(&mut self, first_line: [u8; 16], disamb: u32) {
        self.uses += 1;
        let entry = self.next.entry(first_line).or_default();
        *entry = (entry.0.max(disamb.saturating_add(1)), self.uses);
        if self.next.len() > FIRST_LINES_MAX {
            let oldest = self.next.iter().min_by_key(|(_, (_, used))| *used).map(|(line, _)| *line);
            let forgotten = oldest.and_then(|line| self.next.remove(&line));
            self.forgotten = self.forgotten.max(forgotten.map_or(0, |(next, _)| next));
        }
    }

    /// What is kept takes no more room than it needs.
    pub fn pack(&mut self) {
        pack(&mut self.next);
    }

    /// The number of the next generation with this first line, not below `lowest`; generations found together are numbered by
    /// birth time.
    pub fn take(&mut self, first_line: [u8; 16], lowest: u32) -> u32 {
        let number = self.next.get(&first_line).map_or(self.forgotten, |(next, _)| *next).max(lowest);
        self.note(first_line, number);
        number
    }
}

/// The id of a file's generation: two nodes, two sources, two first lines, two numbers never share one.
pub fn generation(agent_id: &str, source_id: &str, first_line: [u8; 16], disamb: u32) -> Generation {
    Generation::derive("sawlog.file", &[agent_id.as_bytes(), source_id.as_bytes(), &first_line, &disamb.to_le_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_first_lines_get_numbers_in_a_row_and_never_one_twice() {
        let mut disambs = Disambs::default();
        assert_eq!([disambs.take([1; 16], 0), disambs.take([1; 16], 0), disambs.take([2; 16], 5)], [0, 1, 5]);
        disambs.note([1; 16], 7);
        disambs.note([1; 16], 3);
        assert_eq!(disambs.take([1; 16], 3), 8);
    }

    #[test]
    fn a_number_is_not_given_twice_though_its_first_line_was_forgotten() {
        let mut disambs = Disambs::default();
        let (line, other) = (|n: usize| (n as u128).to_le_bytes(), |n: usize| (n as u128 | 1 << 100).to_le_bytes());
        assert_eq!([disambs.take(line(0), 0), disambs.take(line(0), 0), disambs.take(line(1), 0)], [0, 1, 0]);
        (2..FIRST_LINES_MAX).for_each(|n| disambs.note(line(n), 0));
        assert_eq!(disambs.take(other(0), 0), 0, "nothing is forgotten yet");
        assert_eq!(disambs.take(line(0), 0), 2, "the line that was used first was forgotten");
        assert_eq!(
            [disambs.take(line(2), 0), disambs.take(other(1), 0)],
            [1, 2],
            "what is remembered goes on in a row"
        );
    }

    #[test]
    fn every_part_counts_in_the_generation() {
        let base = generation("a", "s", [0; 16], 0);
        for other in [
            generation("b", "s", [0; 16], 0),
            generation("a", "t", [0; 16], 0),
            generation("a", "s", [1; 16], 0),
            generation("a", "s", [0; 16], 1),
        ] {
            assert_ne!(base, other);
        }
    }
}
