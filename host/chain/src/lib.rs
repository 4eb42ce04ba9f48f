//! The plugin chain: loads WASM components, runs batches through them within limits, and applies what they return. The
//! only room that knows wasmtime. It knows nothing of sources, sinks, journals and configuration files: what is decided
//! outside (time, epoch, poison that was found before) comes in, what must be journalled goes out.
//!
//! [`Engine::load`] → [`Plugin`] → [`Runner`] (one per worker, or per partition and lane for a stateful plugin); a batch
//! becomes a [`BatchView`], the runner's [`Outcome`] goes through [`apply`].

pub mod apart;
pub mod apply;
mod cache;
mod canary;
mod check;
pub mod conformance;
mod contained;
mod engine;
mod figures;
mod host;
mod instance;
pub mod pipeline;
mod plugin;
mod records;
mod registration;
mod runner;
mod schema;
mod shadow;
pub mod trial;
mod view;
pub mod wit;

pub use cache::CacheError;
pub use canary::{Canary, CanaryError, CanaryFigures, Share};
pub use check::{BadOutput, Checked, FLUSH_BYTES_MAX};
pub use contained::{contained, is_contained};
pub use engine::{Engine, EngineError, EngineLimits};
pub use figures::{LONG_CALL, PluginFigures};
pub use host::{LogLevel, LogLine, Telemetry};
pub use instance::{CallFailure, CreateError, Instance};
pub use plugin::{
    Allow, Digest, Isolation, Leniency, LoadError, Plugin, PluginConfig, PluginLimits, check_bytes, check_config,
    check_interface,
};
pub use registration::Registration;
pub use runner::{ComponentState, Hunt, Outcome, Part, RunError, Runner, StateError};
pub use schema::{Mistake, SchemaError, of_component as schema_of_component};
pub use shadow::{ShadowError, ShadowFigures, ShadowLimits};
pub use view::{BATCH_ROWS_MAX, BatchFacts, BatchView, Column, RowFacts};
pub use wit::sawlog::plugin::types;
