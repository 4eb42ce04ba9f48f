//! The registry of sinks: a new sink is a folder and a row here. It knows of each sink only its options.

use sawlog_settings::component::{Delivery, DescribeSink, SinkCommon};
use sawlog_settings::decode::{Complaint, Decoded, decode};
use sawlog_settings::node::{Node, Place};
use schemars::{Schema, SchemaGenerator};

use crate::blackhole::config::BlackholeSink;
use crate::console::config::ConsoleSink;
use crate::elasticsearch::config::ElasticsearchSink;
use crate::file::config::FileSink;
use crate::hdfs::config::HdfsSink;
use crate::kafka::config::KafkaSink;
use crate::object::{Blobs, OpenError, Owner};
use crate::s3::config::S3Sink;

/// The options of one sink.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "each variant is named by the type it holds")]
pub enum SinkOptions {
    Kafka(KafkaSink),
    Elasticsearch(ElasticsearchSink),
    S3(S3Sink),
    Hdfs(HdfsSink),
    File(FileSink),
    Console(ConsoleSink),
    Blackhole(BlackholeSink),
}

impl SinkOptions {
    /// What the options say about the sink.
    pub fn describe(&self) -> &dyn DescribeSink {
        match self {
            Self::Kafka(sink) => sink,
            Self::Elasticsearch(sink) => sink,
            Self::S3(sink) => sink,
            Self::Hdfs(sink) => sink,
            Self::File(sink) => sink,
            Self::Console(sink) => sink,
            Self::Blackhole(sink) => sink,
        }
    }
}

impl SinkOptions {
    /// What becomes of rows where the sink's place changes, and what its readers must do, in a sentence.
    pub fn switching(&self) -> &'static str {
        match self {
            Self::Kafka(_) => {
                "the transaction under way ends at the old cluster, and everything behind it goes to the new one; read the old one \
                 to its end, then the new one"
            }
            Self::Elasticsearch(_) => {
                "what is planned so far goes to the old place, everything behind it to the new one; search both"
            }
            Self::S3(_) | Self::Hdfs(_) => {
                "the claims under way end at the old place, and everything behind them goes to the new one; read both, hours that \
                 the old one calls complete there alone"
            }
            Self::File(sink) if sink.is_lake() => {
                "the claims under way end at the old place, and everything behind them goes to the new one; read both, hours that \
                 the old one calls complete there alone"
            }
            Self::File(_) => {
                "the old file gets its final name, and everything behind it goes to the new place; read both"
            }
            Self::Console(_) | Self::Blackhole(_) => "everything from now on goes to the new place",
        }
    }

    /// The store of a sink that keeps a claim log there; `None` for all others. Opens no connection yet.
    pub fn blobs(&self, owner: &Owner) -> Option<Result<Box<dyn Blobs>, OpenError>> {
        match self {
            Self::S3(sink) => Some(crate::s3::blobs(sink, owner)),
            Self::Hdfs(sink) => Some(crate::hdfs::blobs(sink, owner)),
            Self::File(sink) if sink.is_lake() => Some(Ok(crate::file::blobs(sink, owner))),
            Self::File(_) | Self::Kafka(_) | Self::Elasticsearch(_) | Self::Console(_) | Self::Blackhole(_) => None,
        }
    }
}

/// How the options of one type of sink are read.
pub type Parse = fn(&Node, Place, &[&str], &mut Vec<Complaint>) -> Decoded<SinkOptions>;

/// One type of sink.
#[derive(Debug)]
pub struct SinkRow {
    /// The word in `type`.
    pub name: &'static str,
    /// The promise where neither the sink nor `defaults` asks for one: `None` follows `defaults`.
    pub delivery: Option<Delivery>,
    /// Its options, with those of every sink, as a JSON Schema.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Reads its own options.
    pub parse: Parse,
}

/// A row: the word in `type`, the promise where `defaults` don't decide, the variant and the type of its options.
macro_rules! row {
    ($name:literal, $delivery:expr, $variant:ident($options:ty)) => {
        SinkRow {
            name: $name,
            delivery: $delivery,
            schema: |generator| sawlog_settings::schema::component::<SinkCommon, $options>(generator, $name),
            parse: |node, title, also_known, complaints| {
                let decoded = decode::<$options>(node, title, also_known, complaints);
                Decoded { value: decoded.value.map(SinkOptions::$variant), clean: decoded.clean }
            },
        }
    };
}

/// Every type of sink.
pub const SINKS: &[SinkRow] = &[
    row!("kafka", None, Kafka(KafkaSink)),
    row!("elasticsearch", None, Elasticsearch(ElasticsearchSink)),
    row!("s3", None, S3(S3Sink)),
    row!("hdfs", None, Hdfs(HdfsSink)),
    row!("file", None, File(FileSink)),
    row!("console", Some(Delivery::BestEffort), Console(ConsoleSink)),
    row!("blackhole", Some(Delivery::BestEffort), Blackhole(BlackholeSink)),
];
