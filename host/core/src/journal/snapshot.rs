//! The bytes of a snapshot: the state as the first version had it, then what each later version added, one behind the other. A
//! snapshot that ends early is of an older version, and is read all the same.

use super::record::{DecodeError, decode_from, encode};
use super::state::JournalState;

impl JournalState {
    /// The bytes of a snapshot.
    pub fn encode(&self) -> Vec<u8> {
        let bytes = postcard::to_extend(&self.later, encode(self));
        let opened: Vec<u64> = self.generations.values().map(|known| known.opened).collect();
        let seventh = (self.opened, opened, &self.names, &self.admitted);
        let tails = (&self.third, self.dropped.in_order(), &self.repeats, &self.missing, &self.histories, seventh);
        let bytes = bytes.and_then(|bytes| postcard::to_extend(&tails, bytes));
        bytes.expect("writing to memory can't fail and the types serialise")
    }

    /// Reads what [`JournalState::encode`] wrote, in this or an older version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (mut state, rest): (Self, &[u8]) = decode_from(bytes)?;
        state.dropped.order_by_id();
        if rest.is_empty() {
            return Ok(state);
        }
        let (later, rest) = postcard::take_from_bytes(rest)?;
        state.later = later;
        if !rest.is_empty() {
            let (third, rest) = postcard::take_from_bytes(rest)?;
            state.third = third;
            let rest = state.dropped.set_order(rest)?;
            if !rest.is_empty() {
                let (repeats, rest) = postcard::take_from_bytes(rest)?;
                state.repeats = repeats;
                if !rest.is_empty() {
                    let (missing, rest) = postcard::take_from_bytes(rest)?;
                    state.missing = missing;
                    if !rest.is_empty() {
                        let (histories, rest) = postcard::take_from_bytes(rest)?;
                        state.histories = histories;
                        state.set_seventh(rest)?;
                    }
                }
            }
        }
        Ok(state)
    }

    /// The order in which all became known, a number for each history, what components are called, and the names that
    /// sinks write to, by these bytes, if there are any.
    fn set_seventh(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let numbers: Vec<u64>;
        (self.opened, numbers, self.names, self.admitted) = postcard::from_bytes(bytes)?;
        self.generations.values_mut().zip(numbers).for_each(|(known, number)| known.opened = number);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::Record;
    use super::super::record::{Stateful, encode};
    use super::*;
    use crate::operator::Operator;
    use crate::{EpochId, SinkId, SourceId};
    use sawlog_record::id::{Generation, PartitionId};
    use std::collections::BTreeMap;

    #[test]
    fn a_snapshot_keeps_what_later_versions_added_and_one_without_it_is_read() {
        let mut state = JournalState { time: 7, ..JournalState::default() };
        let first_version = encode(&state);
        assert_eq!(JournalState::decode(&first_version).unwrap(), state);
        let said = Operator { time: 8, verb: "sink forget".into(), arguments: "out".into(), ranges: Vec::new() };
        state.apply(&Record::Operator(said));
        let (partition, from, to) = (PartitionId([1; 16]), EpochId([2; 16]), EpochId([3; 16]));
        state.apply(&Record::Skew { partition, from, to });
        let second_version = postcard::to_extend(&state.later, encode(&state)).unwrap();
        assert_eq!(JournalState::decode(&second_version).unwrap(), state);
        let digests = Stateful::from([(SourceId::new("app"), BTreeMap::from([(1, [9; 32])]))]);
        state.apply(&Record::Stateful { epoch: to, digests });
        state.dropped.insert(Generation([4; 16]));
        let bytes = state.encode();
        assert_eq!(JournalState::decode(&bytes).unwrap(), state);
        // The last four bytes say that no histories became known and nothing has a name, the one before that nothing is read once more:
        // snapshots of the two versions before end there.
        assert_eq!(JournalState::decode(&bytes[..bytes.len() - 4]).unwrap(), state);
        assert_eq!(JournalState::decode(&bytes[..bytes.len() - 5]).unwrap(), state);
        assert!(JournalState::decode(&bytes[..bytes.len() - 1]).is_err(), "a tail that is cut is damage");
        assert!(JournalState::decode(&bytes[..bytes.len() - 6]).is_err(), "a tail that is cut is damage");
        state.apply(&Record::Admitted { sink: SinkId::new("search"), names: vec![u64::MAX, 3] });
        assert_eq!(JournalState::decode(&state.encode()).unwrap(), state);
    }

    #[test]
    fn a_snapshot_keeps_the_order_in_which_histories_became_known_and_one_without_it_is_read() {
        let mut state = JournalState::default();
        for name in [3, 1, 2] {
            let (generation, partition) = (Generation([name; 16]), PartitionId([1; 16]));
            let source = SourceId::new("app");
            state.apply(&Record::Generation { generation, partition, source, identity: [].into(), start: 0 });
        }
        let opened = |state: &JournalState| state.generations.values().map(|known| known.opened).collect::<Vec<_>>();
        assert_eq!(opened(&state), [2, 3, 1]);
        let bytes = state.encode();
        assert_eq!(JournalState::decode(&bytes).unwrap(), state);
        // Behind the histories: how many, how many numbers, the numbers, no names of components, none of sinks.
        let older = JournalState::decode(&bytes[..bytes.len() - 7]).unwrap();
        assert_eq!(opened(&older), [0, 0, 0]);
    }
}
