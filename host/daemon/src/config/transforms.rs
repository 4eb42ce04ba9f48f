//! Options of the transforms and the registry of them: a new transform is a struct and a row. They transform nothing.

use std::collections::BTreeMap;

use sawlog_record::decode as record;
use sawlog_settings::checked::{Condition, Pattern};
use sawlog_settings::component::{Finding, OnError};
use sawlog_settings::decode::{Complaint, Decoded, decode};
use sawlog_settings::node::{Node, Place};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

/// Options of every transform.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TransformCommon {
    /// Names of sources, transforms and outputs (`NAME.OUTPUT`) whose rows this transform takes.
    pub inputs: Vec<String>,
}

/// How a text becomes a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decoder {
    /// Lines of the container runtime; the rest of the line goes to the next decoder that takes it.
    Cri,
    /// A JSON object.
    Json,
    /// `key=value` pairs.
    Logfmt,
    /// An nginx access line in the combined format.
    Nginx,
    /// An Apache access line in the combined format.
    Apache,
    /// A regular expression; each named group becomes a member.
    Regex(Pattern),
    /// Any text, as the record's `body`.
    Text,
}

/// Whether the text stays in the record as `body`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeepOriginal {
    /// When no decoder took it.
    #[default]
    OnFailure,
    /// Always.
    Always,
    /// Never, not even where no decoder took it.
    Never,
}

/// Which member holds the event time, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timestamp {
    /// Path of the member.
    pub field: String,
    /// `rfc3339`, `unix`, `unix_ms`, `unix_us`, `unix_ns`, `common_log`, or a pattern such as `%Y-%m-%d %H:%M:%S`.
    #[serde(default = "rfc3339")]
    pub format: String,
}

fn rfc3339() -> String {
    "rfc3339".to_owned()
}

/// Decodes the text of each record by the first decoder that takes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParseTransform {
    /// Decoders, tried in this order. A text that none takes stays as it is and is counted.
    pub r#try: Vec<Decoder>,
    /// Whether the text stays in the record as `body`.
    #[serde(default)]
    pub keep_original: KeepOriginal,
    /// Where the event time is; only `cri`, `nginx` and `apache` set one without it.
    #[serde(default)]
    pub timestamp: Option<Timestamp>,
}

impl ParseTransform {
    /// What the record room compiles.
    pub fn spec(&self) -> record::DecodeSpec {
        let attempts = self.r#try.iter().map(|decoder| match decoder {
            Decoder::Cri => record::Format::Cri,
            Decoder::Json => record::Format::Json,
            Decoder::Logfmt => record::Format::Logfmt,
            Decoder::Nginx | Decoder::Apache => record::Format::Combined,
            Decoder::Regex(pattern) => record::Format::Regex(pattern.as_str().to_owned()),
            Decoder::Text => record::Format::Text,
        });
        record::DecodeSpec {
            attempts: attempts.collect(),
            keep_original: match self.keep_original {
                KeepOriginal::OnFailure => record::KeepOriginal::OnFailure,
                KeepOriginal::Always => record::KeepOriginal::Always,
                KeepOriginal::Never => record::KeepOriginal::Never,
            },
            timestamp: self
                .timestamp
                .as_ref()
                .map(|at| record::TimestampSpec { field: at.field.clone(), format: at.format.clone() }),
        }
    }
}

/// Runs each batch through a chain of plugins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WasmTransform {
    /// Names of plugins of the `plugins` section, in the order in which a batch passes them.
    pub chain: Vec<String>,
    /// What happens to a record that one of its plugins can't take; rows that a plugin gave out by itself become dead letters in
    /// any case. `defaults.on_error` where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,
}

/// Sends each row to every output whose condition it meets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteTransform {
    /// Conditions (a subset of CEL) by the names of their outputs: `search: 'severity == "ERROR"'`.
    pub routes: BTreeMap<String, Condition>,
    /// The output of rows that meet no condition: one of `routes`, or `drop`, which counts them as `not_routed`.
    #[serde(default = "drop_word")]
    pub unmatched: String,
}

fn drop_word() -> String {
    "drop".to_owned()
}

/// Passes on the rows that meet a condition; the others are counted as `filtered`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterTransform {
    /// Condition (a subset of CEL).
    pub condition: Condition,
}

/// The options of one transform.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "each variant is named by the type it holds")]
pub enum TransformOptions {
    Parse(ParseTransform),
    Wasm(WasmTransform),
    Route(RouteTransform),
    Filter(FilterTransform),
}

impl TransformOptions {
    /// Names of the outputs that inputs may name as `NAME.OUTPUT`; `None` where the plugins decide.
    pub fn outputs(&self) -> Option<Vec<&str>> {
        match self {
            Self::Route(route) => Some(route.routes.keys().map(String::as_str).collect()),
            Self::Wasm(_) => None,
            Self::Parse(_) | Self::Filter(_) => Some(Vec::new()),
        }
    }

