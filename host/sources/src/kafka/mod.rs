//! The `kafka` source: messages of Kafka topics. It knows no other source.

pub mod config;
