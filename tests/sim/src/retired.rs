//! The agent's id is retired while its process is down, and then the process starts again: its claim log has ended, every hour of it
//! is closed, and nothing may come behind the end.

use crate::ports::sinks::store;
use crate::world::{Outside, World};
use sawlog_core::claims::FOR_EVER;
use sawlog_core::retire::{Fate, Shown, judge};

/// What a log held when it was ended.
pub struct Ended {
    log: String,
    number: u64,
    objects: usize,
}

/// Polls of the process that starts under the retired id.
pub const POLLS: usize = 3_000;

/// In one seed of eight: ends the claim log of the object sink at its present place, as a person does who knows that the agent is
/// down.
pub fn end(world: &World, seed: u64, place: usize) -> Option<Ended> {
    let (mut outside, log) = (world.get(), store("objects", place));
    let mine = outside.claims.iter().filter(|((of, _), _)| *of == log && seed % 8 == 6);
    let (number, newest) = mine.map(|((_, number), claim)| (*number, claim.clone())).next_back()?;
    let Fate::End(claim) = judge(&Shown { number, newest, unmade: Vec::new() }, 0, "end".to_owned(), true) else {
        return None;
    };
    outside.claims.insert((log.clone(), number + 1), *claim);
    outside.complete.insert(log.clone(), FOR_EVER);
    let objects = objects(&outside, &log);
    drop(outside);
    world.count("retired");
    Some(Ended { log, number: number + 1, objects })
}

/// What came behind the end.
pub fn check(world: &World, ended: &Ended) -> Vec<String> {
    let outside = world.get();
    let behind = outside.claims.keys().filter(|(log, number)| *log == ended.log && *number > ended.number);
    let mut failures: Vec<String> =
        behind.map(|(log, number)| format!("{log}: claim {number} follows the end of the log")).collect();
    let objects = objects(&outside, &ended.log);
    if objects > ended.objects {
        failures.push(format!("{}: {} objects came behind its end", ended.log, objects - ended.objects));
    }
    failures
}

fn objects(outside: &Outside, log: &str) -> usize {
    outside.objects.keys().filter(|key| key.split('/').next() == Some(log)).count()
}
