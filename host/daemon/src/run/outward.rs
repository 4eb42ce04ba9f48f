//! What a reload renews beside components: the API's certificate, the client of the collector, the place of backups. All that can
//! fail is read first, and nothing of it opens a connection.

use std::sync::Arc;
use std::time::Duration;

use sawlog_checkpoint::backup::Vault;
use tokio_rustls::TlsAcceptor;

use super::changes;
use super::parts::{RunError, Running};
use crate::api::{ApiError, Certificate};
use crate::backup::{self, Keeper};
use crate::config::sections::Sections;
use crate::telemetry::{self, Collector, TelemetryError};

/// What of the process is not a component's, and reaches out of it.
#[derive(Clone)]
pub struct Outward {
    /// What the API's clients are shown.
    pub certificate: Arc<Certificate>,
    /// The way to the collector.
    pub collector: Option<Collector>,
    /// Who takes backups of checkpoints.
    pub keeper: Option<Arc<Keeper>>,
}

impl Outward {
    /// That of an agent that starts.
    pub(super) fn new(sections: &Sections, keeper: Option<Arc<Keeper>>) -> Result<Self, RunError> {
        let certificate = Certificate::read(&sections.api).map_err(ApiError::Tls)?;
        let collector = sections.telemetry.otlp.as_ref().map(Collector::new).transpose();
        let collector = collector.map_err(TelemetryError::Otlp)?;
        Ok(Self { certificate: Arc::new(Certificate::new(certificate)), collector, keeper })
    }
}

/// What the files and secrets of a changed configuration hold now.
pub(super) struct Renewed {
    certificate: Option<TlsAcceptor>,
    collector: Option<telemetry::HttpClient>,
    backups: Option<(Arc<dyn Vault>, Duration)>,
}

impl Running {
    /// Reads what is to be renewed; an error says what is wrong with it, and nothing has changed.
    pub(super) fn read_outward(&self, now: &Sections) -> Result<Renewed, String> {
        // What takes a restart is not renewed: who has to show a certificate was decided when the agent began to listen.
        let waiting = changes::waiting(&self.started, now);
        let certificate = Certificate::read(&now.api).map_err(|error| format!("`api`: {error}"))?;
        let collector = match (&self.outward.collector, &now.telemetry.otlp) {
            (Some(_), Some(otlp)) => Some(telemetry::http_client(otlp).map_err(|e| format!("`telemetry.otlp`: {e}"))?),
            _ => None,
        };
        let backups = match (&self.outward.keeper, &now.checkpoint.backup) {
            (Some(_), Some(to)) => {
                let place = backup::place(to, &self.ground.agent).map_err(|error| error.to_string())?;
                Some((place, to.every.as_duration()))
            }
            _ => None,
        };
        Ok(Renewed { certificate: certificate.filter(|_| !waiting.contains(&"api.tls")), collector, backups })
    }

    pub(super) fn take_outward(&self, renewed: Renewed) {
        if let Some(certificate) = renewed.certificate {
            self.outward.certificate.renew(certificate);
        }
        if let (Some(collector), Some(client)) = (&self.outward.collector, renewed.collector) {
            collector.renew(client);
        }
        if let (Some(keeper), Some((place, every))) = (&self.outward.keeper, renewed.backups) {
            keeper.go_on_at(place, every);
        }
    }
}
