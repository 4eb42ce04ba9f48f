//! What `sawlog validate` says of a config that holds together: every route with its guarantee and mechanism, the rights
//! that are needed, what readers must do, and how far the budgets reach. It asks no service and starts nothing.

use std::fmt::Write as _;

use sawlog_settings::{ByteSize, Delivery};
use sawlog_sinks::registry::SinkOptions;
use sawlog_sources::registry::SourceOptions;
use serde::Serialize;

use crate::config::Config;
use crate::config::files::Files;
use crate::config::transforms::TransformOptions;
use crate::config::validated::{Route, Sink};
use crate::control::switches::Found;
use crate::footprint::{self, Touched};

/// Input rate that capacities are given for where none is known, in bytes a second.
const ASSUMED_BYTES_PER_S: u64 = 1 << 20;

/// A component and what it needs or asks of others.
#[derive(Debug, Serialize)]
pub struct Needs {
    /// The component.
    pub component: String,
    /// What it needs or asks, one a line.
    pub lines: Vec<String>,
}

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Every route.
    pub routes: Vec<Route>,
    /// The order that readers of a sink can count on.
    pub ordering: Vec<Needs>,
    /// Rights by component.
    pub rights: Vec<Needs>,
    /// Files and folders of the machine that it reads or writes.
    pub files: Vec<Touched>,
    /// Where it listens.
    pub listens: Vec<String>,
    /// What readers must do, by sink.
    pub readers: Vec<Needs>,
    /// How far the budgets reach.
    pub capacity: Vec<String>,
    /// What happens when the data directory is lost.
    pub lost_directory: String,
    /// Sinks that the agent of the data directory has elsewhere: from where to where they would go, and what that costs.
    pub switches: Vec<String>,
    /// Plugins of that agent whose components others stand in the place of, until they are discarded.
    pub overrides: Vec<String>,
    /// What a reload of the agent that runs there would do; none where none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reload: Option<Reload>,
}

/// What a running agent would make of the config.
#[derive(Debug, Serialize)]
pub struct Reload {
    /// Whether it would take it.
    pub taken: bool,
    /// What it would do, or why it would refuse.
    pub said: String,
}

/// The report of a config, which these files hold.
pub fn report(config: &Config, files: &Files) -> Report {
    let sinks = || config.sinks.iter().map(|(name, sink)| (name, sink.options.describe()));
    let data_dir = config.sections.data_dir.display().to_string();
    let needs = |component: &String, lines: Vec<String>| {
        let lines: Vec<String> = lines.into_iter().map(|line| line.replace("{data_dir}", &data_dir)).collect();
        (!lines.is_empty()).then(|| Needs { component: component.clone(), lines })
    };
    let of_sources = config.sources.iter().filter_map(|(name, source)| needs(name, source.options.describe().rights()));
    let of_sinks = sinks().filter_map(|(name, sink)| needs(name, sink.rights()));
    Report {
        routes: config.routes(),
        ordering: sinks()
            .filter(|(name, _)| !config.is_dead_letter_sink(name))
            .filter_map(|(n, s)| needs(n, vec![s.ordering().to_owned()]))
            .collect(),
        rights: of_sources.chain(of_sinks).collect(),
        files: footprint::paths(config, files),
        listens: footprint::listens(config),
        readers: sinks().filter_map(|(name, sink)| needs(name, sink.readers())).collect(),
        capacity: capacity(config, None),
        lost_directory: lost_directory(config),
        switches: Vec::new(),
        overrides: Vec::new(),
        reload: None,
    }
}

impl Report {
    /// Takes in what the agent of the data directory says.
    pub fn take(&mut self, config: &Config, found: Found) {
        (self.switches, self.overrides) = (found.switches, found.overrides);
        self.reload =
            found.reload.map(|reload| Reload { taken: reload.is_ok(), said: reload.unwrap_or_else(|refused| refused) });
        self.capacity = capacity(config, found.received_bytes_per_s);
        self.routes.iter_mut().for_each(|route| weaken(config, route, &found.nondeterministic));
    }
}

/// A repeat overwrites a document where it is the same again, which takes plugins that are deterministic.
fn weaken(config: &Config, route: &mut Route, nondeterministic: &[String]) {
    let is_by_id = config.sinks.get(&route.sink).is_some_and(|sink| sink.r#type == "elasticsearch");
    let chains = route.ways.iter().flatten().filter_map(|name| match &config.transforms.get(name)?.options {
        TransformOptions::Wasm(wasm) => Some(&wasm.chain),
        _ => None,
    });
    let Some(plugin) = chains.flatten().find(|plugin| nondeterministic.contains(plugin)).cloned() else { return };
    if is_by_id && route.promise.delivery == Delivery::ExactlyOnce {
        route.promise.delivery = Delivery::AtLeastOnce;
        route.promise.weaker_because = Some(format!(
            "the plugin {plugin} gave something else when the running agent ran a batch again; `sawlog plugin test` shows where"
        ));
    }
}

/// How long the budgets last at the rate that was measured, in bytes a second, else at one that is assumed.
fn capacity(config: &Config, measured_bytes_per_s: Option<u64>) -> Vec<String> {
    let limits = &config.sections.limits;
    let shares = config.disk_shares();
    let rate = measured_bytes_per_s.unwrap_or(ASSUMED_BYTES_PER_S).max(1);
    let at = match measured_bytes_per_s {
        Some(_) => format!("{}/s, what the running agent has received on average since it started", roughly(rate)),
        None => format!("an assumed {}/s (no agent with input runs here)", roughly(rate)),
    };
    let lasts = |bytes: u64| (ByteSize::mib(bytes >> 20), length(bytes / rate));
    let rescued = lasts(shares.rescue);
    let mut lines = vec![format!(
        "of {} of disk, {} = {} of files that vanish while a sink is down, at {at}; files that stay wait where they are",
        limits.disk, rescued.0, rescued.1
    )];
    if config.sources.values().any(|source| matches!(source.options, SourceOptions::Http(_))) {
        let queued = lasts(shares.queue);
        lines.push(format!(
            "{} = {} in the queue of each http source, while a sink is down, at the same rate",
            queued.0, queued.1
        ));
    }
    lines.push(format!(
        "{} of memory, of which sinks and plugins may take {}",
        limits.memory,
        ByteSize::mib(config.memory_bytes_max().div_ceil(1 << 20))
    ));
    lines
}

fn roughly(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes}B"),
        1_024..1_048_576 => format!("{:.1}KiB", bytes as f64 / 1_024.0),
        _ => format!("{:.1}MiB", bytes as f64 / 1_048_576.0),
    }
}

