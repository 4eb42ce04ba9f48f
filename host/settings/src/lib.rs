//! What an operator writes, as values: sizes, durations, counts and secrets, the options that every source or sink shares,
//! and how a written node becomes an options struct with every mistake found in one pass.
//!
//! This room stands below `sources`, `sinks` and the daemon so that an options struct can live beside its component.
//! It knows nothing of YAML, files, the environment, or of any single component: whoever loads a config hands it a
//! [`node::Node`] in which references are already resolved.
#![forbid(unsafe_code)]

pub mod checked;
pub mod component;
pub mod connection;
pub mod count;
pub mod decode;
mod deserializer;
pub mod duration;
pub mod format;
pub mod node;
pub mod schema;
pub mod secret;
pub mod size;

pub use component::{
    Budget, Delivery, Finding, Layer, OnBudget, Promise, RouteFacts, SinkCommon, SourceCommon, SourceKind,
};
pub use count::Count;
pub use duration::Period;
pub use secret::Secret;
pub use size::ByteSize;
