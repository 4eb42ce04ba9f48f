//! `limits.memory` in the running process: one budget, divided among what waits in memory, and held against what the process
//! really has. Who has used up his part waits; nothing is dropped for memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sawlog_core::memory::{Pool, Share};
use sawlog_settings::component::SinkCommon;
use sawlog_sinks::registry::SinkOptions;

use crate::config::Config;

const MIB: u64 = 1 << 20;
/// What a process without input takes: code, threads, the journal's state.
const PROCESS_BYTES: u64 = 48 * MIB;
/// What a plugin takes: compiled code and some instances.
const PLUGIN_BYTES: u64 = 4 * MIB;
/// More than this no sink needs: the most that waits for it.
const INTAKE_BYTES_MAX: u64 = 16 * MIB;
/// With less than this nothing gets on.
const PART_BYTES_MIN: u64 = 256 << 10;
/// A sink holds what waits for it, what it is sending, and that once more as it is sent.
const COPIES: u64 = 3;
/// Between two looks at what the process really has.
const LOOK: Duration = Duration::from_millis(250);
/// The smallest part of the division that is left where the process has too much.
const SCALE_MIN: f64 = 1.0 / 16.0;

/// What a configuration asks memory for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wants {
    limit_bytes: u64,
    sinks: u64,
    /// Memory for open objects, by sink.
    stages: BTreeMap<String, u64>,
    plugins: u64,
    takes_requests: bool,
}

impl Wants {
    fn of(config: &Config) -> Self {
        let stage = |options: &SinkOptions| {
            let is_staged = match options {
                SinkOptions::File(file) => file.is_lake(),
                options => matches!(options, SinkOptions::S3(_) | SinkOptions::Hdfs(_)),
            };
            is_staged.then(|| options.describe().memory_bytes_max(&SinkCommon::default()))
        };
        Self {
            limit_bytes: config.sections.limits.memory.as_bytes(),
            sinks: config.sinks.len() as u64,
            stages: config
                .sinks
                .iter()
                .filter_map(|(name, sink)| Some((name.clone(), stage(&sink.options)?)))
                .collect(),
            plugins: config.plugins.len() as u64,
            takes_requests: config.sources.values().any(|source| source.r#type == "http"),
        }
    }
}

/// What each may hold, bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Division {
    lanes: u64,
    requests: u64,
    /// Each sink's batches.
    intake: u64,
    stages: BTreeMap<String, u64>,
}

/// Divides the limit. Each sink has a part of its own, so one that is down takes nothing from the others.
fn divide(wants: &Wants) -> Division {
    let process = PROCESS_BYTES + PLUGIN_BYTES * wants.plugins;
    // A quarter of the rest goes to what the allocator keeps, and to what nobody counts.
    let rest = wants.limit_bytes.saturating_sub(process).max(wants.limit_bytes / 4) / 4 * 3;
    let lanes = rest / 4;
    let requests = if wants.takes_requests { rest / 4 } else { 0 };
    let sinks = rest - lanes - requests;
    let wanted: u64 = wants.stages.values().sum();
    let staged = wanted.min(sinks / 2);
    let stage = |bytes: &u64| (u128::from(*bytes) * u128::from(staged) / u128::from(wanted.max(1))) as u64;
    Division {
        lanes: lanes.max(PART_BYTES_MIN),
        requests: requests.max(PART_BYTES_MIN),
        intake: ((sinks - staged) / (COPIES * wants.sinks.max(1))).clamp(PART_BYTES_MIN, INTAKE_BYTES_MAX),
        stages: wants.stages.iter().map(|(name, bytes)| (name.clone(), stage(bytes).max(PART_BYTES_MIN))).collect(),
    }
}

/// Which part of the division may be held, where the process has `resident` bytes and could hold `scale` of it until now. It never
/// becomes nothing: whatever keeps the memory, everybody gets on.
fn rescale(scale: f64, resident: u64, limit: u64) -> f64 {
    match resident as f64 / limit.max(1) as f64 {
        full if full > 0.9 => (scale * 0.8).max(SCALE_MIN),
        full if full < 0.8 => (scale * 1.1).min(1.0),
        _ => scale,
    }
}

/// The shares of one sink, by which all that go by its name are held: a sink of its own for each partition of a group.
#[derive(Debug, Clone)]
pub struct SinkShares {
    /// Batches that wait.
    pub intake: Arc<Share>,
    /// Open objects.
    pub stage: Arc<Share>,
}

impl Default for SinkShares {
    fn default() -> Self {
        Self { intake: Share::new(usize::MAX), stage: Share::new(usize::MAX) }
    }
}

#[derive(Debug)]
struct Present {
    wants: Wants,
    scale: f64,
    sinks: BTreeMap<String, SinkShares>,
}

