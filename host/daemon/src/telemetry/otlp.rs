//! Pushing by OTLP over HTTP, through the HTTP client that the agent has already. The exporters' threads wait for it; requests run
//! on the agent's runtime.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::PeriodicReader;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

use crate::config::sections::Otlp;

/// How long a push may take.
const PUSH_TIME: Duration = Duration::from_secs(10);

/// The way to a collector. A reload puts another client in the place of the present one: its certificates may have been replaced.
#[derive(Debug, Clone)]
pub struct Collector {
    http: Arc<RwLock<reqwest::Client>>,
    runtime: tokio::runtime::Handle,
}

impl Collector {
    /// Reads the PEM files; nothing is sent yet. The error is a sentence without remedy.
    pub fn new(options: &Otlp) -> Result<Self, String> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| error.to_string())?;
        Ok(Self { http: Arc::new(RwLock::new(http_client(options)?)), runtime })
    }

    /// Sends by this client from now on.
    pub fn renew(&self, client: reqwest::Client) {
        *self.http.write().unwrap_or_else(PoisonError::into_inner) = client;
    }
}

/// A client with the TLS and the proxy of `options`. Reads the PEM files. The error is a sentence without remedy.
pub fn http_client(options: &Otlp) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder().timeout(PUSH_TIME);
    let tls = options.tls.clone().unwrap_or_default();
    if let Some(ca) = &tls.ca {
        let authorities = reqwest::Certificate::from_pem_bundle(&read(ca)?).map_err(|e| wrong(ca, &e))?;
        builder = builder.tls_certs_only(authorities);
    }
    if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
        let pem = [read(cert)?, b"\n".to_vec(), read(key)?].concat();
        builder = builder.identity(reqwest::Identity::from_pem(&pem).map_err(|e| wrong(cert, &e))?);
    }
    if let Some(url) = &options.proxy {
        builder = builder.proxy(reqwest::Proxy::all(url).map_err(|e| format!("proxy {url} can't be used: {e}"))?);
    }
    builder.build().map_err(|error| error.to_string())
}

/// Pushes to one collector.
pub struct Push {
    endpoint: String,
    interval: Duration,
    traces: f64,
    collector: Collector,
}

impl Push {
    /// Nothing is sent yet.
    pub fn new(options: &Otlp, collector: Collector) -> Self {
        Self {
            endpoint: options.endpoint.trim_end_matches('/').to_owned(),
            interval: options.metrics_interval.as_duration(),
            traces: options.traces,
            collector,
        }
    }

    /// A reader that pushes all metrics every interval.
    pub fn metrics(&self) -> Result<PeriodicReader<MetricExporter>, String> {
        let exporter = MetricExporter::builder()
            .with_http()
            .with_http_client(self.collector.clone())
            .with_endpoint(format!("{}/v1/metrics", self.endpoint))
            .with_timeout(PUSH_TIME)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(PeriodicReader::builder(exporter).with_interval(self.interval).build())
    }

    /// Where spans go; `None` where no part of the batches is traced.
    pub fn traces(&self, resource: Resource) -> Result<Option<SdkTracerProvider>, String> {
        if self.traces <= 0.0 {
            return Ok(None);
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(self.collector.clone())
            .with_endpoint(format!("{}/v1/traces", self.endpoint))
            .with_timeout(PUSH_TIME)
            .build()
            .map_err(|error| error.to_string())?;
        let sampler = Sampler::TraceIdRatioBased(self.traces);
        let tracers = SdkTracerProvider::builder().with_batch_exporter(exporter).with_sampler(sampler);
        Ok(Some(tracers.with_resource(resource).build()))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{} can't be read: {error}", path.display()))
}

fn wrong(path: &Path, error: &reqwest::Error) -> String {
    format!("{} can't be used: {error}", path.display())
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.read().unwrap_or_else(PoisonError::into_inner).clone();
        let exchange = async move {
            let answer = http.execute(request.try_into()?).await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            let mut response = Response::new(answer.bytes().await?);
            (*response.status_mut(), *response.headers_mut()) = (status, headers);
            Ok::<_, reqwest::Error>(response)
        };
        Ok(self.runtime.spawn(exchange).await??)
    }
}
