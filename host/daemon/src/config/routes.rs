//! The rules about what reaches what: no circles, nothing that leads nowhere, no promise that can't be kept.

use std::collections::BTreeSet;

use sawlog_settings::component::RouteFacts;
use sawlog_settings::decode::Complaint;
use sawlog_sinks::registry::SinkOptions;

use super::dead_letter;
use super::graph::{Graph, Input, Kind};
use super::parsed::{Named, Parsed};
use super::transforms::TransformOptions;

/// Most transforms of a config: their numbers in record ids have eight bits.
const TRANSFORMS_MAX: usize = 255;
/// Most stages behind a source: every plugin of a chain is one, every other transform too.
pub const STAGES_MAX: usize = 255;

/// All rules.
pub fn check(parsed: &Parsed, graph: &Graph, complaints: &mut Vec<Complaint>) {
    circles(parsed, graph, complaints);
    dead_ends(parsed, graph, complaints);
    unread_routes(parsed, complaints);
    parsers(parsed, graph, complaints);
    stages(parsed, graph, complaints);
    if graph.order().is_ok() {
        promises(parsed, graph, complaints);
        unrouted_streams(parsed, graph, complaints);
    }
    if let Some(extra) = parsed.transforms.get(TRANSFORMS_MAX) {
        complaints.push(Complaint::error(
            extra.place,
            format!("more than {TRANSFORMS_MAX} transforms; join some into one chain"),
        ));
    }
}

fn circles(parsed: &Parsed, graph: &Graph, complaints: &mut Vec<Complaint>) {
    for circle in graph.circles() {
        let first = parsed.transforms.iter().find(|transform| circle.contains(&transform.name.as_str()));
        let Some(first) = first else { continue };
        // From the first in the file, in the direction in which rows go.
        let begin = circle.iter().position(|name| *name == first.name).unwrap_or_default();
        let skip = circle.len() - 1 - begin;
        let mut way: Vec<&str> = circle.iter().rev().copied().cycle().skip(skip).take(circle.len()).collect();
        way.push(way[0]);
        let place = first.node.place_of("inputs").unwrap_or(first.place);
        let complaint = Complaint::error(place, format!("rows would go in a circle: {}", way.join(" → ")));
        complaints.push(complaint.mend("take one of these out of another's `inputs`"));
    }
}

/// Nothing is read for nobody, and nothing waits for rows that never come.
fn dead_ends(parsed: &Parsed, graph: &Graph, complaints: &mut Vec<Complaint>) {
    let inputs = graph.vertices.values().flat_map(|vertex| &vertex.inputs).map(|input| input.from.as_str());
    let read: BTreeSet<&str> = inputs.chain(graph.meant.iter().map(String::as_str)).collect();
    let letters: Vec<&str> = dead_letter::named(parsed).into_iter().map(|(name, _)| name).collect();
    for source in parsed.sources.iter().filter(|source| !read.contains(source.name.as_str())) {
        let complaint = Complaint::error(source.place, format!("nobody reads the source `{}`", source.name));
        complaints.push(
            complaint
                .mend(format!("add `{}` to the `inputs` of a transform or sink, or remove the source", source.name)),
        );
    }
    for transform in &parsed.transforms {
        if transform.common.inputs.is_empty() && !complained_of_inputs(transform) {
            complaints.push(without_inputs(transform, "transform"));
        }
        if !read.contains(transform.name.as_str()) {
            let complaint =
                Complaint::error(transform.place, format!("nobody reads the transform `{}`", transform.name));
            complaints.push(
                complaint
                    .mend(format!("add `{}` to the `inputs` of a transform or sink, or remove it", transform.name)),
            );
        }
    }
    for sink in &parsed.sinks {
        if sink.common.inputs.is_empty() && !letters.contains(&sink.name.as_str()) && !complained_of_inputs(sink) {
            complaints.push(without_inputs(sink, "sink"));
        }
    }
}

/// `inputs` were written, but wrongly, which has been said.
fn complained_of_inputs<C, O>(component: &Named<C, O>) -> bool {
    component
        .node
        .entry("inputs")
        .is_some_and(|inputs| inputs.value.value != sawlog_settings::node::Value::List(Vec::new()))
}

fn without_inputs<C, O>(component: &Named<C, O>, kind: &str) -> Complaint {
    let place = component.node.place_of("inputs").unwrap_or(component.place);
    Complaint::error(place, format!("the {kind} `{}` has no inputs", component.name))
        .mend("add `inputs: [NAME]`, or remove it")
}

/// A route that nobody takes rows from drops them.
fn unread_routes(parsed: &Parsed, complaints: &mut Vec<Complaint>) {
    let transforms = parsed.transforms.iter().flat_map(|transform| &transform.common.inputs);
    let read: BTreeSet<&str> =
        transforms.chain(parsed.sinks.iter().flat_map(|sink| &sink.common.inputs)).map(String::as_str).collect();
    for transform in &parsed.transforms {
        let outputs = transform.options.as_ref().and_then(|options| options.outputs()).unwrap_or_default();
        for output in outputs {
            let full = format!("{}.{output}", transform.name);
            if !read.contains(full.as_str()) {
                let place = transform.node.place_of(&format!("routes.{output}")).unwrap_or(transform.place);
                let complaint =
                    Complaint::warning(place, format!("nobody reads the route `{full}`, so its rows are dropped"));
                complaints.push(complaint.mend(format!("add `{full}` to some `inputs`, or remove the route")));
            }
        }
    }
}

