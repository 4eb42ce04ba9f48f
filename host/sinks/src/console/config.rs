//! Options of the `console` sink and what they promise. It prints nothing.

use sawlog_settings::ByteSize;
use sawlog_settings::component::{Delivery, DescribeSink, Finding, Promise, RouteFacts, SinkCommon};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a row is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConsoleFormat {
    /// The row as one JSON object.
    #[default]
    Json,
    /// The row's `body`, with control characters escaped.
    Text,
}

/// Prints each row as a line, for a person to look at.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConsoleSink {
    /// Where rows are printed.
    pub stream: Stream,
    /// How a row is printed.
    pub format: ConsoleFormat,
}

impl DescribeSink for ConsoleSink {
    fn check(&self, _: &SinkCommon) -> Vec<Finding> {
        Vec::new()
    }

    fn promise(&self, route: &RouteFacts) -> Promise {
        Promise::at_most(
            route,
            Delivery::BestEffort,
            "printed once, then forgotten",
            "a terminal keeps nothing that could be asked after a crash; remove `delivery`, or use a `file` sink",
        )
    }

    fn rights(&self) -> Vec<String> {
        Vec::new()
    }

    fn readers(&self) -> Vec<String> {
        Vec::new()
    }

    fn place(&self) -> String {
        "the console".to_owned()
    }

    fn ordering(&self) -> &'static str {
        "per source partition"
    }

    fn memory_bytes_max(&self, common: &SinkCommon) -> u64 {
        common.batch.bytes.unwrap_or(ByteSize::mib(1)).as_bytes()
    }
}
