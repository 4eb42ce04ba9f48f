//! What a person has a running engine do with partitions that can't go on by themselves. What it costs is decided on
//! the journal's state and journalled with it, in one step.

use super::Engine;
use crate::operator::{self, Resume};
use crate::ports::JournalError;
use crate::shared::{PartitionStop, Shared};
use sawlog_record::id::PartitionId;
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

pub(super) fn refuse<T>(reason: String) -> Result<T, Refused> {
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
        // It may go on by itself since it was asked.
        if self.forget_stop(partition) {
            self.run_partition(partition, shared);
        }
        Ok(positions)
    }

    fn shared_of(&self, partition: PartitionId) -> Option<Arc<Shared>> {
        self.shared().into_values().find(|shared| shared.inputs.partitions().contains(&partition))
    }
}
