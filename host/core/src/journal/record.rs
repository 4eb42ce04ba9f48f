//! Journal records: every promise and decision that must survive, in the order of the log. The bytes are postcard behind one
//! version byte; variants are only ever appended, so that old journals keep loading.

use super::components::Names;
use super::histories::History;
use super::missing::Whereabouts;
use super::repeats::Repeat;
use crate::ledger::Counts;
use crate::operator::Operator;
use crate::plan::{ComponentId, Planned};
use crate::{EpochId, SinkId, SourceId};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use thin_vec::ThinVec;

/// Where a sink stands in one generation, shared by all who know it: the journal, the sink, its intake. Changed by whoever
/// changes it alone.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Mark(Arc<Standing>);

impl Mark {
    /// Nothing but a cursor.
    pub fn at(cursor: Cursor) -> Self {
        Self::from(Standing { cursor, ..Standing::default() })
    }
}

impl From<Standing> for Mark {
    fn from(standing: Standing) -> Self {
        Self(Arc::new(standing))
    }
}

impl Deref for Mark {
    type Target = Standing;

    fn deref(&self) -> &Standing {
        &self.0
    }
}

impl DerefMut for Mark {
    fn deref_mut(&mut self) -> &mut Standing {
        Arc::make_mut(&mut self.0)
    }
}

/// What a [`Mark`] says: the durable cursor of delivery.md §2.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Standing {
    /// Every input before it is finished for the sink.
    pub cursor: Cursor,
    /// Starts of the joined records that are still open there; at most two.
    pub open: ThinVec<u64>,
    /// Proves that the bytes before the cursor are the same (hash of the last 256 bytes, incarnation, topic id).
    pub anchor: Box<[u8]>,
    /// Cumulative since the generation began; the ledger commits with the cursor.
    pub counts: Counts,
}

/// What a verdict is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Judge {
    /// A plugin fails on this record alone: it goes to the dead letters in place of its outputs.
    Component(ComponentId),
    /// The sink refuses this row (component ‖ ordinal as in a record id).
    Sink(SinkId, u32),
}

/// A durable decision about one record.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// The history.
    pub generation: Generation,
    /// Position of the record, or of the FLUSH.
    pub pos: u64,
    /// 0 for the record, 1 + s for FLUSH s.
    pub slot: u16,
    /// Who judged.
    pub judge: Judge,
}

/// Saved state of all stateful components of a partition at one place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Snap {
    /// The end of the last entry, or of the part of it, that went into the state.
    pub after: (Generation, Cursor),
    /// Digests of the blobs, by component.
    pub states: BTreeMap<ComponentId, [u8; 32]>,
    /// The epoch under which the state was made.
    pub epoch: EpochId,
}

/// How a sink entered the registry.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Registration {
    /// Per generation, the first cursor that this sink is responsible for; empty = from the beginning.
    pub starts: BTreeMap<Generation, Cursor>,
    /// A removed sink that still drains: where it ends, per generation.
    pub until: Option<BTreeMap<Generation, Cursor>>,
    /// Sources whose records it is responsible for: all that fed it since it was registered. One that no longer does goes on
    /// moving its cursors, without rows.
    pub sources: BTreeSet<SourceId>,
}

/// A configuration under which entries were planned.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Epoch {
    /// Hash of everything that F depends on.
    pub id: EpochId,
    /// Digests of the stateful components of all sources, by number; [`Record::Stateful`] says whose they are.
    pub stateful: BTreeMap<ComponentId, [u8; 32]>,
    /// The blobs (resolved configuration, plugins, files) that must be kept while an entry names the epoch.
    pub blobs: Vec<[u8; 32]>,
    /// The sinks that exist from here on.
    pub sinks: BTreeMap<SinkId, Registration>,
}

/// Where a sink delivers, and the configuration that leads there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Destination {
    /// The place, as the sink names it.
    pub place: String,
    /// Digest of the blob with the configuration under which the sink delivers there.
    pub config: [u8; 32],
}

/// How far a sink's claim log or file got; hints only speed recovery up where the sink itself holds the truth.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SinkFacts {
    /// The claim number from which recovery starts: all keys of lower claims exist.
    pub next_claim: Option<u64>,
    /// The appended file: its number and durable length in bytes.
    pub file: Option<(u64, u64)>,
    /// Where it delivers.
    pub destination: Option<Destination>,
    /// Some of its cursors were made along the streams of another journal (a lost directory, a restored backup, a twin): they
    /// need not be a prefix of ours.
    pub adopted: bool,
}

impl SinkFacts {
    /// Takes over what `newer` says; what it leaves out stays.
    pub fn update(&mut self, newer: &Self) {
        self.next_claim = newer.next_claim.or(self.next_claim);
        self.file = newer.file.or(self.file);
        self.destination = newer.destination.clone().or(self.destination.take());
        self.adopted |= newer.adopted;
    }
}

