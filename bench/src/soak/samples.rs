//! What a process and its data directory take, again and again, and whether that grows.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::isolation;
use crate::measure;

/// This part of a life is left out: caches fill, and the allocator learns what is needed.
const WARM_UP: f64 = 0.25;
/// Fewer samples say nothing.
const SAMPLES_MIN: usize = 8;

/// What may be added over the time that is measured, be it minutes or hours: resident bytes, descriptors, threads, bytes on the disk.
const GROWTH_MAX: [f64; 4] = [16e6, 8.0, 4.0, 32e6];
const FIGURES: [&str; 4] = ["resident bytes", "descriptors", "threads", "bytes of the data directory"];

/// One look.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Seconds since the run began.
    at: f64,
    /// Which life of the agent.
    life: u32,
    figures: [f64; 4],
}

impl Sample {
    /// Looks at a process and at its data directory.
    pub fn of(pid: u32, at: Duration, life: u32, data: &Path) -> Result<Self> {
        let resident = measure::resident_bytes(pid).context("the agent ended by itself")?;
        let entries = |folder: &str| -> Result<usize> { Ok(fs::read_dir(format!("/proc/{pid}/{folder}"))?.count()) };
        let figures = [resident as f64, entries("fd")? as f64, entries("task")? as f64, isolation::size(data)? as f64];
        Ok(Self { at: at.as_secs_f64(), life, figures })
    }
}

/// All looks, in their order.
#[derive(Default)]
pub struct Samples(Vec<Sample>);

impl Samples {
    /// One more.
    pub fn add(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    /// Those of the last life, without its beginning. The data directory outlives a life, but a start may leave it smaller.
    fn measured(&self) -> &[Sample] {
        let last = self.0.last().map(|sample| sample.life);
        let from = self.0.iter().position(|sample| Some(sample.life) == last).unwrap_or(0);
        let life = &self.0[from..];
        let Some((first, last)) = life.first().zip(life.last()) else { return life };
        let begin = first.at + (last.at - first.at) * WARM_UP;
        &life[life.iter().position(|sample| sample.at >= begin).unwrap_or(0)..]
    }

    /// What the figures were, and by how much each grew.
    pub fn table(&self) -> String {
        let (measured, lives) = (self.measured(), self.0.last().map_or(0, |sample| sample.life));
        let mut table = format!(
            "{} looks in {lives} lives; of the last life {} are measured\n| figure | first | last | most | grew by | may grow by |\n|---|---|---|---|---|---|",
            self.0.len(),
            measured.len()
        );
        for (index, name) in FIGURES.iter().enumerate() {
            let of = |sample: Option<&Sample>| sample.map_or(f64::NAN, |sample| sample.figures[index]);
            let most = measured.iter().map(|sample| sample.figures[index]).fold(f64::MIN, f64::max);
            table += &format!(
                "\n| {name} | {:.0} | {:.0} | {most:.0} | {:.0} | {:.0} |",
                of(measured.first()),
                of(measured.last()),
                growth(measured, index),
                GROWTH_MAX[index]
            );
        }
        table
    }

    /// Fails where a figure grew by more than it may.
    pub fn judge(&self) -> Result<()> {
        let measured = self.measured();
        ensure!(measured.len() >= SAMPLES_MIN, "only {} looks: give it more minutes", measured.len());
        for (index, name) in FIGURES.iter().enumerate() {
            let grew = growth(measured, index);
            ensure!(
                grew <= GROWTH_MAX[index],
                "{name} grew by {grew:.0} in the last life, at most {:.0}",
                GROWTH_MAX[index]
            );
        }
        Ok(())
    }
}

/// By how much a figure grew: the median of the slopes between any two samples, which single outliers do not move (Theil and Sen),
/// over the time between the first and the last.
fn growth(samples: &[Sample], figure: usize) -> f64 {
    let Some((first, last)) = samples.first().zip(samples.last()) else { return 0.0 };
    let mut slopes = Vec::new();
    for (index, one) in samples.iter().enumerate() {
        let later = samples[index + 1..].iter().filter(|other| other.at > one.at);
        slopes.extend(later.map(|other| (other.figures[figure] - one.figures[figure]) / (other.at - one.at)));
    }
    if slopes.is_empty() { 0.0 } else { measure::median(slopes) * (last.at - first.at) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Looks at an agent that lives twice; its figures in the second life are `figure` of the seconds since its start.
    fn looks(figure: impl Fn(f64) -> [f64; 4]) -> Samples {
        let mut samples = Samples::default();
        for second in 0..60 {
            samples.add(Sample { at: f64::from(second), life: 1, figures: [1e9, 500.0, 90.0, 1e9] });
        }
        for second in 0..60 {
            let at = f64::from(second);
            // A cache that fills, and a peak now and then.
            let warm = if at < 10.0 { 20e6 * at / 10.0 } else { 20e6 };
            let peak = if second % 20 == 19 { 50e6 } else { 0.0 };
            let own = figure(at);
            samples.add(Sample { at: 60.0 + at, life: 2, figures: [own[0] + warm + peak, own[1], own[2], own[3]] });
        }
        samples
    }

    #[test]
    fn what_grows_is_told_and_a_warm_up_and_peaks_are_not() {
        let calm = [100e6, 40.0, 12.0, 5e6];
        assert!(looks(|_| calm).judge().is_ok());
        // The journal's log is a saw.
        assert!(looks(|at| [calm[0], calm[1], calm[2], calm[3] + at % 7.0 * 4e6]).judge().is_ok());
        for (figure, rate) in [(0, 500e3), (1, 0.5), (2, 0.2), (3, 1e6)] {
            let leaking = looks(|at| {
                let mut figures = calm;
                figures[figure] += rate * at;
                figures
            });
            let told = leaking.judge().unwrap_err().to_string();
            assert!(told.starts_with(FIGURES[figure]), "{told}");
        }
    }

    #[test]
    fn too_few_looks_prove_nothing() {
        assert!(Samples::default().judge().is_err());
    }
}
