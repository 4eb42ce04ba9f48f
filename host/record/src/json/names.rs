//! A small filter over member names, so that a repeated name, or one that the source gives itself, is noticed without
//! comparing every pair. It may say "perhaps" wrongly, never "no".

/// Set of name hashes, 256 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Names([u64; 4]);

impl Names {
    /// Adds a hash of [`name_hash`]; true where it, or another name with the same hash, was there before.
    #[inline(always)]
    pub fn insert(&mut self, hash: u8) -> bool {
        let (word, bit) = (&mut self.0[usize::from(hash >> 6)], 1u64 << (hash & 63));
        let before = *word & bit != 0;
        *word |= bit;
        before
    }

    /// Whether a name with this hash may be in the set.
    #[inline(always)]
    pub fn may_hold(&self, hash: u8) -> bool {
        self.0[usize::from(hash >> 6)] & (1u64 << (hash & 63)) != 0
    }

    /// Adds the names of `other`.
    pub fn join(&mut self, other: &Names) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a |= b);
    }

    /// Whether the two sets may share a name.
    #[inline(always)]
    pub fn may_meet(&self, other: &Names) -> bool {
        self.0.iter().zip(other.0).any(|(a, b)| a & b != 0)
    }
}

/// Hash of a member name for [`Names`]: its length, its first and its last bytes.
#[inline(always)]
pub fn name_hash(name: &[u8]) -> u8 {
    let (first, last) = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(a), Some(b)) => (u64::from_le_bytes(*a), u64::from_le_bytes(*b)),
        _ => short_ends(name),
    };
    let mixed = first ^ last.rotate_left(29) ^ ((name.len() as u64) << 56);
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// First and last bytes of a name below eight bytes.
#[inline(always)]
fn short_ends(name: &[u8]) -> (u64, u64) {
    match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        (Some(a), Some(b)) => (u64::from(u32::from_le_bytes(*a)), u64::from(u32::from_le_bytes(*b))),
        _ => (name.iter().fold(0, |sum, b| (sum << 8) | u64::from(*b)), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_added_is_never_denied() {
        let mut names = Names::default();
        let words = ["", "a", "ab", "abc", "level", "message", "k8s.pod.name", "k8s.pod.uid"];
        for word in words {
            names.insert(name_hash(word.as_bytes()));
        }
        assert!(words.iter().all(|w| names.may_hold(name_hash(w.as_bytes()))));
        assert!(names.insert(name_hash(b"level")));
        assert!(!Names::default().may_meet(&names));
    }
}
