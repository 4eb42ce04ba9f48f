//! What a plugin may say of itself: for its operator, bounded by the host, never in a per-record loop. In native tests it
//! goes nowhere.

/// How grave a log line is.
pub use crate::bindings::host::Level;

/// Logs a line, of which the host keeps at most 1 KiB.
pub fn log(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::host::log(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?}: {message}");
}

/// Adds to a counter.
pub fn count(metric: &str, delta: u64) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::host::count(metric, delta);
    #[cfg(not(target_arch = "wasm32"))]
    let (_, _) = (metric, delta);
}

/// Sets a gauge.
pub fn gauge(metric: &str, value: f64) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::host::gauge(metric, value);
    #[cfg(not(target_arch = "wasm32"))]
    let (_, _) = (metric, value);
}
