//! Options of the `blackhole` sink and what they promise. It keeps nothing.

use sawlog_settings::component::{Delivery, DescribeSink, Finding, Promise, RouteFacts, SinkCommon};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Takes every row and throws it away, to measure what stands before it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BlackholeSink {}

impl DescribeSink for BlackholeSink {
    fn check(&self, _: &SinkCommon) -> Vec<Finding> {
        Vec::new()
    }

    fn promise(&self, route: &RouteFacts) -> Promise {
        Promise::at_most(
            route,
            Delivery::BestEffort,
            "counted, then thrown away",
            "nothing that this sink takes can be seen; remove `delivery`, or use another sink",
        )
    }

    fn rights(&self) -> Vec<String> {
        Vec::new()
    }

    fn readers(&self) -> Vec<String> {
        Vec::new()
    }

    fn place(&self) -> String {
        "nowhere".to_owned()
    }

    fn ordering(&self) -> &'static str {
        "none"
    }

    fn memory_bytes_max(&self, _: &SinkCommon) -> u64 {
        0
    }
}
