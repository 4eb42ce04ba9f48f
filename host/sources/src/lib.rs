//! Where records enter: a folder for each source, and the registry of them. Sources don't know each other, nor any sink.
#![forbid(unsafe_code)]

pub mod file;
pub mod http;
pub mod kafka;
pub mod registry;
