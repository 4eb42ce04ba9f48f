//! The registry of sources: a new source is a folder and a row here. It knows of each source only its options.

use std::time::Duration;

use sawlog_settings::component::{DescribeSource, SourceCommon};
use sawlog_settings::decode::{Complaint, Decoded, decode};
use sawlog_settings::node::{Node, Place};
use schemars::{Schema, SchemaGenerator};

use crate::file::config::FileSource;
use crate::http::config::HttpSource;
use crate::kafka::config::KafkaSource;

/// The options of one source.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "each variant is named by the type it holds")]
pub enum SourceOptions {
    File(FileSource),
    Http(HttpSource),
    Kafka(KafkaSource),
}

impl SourceOptions {
    /// What the options say about the source.
    pub fn describe(&self) -> &dyn DescribeSource {
        match self {
            Self::File(source) => source,
            Self::Http(source) => source,
            Self::Kafka(source) => source,
        }
    }

    /// How long a partition without input waits before what plugins hold back is given out.
    pub fn idle_timeout(&self) -> Duration {
        let period = match self {
            Self::File(source) => source.idle_timeout,
            Self::Http(source) => source.idle_timeout,
            Self::Kafka(source) => source.idle_timeout,
        };
        period.as_duration()
    }
}

/// How the options of one type of source are read.
pub type Parse = fn(&Node, Place, &[&str], &mut Vec<Complaint>) -> Decoded<SourceOptions>;

/// One type of source.
#[derive(Debug)]
pub struct SourceRow {
    /// The word in `type`.
    pub name: &'static str,
    /// Its options, with those of every source, as a JSON Schema.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Reads its own options.
    pub parse: Parse,
}

/// A row: the word in `type`, the variant and the type of its options.
macro_rules! row {
    ($name:literal, $variant:ident($options:ty)) => {
        SourceRow {
            name: $name,
            schema: |generator| sawlog_settings::schema::component::<SourceCommon, $options>(generator, $name),
            parse: |node, title, also_known, complaints| {
                let decoded = decode::<$options>(node, title, also_known, complaints);
                Decoded { value: decoded.value.map(SourceOptions::$variant), clean: decoded.clean }
            },
        }
    };
}

/// Every type of source.
pub const SOURCES: &[SourceRow] =
    &[row!("file", File(FileSource)), row!("http", Http(HttpSource)), row!("kafka", Kafka(KafkaSource))];
