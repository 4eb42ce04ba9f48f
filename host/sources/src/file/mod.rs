//! The `file` source: lines of files that grow, rotate and go away. It knows no other source.

pub mod config;
pub mod frame;
#[cfg(test)]
mod frame_tests;
pub mod options;
pub mod pattern;
