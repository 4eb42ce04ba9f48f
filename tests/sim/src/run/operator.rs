//! What a person says while the process runs: that a sink forgets, that a source delivers again.

use super::{Life, partition_id, sink, source_of};
use crate::ports::SimClock;
use crate::world::RECORD_BYTES;
use sawlog_core::operator::To;
use sawlog_core::ports::Clock;
use sawlog_core::{SinkId, SourceId};
use std::sync::Arc;

impl Life {
    /// A person has some sink forget what it has not delivered; it begins anew.
    pub(super) fn forget(&self) {
        let Some(engine) = self.engine.lock().expect("one thread").clone() else { return };
        let names = ["log", "documents", "objects", "file"];
        let id = SinkId::new(names[self.world.rng(|r| r.below(names.len()))]);
        let (world, letters, reseated) = (self.world.clone(), self.letters.clone(), self.reseated.clone());
        let one_by_one = self.desire.clone();
        self.spawned.push(Box::pin(async move {
            let guard = one_by_one.lock().await;
            let place = guard.0.place(&id);
            // A journal that fails is a crash, which the world draws for itself.
            let Ok(Some(_)) = engine.forget(&id).await else { return };
            world.count("forgot");
            let clock: Arc<dyn Clock> = Arc::new(SimClock(world.clone()));
            engine.replace_sink(sink(&world, (&id, place), engine.journal(), &clock, &letters, &reseated)).await;
        }));
    }

    /// A person has a source deliver something again.
    pub(super) fn seek_back(&self) {
        let Some(engine) = self.engine.lock().expect("one thread").clone() else { return };
        let (partition, to) = self.world.rng(|r| (r.below(4), r.below(24)));
        let source = SourceId::new(source_of(partition));
        let to = match to {
            0..8 => To::Oldest,
            records => To::Position((records - 8) as u64 * RECORD_BYTES),
        };
        let world = self.world.clone();
        self.spawned.push(Box::pin(async move {
            // Refused where nothing of the kind was read, or it is gone.
            if let Ok(ranges) = engine.seek_back(&source, Some(partition_id(partition)), to).await {
                ranges.iter().for_each(|_| world.count("sought_back"));
            }
        }));
    }
}