/// The budget, and whoever takes his part of it.
#[derive(Debug)]
pub struct Memory {
    /// What lanes have read.
    pub lanes: Arc<Pool>,
    /// Requests that are being taken.
    pub requests: Arc<Pool>,
    present: Mutex<Present>,
}

/// What is held of the budget now, bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Held {
    /// The limit.
    pub limit: u64,
    /// What lanes have read and not handed over.
    pub lanes: u64,
    /// Requests that are being taken.
    pub requests: u64,
}

impl Memory {
    /// The budget of `config`.
    pub fn new(config: &Config) -> Arc<Self> {
        let present = Present { wants: Wants::of(config), scale: 1.0, sinks: BTreeMap::new() };
        let memory = Self { lanes: Pool::unbounded(), requests: Pool::unbounded(), present: Mutex::new(present) };
        memory.divide();
        Arc::new(memory)
    }

    /// The shares of the sink `name`.
    pub fn sink(&self, name: &str) -> SinkShares {
        let shares = self.lock().sinks.entry(name.to_owned()).or_default().clone();
        self.divide();
        shares
    }

    /// Divides anew, for a changed configuration.
    pub fn take(&self, config: &Config) {
        self.lock().wants = Wants::of(config);
        self.divide();
    }

    /// What is held now.
    pub fn held(&self) -> Held {
        let limit = self.lock().wants.limit_bytes;
        Held { limit, lanes: self.lanes.held_bytes(), requests: self.requests.held_bytes() }
    }

    /// Looks again and again at what the process really has, and gives out less where that comes near the limit.
    pub async fn keep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let is_changed = {
                let mut present = self.lock();
                let scale = rescale(present.scale, resident_bytes(), present.wants.limit_bytes);
                std::mem::replace(&mut present.scale, scale) != scale
            };
            if is_changed {
                self.divide();
            }
        }
    }

    fn divide(&self) {
        let present = self.lock();
        let division = divide(&present.wants);
        let scaled = |bytes: u64| ((bytes as f64 * present.scale) as u64).max(1);
        let share = |bytes: u64| usize::try_from(scaled(bytes)).unwrap_or(usize::MAX);
        self.lanes.set_bytes_max(scaled(division.lanes));
        self.requests.set_bytes_max(scaled(division.requests));
        for (name, shares) in &present.sinks {
            shares.intake.set_bytes_max(share(division.intake));
            shares.stage.set_bytes_max(division.stages.get(name).map_or(usize::MAX, |bytes| share(*bytes)));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resident memory of the process in bytes, by the kernel's own account; 0 where it is not to be had.
pub fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(limit_mib: u64, sinks: u64, stages: u64, takes_requests: bool) -> Wants {
        let stages = (0..stages).map(|n| (format!("lake{n}"), 64 * MIB)).collect();
        Wants { limit_bytes: limit_mib * MIB, sinks, stages, plugins: 2, takes_requests }
    }

    #[test]
    fn all_parts_together_stay_below_the_limit() {
        for limit_mib in [96, 128, 384, 1_024, 8_192] {
            for (sinks, stages) in [(1, 0), (2, 1), (8, 0), (8, 4), (30, 3)] {
                for takes_requests in [false, true] {
                    let wants = wants(limit_mib, sinks, stages, takes_requests);
                    let parts = divide(&wants);
                    let held = parts.lanes
                        + parts.requests
                        + COPIES * sinks * parts.intake
                        + parts.stages.values().sum::<u64>();
                    assert!(held <= limit_mib * MIB / 4 * 3, "{wants:?}: {parts:?}");
                    let floors =
                        [parts.lanes, parts.requests, parts.intake].into_iter().chain(parts.stages.into_values());
                    assert!(floors.min().is_some_and(|least| least >= PART_BYTES_MIN));
                }
            }
        }
    }

    #[test]
    fn the_usual_limit_gives_a_few_sinks_all_they_can_use() {
        let parts = divide(&wants(384, 4, 1, false));
        assert!(parts.intake >= 8 * MIB && parts.stages["lake0"] == 64 * MIB, "{parts:?}");
        assert_eq!(divide(&wants(1_024, 4, 1, true)).intake, INTAKE_BYTES_MAX);
    }

    #[test]
    fn a_process_that_has_too_much_gives_out_less_and_later_more_and_never_nothing() {
        let mut scale = 1.0;
        for _ in 0..100 {
            scale = rescale(scale, 95, 100);
        }
        assert_eq!(scale, SCALE_MIN);
        assert_eq!(rescale(0.5, 85, 100), 0.5);
        for _ in 0..100 {
            scale = rescale(scale, 50, 100);
        }
        assert_eq!(scale, 1.0);
    }
}
