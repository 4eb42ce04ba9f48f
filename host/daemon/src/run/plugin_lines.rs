//! Log lines of plugins, told in the agent's own log under the plugin's name, so many a second.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sawlog_chain::{LogLevel, LogLine};

use super::handle::Handle;

/// How often plugins are asked for what they said.
const ASKED: Duration = Duration::from_secs(1);
/// Lines of one plugin that are told of each time that it is asked.
const LINES_MAX: usize = 10;

/// Tells them until the agent has gone.
pub async fn tell(handle: Weak<Handle>) {
    let mut asked = tokio::time::interval(ASKED);
    loop {
        asked.tick().await;
        let Some(handle) = handle.upgrade() else { return };
        tell_once(&handle);
    }
}

fn tell_once(handle: &Arc<Handle>) {
    for (name, plugin) in handle.plugins().iter() {
        let lines = plugin.take_lines();
        lines.iter().take(LINES_MAX).for_each(|line| tell_line(name, line));
        if lines.len() > LINES_MAX {
            let more = lines.len() - LINES_MAX;
            tracing::warn!(target: "sawlog_plugin", plugin = %name, more, "the plugin said more than is told in a second");
        }
    }
}

/// The text may hold anything that the plugin saw of a record; line breaks and control characters are escaped.
fn tell_line(plugin: &str, line: &LogLine) {
    let message = line.message.escape_debug();
    match line.level {
        LogLevel::Debug => tracing::debug!(target: "sawlog_plugin", plugin = %plugin, "{message}"),
        LogLevel::Info => tracing::info!(target: "sawlog_plugin", plugin = %plugin, "{message}"),
        LogLevel::Warn => tracing::warn!(target: "sawlog_plugin", plugin = %plugin, "{message}"),
        LogLevel::Error => tracing::error!(target: "sawlog_plugin", plugin = %plugin, "{message}"),
    }
}