    /// Rows may be taken from the bare name.
    pub fn has_default_output(&self) -> bool {
        !matches!(self, Self::Route(_))
    }

    /// How many stages it makes: each plugin of a chain is one.
    pub fn stages(&self) -> usize {
        match self {
            Self::Wasm(wasm) => wasm.chain.len(),
            Self::Parse(_) | Self::Route(_) | Self::Filter(_) => 1,
        }
    }

    /// A stream behind it is thinned out on purpose.
    pub fn thins_out(&self) -> bool {
        matches!(self, Self::Route(_) | Self::Filter(_))
    }

    /// What is wrong with the options, beyond their types.
    pub fn check(&self) -> Vec<Finding> {
        match self {
            Self::Parse(parse) => check_parse(parse),
            Self::Wasm(wasm) if wasm.chain.is_empty() => {
                vec![Finding::error("chain", "the chain is empty; list at least one plugin, or remove the transform")]
            }
            Self::Wasm(_) => Vec::new(),
            Self::Route(route) => check_route(route),
            Self::Filter(_) => Vec::new(),
        }
    }
}

fn check_parse(parse: &ParseTransform) -> Vec<Finding> {
    let mut findings = Vec::new();
    if parse.r#try.is_empty() {
        findings.push(Finding::error("try", "no decoder is listed; write for example [json, text]"));
    }
    if let Some(at) =
        parse.r#try.iter().position(|decoder| *decoder == Decoder::Text).filter(|at| at + 1 < parse.r#try.len())
    {
        findings.push(Finding::error(
            format!("try.{at}"),
            "`text` takes everything, so no decoder behind it is ever tried; move it to the end",
        ));
    }
    for (i, decoder) in parse.r#try.iter().enumerate() {
        if parse.r#try[..i].contains(decoder) {
            findings.push(Finding::error(format!("try.{i}"), "the decoder is listed twice; remove one"));
        }
    }
    if findings.is_empty()
        && let Err(error) = record::Decoder::new(&parse.spec())
    {
        let path = if matches!(error, record::SpecError::Path(_) | record::SpecError::TimeFormat(_)) {
            "timestamp"
        } else {
            "try"
        };
        findings.push(Finding::error(path, error.to_string()));
    }
    findings
}

/// Most routes of a transform: outputs are numbered with eight bits, and 0 is nobody's.
const ROUTES_MAX: usize = 254;

fn check_route(route: &RouteTransform) -> Vec<Finding> {
    let mut findings = Vec::new();
    if route.routes.is_empty() {
        findings.push(Finding::error("routes", "no route is listed; write NAME: 'CONDITION'"));
    }
    if route.routes.len() > ROUTES_MAX {
        let reason =
            format!("{} routes are listed, and {ROUTES_MAX} can be numbered; use two transforms", route.routes.len());
        findings.push(Finding::error("routes", reason));
    }
    for name in route.routes.keys() {
        if let Some(reason) = super::names::error(name) {
            findings.push(Finding::error(format!("routes.{name}"), reason));
        } else if name == "drop" {
            findings
                .push(Finding::error("routes.drop", "`drop` is what `unmatched` calls no output; rename the route"));
        }
    }
    if route.unmatched != "drop" && !route.routes.contains_key(&route.unmatched) {
        let names: Vec<&str> = route.routes.keys().map(String::as_str).chain(["drop"]).collect();
        findings.push(Finding::error(
            "unmatched",
            format!(
                "`{}` is no route; {}",
                route.unmatched,
                sawlog_settings::decode::suggestion(&route.unmatched, &names, "route")
            ),
        ));
    }
    findings
}

/// How the options of one type of transform are read.
pub type Parse = fn(&Node, Place, &[&str], &mut Vec<Complaint>) -> Decoded<TransformOptions>;

/// One type of transform.
#[derive(Debug)]
pub struct TransformRow {
    /// The word in `type`.
    pub name: &'static str,
    /// Its options, with those of every transform, as a JSON Schema.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Reads its own options.
    pub parse: Parse,
}

/// A row: the word in `type`, the variant and the type of its options.
macro_rules! row {
    ($name:literal, $variant:ident($options:ty)) => {
        TransformRow {
            name: $name,
            schema: |generator| sawlog_settings::schema::component::<TransformCommon, $options>(generator, $name),
            parse: |node, title, also_known, complaints| {
                let decoded = decode::<$options>(node, title, also_known, complaints);
                Decoded { value: decoded.value.map(TransformOptions::$variant), clean: decoded.clean }
            },
        }
    };
}

/// Every type of transform.
pub const TRANSFORMS: &[TransformRow] = &[
    row!("parse", Parse(ParseTransform)),
    row!("wasm", Wasm(WasmTransform)),
    row!("route", Route(RouteTransform)),
    row!("filter", Filter(FilterTransform)),
];
