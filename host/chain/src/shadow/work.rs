//! The thread of a shadow: runs what waits, compares, counts, and rests as long as it has worked.

use super::compare::Judge;
use super::{Books, Job, ShadowFigures, ShadowLimits};
use crate::apply::{BatchOrigin, Columns, apply};
use crate::contained;
use crate::instance::CreateError;
use crate::plugin::{Leniency, Plugin};
use crate::runner::{Before, Hunt, Outcome, RunError, Runner};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Instant;

/// Calls for one batch; what has no fate by then is not compared.
const CALLS_MAX: usize = 64;
/// Number of the component in ids of rows that nobody gets.
const COMPONENT: u8 = 1;

pub(super) struct Worker {
    judge: Judge,
    plugin: Plugin,
    columns: Columns,
    limits: ShadowLimits,
    books: Arc<Books>,
    /// Of a component without state; one with state begins each batch with that of the present one.
    runner: Option<Runner>,
}

impl Worker {
    pub(super) fn new(judge: Judge, plugin: Plugin, limits: ShadowLimits, books: Arc<Books>) -> Self {
        let columns = Columns::of(&plugin);
        Self { judge, plugin, columns, limits, books, runner: None }
    }

    /// Until the shadow has gone, or what it shows is beyond its limits.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            let (began, bytes) = (Instant::now(), job.batch.arena.len());
            let done = contained(|| self.one(&job));
            self.books.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            let mut figures = self.books.lock();
            figures.ended = match done {
                Ok(()) => figures.beyond(self.limits),
                Err(_) => Some("comparing it failed, which is a mistake of the agent".to_owned()),
            };
            let is_over = figures.ended.is_some();
            drop(figures);
            if is_over {
                return;
            }
            std::thread::sleep(began.elapsed());
        }
    }

    fn one(&mut self, job: &Job) {
        let origin = BatchOrigin { input: &job.input, source: &job.source, time: job.time, watermark: job.watermark };
        let Some(view) = self.columns.view(&job.batch, origin) else { return };
        let mut hunt = Hunt::new(Arc::new(view), &job.judged);
        let unjudged = (0..job.batch.rows.len() as u32).filter(|row| job.judged.binary_search(row).is_err());
        let mut records: BTreeSet<u32> = unjudged.flat_map(|row| parents(job, row, row + 1)).collect();
        let mut found = ShadowFigures { batches: 1, ..ShadowFigures::default() };
        match self.hunt(job, &mut hunt) {
            Ok(()) => {}
            // No fault of the component: another batch may find room.
            Err(RunError::Create(CreateError::NoRoom(_))) => {
                self.books.skipped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            // It can't so much as begin, which is a failure on all of them.
            Err(error) => {
                found.records = records.len() as u64;
                (found.failing, found.failing_batches) = (found.records, 1);
                found.failure = Some(error.to_string());
                return self.books.add(found);
            }
        }
        let (outcome, undone) = hunt.into_parts();
        for row in job.judged.iter().flat_map(|row| parents(job, *row, row + 1)) {
            records.remove(&row);
        }
        for row in undone.iter().flat_map(|(start, end)| parents(job, *start, *end)) {
            records.remove(&row);
        }
        found.records = records.len() as u64;
        let failed = outcome.poison.iter().flat_map(|(row, _)| parents(job, *row, row + 1));
        found.failing = failed.filter(|row| records.remove(row)).count() as u64;
        found.failing_batches = u64::from(!outcome.poison.is_empty());
        found.failure = outcome.poison.last().map(|(_, failure)| failure.to_string());
        let made = |outcome: &Outcome| apply(job.batch.clone(), outcome, COMPONENT);
        found.differing = self.judge.differing(&records, &made(&job.outcome), &made(&outcome));
        self.books.add(found);
    }

    /// As many calls of the hunt as one batch may take.
    fn hunt(&mut self, job: &Job, hunt: &mut Hunt) -> Result<(), RunError> {
        let mut runner = match self.runner.take() {
            Some(runner) => runner,
            None => self.runner_from(&job.before)?,
        };
        for _ in 0..CALLS_MAX {
            runner.step(hunt)?;
        }
        // What it says of itself nobody is to take for words of the present one.
        drop(runner.take_telemetry());
        self.runner = (!self.plugin.stateful()).then_some(runner);
        Ok(())
    }

    fn runner_from(&self, before: &Before) -> Result<Runner, RunError> {
        let (plugin, leniency) = (self.plugin.clone(), Leniency::Usual);
        match before.clone() {
            Before::Fresh => Ok(Runner::new(plugin, leniency)),
            Before::Saved(version, state) if version == plugin.registration().state_version => {
                Runner::restored(plugin, leniency, state)
            }
            Before::Saved(version, state) => Runner::upgraded(plugin, leniency, version, state),
        }
    }
}

/// The input records of rows `start..end`.
fn parents(job: &Job, start: u32, end: u32) -> impl Iterator<Item = u32> {
    job.batch.rows[start as usize..end as usize].iter().map(|row| row.parent)
}
