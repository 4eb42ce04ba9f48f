//! Log lines of plugins, told in the agent's own log under the plugin's name, so many a second; and of plugins whose calls take
//! long, or that turned out not to be deterministic, so often.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use sawlog_chain::apart::ProcessFigures;
use sawlog_chain::{LONG_CALL, LogLevel, LogLine, Plugin, PluginFigures, ShadowFigures};

use super::handle::Handle;

/// How often plugins are asked for what they said.
const ASKED: Duration = Duration::from_secs(1);
/// Lines of one plugin that are told of each time that it is asked.
const LINES_MAX: usize = 10;
/// Between two alarms of the same plugin.
const ALARM_PAUSE: Duration = Duration::from_secs(60);

/// By plugin: when its last alarm was, and how many there had been by then of what it was about.
type Alarmed = BTreeMap<String, (Instant, u64)>;

/// Tells them until the agent has gone.
pub async fn tell(handle: Weak<Handle>) {
    let mut asked = tokio::time::interval(ASKED);
    let (mut long, mut disagreed, mut processes) = (Alarmed::new(), Alarmed::new(), Alarmed::new());
    let (mut ended, mut without) = (BTreeMap::new(), BTreeMap::new());
    loop {
        asked.tick().await;
        let Some(handle) = handle.upgrade() else { return };
        tell_once(&handle);
        for (name, plugin) in &named(&handle) {
            let figures = plugin.figures();
            tell_of_long_calls(name, &figures, &mut long);
            tell_of_disagreement(name, &figures, &mut disagreed);
            tell_of_shadow(name, figures.shadow.as_ref(), &mut ended);
            tell_of_processes(name, figures.processes.as_ref(), &mut processes);
            tell_of_namespaces(name, figures.processes.as_ref(), &mut without);
        }
    }
}

/// All plugins, and what takes a share of their records, as logs and metrics call it.
fn named(handle: &Handle) -> Vec<(String, Plugin)> {
    let plugins = handle.plugins();
    let own = plugins.iter().map(|(name, plugin)| (name.clone(), plugin.clone()));
    let candidate =
        |(name, plugin): (&String, &Plugin)| Some((format!("{name}@canary"), plugin.canary()?.plugin().clone()));
    own.chain(plugins.iter().filter_map(candidate)).collect()
}

fn tell_once(handle: &Arc<Handle>) {
    for (name, plugin) in &named(handle) {
        let lines = plugin.take_lines();
        lines.iter().take(LINES_MAX).for_each(|line| tell_line(name, line));
        if lines.len() > LINES_MAX {
            let more = lines.len() - LINES_MAX;
            tracing::warn!(target: "sawlog_plugin", plugin = %name, more, "the plugin said more than is told in a second");
        }
    }
}

/// Says that calls take long, where some did since this was last said.
fn tell_of_long_calls(name: &str, figures: &PluginFigures, alarmed: &mut Alarmed) {
    let Some(calls) = is_due(name, figures.long_calls, alarmed, Instant::now()) else { return };
    let longest_ms = u64::try_from(figures.longest_call.as_millis()).unwrap_or(u64::MAX);
    tracing::warn!(
        target: "sawlog_plugin", plugin = %name, calls, longest_ms,
        "calls of the plugin took {} ms or longer each, and their partitions waited; make it cheaper, lower its \
         `limits.fuel`, or give the agent more of the machine",
        LONG_CALL.as_millis()
    );
}

/// Says that a plugin is not deterministic, where another batch has shown it since this was last said.
fn tell_of_disagreement(name: &str, figures: &PluginFigures, alarmed: &mut Alarmed) {
    let Some(batches) = is_due(name, figures.disagreed, alarmed, Instant::now()) else { return };
    tracing::error!(
        target: "sawlog_plugin", plugin = %name, batches,
        "the plugin is not deterministic: batches gave something else when they were run again; rows behind it that a crash \
         repeats may differ; `sawlog plugin test` shows where"
    );
}

/// Says that what ran beside a plugin has ended by what it showed; `told` is what was said of whom.
fn tell_of_shadow(name: &str, shadow: Option<&ShadowFigures>, told: &mut BTreeMap<String, String>) {
    match shadow.and_then(|shadow| shadow.ended.clone()) {
        None => drop(told.remove(name)),
        Some(reason) if told.get(name) == Some(&reason) => {}
        Some(reason) => {
            tracing::error!(
                plugin = name,
                reason,
                "what ran beside the plugin has ended; the plugin itself goes on as it was"
            );
            told.insert(name.to_owned(), reason);
        }
    }
}

/// Says how processes of a plugin have ended, where some did since this was last said.
fn tell_of_processes(name: &str, processes: Option<&ProcessFigures>, alarmed: &mut Alarmed) {
    let Some(processes) = processes else { return };
    let Some(ended) = is_due(name, processes.ended, alarmed, Instant::now()) else { return };
    let reason = processes.newest_end.as_deref().unwrap_or("unknown");
    tracing::warn!(
        target: "sawlog_plugin", plugin = %name, ended, reason,
        "processes that the plugin runs in ended, and others took their places; what ends one after the other is poison"
    );
}

/// Says what the processes of a plugin do without on this machine; `told` is what was said of whom.
fn tell_of_namespaces(name: &str, processes: Option<&ProcessFigures>, told: &mut BTreeMap<String, String>) {
    let Some(reason) = processes.and_then(|processes| processes.without_namespaces.as_ref()) else { return };
    if told.insert(name.to_owned(), reason.clone()).as_ref() != Some(reason) {
        tracing::info!(
            target: "sawlog_plugin", plugin = %name, reason,
            "the processes that the plugin runs in have no namespaces of their own here; their system calls are refused all the same"
        );
    }
}

/// How much is to be told of now; `count` is how much there was since the plugin was loaded.
fn is_due(name: &str, count: u64, alarmed: &mut Alarmed, now: Instant) -> Option<u64> {
    let (last, known) = alarmed.get(name).map_or((None, 0), |(at, known)| (Some(*at), *known));
    // A plugin that was loaded anew counts from nothing.
    let new = count.checked_sub(known).unwrap_or(count);
    if new == 0 || last.is_some_and(|last| now.duration_since(last) < ALARM_PAUSE) {
        return None;
    }
    alarmed.insert(name.to_owned(), (now, count));
    Some(new)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_calls_are_told_at_once_and_then_once_a_minute() {
        let (mut alarmed, start) = (Alarmed::new(), Instant::now());
        let mut told = |seconds, calls| is_due("slow", calls, &mut alarmed, start + Duration::from_secs(seconds));
        assert_eq!(told(0, 0), None);
        assert_eq!(told(1, 2), Some(2));
        assert_eq!(told(2, 5), None, "the minute is not over");
        assert_eq!(told(61, 5), Some(3));
        assert_eq!(told(130, 5), None, "nothing new");
        assert_eq!(told(131, 1), Some(1), "loaded anew");
    }
}
