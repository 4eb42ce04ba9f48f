//! The `file` source: lines of files that grow, rotate and go away. It knows no other source.

pub mod config;
pub mod configured;
pub mod content;
#[cfg(test)]
mod follower;
pub mod frame;
#[cfg(test)]
mod frame_tests;
pub mod open;
pub mod options;
pub mod outbox;
pub mod pattern;
mod poll;
pub mod reader;
pub mod record;
pub mod scan;
mod house;
mod scanner;
pub mod source;
#[cfg(test)]
mod tests;
mod table;
pub mod tracked;
pub mod watch;
