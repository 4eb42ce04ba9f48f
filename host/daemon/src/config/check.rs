//! Holds the parts of a config against each other: what each says of itself, and the rules between them that need no
//! graph. Each rule is a function that complains.

use std::collections::BTreeMap;

use sawlog_settings::decode::{Complaint, suggestion};
use sawlog_settings::node::Place;
use sawlog_sinks::registry::SinkOptions;
use sawlog_sources::registry::SourceOptions;

use super::overlap::overlap;
use super::parsed::{Parsed, locate};
use super::transforms::TransformOptions;
use crate::diagnostics::CLEAR_SECRET;

/// Every rule that needs no graph.
pub fn check(parsed: &Parsed, complaints: &mut Vec<Complaint>) {
    sections(parsed, complaints);
    options(parsed, complaints);
    plugins(parsed, complaints);
    patterns(parsed, complaints);
    own_output(parsed, complaints);
    addresses(parsed, complaints);
    former_names(parsed, complaints);
    removals(parsed, complaints);
    secrets_in_the_clear(parsed, complaints);
    super::dead_letter::check(parsed, complaints);
    super::disk::check(parsed, complaints);
}

fn place_of(parsed: &Parsed, path: &str) -> Place {
    parsed.tree.place_of(path).unwrap_or(parsed.tree.place)
}

fn sections(parsed: &Parsed, complaints: &mut Vec<Complaint>) {
    let Some(sections) = &parsed.sections else { return };
    if sections.version != 1 {
        let reason =
            format!("version {} of the config's language is not known here; write `version: 1`", sections.version);
        complaints.push(Complaint::error(place_of(parsed, "version"), reason));
    }
    let id = &sections.agent.id;
    if id.is_empty()
        || id.len() > 64
        || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    {
        let reason = format!("`{id}` is no agent id; use 1 to 64 of a-z, A-Z, 0-9, `-`, `_` and `.`");
        complaints.push(Complaint::error(place_of(parsed, "agent.id"), reason));
    }
    let found = [
        ("limits", sections.limits.check()),
        ("api", sections.api.check()),
        ("telemetry", sections.telemetry.check()),
        ("checkpoint", sections.checkpoint.check()),
    ];
    for (name, findings) in found {
        let entry = parsed.tree.entry(name);
        let (node, title) = entry.map_or((&parsed.tree, parsed.tree.place), |entry| (&entry.value, entry.key_place));
        complaints.extend(locate(findings, node, title));
    }
}

/// What each part finds wrong with itself. Options from which something was left out are not asked: what they find may
/// follow from that.
fn options(parsed: &Parsed, complaints: &mut Vec<Complaint>) {
    let mut found: Vec<Complaint> = Vec::new();
    for plugin in &parsed.plugins {
        found.extend(plugin.clean_options().into_iter().flat_map(|o| locate(o.check(), &plugin.node, plugin.place)));
    }
    for source in &parsed.sources {
        let findings = source.clean_options().into_iter().map(|o| o.describe().check());
        found.extend(findings.flat_map(|findings| locate(findings, &source.node, source.place)));
    }
    for transform in &parsed.transforms {
        found.extend(
            transform.clean_options().into_iter().flat_map(|o| locate(o.check(), &transform.node, transform.place)),
        );
    }
    for sink in &parsed.sinks {
        let findings = sink.clean_options().into_iter().map(|o| o.describe().check(&sink.common));
        found.extend(findings.flat_map(|findings| locate(findings, &sink.node, sink.place)));
    }
    complaints.extend(found);
}

