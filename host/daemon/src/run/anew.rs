//! A data directory in which a life begins anew: whether another one was before it, by a backup or by what sinks hold, and what that
//! costs. It is said in the agent's log as soon as it shows, and by `sawlog status` for as long as this life lasts.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sawlog_core::journal::{Journal, JournalState};

use crate::config::Config;
use crate::validate;

/// How long sinks are looked at: by then they have told what they hold, or are gone on without.
const TELLING_MAX: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// How this life began, and what is known of one before it.
#[derive(Debug, Clone, Default)]
pub struct Anew {
    /// The journal held nothing, and no backup of it was found.
    pub is_empty: bool,
    /// The journal was brought back from a backup, with what that costs.
    pub from_backup: Option<String>,
    /// Sinks that have told of another life.
    found: Arc<Mutex<BTreeSet<String>>>,
}

impl Anew {
    /// A journal that held nothing, unless it was brought back.
    pub fn new(is_empty: bool) -> Self {
        Self { is_empty, ..Self::default() }
    }

    /// What it costs that the directory was lost; `None` where nothing says that it was.
    pub fn cost(&self, config: &Config) -> Option<String> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let told: Vec<String> = found.iter().map(|name| told(name)).collect();
        let by_sinks = (!told.is_empty()).then(|| format!("{}; {}", told.join("; "), cost(config)));
        self.from_backup.clone().or(by_sinks)
    }

    /// Says it in the log, sink by sink, as they tell what they hold.
    pub async fn tell(self, config: Config, journal: Arc<Journal>) {
        let until = Instant::now() + TELLING_MAX;
        while self.is_empty && self.from_backup.is_none() && Instant::now() < until {
            for name in adopting(&journal.state()) {
                if self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone()) {
                    tracing::warn!("{}; {}", told(&name), cost(&config));
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Sinks that were found to hold cursors which this journal did not make.
fn adopting(state: &JournalState) -> Vec<String> {
    state.facts.iter().filter(|(_, facts)| facts.adopted).map(|(sink, _)| sink.to_string()).collect()
}

fn told(sink: &str) -> String {
    format!(
        "the data directory was empty, and the sink {sink} holds cursors from another one under this `agent.id`: it goes on from where \
         they are proven to belong"
    )
}

fn cost(config: &Config) -> String {
    format!("what the lost directory costs: {}", validate::lost_directory(config))
}
