//! The contract's types and exports, generated in crates of their own. Plugins use them through the rest of this crate.

pub use sawlog_plugin_stateful as stateful;
pub use sawlog_plugin_transformer as transformer;
pub use transformer::sawlog::plugin::{host, kernels, types};
