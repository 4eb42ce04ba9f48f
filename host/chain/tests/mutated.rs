//! Components that were damaged or made up: single bytes of a real one changed at random. Each is refused with a reason, or loads
//! and then runs within its limits; whatever it answers is checked. The seed is fixed, so a failure comes again.
#![allow(clippy::unwrap_used)]

mod support;

use sawlog_chain::{Allow, Leniency, PluginConfig, PluginLimits, Runner, apply, trial};
use std::sync::Arc;

/// Mutants of one run; `MUTANTS` in the environment asks for more.
const MUTANTS: u64 = 2_000;

/// SplitMix64, from Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }
}

/// One to four bytes changed, or a piece cut out or doubled.
fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(bytes.len());
        match dice.roll(8) {
            0 => drop(bytes.drain(at..(at + 1 + dice.roll(8)).min(bytes.len()))),
            1 => bytes.insert(at, dice.roll(256) as u8),
            2..=4 => bytes[at] ^= 1 << dice.roll(8),
            _ => bytes[at] = dice.roll(256) as u8,
        }
    }
}

#[test]
fn a_mutated_component_is_refused_or_runs_within_its_limits() {
    let original = support::component("sample-c");
    let mutants = std::env::var("MUTANTS").ok().and_then(|n| n.parse().ok()).unwrap_or(MUTANTS);
    let limits = PluginLimits { memory_bytes_max: 4 << 20, fuel_per_record: 1_000_000, ..PluginLimits::default() };
    let allow = Allow { state: true, timers: true, kernels: true };
    let config_json = r#"{"keep_one_in":2}"#.to_owned();
    let config = PluginConfig { config_json, limits, allow, ..Default::default() };
    let batch = trial::read(&[r#"{"level":"info","message":"m"}"#; 20].join("\n")).unwrap();
    let engine = support::engine_that_keeps_nothing();
    let (mut refused, mut ran, mut poisoned) = (0, 0, 0);
    for seed in 0..mutants {
        let mut bytes = original.clone();
        mutate(&mut bytes, &mut Dice(seed));
        let plugin = match engine.load("mutant", &bytes, config.clone()) {
            Ok(plugin) => plugin,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
                continue;
            }
        };
        let origin = apply::BatchOrigin { input: "in", source: "s", time: 7, watermark: None };
        let Some(view) = apply::Columns::of(&plugin).view(&batch, origin) else { continue };
        let Ok(outcome) = Runner::new(plugin, Leniency::Usual).process_isolating(Arc::new(view), &[]) else {
            continue;
        };
        let covered: u32 = outcome.parts.iter().map(|part| part.end - part.start).sum();
        assert_eq!(covered as usize + outcome.poison.len(), 20, "seed {seed}: every row has one fate");
        ran += 1;
        poisoned += u64::from(!outcome.poison.is_empty());
    }
    println!("{mutants} mutants: {refused} refused, {ran} ran, {poisoned} of these with poison");
    assert!(refused > mutants / 4 && ran > 0, "{refused} refused, {ran} ran: the mutations hit nothing");
}