/// Chains name plugins that exist; plugins are named by some chain.
fn plugins(parsed: &Parsed, complaints: &mut Vec<Complaint>) {
    let known: Vec<&str> = parsed.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
    let mut named: Vec<&str> = Vec::new();
    let mut every_chain_is_known = true;
    for transform in &parsed.transforms {
        match &transform.options {
            Some(TransformOptions::Wasm(wasm)) => {
                for (i, name) in wasm.chain.iter().enumerate() {
                    named.push(name);
                    if !known.contains(&name.as_str()) {
                        let place = transform.node.place_of(&format!("chain.{i}")).unwrap_or(transform.place);
                        complaints.push(
                            Complaint::error(place, format!("unknown plugin `{name}`"))
                                .mend(suggestion(name, &known, "plugin")),
                        );
                    }
                }
            }
            Some(_) => {}
            None => every_chain_is_known &= transform.type_name.is_some_and(|name| name != "wasm"),
        }
    }
    for plugin in parsed.plugins.iter().filter(|plugin| every_chain_is_known && !named.contains(&plugin.name.as_str()))
    {
        complaints.push(Complaint::warning(
            plugin.place,
            format!("no chain calls the plugin `{}`; add it to a `wasm` transform, or remove it", plugin.name),
        ));
    }
}

/// No file is read by two sources: each would deliver it.
fn patterns(parsed: &Parsed, complaints: &mut Vec<Complaint>) {
    let mut seen: Vec<(&str, &str, Place, &[String])> = Vec::new();
    for source in &parsed.sources {
        let Some(SourceOptions::File(file)) = &source.options else { continue };
        for (i, pattern) in file.include.iter().enumerate() {
            let place = source.node.place_of(&format!("include.{i}")).unwrap_or(source.place);
            let clash = seen.iter().find(|(owner, other, _, excluded)| {
                *owner != source.name
                    && overlap(pattern, other)
                    && !file.exclude.iter().chain(*excluded).any(|e| e == pattern || e == other)
            });
            if let Some((owner, other, at, _)) = clash {
                complaints.push(
                    Complaint::error(
                        place,
                        format!(
                            "the sources `{owner}` and `{}` may read the same files: `{other}` and `{pattern}` overlap",
                            source.name
                        ),
                    )
                    .mend("narrow one of the patterns, or add the other to its `exclude`")
                    .also(*at, format!("`{owner}` reads this")),
                );
            }
            seen.push((&source.name, pattern, place, &file.exclude));
        }
    }
}

/// No source reads what a sink of the same agent writes.
fn own_output(parsed: &Parsed, complaints: &mut Vec<Complaint>) {
    for sink in &parsed.sinks {
        for source in &parsed.sources {
            let found = match (&sink.options, &source.options) {
                (Some(SinkOptions::File(to)), Some(SourceOptions::File(from))) => {
                    let below = format!("{}/**", to.root());
                    from.include.iter().position(|pattern| overlap(pattern, &below)).map(|i| format!("include.{i}"))
                }
                (Some(SinkOptions::Kafka(to)), Some(SourceOptions::Kafka(from)))
                    if to.brokers.iter().any(|b| from.brokers.contains(b)) =>
                {
                    from.topics.iter().position(|topic| *topic == to.topic.as_str()).map(|i| format!("topics.{i}"))
                }
                _ => None,
            };
            if let Some(path) = found {
                let place = source.node.place_of(&path).unwrap_or(source.place);
                complaints.push(
                    Complaint::error(
                        place,
                        format!("the source `{}` reads what the sink `{}` writes, for ever", source.name, sink.name),
                    )
                    .mend("name another place for one of them")
                    .also(sink.place, "written by this sink"),
                );
            }
        }
    }
}

/// No two parts of the agent listen on one address.
fn addresses(parsed: &Parsed, complaints: &mut Vec<Complaint>) {
    let mut taken: Vec<(std::net::SocketAddr, Place, String)> = Vec::new();
    if let Some(sections) = &parsed.sections {
        taken.push((sections.api.listen, place_of(parsed, "api.listen"), "the API".to_owned()));
        taken.extend(
            sections.telemetry.metrics.map(|at| (at, place_of(parsed, "telemetry.metrics"), "the metrics".to_owned())),
        );
    }
    for source in &parsed.sources {
        if let Some(SourceOptions::Http(http)) = &source.options {
            let place = source.node.place_of("listen").unwrap_or(source.place);
            taken.push((http.listen, place, format!("the source `{}`", source.name)));
        }
    }
    for (i, (address, place, who)) in taken.iter().enumerate() {
        let clash = taken[..i].iter().find(|(other, ..)| {
            // Port 0 is one that the system chooses, another each time.
            address.port() != 0
                && other.port() == address.port()
                && (other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified())
        });
        if let Some((_, at, other)) = clash {
            let reason = format!("{who} and {other} listen on the same address {address}");
            complaints.push(
                Complaint::error(*place, reason)
                    .mend("choose another port for one of them")
                    .also(*at, format!("{other} listens here")),
            );
        }
    }
}

