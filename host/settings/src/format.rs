//! Options of what is written into objects and files: format, columns, rolling. It encodes nothing.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{ByteSize, Finding, Period};

/// What an object or file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ObjectFormat {
    /// One JSON object a line.
    #[default]
    #[serde(rename = "jsonl")]
    JsonLines,
    /// The same, gzipped.
    #[serde(rename = "jsonl.gz")]
    JsonLinesGzip,
    /// The same, compressed by zstd.
    #[serde(rename = "jsonl.zst")]
    JsonLinesZstd,
    /// Parquet with fixed columns, the declared `columns`, and a column for the rest.
    #[serde(rename = "parquet")]
    Parquet,
}

impl ObjectFormat {
    /// The extension of a file in this format, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::JsonLinesGzip => "jsonl.gz",
            Self::JsonLinesZstd => "jsonl.zst",
            Self::Parquet => "parquet",
        }
    }
}

/// The type of a declared column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// UTF-8 text.
    Text,
    /// Signed 64-bit integer.
    Int64,
    /// 64-bit floating point.
    Float64,
    /// Boolean.
    Bool,
    /// Microseconds since 1970, UTC.
    Timestamp,
    /// The JSON text of the value.
    Json,
}

/// One declared column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Name of the column.
    pub name: String,
    /// Path of the record's member; the column's name where none is given.
    #[serde(default)]
    pub path: Option<String>,
    /// Type of the column. A value that doesn't fit goes to the rest column.
    #[serde(rename = "type")]
    pub column_type: ColumnType,
}

/// The schema of `columns`, which may also be the path of a file: whoever loads the config puts its list in place.
pub fn columns_schema(generator: &mut SchemaGenerator) -> Schema {
    let list = generator.subschema_for::<Vec<Column>>();
    json_schema!({ "anyOf": [list, { "type": "string" }] })
}

/// When an open object is closed and becomes visible: at the first limit that is met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Roll {
    /// Encoded size of an object.
    pub size: ByteSize,
    /// Time since the object's first row.
    pub age: Period,
}

impl Default for Roll {
    fn default() -> Self {
        Self { size: ByteSize::mib(128), age: Period::from_secs(300) }
    }
}

/// Most data keys that one claim may name.
pub const PATHS_MAX: u32 = 256;

/// What is wrong with the options that all sinks of objects share.
pub fn check_objects(
    format: ObjectFormat,
    columns: &[Column],
    roll: &Roll,
    stage_memory: ByteSize,
    paths_max: u32,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if format != ObjectFormat::Parquet && !columns.is_empty() {
        findings
            .push(Finding::error("columns", "`columns` belong to `format: parquet`; remove them or change the format"));
    }
    if roll.size.as_bytes() < ByteSize::kib(64).as_bytes() {
        findings.push(Finding::error(
            "roll.size",
            format!("objects of {} are too small to be read well; write at least 64KiB", roll.size),
        ));
    }
    if roll.age.as_millis() < 1_000 {
        findings
            .push(Finding::error("roll.age", format!("an object every {} is too often; write at least 1s", roll.age)));
    }
    if stage_memory.as_bytes() < ByteSize::mib(1).as_bytes() {
        findings.push(Finding::error(
            "stage_memory",
            format!("{stage_memory} is too little to encode in; write at least 1MiB"),
        ));
    }
    if paths_max == 0 || paths_max > PATHS_MAX {
        findings.push(Finding::error(
            "paths_max",
            format!("a claim names 1 to {PATHS_MAX} paths, not {paths_max}; write a number between"),
        ));
    }
    findings.extend(check_column_names(columns));
    findings
}

/// Names of the columns that every Parquet object has, whatever is declared.
pub const FIXED_COLUMNS: [&str; 8] =
    ["record_id", "agent", "source", "position", "received_time", "event_time", "body", "rest"];

fn check_column_names(list: &[Column]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (i, column) in list.iter().enumerate() {
        let path = format!("columns.{i}.name");
        if FIXED_COLUMNS.contains(&column.name.as_str()) {
            findings.push(Finding::error(
                path,
                format!("`{}` is a column that every object has; choose another name", column.name),
            ));
        } else if list[..i].iter().any(|earlier| earlier.name == column.name) {
            findings.push(Finding::error(path, format!("the column `{}` is declared twice; remove one", column.name)));
        }
    }
    findings
}
