//! What the agent tells of itself: metrics through the OpenTelemetry API, scraped in Prometheus' text and pushed by OTLP, and
//! traces of batches. All figures are read when somebody asks; the record path only adds up its own. It judges nothing.

mod batches;
#[cfg(test)]
mod docs;
pub mod hearer;
mod metric;
mod otlp;
mod points;
mod sample;
pub mod stages;
pub mod table;

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::{Encoder as _, Registry, TextEncoder};
use thiserror::Error;

use crate::run::Handle;
use sample::Samples;

pub use batches::Batches;
pub use otlp::{Collector, http_client};
pub use reqwest::Client as HttpClient;

/// The name under which metrics and spans are made.
const SCOPE: &str = "sawlog";

/// Why nothing can be told.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The exporter for scrapes.
    #[error("metrics can't be offered: {0}; this is a mistake of this program, report it")]
    Metrics(#[from] opentelemetry_sdk::error::OTelSdkError),
    /// The exporters that push.
    #[error("`telemetry.otlp`: {0}; check `endpoint` and `tls`")]
    Otlp(String),
}

/// Everything that tells.
pub struct Telemetry {
    registry: Registry,
    samples: Arc<Samples>,
    meters: SdkMeterProvider,
    tracers: Option<SdkTracerProvider>,
    batches: Arc<Batches>,
}

impl Telemetry {
    /// Begins to tell of the agent behind `handle`.
    pub fn start(handle: &Arc<Handle>) -> Result<Arc<Self>, TelemetryError> {
        let config = handle.config();
        let resource = Resource::builder()
            .with_service_name("sawlog")
            .with_attributes([
                KeyValue::new("service.instance.id", handle.agent.clone()),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ])
            .build();
        let registry = Registry::new();
        let scrape = opentelemetry_prometheus::exporter();
        let scrape = scrape.with_registry(registry.clone()).scope_info_enabled(false).build()?;
        let mut meters = SdkMeterProvider::builder().with_reader(scrape).with_resource(resource.clone());
        let mut tracers = None;
        if let Some(options) = &config.sections.telemetry.otlp {
            let collector = match &handle.outward.collector {
                Some(collector) => collector.clone(),
                None => Collector::new(options).map_err(TelemetryError::Otlp)?,
            };
            let push = otlp::Push::new(options, collector);
            meters = meters.with_reader(push.metrics().map_err(TelemetryError::Otlp)?);
            tracers = push.traces(resource).map_err(TelemetryError::Otlp)?;
        }
        let meters = meters.build();
        let samples = Arc::new(Samples::new(handle));
        let meter = meters.meter(SCOPE);
        metric::observe(&meter, &samples);
        let batches = Arc::new(Batches::new(&meter, tracers.as_ref()));
        Ok(Arc::new(Self { registry, samples, meters, tracers, batches }))
    }

    /// Who hears of every delivered batch.
    pub fn batches(&self) -> Arc<Batches> {
        self.batches.clone()
    }

    /// From now on `stages` are told.
    pub fn tell_stages(&self, stages: &stages::Stages) {
        stages.tell(&self.meters.meter(SCOPE));
    }

    /// All metrics of now, in Prometheus' text.
    pub fn scrape(&self) -> Result<String, prometheus::Error> {
        self.samples.refresh();
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Pushes what is left. Blocks while it does.
    pub fn close(&self) {
        let tracers = self.tracers.as_ref().map(SdkTracerProvider::shutdown);
        for closed in [Some(self.meters.shutdown()), tracers].into_iter().flatten() {
            if let Err(error) = closed {
                tracing::warn!(%error, "the last telemetry could not be pushed");
            }
        }
    }
}