/// A former name is nobody's present name, and was one component's.
fn former_names(parsed: &Parsed, complaints: &mut Vec<Complaint>) {
    let sources = parsed.sources.iter().map(|s| (&s.name, &s.common.formerly, &s.node, s.place));
    let sinks = parsed.sinks.iter().map(|s| (&s.name, &s.common.formerly, &s.node, s.place));
    let present: Vec<&str> =
        parsed.sources.iter().map(|s| s.name.as_str()).chain(parsed.sinks.iter().map(|s| s.name.as_str())).collect();
    let mut heirs: BTreeMap<&str, Place> = BTreeMap::new();
    for (name, formerly, node, place) in sources.chain(sinks) {
        let Some(former) = formerly else { continue };
        let place = node.place_of("formerly").unwrap_or(place);
        if present.contains(&former.as_str()) {
            let reason = format!(
                "`{name}` was formerly `{former}`, which is a component of its own; remove `formerly`, or the old component"
            );
            complaints.push(Complaint::error(place, reason));
        } else if let Some(first) = heirs.insert(former, place) {
            let complaint =
                Complaint::error(place, format!("two components were formerly `{former}`; remove one `formerly`"));
            complaints.push(complaint.also(first, "first here"));
        }
    }
}

/// `remove` speaks of components that are gone.
fn removals(parsed: &Parsed, complaints: &mut Vec<Complaint>) {
    let Some(sections) = &parsed.sections else { return };
    for name in sections.remove.keys() {
        let present = parsed.sources.iter().any(|s| s.name == *name) || parsed.sinks.iter().any(|s| s.name == *name);
        if present {
            let reason = format!("`{name}` is still in the config; remove the component, or this line");
            complaints.push(Complaint::error(place_of(parsed, &format!("remove.{name}")), reason));
        }
    }
}

/// A secret that stands in the config is as public as the config.
fn secrets_in_the_clear(parsed: &Parsed, complaints: &mut Vec<Complaint>) {
    let mut warn = |options: Option<serde_json::Value>, node: &sawlog_settings::node::Node, title: Place| {
        let mut paths = Vec::new();
        collect_hidden(&options.unwrap_or_default(), String::new(), &mut paths);
        complaints.extend(paths.into_iter().map(|path| {
            let place = node.place_of(&path).unwrap_or(title);
            Complaint::warning(place, format!("{CLEAR_SECRET}; move it to a file, and write ${{secret:NAME}}"))
        }));
    };
    for source in &parsed.sources {
        warn(
            source.options.as_ref().and_then(|options| serde_json::to_value(options).ok()),
            &source.node,
            source.place,
        );
    }
    for sink in &parsed.sinks {
        warn(sink.options.as_ref().and_then(|options| serde_json::to_value(options).ok()), &sink.node, sink.place);
    }
    warn(
        parsed.sections.as_ref().and_then(|sections| serde_json::to_value(sections).ok()),
        &parsed.tree,
        parsed.tree.place,
    );
}

fn collect_hidden(value: &serde_json::Value, path: String, paths: &mut Vec<String>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        serde_json::Value::String(text) if text == sawlog_settings::secret::HIDDEN => paths.push(path),
        serde_json::Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| collect_hidden(item, below(&i.to_string()), paths));
        }
        serde_json::Value::Object(members) => {
            members.iter().for_each(|(name, member)| collect_hidden(member, below(name), paths))
        }
        _ => {}
    }
}
