//! `docs/metrics.md` is made from the table: `UPDATE=1 cargo test -p sawlog docs::` writes it. What a running agent exposes is
//! held against the page in `tests/operation.rs`.

use std::fmt::Write as _;
use std::path::Path;

use super::batches::{LATENCY, LATENCY_ABOUT};
use super::metric::{Kind, prometheus_name};
use super::stages::{STAGES, STAGES_ABOUT};
use super::table::ROWS;

const HEAD: &str = "# Metrics

Made from the table in the source; don't edit. An agent offers them as Prometheus' text at `/metrics`, on `api.listen` and, where
it is set, on `telemetry.metrics`; with `telemetry.otlp` it pushes the same ones by OTLP over HTTP, under the names with dots.
Figures are read when somebody asks. Labels are names of components and words from fixed lists: there are none by file, pod or
partition, because a series that was exposed once can't be taken back.

What to watch first: `sawlog_ledger_imbalance` (not 0 is a page), `sawlog_partitions_stopped` and `sawlog_sink_stopped` (a person
is needed), `sawlog_sink_circuit_state` with `sawlog_sink_behind` (a sink is down and how much waits), `sawlog_checkpoint_age_seconds`,
`sawlog_lost_bytes_total`, `sawlog_sink_hidden_seconds` (Kafka doesn't show what was delivered). Traces: with `telemetry.otlp.traces` above 0, that part of the batches makes a span each,
`deliver batch`, from its plan to its being durable in the sink, with `sink`, `source` and `records`.

| metric | type | labels | OTLP name, unit | what |
|---|---|---|---|---|
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut lines: Vec<[String; 5]> = ROWS
        .iter()
        .map(|row| {
            let kind = if row.kind == Kind::Counter { "counter" } else { "gauge" };
            [
                row.prometheus_name(),
                kind.to_owned(),
                row.labels.to_owned(),
                format!("`{}` {}", row.name, row.unit),
                row.about.to_owned(),
            ]
        })
        .collect();
    lines.push([
        prometheus_name(LATENCY, "s", false),
        "histogram".to_owned(),
        "sink, source".to_owned(),
        format!("`{LATENCY}` s"),
        LATENCY_ABOUT.to_owned(),
    ]);
    lines.push([
        prometheus_name(STAGES, "s", false),
        "histogram".to_owned(),
        "component_id, stage".to_owned(),
        format!("`{STAGES}` s"),
        STAGES_ABOUT.to_owned(),
    ]);
    lines.push([
        "target_info".to_owned(),
        "gauge".to_owned(),
        "service_name, service_instance_id, service_version, and the SDK's own".to_owned(),
        "resource".to_owned(),
        "1, with who tells; `service_instance_id` is the agent's id.".to_owned(),
    ]);
    for [name, kind, labels, otlp, about] in lines {
        writeln!(page, "| `{name}` | {kind} | {labels} | {otlp} | {about} |").expect("a text grows");
    }
    page
}

#[test]
fn the_page_says_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).expect("docs can be written");
    }
    let written = std::fs::read_to_string(&path).expect("docs/metrics.md is there");
    assert!(written == page, "docs/metrics.md is not what the table says: UPDATE=1 cargo test -p sawlog docs::");
}

#[test]
fn names_are_unique_and_well_formed() {
    let mut names: Vec<String> = ROWS.iter().map(super::metric::Row::prometheus_name).collect();
    assert!(
        names
            .iter()
            .all(|name| name.starts_with("sawlog_") && name.bytes().all(|b| b == b'_' || b.is_ascii_lowercase()))
    );
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(count, names.len());
}
