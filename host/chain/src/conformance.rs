//! Is a plugin deterministic, wherever batches are cut and instances reset? Every plugin must be: a replay after a crash cuts
//! and resets elsewhere. Knows seeds; the plugin knows nothing of being checked.

use crate::instance::{CallFailure, Instance};
use crate::plugin::{Leniency, Plugin};
use crate::runner::{Outcome, RunError, Runner};
use crate::trial::Trial;
use crate::view::BatchView;
use sawlog_record::batch::Batch;
use std::sync::Arc;

/// Ways to cut and reset that are compared with the whole run.
const SPLITS: u64 = 3;

/// How a plugin failed the check.
#[derive(Debug, thiserror::Error)]
pub enum Divergence {
    /// Another cut gave another output.
    #[error(
        "the output depends on where batches are cut or instances reset (seed {seed}): outcome {index} is {found} instead of {expected}"
    )]
    Output {
        /// Seed of the cut.
        seed: u64,
        /// Number of the first outcome that differs.
        index: usize,
        /// That outcome, cut by the seed.
        found: String,
        /// That outcome of the whole run.
        expected: String,
    },
    /// A snapshot failed.
    #[error("a snapshot failed (seed {seed}): {failure}")]
    Snapshot {
        /// Seed of the cut.
        seed: u64,
        /// How.
        failure: CallFailure,
    },
    /// The plugin could not go on.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Runs `plugin` over `batch` whole and in [`SPLITS`] random cuts with random resets; gives the digest of the outcomes, which
/// is the same for all of them.
pub fn check(plugin: &Plugin, batch: &Batch) -> Result<[u8; 32], Divergence> {
    let expected = crate::trial::run(plugin, batch)?;
    for seed in 1..=SPLITS {
        let found = cut(plugin, batch, seed)?;
        let differs = |i: &usize| found.get(*i) != expected.get(*i);
        if let Some(index) = (0..found.len().max(expected.len())).find(differs) {
            let line = |lines: &[String]| lines.get(index).cloned().unwrap_or_else(|| "nothing".into());
            return Err(Divergence::Output { seed, index, found: line(&found), expected: line(&expected) });
        }
    }
    let mut hasher = blake3::Hasher::new();
    for line in &expected {
        hasher.update(line.as_bytes()).update(b"\n");
    }
    Ok(*hasher.finalize().as_bytes())
}

/// Runs `view` once more on `twin`, an instance beside the one that gave `outcome`, with the same state: whether it gives the same.
/// For a share of the batches of a running agent.
pub fn agrees(twin: &mut Instance, view: &BatchView, outcome: &Outcome) -> bool {
    outcome.parts.iter().all(|part| match twin.process(&Arc::new(view.part(part.start, part.end))) {
        // Nothing was answered, so nothing else was.
        Err(CallFailure::Ended(_)) => true,
        again => again.as_ref() == Ok(&part.edits),
    })
}

/// One run in random pieces, each with an even chance to be followed by a restart from a snapshot.
fn cut(plugin: &Plugin, batch: &Batch, seed: u64) -> Result<Vec<String>, Divergence> {
    let mut random = Random(seed);
    let mut trial = Trial::new(plugin);
    let mut runner = Runner::new(plugin.clone(), Leniency::Usual);
    let mut start = 0;
    while start < batch.rows.len() {
        let longest = [1, 7, 64, 1_000][(random.next() % 4) as usize];
        let end = batch.rows.len().min(start + 1 + (random.next() % longest) as usize);
        trial.rows(&mut runner, batch, start, end)?;
        if random.next().is_multiple_of(2) {
            runner = restarted(plugin, runner, seed)?;
        }
        start = end;
    }
    trial.end(&mut runner)?;
    Ok(trial.into_lines())
}

fn restarted(plugin: &Plugin, mut runner: Runner, seed: u64) -> Result<Runner, Divergence> {
    if !plugin.stateful() {
        return Ok(Runner::new(plugin.clone(), Leniency::Usual));
    }
    let state = runner.snapshot()?.map_err(|failure| Divergence::Snapshot { seed, failure })?;
    Ok(Runner::restored(plugin.clone(), Leniency::Usual, state)?)
}

/// SplitMix64: the same numbers for the same seed everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
