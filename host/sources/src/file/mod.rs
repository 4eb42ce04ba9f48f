//! The `file` source: lines of files that grow, rotate and go away. It knows no other source.

mod announce;
#[cfg(test)]
mod begin_tests;
mod carry;
#[cfg(test)]
mod carry_tests;
pub mod config;
pub mod configured;
pub mod content;
#[cfg(test)]
mod discovery_tests;
#[cfg(test)]
mod follower;
pub mod frame;
#[cfg(test)]
mod frame_tests;
mod hold;
#[cfg(test)]
mod hold_tests;
mod house;
mod moment;
pub mod open;
pub mod options;
pub mod outbox;
#[cfg(test)]
mod packed_tests;
mod passing;
pub mod pattern;
mod poll;
pub mod reader;
pub mod record;
pub mod scan;
mod scanner;
pub mod source;
mod table;
#[cfg(test)]
mod tests;
pub mod tracked;
mod unpack;
#[cfg(test)]
mod unreadable_tests;
#[cfg(test)]
mod vanished_tests;
pub mod watch;
