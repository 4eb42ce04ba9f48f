//! The rules about sinks that take dead letters: they exist, they take nothing else, and no letter goes in a circle.

use sawlog_settings::component::SinkCommon;
use sawlog_settings::decode::{Complaint, suggestion};
use sawlog_settings::node::Place;
use sawlog_sinks::registry::SinkOptions;

use super::parsed::{Named, Parsed};
use super::validated::DEAD_LETTER;

/// Names of the sinks that something sends its dead letters to, with the place that says so.
pub fn named(parsed: &Parsed) -> Vec<(&str, Place)> {
    let general = parsed.sections.as_ref().and_then(|sections| sections.dead_letter.as_deref());
    let general = general.map(|name| (name, parsed.tree.place_of("dead_letter").unwrap_or(parsed.tree.place)));
    let own = parsed.sinks.iter().filter_map(|sink| {
        let name = sink.common.dead_letter.as_deref()?;
        Some((name, sink.node.place_of("dead_letter").unwrap_or(sink.place)))
    });
    general.into_iter().chain(own).collect()
}

/// What a sink is that has no way to take letters: they are appended together with the cursors of those who refused.
fn cannot_take(sink: &Named<SinkCommon, SinkOptions>) -> Option<String> {
    match (&sink.options, sink.type_name?) {
        (Some(SinkOptions::File(file)), _) if file.is_lake() => Some("a lake".to_owned()),
        (_, kind @ ("kafka" | "elasticsearch" | "s3" | "hdfs")) => Some(format!("of type {kind}")),
        _ => None,
    }
}

/// All rules.
pub fn check(parsed: &Parsed, complaints: &mut Vec<Complaint>) {
    let known: Vec<&str> = parsed.sinks.iter().map(|sink| sink.name.as_str()).collect();
    let named = named(parsed);
    for (name, place) in &named {
        if !known.contains(name) {
            complaints.push(
                Complaint::error(*place, format!("unknown sink `{name}`")).mend(suggestion(name, &known, "sink")),
            );
        }
    }
    for sink in &parsed.sinks {
        let takes_letters = named.iter().find(|(name, _)| *name == sink.name);
        if let Some((_, at)) = takes_letters {
            if !sink.common.inputs.is_empty() {
                complaints.push(
                    Complaint::error(
                        sink.node.place_of("inputs").unwrap_or(sink.place),
                        format!("`{}` takes dead letters, so it has no `inputs`", sink.name),
                    )
                    .mend("remove `inputs`, or name another sink for the dead letters")
                    .also(*at, "named here"),
                );
            }
            if sink.common.dead_letter.is_some() {
                let place = sink.node.place_of("dead_letter").unwrap_or(sink.place);
                complaints
                    .push(Complaint::error(place, "a sink of dead letters has none of its own; remove `dead_letter`"));
            }
            if let Some(kind) = cannot_take(sink) {
                let complaint = format!(
                    "`{}` is {kind}, which can't take what other sinks refuse: they would wait for it for ever",
                    sink.name
                );
                let complaint = Complaint::error(sink.place, complaint);
                complaints.push(complaint.mend("use a `file` sink of JSON lines without a template in `path`"));
            }
            if matches!(sink.type_name, Some("console" | "blackhole")) {
                complaints.push(Complaint::warning(
                    sink.place,
                    format!("dead letters that `{}` takes can't be replayed; use a `file` sink", sink.name),
                ));
            }
        } else if sink.name == DEAD_LETTER
            && parsed.sections.as_ref().is_some_and(|sections| sections.dead_letter.is_none())
        {
            let complaint = Complaint::error(
                sink.place,
                format!("`{DEAD_LETTER}` is the sink that takes dead letters where none is named"),
            );
            complaints.push(complaint.mend(format!("rename it, or write `dead_letter: {DEAD_LETTER}`")));
        }
    }
}
