//! A removed source that ends by itself, and comes back in that moment: it still rescues what there was no room for, and its
//! successor has to wait for it.

use super::{new_file, vanish};
use crate::world::World;

/// Who dies at every turn ends nothing in peace; and it is looked often whether a source has nothing left to do.
pub(super) fn calm(world: &World) {
    let mut outside = world.get();
    (outside.crash_per_mille, outside.checks_often) = (1, true);
}

/// Whether the second source, which is in the configuration or not, goes or comes now: it comes while it ends.
pub(super) fn is_due(world: &World, is_there: bool) -> bool {
    let per_mille = match world.get().ending.contains("more") {
        _ if is_there => 4,
        true => 150,
        false => 0,
    };
    world.rng(|r| r.hits(per_mille))
}

/// As the source goes, every sink takes what it owes, one of its files vanishes, and there is no room to rescue it.
pub(super) fn leave(world: &World) {
    {
        let mut outside = world.get();
        (outside.rescue_is_full, outside.slow) = (true, None);
        outside.down.clear();
    }
    new_file(world, 1, "more");
    vanish(world, |file, _| file.source == "more");
}
