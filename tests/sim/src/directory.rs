//! The data directory is lost with the agent's id kept, and perhaps comes back from a copy of an older checkpoint.

use crate::oracle;
use crate::world::World;
use sawlog_core::journal::{JournalState, Record};

/// Everything in the data directory is gone; sinks, files and the agent's id stay. What only the queue had is lost.
pub fn lose_directory(world: &World) {
    let mut outside = world.get();
    let archive = std::mem::take(&mut outside.journal).archive;
    let losses = archive.iter().flat_map(oracle::parts).filter(|record| matches!(record, Record::Lost { .. }));
    outside.old_losses.extend(losses.cloned());
    outside.rescued.clear();
    outside.directory += 1;
    for file in &mut outside.files {
        file.unreadable_since = (!file.exists).then_some(0);
        file.forget_generation();
    }
    *outside.census.entry("lost_directory").or_default() += 1;
    if let Some((snapshot, blobs)) = outside.backup.take() {
        let mut state = JournalState::decode(&snapshot).expect("the core wrote it");
        state.restore();
        outside.journal.snapshot = Some(state.encode());
        outside.journal.blobs = blobs;
        *outside.census.entry("restored_backup").or_default() += 1;
    }
}

/// The newest checkpoint, with all that it may name, in another place.
pub fn back_up(world: &World) {
    let mut outside = world.get();
    outside.backup = outside.journal.snapshot.clone().map(|snapshot| (snapshot, outside.journal.blobs.clone()));
}
