//! What a partition of Kafka is called: its id, its generation, and the record by which it is found again. None of them holds
//! the agent, so that all agents agree. Pure.

use sawlog_kafka::PartitionRef;
use sawlog_record::id::{Generation, PartitionId};
use serde::{Deserialize, Serialize};

const FORMAT: u8 = 1;

/// A partition of one life of a topic.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// The id that the cluster gave itself.
    pub cluster: String,
    /// The topic's name.
    pub topic: String,
    /// The topic's id: another one after it was deleted and made again.
    pub topic_id: [u8; 16],
    /// The partition's number.
    pub partition: i32,
}

impl Identity {
    /// The history of messages.
    pub fn generation(&self) -> Generation {
        let number = self.partition.to_be_bytes();
        Generation::derive("sawlog.kafka.generation", &[self.cluster.as_bytes(), &self.topic_id, &number])
    }

    /// What order and state belong to.
    pub fn partition_id(&self) -> PartitionId {
        let number = self.partition.to_be_bytes();
        PartitionId::derive("sawlog.kafka.partition", &[self.cluster.as_bytes(), &self.topic_id, &number])
    }

    /// Where the messages lie.
    pub fn place(&self) -> PartitionRef {
        PartitionRef { topic: self.topic.clone(), partition: self.partition }
    }

    /// The record for the journal.
    pub fn write(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![FORMAT]).expect("strings and numbers always serialise")
    }

    /// Reads what [`write`](Self::write) wrote; `None` where another version wrote it.
    pub fn read(record: &[u8]) -> Option<Self> {
        let (format, rest) = record.split_first()?;
        (*format == FORMAT).then(|| postcard::from_bytes(rest).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recreated_topic_is_another_history_and_records_read_back() {
        let one = Identity { cluster: "c".into(), topic: "t".into(), topic_id: [1; 16], partition: 3 };
        let again = Identity { topic_id: [2; 16], ..one.clone() };
        assert_ne!(one.generation(), again.generation());
        assert_ne!(one.generation(), Identity { partition: 4, ..one.clone() }.generation());
        assert_eq!(Identity::read(&one.write()), Some(one));
        assert_eq!(Identity::read(&[9, 1, 2]), None);
        assert_eq!(Identity::read(&[]), None);
    }
}
