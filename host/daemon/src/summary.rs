//! What `run` opens with, and `run --dry-run` ends with: who this agent is, what it reads and writes, what each route promises,
//! its limits and where it listens. It asks no service.

use std::fmt::Write as _;

use crate::agent_id;
use crate::config::Config;
use crate::config::references::Machine;
use crate::validate::Report;

/// Digits of the config's digest that are shown.
const DIGEST_BYTES: usize = 6;

/// One block of lines.
pub fn text(config: &Config, report: &Report) -> String {
    let mut out = String::new();
    let agent = agent_id::resolve(&config.sections.agent.id, &Machine).unwrap_or_else(|_| "of no known id".to_owned());
    let digest = digest(config).map(|digest| format!(", config {digest}")).unwrap_or_default();
    let head = format!("sawlog {}, agent {agent}{digest}", env!("CARGO_PKG_VERSION"));
    let blocks = [
        ("data", vec![config.sections.data_dir.display().to_string()]),
        ("limits", limits(config)),
        ("listens", report.listens.clone()),
        ("sources", config.sources.iter().map(|(name, source)| format!("{name} ({})", source.r#type)).collect()),
        ("plugins", config.plugins.keys().cloned().collect()),
        ("sinks", config.sinks.iter().map(|(name, sink)| format!("{name} ({})", sink.r#type)).collect()),
        ("routes", routes(config, report)),
        ("switches", report.switches.clone()),
    ];
    let mut line = |text: &str| {
        if writeln!(out, "{text}").is_err() {
            unreachable!("a string takes every write");
        }
    };
    line(&head);
    for (title, lines) in blocks {
        for (number, text) in lines.iter().enumerate() {
            line(&format!("  {:<8} {text}", if number == 0 { title } else { "" }));
        }
    }
    out.trim_end().to_owned()
}

fn limits(config: &Config) -> Vec<String> {
    let limits = &config.sections.limits;
    let cpu = limits.cpu.map(|cpu| format!(", {cpu} workers")).unwrap_or_default();
    vec![format!(
        "{} of memory, {} of disk{cpu}; a shutdown takes at most {}",
        limits.memory, limits.disk, config.sections.shutdown.grace
    )]
}

/// Every route with its promise, then where dead letters go.
fn routes(config: &Config, report: &Report) -> Vec<String> {
    let one = |route: &crate::config::validated::Route| {
        let promise = &route.promise;
        format!("{} → {}: {} by {}", route.source, route.sink, promise.delivery.word(), promise.mechanism)
    };
    let letters = config.sinks.iter().filter(|(name, _)| config.is_dead_letter_sink(name));
    let letters = letters.map(|(name, _)| match config.dead_letter() == name {
        true => format!("dead letters → {name}, of every component that names no other"),
        false => format!("dead letters → {name}, of the sinks that name it"),
    });
    report.routes.iter().map(one).chain(letters).collect()
}

/// The first digits of the config's digest: equal on two agents that run the same config.
fn digest(config: &Config) -> Option<String> {
    let text = config.digest_text().ok()?;
    let hash = sawlog_record::id::hash("sawlog.config", &[text.as_bytes()]);
    Some(hash[..DIGEST_BYTES].iter().map(|byte| format!("{byte:02x}")).collect())
}
