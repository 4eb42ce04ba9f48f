//! The `file` sink: rows as lines of a local file, or as a lake of local files. It knows no other sink.

pub mod append;
pub mod config;
mod disk;
pub mod folder;
mod letters;
