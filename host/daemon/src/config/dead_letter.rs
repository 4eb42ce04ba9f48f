//! The rules about sinks that take dead letters: they exist, they take nothing else, and no letter goes in a circle.

use sawlog_settings::decode::{Complaint, suggestion};
use sawlog_settings::node::Place;

use super::parsed::Parsed;
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
