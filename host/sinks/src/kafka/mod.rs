//! The `kafka` sink: rows as messages of Kafka topics. It knows no other sink.

pub mod config;
