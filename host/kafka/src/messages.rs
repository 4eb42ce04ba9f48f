//! What goes into and comes out of partitions, as bytes.

use crate::ClientError;

/// One message on its way to a topic. Its timestamp is the time of sending: retention goes by it, so that a record whose own
/// clock is years behind would be deleted as soon as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Where to.
    pub topic: &'a str,
    /// Which partition; `None` leaves it to the partitioner.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Names and values, in order.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The caller's own number, given back with a failure.
    pub number: usize,
}

impl Message<'_> {
    /// Bytes that the client counts against its largest message: key, value and headers with their lengths.
    pub fn bytes(&self) -> usize {
        const FRAME_BYTES: usize = 70;
        const HEADER_FRAME_BYTES: usize = 10;
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.len() + HEADER_FRAME_BYTES).sum();
        FRAME_BYTES + self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len) + headers
    }
}

/// A message that was not taken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The caller's number of the message.
    pub number: usize,
    /// Why.
    pub error: ClientError,
}

/// One message as it lies in a partition.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// When it was written by the writer's or the broker's clock, unix milliseconds.
    pub time: Option<i64>,
}

/// A partition of a topic.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartitionRef {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

impl std::fmt::Display for PartitionRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// What a consumer fetched, without its place.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fetched {
    /// The message's key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Names and values, in order; a name may come twice.
    pub headers: Vec<(String, Vec<u8>)>,
}
