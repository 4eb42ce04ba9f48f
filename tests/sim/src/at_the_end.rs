//! An engine at the end of a run: what it must show where everything is delivered, and what is said of one that goes nowhere.

use crate::world::World;
use sawlog_core::engine::Engine;
use std::sync::Arc;

/// What each sink took since it began must have an outcome, record by record. Not where it lost input: a claim that was made
/// before the loss goes on saying what it had promised.
pub fn check_books(world: &World, engine: &Engine) {
    let lost = world.get().losers();
    let state = engine.journal().state();
    for (id, sink) in engine.sinks() {
        let has_lost = lost.contains(&id);
        for (source, books) in sink.intake.books(&state) {
            if has_lost {
                continue;
            }
            if books.in_flight != 0 || books.imbalance != 0 {
                world.fail(format!("books of {id} and {source} are open after everything was delivered: {books:?}"));
            }
        }
    }
}

/// What an engine that goes nowhere has and waits for.
pub fn describe(engine: Option<Arc<Engine>>) -> String {
    let Some(engine) = engine else { return "the engine did not start".into() };
    let sinks: Vec<String> = engine
        .sinks()
        .values()
        .map(|s| {
            let delivered = sawlog_core::reload::is_delivered(&engine.journal().state(), &s.id);
            format!(
                "{} delivered {delivered} error {:?} stopped {:?} seats {:?} backlog {:?}",
                s.id,
                s.status().last_error,
                s.intake.stopped(),
                s.intake.seats(),
                s.intake.backlog()
            )
        })
        .collect();
    let frontiers: Vec<String> =
        engine.journal().state().partitions.iter().map(|(p, s)| format!("{p:?} {:?}", s.stream.frontier())).collect();
    format!("partitions {:?} frontiers {frontiers:?} sinks {sinks:#?}", engine.stopped())
}
