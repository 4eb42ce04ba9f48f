//! Who feeds whom: the graph of components by their `inputs`. It knows names and edges, not what a component does.

use std::collections::{BTreeMap, BTreeSet};

use sawlog_settings::decode::{Complaint, nearest, suggestion};
use sawlog_settings::node::Place;
use serde::Serialize;

use super::parsed::{Named, Parsed};

/// What a component is for the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words are the config's own")]
pub enum Kind {
    Source,
    Transform,
    Sink,
}

/// One input: a component, and which of its outputs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Input {
    /// Name of the component.
    pub from: String,
    /// Name of the output; `None` is the default output.
    pub output: Option<String>,
}

impl Input {
    /// `NAME` or `NAME.OUTPUT`.
    pub fn of(written: &str) -> Self {
        match written.split_once('.') {
            Some((from, output)) => Self { from: from.to_owned(), output: Some(output.to_owned()) },
            None => Self { from: written.to_owned(), output: None },
        }
    }
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.output {
            Some(output) => write!(f, "{}.{output}", self.from),
            None => f.write_str(&self.from),
        }
    }
}

/// A component in the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vertex {
    /// What it is.
    pub kind: Kind,
    /// Where its rows come from.
    pub inputs: Vec<Input>,
    place: Place,
}

/// The components by their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Graph {
    /// Vertices by name.
    pub vertices: BTreeMap<String, Vertex>,
    /// Components that an unknown input was probably meant to name.
    pub meant: BTreeSet<String>,
}

impl Graph {
    /// The graph of what was written. Names that are used twice and inputs that don't exist are complained about; such
    /// inputs are left out.
    pub fn of(parsed: &Parsed, complaints: &mut Vec<Complaint>) -> Self {
        let mut graph = Self::default();
        for source in &parsed.sources {
            graph.add(&source.name, Kind::Source, source.place, complaints);
        }
        for transform in &parsed.transforms {
            graph.add(&transform.name, Kind::Transform, transform.place, complaints);
        }
        for sink in &parsed.sinks {
            graph.add(&sink.name, Kind::Sink, sink.place, complaints);
        }
        let outputs = Outputs::of(parsed);
        for transform in &parsed.transforms {
            graph.connect(transform, &transform.common.inputs, &outputs, complaints);
        }
        for sink in &parsed.sinks {
            graph.connect(sink, &sink.common.inputs, &outputs, complaints);
        }
        graph
    }

    fn add(&mut self, name: &str, kind: Kind, place: Place, complaints: &mut Vec<Complaint>) {
        if let Some(first) = self.vertices.get(name) {
            complaints.push(
                Complaint::error(place, format!("`{name}` is defined twice"))
                    .mend("components share one set of names; rename one of them")
                    .also(first.place, "first here"),
            );
            return;
        }
        self.vertices.insert(name.to_owned(), Vertex { kind, inputs: Vec::new(), place });
    }

    fn connect<C, O>(
        &mut self,
        of: &Named<C, O>,
        written: &[String],
        outputs: &Outputs,
        complaints: &mut Vec<Complaint>,
    ) {
        let mut inputs: Vec<Input> = Vec::new();
        for (i, text) in written.iter().enumerate() {
            let place = of.node.place_of(&format!("inputs.{i}")).unwrap_or(of.place);
            let input = Input::of(text);
            if outputs.of.contains_key(text.as_str()) {
                self.meant.insert(text.clone());
            }
            match outputs.refuse(&input, &of.name) {
                Some(reason) => {
                    self.meant.extend(outputs.meant(&input, &of.name));
                    complaints.push(Complaint::error(place, reason));
                }
                None if inputs.contains(&input) => {
                    complaints.push(Complaint::error(place, format!("the input `{text}` is listed twice; remove one")));
                }
                None => inputs.push(input),
            }
        }
        if let Some(vertex) = self.vertices.get_mut(&of.name) {
            vertex.inputs = inputs;
        }
    }

    /// Transforms from the sources down, ties by name; those on a circle, or behind one, come in `Err`.
    pub fn order(&self) -> Result<Vec<&str>, Vec<&str>> {
        let mut order: Vec<&str> = Vec::new();
        let mut left: BTreeSet<&str> = self
            .vertices
            .iter()
            .filter(|(_, vertex)| vertex.kind == Kind::Transform)
            .map(|(name, _)| name.as_str())
            .collect();
        while let Some(next) = left
            .iter()
            .copied()
            .find(|name| self.vertices[*name].inputs.iter().all(|i| !left.contains(i.from.as_str())))
        {
            left.remove(next);
            order.push(next);
        }
        if left.is_empty() { Ok(order) } else { Err(left.into_iter().collect()) }
    }