fn length(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{:.1} h", seconds as f64 / 3_600.0),
        _ => format!("{:.1} days", seconds as f64 / 86_400.0),
    }
}

/// What it costs when the data directory is lost.
pub fn lost_directory(config: &Config) -> String {
    let repeats: Vec<&str> =
        config.sinks.iter().filter(|(_, sink)| sink.r#type == "elasticsearch").map(|(name, _)| name.as_str()).collect();
    let appended = |name: &String, sink: &Sink| {
        matches!(&sink.options, SinkOptions::File(file) if !file.is_lake()) && !config.is_dead_letter_sink(name)
    };
    let journalled: Vec<&str> =
        config.sinks.iter().filter(|(name, sink)| appended(name, sink)).map(|(name, _)| name.as_str()).collect();
    let mut text = "files still on disk are delivered exactly once to kafka, s3, hdfs and lakes that can be reached within \
                    30 s of the start; a copy of a file under another name than rotation gives is sent again; undelivered \
                    pushed input and the plugins' state are lost"
        .to_owned();
    if config.sections.checkpoint.backup.is_some() {
        text =
            text.replace("and the plugins' state are lost", "and the plugins' state since the newest backup are lost");
    }
    if !repeats.is_empty() {
        text += &format!("; {} may repeat where the index comes from the received time", repeats.join(", "));
    }
    if !journalled.is_empty() {
        text += &format!(
            "; appended files of {} begin anew where their length was only in the journal",
            journalled.join(", ")
        );
    }
    text
}

/// The report for a person.
pub fn text(config: &Config, report: &Report) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        if writeln!(out, "{text}").is_err() {
            unreachable!("a string takes every write");
        }
    };
    line("routes");
    for route in &report.routes {
        route_lines(config, route).iter().for_each(|text| line(text));
    }
    let lines = |needs: &[Needs]| -> Vec<String> {
        needs.iter().flat_map(|need| need.lines.iter().map(move |text| format!("{}: {text}", need.component))).collect()
    };
    for (title, lines) in [
        ("ordering", lines(&report.ordering)),
        ("rights", lines(&report.rights)),
        ("files", report.files.iter().map(Touched::line).collect()),
        ("listens", report.listens.clone()),
        ("readers", lines(&report.readers)),
    ] {
        if !lines.is_empty() {
            line(title);
        }
        lines.iter().for_each(|text| line(&format!("  {text}")));
    }
    line("capacity");
    report.capacity.iter().for_each(|text| line(&format!("  {text}")));
    if !report.switches.is_empty() {
        line("switches");
    }
    report.switches.iter().for_each(|text| line(&format!("  {text}")));
    if !report.overrides.is_empty() {
        line("overrides, until `sawlog reload --discard-overrides`");
    }
    report.overrides.iter().for_each(|text| line(&format!("  {text}")));
    if let Some(reload) = report.reload.as_ref().filter(|reload| reload.taken) {
        line("reload");
        line(&format!("  the running agent would take this: {}", reload.said));
    }
    line("if the data directory is lost");
    line(&format!("  {}", report.lost_directory));
    out
}

fn route_lines(config: &Config, route: &Route) -> Vec<String> {
    let mut lines = Vec::new();
    for way in &route.ways {
        let names: Vec<&str> =
            std::iter::once(&route.source).chain(way).chain([&route.sink]).map(String::as_str).collect();
        lines.push(format!("  {}", names.join(" → ")));
    }
    let layer = config.sinks.get(&route.sink).and_then(|sink| sink.common.layer);
    let layer = layer.map_or(String::new(), |layer| format!(", {} layer", layer.word()));
    lines.push(format!("    {} by {}{layer}", route.promise.delivery.word(), route.promise.mechanism));
    let mut provided = route.promise.provided.clone();
    if let Some(source) = config.sources.get(&route.source) {
        provided.extend(source.options.describe().provided());
    }
    lines.extend(route.promise.weaker_because.iter().map(|because| format!("    because {because}")));
    if route.promise.delivery != Delivery::BestEffort {
        lines.extend(provided.iter().map(|condition| format!("    provided that {condition}")));
    }
    lines
}
