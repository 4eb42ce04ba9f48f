//! Placeholder room, filled by the first change to it.
