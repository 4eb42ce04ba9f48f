//! From a sink's options to its port, and to when it sends.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sawlog_core::SinkId;
use sawlog_core::budget::Budget;
use sawlog_core::ports::{FormerSinks, SinkPort};
use sawlog_core::sink::{IntakeLimits, SinkTuning};
use sawlog_kafka::PartitionRef;
use sawlog_settings::checked::NameTemplate;
use sawlog_settings::component::{OnBudget, OnError};
use sawlog_settings::{Delivery, format::Roll};
use sawlog_sinks::elasticsearch::ElasticsearchDocuments;
use sawlog_sinks::kafka::KafkaTransactions;
use sawlog_sinks::object::Owner;
use sawlog_sinks::registry::SinkOptions;
use sawlog_sinks::{blackhole, console, file, hdfs, kafka, s3};

use super::memory::SinkShares;
use super::{RunError, epochs};
use crate::config::validated::Sink;

/// Batches that a sink may have taken and not sealed: small ones cost more than their bytes.
const INTAKE_BATCHES_MAX: usize = 1_024;

/// Dead letters that a sink hands over in a second where the configuration says nothing.
const LETTERS_PER_SECOND: NonZeroU32 = NonZeroU32::new(1_000).unwrap();

/// How long claims live at least on HDFS.
const HDFS_CLAIM_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The port of a sink that has not begun.
pub fn open(name: &str, sink: &Sink, agent: &str, data_dir: &Path, shares: &SinkShares) -> Result<SinkPort, RunError> {
    let refuse = |reason: String| RunError::Component { name: name.to_owned(), reason };
    let owner = Owner {
        agent: agent.to_owned(),
        sink: name.to_owned(),
        data_dir: data_dir.to_owned(),
        stage: shares.stage.clone(),
    };
    let mut common = sink.common.clone();
    common.provenance = Some(sink.provenance);
    let provenance = sink.provenance;
    Ok(match &sink.options {
        SinkOptions::File(options) => file::open(options, &common, &owner).map_err(|e| refuse(e.to_string()))?,
        SinkOptions::S3(options) => s3::open(options, &common, &owner).map_err(|e| refuse(e.to_string()))?,
        SinkOptions::Hdfs(options) => hdfs::open(options, &common, &owner).map_err(|e| refuse(e.to_string()))?,
        SinkOptions::Console(options) => console::open(options, &common, &owner),
        SinkOptions::Blackhole(_) => blackhole::open(),
        SinkOptions::Kafka(options) => {
            let owner = kafka::Owner { cluster: "sawlog".to_owned(), agent: agent.to_owned(), sink: SinkId::new(name) };
            let port = KafkaTransactions::open(options, &owner, provenance).map_err(|e| refuse(e.to_string()))?;
            SinkPort::Transaction(Arc::new(port))
        }
        SinkOptions::Elasticsearch(options) => {
            let exactly_once = sink.delivery == Delivery::ExactlyOnce;
            let port = ElasticsearchDocuments::open(options, agent, provenance, exactly_once);
            SinkPort::Documents(Arc::new(port.map_err(|e| refuse(e.to_string()))?))
        }
    })
}

/// The port of a sink for one partition of a group, under a name that goes with the partition.
pub fn open_moving(
    name: &str,
    sink: &Sink,
    group: &str,
    place: &PartitionRef,
    data_dir: &Path,
    shares: &SinkShares,
) -> Result<SinkPort, RunError> {
    let mut sink = sink.clone();
    if let SinkOptions::File(options) = &mut sink.options
        && !options.is_lake()
        && let Some((stem, extension)) = options.path.as_str().rsplit_once('.').filter(|(_, e)| !e.contains('/'))
    {
        // One file for each partition: two writers would cut each other's rows.
        let path = format!("{stem}.{place}.{extension}");
        options.path = NameTemplate::parse(&path)
            .map_err(|e| RunError::Component { name: name.to_owned(), reason: format!("{path}: {e}") })?;
    }
    open(&format!("{name}.{place}"), &sink, group, data_dir, shares)
}

/// Sinks as former configurations had them.
pub struct Former<Open> {
    /// Opens a sink of a configuration.
    pub open: Open,
}

impl<Open> FormerSinks for Former<Open>
where
    Open: Fn(&str, &Sink) -> Result<SinkPort, RunError> + Send + Sync,
{
    fn open(&self, id: &SinkId, packed: &[u8]) -> Result<SinkPort, String> {
        let config = epochs::unpack(packed)?;
        let sink = config.sinks.get(id.as_str()).ok_or_else(|| "its configuration names no such sink".to_owned())?;
        (self.open)(id.as_str(), sink).map_err(|error| error.to_string())
    }
}

/// How much a sink takes before it is full.
pub fn limits(shares: &SinkShares) -> IntakeLimits {
    IntakeLimits { memory: shares.intake.clone(), batches_max: INTAKE_BATCHES_MAX }
}

/// When a sink sends.
pub fn tuning(sink: &Sink) -> SinkTuning {
    let usual = SinkTuning::default();
    let (roll, paths_max) = match &sink.options {
        SinkOptions::File(o) => (Some(&o.roll), o.paths_max as usize),
        SinkOptions::S3(o) => (Some(&o.roll), o.paths_max as usize),
        SinkOptions::Hdfs(o) => (Some(&o.roll), o.paths_max as usize),
        _ => (None, usual.paths_max),
    };
    let (roll_bytes_max, roll_age_max) =
        roll.map_or((usual.roll_bytes_max, usual.roll_age_max), |r: &Roll| (r.size.as_bytes(), r.age.as_duration()));
    let batch = &sink.common.batch;
    SinkTuning {
        batch_bytes_max: batch
            .bytes
            .map_or(usual.batch_bytes_max, |b| usize::try_from(b.as_bytes()).unwrap_or(usize::MAX)),
        batch_records_max: batch.records.map_or(usual.batch_records_max, |records| records.0),
        batch_age_max: batch.age.as_duration(),
        roll_bytes_max,
        roll_age_max,
        paths_max,
        backoff_min: sink.common.retry.initial.as_duration(),
        backoff_max: sink.common.retry.max.as_duration(),
        open_circuit_after: sink.common.retry.open_circuit_after,
        drop_refused: sink.on_error == OnError::Drop,
        letters_per_second: Some(sink.common.dead_letters_per_second.unwrap_or(LETTERS_PER_SECOND)),
        drop_oldest: (sink.common.on_budget == OnBudget::DropOldest).then(|| Budget {
            bytes_max: sink.common.budget.bytes.as_bytes(),
            age_max: sink.common.budget.age.map(|age| age.as_duration()),
        }),
        // Nothing expires in flight on HDFS as a signature does on S3.
        claim_life: match &sink.options {
            SinkOptions::Hdfs(_) => HDFS_CLAIM_LIFE,
            _ => usual.claim_life,
        },
        ..usual
    }
}
