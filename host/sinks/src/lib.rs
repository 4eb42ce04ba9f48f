//! Where rows leave: a folder for each sink, and the registry of them. Sinks don't know each other, nor any source.
#![forbid(unsafe_code)]

pub mod blackhole;
pub mod console;
pub mod elasticsearch;
pub mod file;
pub mod format;
pub mod hdfs;
pub mod kafka;
mod names;
pub mod object;
mod place;
pub mod registry;
pub mod s3;
