//! Counts by reason, as small as they can be: every generation has some in every sink, and few have more than one reason.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use thin_vec::{ThinVec, thin_vec};

/// Counts by reason, in the order of the reasons. Serialized as a map.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reasons(ThinVec<(Box<str>, u64)>);

impl Reasons {
    /// One reason.
    pub fn of(reason: &str, n: u64) -> Self {
        Self(thin_vec![(reason.into(), n)])
    }

    /// Counts `n` more for `reason`.
    pub fn add(&mut self, reason: &str, n: u64) {
        match self.0.binary_search_by(|(known, _)| (**known).cmp(reason)) {
            Ok(at) => self.0[at].1 += n,
            Err(at) => {
                self.0.reserve_exact(1); // few have a second reason
                self.0.insert(at, (reason.into(), n));
            }
        }
    }

    /// All of them, in the order of the reasons.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(reason, n)| (&**reason, *n))
    }

    /// All of them.
    pub fn to_map(&self) -> BTreeMap<String, u64> {
        self.iter().map(|(reason, n)| (reason.to_owned(), n)).collect()
    }

    /// What was counted for `reason`.
    pub fn get(&self, reason: &str) -> u64 {
        self.iter().find(|(known, _)| *known == reason).map_or(0, |(_, n)| n)
    }

    /// What was counted for all reasons together.
    pub fn sum(&self) -> u64 {
        self.0.iter().map(|(_, n)| n).sum()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Reasons {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Reasons {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reasons = BTreeMap::<Box<str>, u64>::deserialize(deserializer)?;
        Ok(Self(reasons.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_a_map_would_hold_is_held_and_written_as_one() {
        let mut reasons = Reasons::default();
        let mut map: BTreeMap<String, u64> = BTreeMap::new();
        for (reason, n) in [("filtered", 2), ("absent", 1), ("rejected", 4), ("filtered", 8)] {
            reasons.add(reason, n);
            *map.entry(reason.to_owned()).or_default() += n;
        }
        assert_eq!((reasons.get("filtered"), reasons.get("else"), reasons.sum()), (10, 0, 15));
        assert!(reasons.iter().eq(map.iter().map(|(reason, n)| (reason.as_str(), *n))));
        let bytes = postcard::to_stdvec(&map).unwrap();
        assert_eq!(postcard::to_stdvec(&reasons).unwrap(), bytes);
        assert_eq!(postcard::from_bytes::<Reasons>(&bytes).unwrap(), reasons);
    }
}