/// One record of the journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Record {
    /// A generation began; `identity` is the source's own.
    Generation {
        /// Its id.
        generation: Generation,
        /// What it belongs to.
        partition: PartitionId,
        /// Which source reads it.
        source: SourceId,
        /// What the source needs to find it again.
        identity: Arc<[u8]>,
        /// Where reading begins; 0 unless the source was told to begin at the end.
        start: u64,
    },
    /// The source's identity record changed (adopted another file, moved on).
    Identity {
        /// Its id.
        generation: Generation,
        /// The new record.
        identity: Arc<[u8]>,
    },
    /// The generation can't be read any more beyond what was rescued.
    Gone {
        /// Its id.
        generation: Generation,
    },
    /// Entries of one or several partitions.
    Plan {
        /// In the order of each partition's stream.
        entries: Vec<(PartitionId, Planned)>,
    },
    /// A decision about a record.
    Verdict(Verdict),
    /// Counted loss of `[from, to)` for one sink.
    Lost {
        /// Who loses.
        sink: SinkId,
        /// Of which history.
        generation: Generation,
        /// First cursor that is lost.
        from: Cursor,
        /// First cursor that is not.
        to: Cursor,
        /// Why.
        reason: String,
    },
    /// A configuration begins.
    Epoch(Epoch),
    /// Bytes of a vanishing generation were copied to the queue.
    Rescue {
        /// Its id.
        generation: Generation,
        /// First position.
        lo: u64,
        /// Position after the last.
        hi: u64,
    },
    /// A sink moved. Authoritative for sinks that keep no cursor of their own, a hint for the others.
    Cursor {
        /// Which sink.
        sink: SinkId,
        /// Every generation that the commit moved.
        marks: Vec<(Generation, Mark)>,
        /// What else recovery needs.
        facts: Option<SinkFacts>,
    },
    /// State of a partition was saved.
    Snap {
        /// Whose.
        partition: PartitionId,
        /// What.
        snap: Snap,
    },
    /// The cursors of a generation are no longer needed; their counts go to the base records.
    Dropped {
        /// Its id.
        generation: Generation,
    },
    /// A drained or forgotten sink is gone.
    Removed {
        /// Which.
        sink: SinkId,
    },
    /// All of these or, where the log is cut, none.
    Together(Vec<Record>),
    /// What a person said.
    Operator(Operator),
    /// Entries of a partition under one configuration, which is gone, run under another.
    Skew {
        /// Whose.
        partition: PartitionId,
        /// The configuration that is gone.
        from: EpochId,
        /// The one in its place.
        to: EpochId,
    },
    /// The stateful components of a configuration, source by source: two sources may number different plugins alike.
    Stateful {
        /// Which configuration.
        epoch: EpochId,
        /// Digests by source and number.
        digests: Stateful,
    },
    /// Input comes again because a person said so: a history begins whose bytes are those of another.
    Repeat {
        /// Its own id.
        generation: Generation,
        /// What comes again.
        repeat: Repeat,
    },
    /// Where a history was that went away; what nobody had planned of it is lost.
    Vanished {
        /// Its id.
        generation: Generation,
        /// When that was noticed, unix nanoseconds.
        time: i64,
        /// As far as its source knew it.
        whereabouts: Whereabouts,
    },
    /// A sink is added that gets what was read before, too.
    History {
        /// The partition that this makes up.
        partition: PartitionId,
        /// What it gets.
        history: History,
    },
    /// It is known what of a history can still be read.
    HistoryBegins {
        /// The partition that it makes up.
        partition: PartitionId,
        /// Its parts in the order in which they are read, each with the first position.
        from: Vec<(Generation, u64)>,
    },
    /// What the stateful components of a configuration are called.
    Named {
        /// Which configuration.
        epoch: EpochId,
        /// Names by source and number.
        names: Names,
    },
    /// A sink writes to further names at the place where it delivers. They count against its limit for as long as it stays there.
    Admitted {
        /// Which sink.
        sink: SinkId,
        /// Their hashes.
        names: Vec<u64>,
    },
}

/// Digests of stateful components, by source and by their numbers there.
pub type Stateful = BTreeMap<SourceId, BTreeMap<ComponentId, [u8; 32]>>;

const VERSION: u8 = 1;

/// Bytes that no version of this program writes.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer version.
    #[error(
        "a journal record has version {found}, this build reads version {VERSION}: \
         run the build that wrote it, or begin again with `sawlog checkpoint restore --from backup` in an empty data_dir"
    )]
    Version {
        /// The version byte.
        found: u8,
    },
    /// Not a record at all.
    #[error("a journal record can't be read ({0}): `sawlog checkpoint restore --from backup`, or `--from sinks`")]
    Malformed(#[from] postcard::Error),
    /// No bytes.
    #[error("a journal record is empty: `sawlog checkpoint restore --from backup`, or `--from sinks`")]
    Empty,
}

/// The bytes of anything the journal stores.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION]).expect("writing to memory can't fail and the types serialise")
}

/// Reads what [`encode`] wrote.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    Ok(decode_from(bytes)?.0)
}

/// Reads what [`encode`] wrote, and gives back what stands behind it.
pub(super) fn decode_from<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Empty),
        Some((&VERSION, body)) => Ok(postcard::take_from_bytes(body)?),
        Some((&found, _)) => Err(DecodeError::Version { found }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::plan::Entry;
    use thin_vec::thin_vec;

    #[test]
    fn fuzz_journal_records() {
        let generation = Generation([1; 16]);
        let entry = Entry::Range { generation, lo: 10, hi: 200 };
        let planned = Planned { time: 5, epoch: crate::EpochId([2; 16]), entry };
        let mark = Mark::from(Standing {
            cursor: Cursor::at(70),
            open: thin_vec![1],
            anchor: [2; 9].into(),
            ..Standing::default()
        });
        let facts = Some(SinkFacts { next_claim: Some(3), ..SinkFacts::default() });
        let cursor = Record::Cursor { sink: SinkId::new("out"), marks: vec![(generation, mark)], facts };
        let plan = Record::Plan { entries: vec![(PartitionId([3; 16]), planned)] };
        let examples = [encode(&plan), encode(&cursor), encode(&Record::Together(vec![plan.clone(), cursor.clone()]))];
        let examples: Vec<&[u8]> = examples.iter().map(Vec::as_slice).collect();
        sawlog_fuzz::hammer("journal_records", &examples, |bytes| {
            // What can be read is written and read again as the same.
            let Ok(record) = decode::<Record>(bytes) else { return };
            let written = encode(&record);
            assert_eq!(encode(&decode::<Record>(&written).unwrap()), written);
        });
    }
}
