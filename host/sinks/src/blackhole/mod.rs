//! The `blackhole` sink: rows thrown away. It knows no other sink.

pub mod config;
