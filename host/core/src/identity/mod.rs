//! File identity: which generation the bytes of a file belong to, decided from facts alone (delivery specification, 3.1).
//!
//! [`judge`] takes what the generations of one partition were like when they were last read, what a scan sees now, and a
//! way to ask for hashes of the seen contents; it answers with decisions. It opens no file, knows no path and no clock
//! beyond the birth times that the file system gives. Whoever executes the decisions reports the next facts.
//!
//! Identity fails towards sending again: what can't be shown to be the same is new, what can't be read is left for the
//! next look.

mod disamb;
mod evidence;
mod held;
mod judge;
#[cfg(test)]
mod model;
#[cfg(test)]
mod model_world;

pub use disamb::{Disambs, generation};
pub use evidence::{Contents, Cover, Evidence, FirstLine, Grain, Tracker, hash_of};
pub use held::{Anchor, Held, Newcomer, Recognised, file_hash};
pub use judge::{Decision, FileId, Known, Name, Seen, WaitReason, judge};
