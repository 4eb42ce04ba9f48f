//! Delivered batches: how long after they were received, as a histogram, and one span each where traces are on. A call a batch,
//! not a record.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};
use opentelemetry::trace::{Span as _, SpanKind, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use sawlog_core::SinkId;
use sawlog_core::sink::{Delivered, Observer};

use super::SCOPE;

/// The histogram's name, in OpenTelemetry's spelling.
pub const LATENCY: &str = "sawlog.end_to_end_latency";
/// What it means.
pub const LATENCY_ABOUT: &str =
    "From the receipt of a batch's oldest record to its being durable in the sink; one observation a batch.";

/// Upper bounds of the histogram's buckets, in seconds.
const BOUNDS: [f64; 15] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0, 3600.0];

/// Hears of delivered batches.
#[derive(Debug)]
pub struct Batches {
    latency: Histogram<f64>,
    tracer: Option<SdkTracer>,
}

impl Batches {
    /// Records in `meter`, and spans where there is somebody to take them.
    pub fn new(meter: &Meter, tracers: Option<&SdkTracerProvider>) -> Self {
        let latency = meter
            .f64_histogram(LATENCY)
            .with_unit("s")
            .with_description(LATENCY_ABOUT)
            .with_boundaries(BOUNDS.to_vec())
            .build();
        Self { latency, tracer: tracers.map(|tracers| tracers.tracer(SCOPE)) }
    }
}

fn time(unix_nanoseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(unix_nanoseconds).unwrap_or(0))
}

impl Observer for Batches {
    fn delivered(&self, sink: &SinkId, batch: &Delivered, now: i64) {
        if batch.records == 0 {
            return;
        }
        let labels = [KeyValue::new("sink", sink.to_string()), KeyValue::new("source", batch.source.to_string())];
        let latency = now.saturating_sub(batch.received).max(0);
        self.latency.record(Duration::from_nanos(latency.unsigned_abs()).as_secs_f64(), &labels);
        if let Some(tracer) = &self.tracer {
            let records = i64::try_from(batch.records).unwrap_or(i64::MAX);
            let attributes = labels.into_iter().chain([KeyValue::new("records", records)]);
            let span = tracer
                .span_builder("deliver batch")
                .with_kind(SpanKind::Producer)
                .with_start_time(time(batch.planned))
                .with_attributes(attributes);
            tracer.build(span).end_with_timestamp(time(now));
        }
    }
}
