//! What the plugins of row B do, done natively: records below `info` are dropped, a field is added, e-mail addresses in the message
//! are redacted. It stands behind the chain that the configuration makes, which decodes: in the place of the plugins, in the same
//! program, with the same reader, decoder, row writer and cursors. Written to be fast, not to be configured.

mod address;
mod chain;
mod steps;
#[cfg(test)]
mod tests;

pub use chain::between;
pub use steps::Steps;
