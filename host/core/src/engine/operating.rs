//! What a person has a running engine do with partitions and sources that can't go on by themselves. What it costs is decided on
//! the journal's state and journalled with it, in one step.

use super::Engine;
use crate::input::Inputs;
use crate::lane::READ;
use crate::operator::{self, Resume, To};
use crate::ports::{JournalError, ReadError};
use crate::shared::{PartitionStop, Shared};
use crate::sink::Sink;
use crate::{SinkId, SourceId};
use sawlog_record::id::{Cursor, Generation, PartitionId};
use std::sync::{Arc, PoisonError};

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It can't be done, and nothing has changed.
    #[error("{0}")]
    Asked(String),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

fn refuse<T>(reason: String) -> Result<T, Refused> {
    Err(Refused::Asked(reason))
}

impl Engine {
    /// Has a partition that stopped go on, at a price. Gives back how many positions its sinks lose.
    pub async fn resume(self: &Arc<Self>, partition: PartitionId, how: Resume) -> Result<u64, Refused> {
        let Some(shared) = self.shared_of(partition) else {
            return refuse(format!("no source has a partition {partition}; `sawlog status` names those that stopped"));
        };
        let missing = match self.stopped.lock().unwrap_or_else(PoisonError::into_inner).get(&partition) {
            None => return refuse(format!("partition {partition} has not stopped: there is nothing to resume")),
            Some(PartitionStop::MissingEpoch { epoch, .. }) => Some(*epoch),
            Some(_) => None,
        };
        let (sinks, mut positions) = (shared.sinks(), 0);
        let mut refusal = None;
        let told = self.give_up(&sinks, |state, now| match (how, missing) {
            (Resume::AcceptSkew, None) => {
                refusal = Some(format!(
                    "partition {partition} did not stop for a missing configuration, so there is no skew to accept; \
                     `--discard-state` goes on with fresh state behind everything that is planned"
                ));
                Vec::new()
            }
            (Resume::AcceptSkew, Some(epoch)) => operator::accept_skew(state, partition, epoch, now),
            (Resume::DiscardState, _) => {
                let (records, lost) = operator::discard_state(state, partition, now);
                positions = lost;
                records
            }
        });
        told.await?;
        if let Some(reason) = refusal {
            return refuse(reason);
        }
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
        self.run_partition(partition, shared);
        Ok(positions)
    }

    /// Has a source go on reading elsewhere: further on, where what lies between is lost to every sink. Gives back each history
    /// with from where to where.
    pub async fn seek(
        &self,
        source: &SourceId,
        partition: Option<PartitionId>,
        to: To,
    ) -> Result<Vec<(Generation, u64, u64)>, Refused> {
        let Some(shared) = self.shared().get(source).cloned() else {
            let known: Vec<String> = self.shared().keys().map(ToString::to_string).collect();
            return refuse(format!("no source `{source}` runs; the sources are: {}", known.join(", ")));
        };
        let partitions = match partition {
            Some(partition) => vec![partition],
            None => shared.inputs.partitions().0,
        };
        if let (To::Position(_), [_, _, ..]) = (to, partitions.as_slice()) {
            let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
            return refuse(format!(
                "source `{source}` has {} partitions, and a position belongs to one; name it with --partition: {}",
                names.len(),
                names.join(", ")
            ));
        }
        let mut skipped = Vec::new();
        for partition in partitions {
            for (generation, to) in self.targets(&shared.inputs, partition, to).await? {
                let from = self.skip(&shared, partition, (generation, to)).await?;
                skipped.extend(from.map(|from| (generation, from, to)));
            }
        }
        Ok(skipped)
    }

    /// The histories of a partition that are read on elsewhere, and where.
    async fn targets(
        &self,
        inputs: &Inputs,
        partition: PartitionId,
        to: To,
    ) -> Result<Vec<(Generation, u64)>, Refused> {
        let readable = inputs.readable(partition);
        let Some((newest, end)) = readable.last().copied() else {
            return refuse(format!("source `{}` has no partition {partition} that can be read", inputs.id));
        };
        let To::Position(position) = to else { return Ok(readable) };
        let planned = self.journal().state().generations.get(&newest).map_or(0, |known| known.planned.pos);
        if position < planned {
            return refuse(format!(
                "position {position} lies before {planned}, up to where {newest} has been read: what is planned is delivered \
                 once; to send it again, add a sink of another name with `from: oldest`"
            ));
        }
        if position > end {
            return refuse(format!("position {position} lies behind {end}, the end of {newest}; write `--to end`"));
        }
        let mut at = planned;
        while at < position {
            at = match inputs.read(newest, at, end, READ).await {
                Ok(input) => match input.records.iter().map(|record| record.end).find(|e| *e >= position) {
                    Some(found) => found,
                    None => input.records.last().map_or(end, |record| record.end),
                },
                Err(ReadError::Gone | ReadError::Unavailable(_)) => {
                    return refuse(format!(
                        "{newest} can't be read at {at}, so nobody knows where records end behind it; write `--to end`"
                    ));
                }
            };
        }
        match at == position {
            true => Ok(vec![(newest, position)]),
            false => refuse(format!("no record of {newest} ends at {position}; the next one ends at {at}")),
        }
    }

    /// Plans what lies before `to` as lost; gives back where that begins, or `None` where there is nothing.
    async fn skip(
        &self,
        shared: &Arc<Shared>,
        partition: PartitionId,
        (generation, to): (Generation, u64),
    ) -> Result<Option<u64>, Refused> {
        let (source, mut from) = (shared.inputs.id.clone(), None);
        let sinks: Vec<Arc<Sink>> = shared.sinks();
        let names: Vec<SinkId> = sinks.iter().map(|sink| sink.id.clone()).collect();
        let told = self.give_up(&sinks, |state, now| {
            let planned = state.generations.get(&generation).map_or(Cursor::default(), |known| known.planned);
            from = (planned.pos < to).then_some(planned.pos);
            let skip = operator::Skip { source: &source, partition, generation, to };
            if from.is_some() { operator::skip(state, &names, &skip, now) } else { Vec::new() }
        });
        told.await?;
        Ok(from)
    }

    fn shared_of(&self, partition: PartitionId) -> Option<Arc<Shared>> {
        self.shared().into_values().find(|shared| shared.inputs.partitions().0.contains(&partition))
    }
}
