//! Numbers that keep generations with equal first lines apart. It counts and knows nothing of files.

use crate::memory::pack;
use sawlog_record::id::Generation;
use std::collections::BTreeMap;

/// How many first lines are remembered at most, the latest used ones.
pub const FIRST_LINES_MAX: usize = 1 << 16;

/// For each first line of a source, the number that its next generation gets. A number is never given twice while its
/// first line is remembered, also when the generations that had it are long forgotten: a crash-looping writer makes the
/// same bytes again and again, and each time they are another generation.
#[derive(Clone, Debug, Default)]
pub struct Disambs {
    next: BTreeMap<[u8; 16], (u32, u64)>,
    uses: u64,
}

impl Disambs {
    /// Takes note that a generation with this first line and number exists.
    pub fn note(&mut self, first_line: [u8; 16], disamb: u32) {
        self.uses += 1;
        let entry = self.next.entry(first_line).or_default();
        *entry = (entry.0.max(disamb.saturating_add(1)), self.uses);
        if self.next.len() > FIRST_LINES_MAX {
            let oldest = self.next.iter().min_by_key(|(_, (_, used))| *used).map(|(line, _)| *line);
            oldest.map(|line| self.next.remove(&line));
        }
    }

    /// What is kept takes no more room than it needs.
    pub fn pack(&mut self) {
        pack(&mut self.next);
    }

    /// The number of the next generation with this first line, not below `lowest`; generations found together are numbered by
    /// birth time.
    pub fn take(&mut self, first_line: [u8; 16], lowest: u32) -> u32 {
        let number = self.next.get(&first_line).map_or(0, |(next, _)| *next).max(lowest);
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
