//! The `console` sink: rows printed for a person. It knows no other sink.

pub mod config;