/// A parser reads a source's records as they came: what a transform made of them is a record already.
fn parsers(parsed: &Parsed, graph: &Graph, complaints: &mut Vec<Complaint>) {
    let is_parser = |t: &&Named<_, TransformOptions>| t.type_name == Some("parse");
    for parser in parsed.transforms.iter().filter(is_parser) {
        for (i, text) in parser.common.inputs.iter().enumerate() {
            let input = Input::of(text);
            let Some(before) = parsed.transforms.iter().find(|t| t.name == input.from && t.name != parser.name) else {
                continue;
            };
            let place = parser.node.place_of(&format!("inputs.{i}")).unwrap_or(parser.place);
            let kind = before.type_name.unwrap_or("transform");
            let reason = format!("`{}` parses a source's records, and `{}` is a {kind}", parser.name, before.name);
            let feeds = |source: &&str| graph.below(source).contains(before.name.as_str());
            let sources: Vec<&str> = parsed.sources.iter().map(|source| source.name.as_str()).filter(feeds).collect();
            let mend = match sources[..] {
                [] => "name sources as its inputs".to_owned(),
                ref sources => format!(
                    "did you mean `inputs: [{}]`? let `{}` take its rows from `{}` then",
                    sources.join(", "),
                    before.name,
                    parser.name
                ),
            };
            complaints.push(Complaint::error(place, reason).mend(mend));
        }
    }
}

/// Stages are numbered with eight bits, behind each source from 1 up.
fn stages(parsed: &Parsed, graph: &Graph, complaints: &mut Vec<Complaint>) {
    for source in &parsed.sources {
        let below = graph.below(&source.name);
        let behind = parsed.transforms.iter().filter(|transform| below.contains(transform.name.as_str()));
        let count: usize =
            behind.filter_map(|transform| transform.options.as_ref()).map(TransformOptions::stages).sum();
        if count > STAGES_MAX {
            let reason = format!("{count} stages lie behind `{}`, and {STAGES_MAX} can be numbered", source.name);
            complaints.push(
                Complaint::error(source.place, reason)
                    .mend("take plugins out of chains, or let several agents share them"),
            );
        }
    }
}

/// Every sink can keep what it promises to every source that reaches it.
fn promises(parsed: &Parsed, graph: &Graph, complaints: &mut Vec<Complaint>) {
    let defaults = parsed.sections.as_ref().map(|sections| sections.defaults.clone()).unwrap_or_default();
    for sink in &parsed.sinks {
        let Some(options) = sink.clean_options() else { continue };
        let row = sawlog_sinks::registry::SINKS.iter().find(|row| Some(row.name) == sink.type_name);
        let asked = sink.common.delivery.or(row.and_then(|row| row.delivery)).unwrap_or(defaults.delivery);
        for source in &parsed.sources {
            let Some(from) = source.clean_options().filter(|_| graph.below(&source.name).contains(sink.name.as_str()))
            else {
                continue;
            };
            let facts = RouteFacts { source: from.describe().kind(), asked, plugins: false };
            let promise = options.describe().promise(&facts);
            if let Some(because) = promise.weaker_because {
                let place = sink.node.place_of("delivery").unwrap_or(sink.place);
                let reason = format!("`{}` can't keep `{}` for `{}`: {because}", sink.name, asked.word(), source.name);
                complaints.push(Complaint::error(place, reason));
                break;
            }
        }
    }
}

/// Elasticsearch is dear: a stream that nothing thins out is loaded on purpose or by mistake.
fn unrouted_streams(parsed: &Parsed, graph: &Graph, complaints: &mut Vec<Complaint>) {
    for sink in &parsed.sinks {
        let Some(SinkOptions::Elasticsearch(elasticsearch)) = &sink.options else { continue };
        if elasticsearch.all {
            continue;
        }
        let thins = |name: &&str| {
            parsed
                .transforms
                .iter()
                .any(|t| t.name == **name && t.options.as_ref().is_none_or(|options| options.thins_out()))
        };
        let whole = parsed.sources.iter().find(|source| {
            let ways = graph.ways(&source.name, &sink.name, 64);
            graph.vertices.get(&source.name).is_some_and(|vertex| vertex.kind == Kind::Source)
                && ways.iter().any(|way| !way.iter().any(&thins))
        });
        if let Some(source) = whole {
            let place = sink.node.place_of("inputs").unwrap_or(sink.place);
            let reason =
                format!("every record of `{}` goes to Elasticsearch: no `route` or `filter` lies between", source.name);
            complaints.push(
                Complaint::warning(place, reason)
                    .mend("take a route's output as input, or write `all: true` if this is meant"),
            );
        }
    }
}