    /// Circles through transforms, each as names that are fed by the one after them; no transform is in two.
    pub fn circles(&self) -> Vec<Vec<&str>> {
        let mut left: BTreeSet<&str> = self.order().err().into_iter().flatten().collect();
        let mut circles = Vec::new();
        while let Some(start) = left.first().copied() {
            let mut way = vec![start];
            // Up along the inputs: the way either ends outside of what is left, or meets itself.
            while let Some(next) = self.feeder(way[way.len() - 1], &left) {
                if let Some(begin) = way.iter().position(|name| *name == next) {
                    circles.push(way.split_off(begin));
                    break;
                }
                way.push(next);
            }
            for name in way.iter().chain(circles.last().into_iter().flatten()) {
                left.remove(name);
            }
        }
        circles
    }

    fn feeder<'a>(&'a self, name: &str, among: &BTreeSet<&'a str>) -> Option<&'a str> {
        self.vertices[name].inputs.iter().find_map(|input| among.get(input.from.as_str()).copied())
    }

    /// All components that rows of `from` can reach.
    pub fn below(&self, from: &str) -> BTreeSet<&str> {
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        let mut look_at = vec![from];
        while let Some(name) = look_at.pop() {
            for (other, vertex) in &self.vertices {
                if vertex.inputs.iter().any(|input| input.from == name) && reached.insert(other) {
                    look_at.push(other);
                }
            }
        }
        reached
    }

    /// All ways from `from` to `to`, as the names of what lies between; at most `limit`.
    pub fn ways(&self, from: &str, to: &str, limit: usize) -> Vec<Vec<&str>> {
        let mut ways = Vec::new();
        self.climb(from, to, &mut Vec::new(), &mut ways, limit);
        ways
    }

    fn climb<'a>(
        &'a self,
        from: &str,
        at: &str,
        behind: &mut Vec<&'a str>,
        ways: &mut Vec<Vec<&'a str>>,
        limit: usize,
    ) {
        let Some(vertex) = self.vertices.get(at) else { return };
        for input in &vertex.inputs {
            if ways.len() >= limit || behind.contains(&input.from.as_str()) {
                continue;
            }
            if input.from == from {
                let way: Vec<&str> = behind.iter().rev().copied().collect();
                // Two outputs of one component are one way.
                if !ways.contains(&way) {
                    ways.push(way);
                }
            } else {
                behind.push(&input.from);
                self.climb(from, &input.from, behind, ways, limit);
                behind.pop();
            }
        }
    }
}

/// What can be named as an input.
struct Outputs<'a> {
    /// Component → (rows may be taken from the bare name, names of further outputs where they are known).
    of: BTreeMap<&'a str, (bool, Option<Vec<&'a str>>)>,
    sinks: BTreeSet<&'a str>,
}

impl<'a> Outputs<'a> {
    fn of(parsed: &'a Parsed) -> Self {
        let mut of: BTreeMap<&str, (bool, Option<Vec<&str>>)> = BTreeMap::new();
        for source in &parsed.sources {
            of.insert(&source.name, (true, Some(Vec::new())));
        }
        for transform in &parsed.transforms {
            // Options that could not be read have had their complaint; their outputs are anybody's guess.
            let outputs = transform
                .options
                .as_ref()
                .map_or((true, None), |options| (options.has_default_output(), options.outputs()));
            of.insert(&transform.name, outputs);
        }
        Self { of, sinks: parsed.sinks.iter().map(|sink| sink.name.as_str()).collect() }
    }

    /// Why rows can't be taken from there.
    fn refuse(&self, input: &Input, by: &str) -> Option<String> {
        let Some((default, outputs)) = self.of.get(input.from.as_str()) else {
            // A name with a dot in it, which was complained about where it is given.
            if self.of.contains_key(input.to_string().as_str()) {
                return None;
            }
            if self.sinks.contains(input.from.as_str()) {
                return Some(format!(
                    "`{}` is a sink, and nothing comes out of a sink; name what feeds it",
                    input.from
                ));
            }
            return Some(format!(
                "unknown input `{input}`; {}",
                suggestion(&input.to_string(), &self.all_but(by), "input")
            ));
        };
        match (&input.output, outputs) {
            (None, _) if *default => None,
            (None, outputs) => {
                let names: Vec<String> =
                    outputs.iter().flatten().map(|output| format!("{}.{output}", input.from)).collect();
                Some(format!(
                    "`{}` is a route and has no output of that bare name; name one of {}",
                    input.from,
                    names.join(", ")
                ))
            }
            (Some(_), None) => None,
            (Some(output), Some(known)) if known.contains(&output.as_str()) => None,
            (Some(output), Some(known)) if known.is_empty() => {
                Some(format!("`{}` has no output `{output}`; write `{}`", input.from, input.from))
            }
            (Some(output), Some(known)) => {
                Some(format!("`{}` has no output `{output}`; {}", input.from, suggestion(output, known, "output")))
            }
        }
    }

    /// The component that was probably meant.
    fn meant(&self, input: &Input, by: &str) -> Option<String> {
        match self.of.contains_key(input.from.as_str()) {
            true => Some(input.from.clone()),
            false => nearest(&input.from, &self.all_but(by)).map(str::to_owned),
        }
    }

    fn all_but(&self, by: &str) -> Vec<&str> {
        self.of.keys().copied().filter(|name| *name != by).collect()
    }
}
