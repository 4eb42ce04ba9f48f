//! The `http` source: records that clients push over HTTP, behind the write-ahead queue. It knows no other source.

pub mod config;
