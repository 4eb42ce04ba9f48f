//! How long a batch takes in each stage of its way, as a histogram: from its receipt to its plan, in the chain, until its sink sends
//! it, in the request, and until the cursor behind it is durable. A few readings of the clock a batch, none a record.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};
use sawlog_core::SinkId;
use sawlog_core::sink::Delivered;

/// The histogram's name, in OpenTelemetry's spelling.
pub const STAGES: &str = "sawlog.stage.latency";
/// What it means.
pub const STAGES_ABOUT: &str = "What each stage takes of a batch. Of a sink: `plan`, from the receipt of its oldest record to its \
    plan (a file's or a message's is its plan); `wait`, from there until the sink sends it, the chain, the lane and `batch.age` in \
    one; `request`, until it is answered, a sync of the file included; `cursor`, until that is durable. Of a source: `chain`, in which \
    a batch is decoded and runs through plugins, once for each lane. Sinks that write objects have `plan` alone: the rest is `roll.age`.";

/// Upper bounds of the histogram's buckets, in seconds.
const BOUNDS: [f64; 16] =
    [0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// A stage of a batch's way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// From the receipt of the oldest record to the plan.
    Plan,
    /// In the chain.
    Chain,
    /// From the plan until the sink sends it.
    Wait,
    /// From there to the answer.
    Request,
    /// From there until the cursor is durable.
    Cursor,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Chain => "chain",
            Self::Wait => "wait",
            Self::Request => "request",
            Self::Cursor => "cursor",
        }
    }

    /// The labels of its series.
    pub fn labels(self, component: &str) -> [KeyValue; 2] {
        [KeyValue::new("component_id", component.to_owned()), KeyValue::new("stage", self.name())]
    }
}

/// Notes that are kept at most, until somebody asks for them.
const EARLY_MAX: usize = 1_000;

/// Takes down what stages take. While the agent starts that is kept for whoever asks for it then.
#[derive(Default)]
pub struct Stages {
    histogram: OnceLock<Histogram<f64>>,
    early: Mutex<Vec<(Duration, [KeyValue; 2])>>,
    /// When each sink got its newest answer, unix nanoseconds.
    answered: Mutex<BTreeMap<SinkId, i64>>,
}

impl fmt::Debug for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stages").field("told", &self.histogram.get().is_some()).finish()
    }
}

impl Stages {
    /// Begins to tell, and tells what came before.
    pub fn tell(&self, meter: &Meter) {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        let histogram = self.histogram.get_or_init(|| {
            let histogram = meter.f64_histogram(STAGES).with_unit("s").with_description(STAGES_ABOUT);
            histogram.with_boundaries(BOUNDS.to_vec()).build()
        });
        std::mem::take(&mut *early).iter().for_each(|(took, labels)| histogram.record(took.as_secs_f64(), labels));
    }

    /// One batch took so long in the stage of these labels.
    pub fn note(&self, took: Duration, labels: &[KeyValue; 2]) {
        if let Some(histogram) = self.histogram.get() {
            return histogram.record(took.as_secs_f64(), labels);
        }
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        match self.histogram.get() {
            Some(histogram) => histogram.record(took.as_secs_f64(), labels),
            None if early.len() < EARLY_MAX => early.push((took, labels.clone())),
            None => {}
        }
    }

    /// A sink has got its answer.
    pub fn answered(&self, sink: &SinkId, at: i64) {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).insert(sink.clone(), at);
    }

    /// A batch is durable in a sink, and so is its cursor; `now` in unix nanoseconds.
    pub fn delivered(&self, sink: &SinkId, batch: &Delivered, now: i64) {
        if batch.records == 0 {
            return;
        }
        self.note(between(batch.received, batch.planned), &Stage::Plan.labels(sink.as_str()));
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner).get(sink).copied();
        if let Some(answered) = answered {
            self.note(between(answered, now), &Stage::Cursor.labels(sink.as_str()));
        }
    }
}

/// From one wall time to another, both unix nanoseconds; a clock that jumped back makes it nothing.
pub fn between(from: i64, to: i64) -> Duration {
    Duration::from_nanos(to.saturating_sub(from).max(0).unsigned_abs())
}

/// Now, unix nanoseconds.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use sawlog_core::SourceId;

    /// The counts of all series by stage, as they are scraped.
    fn counts(registry: &prometheus::Registry) -> Vec<(String, String)> {
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("a text");
        let counts = text.lines().filter(|line| line.starts_with("sawlog_stage_latency_seconds_count{"));
        let one = |line: &str| {
            let stage = line.split_once("stage=\"").and_then(|(_, rest)| rest.split_once('"'));
            let count = line.rsplit(' ').next().unwrap_or_default();
            (stage.map(|(stage, _)| stage.to_owned()).unwrap_or_default(), count.to_owned())
        };
        counts.map(one).collect()
    }

    #[test]
    fn what_stages_took_before_anybody_asked_is_told_too() {
        let registry = prometheus::Registry::new();
        let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone());
        let exporter = exporter.build().expect("an exporter");
        let meters = SdkMeterProvider::builder().with_reader(exporter).build();
        let (stages, sink) = (Stages::default(), SinkId::new("out"));
        let batch = |records| Delivered { source: SourceId::new("app"), records, received: 1, planned: 2 };
        stages.delivered(&sink, &batch(5), 9);
        stages.answered(&sink, 7);
        stages.delivered(&sink, &batch(5), 9);
        stages.delivered(&sink, &batch(0), 9);
        stages.tell(&meters.meter("test"));
        stages.note(Duration::from_millis(3), &Stage::Chain.labels("app"));
        stages.delivered(&sink, &batch(1), 9);
        let mut told = counts(&registry);
        told.sort();
        let wanted = [("chain", "1"), ("cursor", "2"), ("plan", "3")].map(|(s, n)| (s.to_owned(), n.to_owned()));
        assert_eq!(told, wanted);
        assert_eq!((between(5, 3), between(3, 5)), (Duration::ZERO, Duration::from_nanos(2)));
    }
}
