//! The interface described for programs, as OpenAPI 3.1: `docs/openapi.json`, and the same at `/v1/openapi.json`. A path that is
//! not in the table here fails a test.

use axum::{Json, Router};
use serde_json::{Map, Value, json};
use std::sync::Arc;

use crate::run::Handle;

/// One call.
pub struct Call {
    /// As routers write it.
    pub path: &'static str,
    /// Lower case.
    pub method: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Parameters of the query, each with its JSON type and what it means.
    pub query: &'static [(&'static str, &'static str, &'static str)],
    /// Headers, each with what it means.
    pub headers: &'static [(&'static str, &'static str)],
    /// The body that it takes, as a JSON Schema.
    pub body: Option<&'static str>,
    /// What the body is where it is no JSON.
    pub bytes: Option<&'static str>,
    /// The type of what it answers with.
    pub answer: &'static str,
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

const fn get(path: &'static str, about: &'static str) -> Call {
    Call { path, method: "get", about, query: &[], headers: &[], body: None, bytes: None, answer: JSON }
}

const fn post(path: &'static str, about: &'static str) -> Call {
    Call { method: "post", ..get(path, about) }
}

/// Every call.
pub const CALLS: &[Call] = &[
    Call { answer: TEXT, ..get("/livez", "Whether the process answers and its loop turns.") },
    Call {
        query: &[("strict", "boolean", "Answer 503 also to what keeps no input out.")],
        ..get("/readyz", "Whether input is taken, and everything that is wrong; 503 where it is not.")
    },
    Call { answer: TEXT, ..get("/metrics", "All metrics, in Prometheus' text.") },
    get("/v1/openapi.json", "This description."),
    get("/v1/status", "Sources, sinks, readiness and checkpoints at a glance."),
    get("/v1/topology", "Components, who feeds whom, and what each route promises."),
    get("/v1/config", "The configuration that runs, without secrets."),
    get("/v1/plugins", "The plugins that run: digest, what they registered, what they cost."),
    Call {
        method: "put",
        query: &[
            ("digest", "string", "`sha256:` and 64 hexadecimal digits that the component must have."),
            ("shadow", "boolean", "Run it beside the present one instead: compare, and deliver nothing of it."),
            (
                "canary",
                "number",
                "Give it so many per cent of the records instead, in earnest; of the partitions where the plugin keeps state.",
            ),
            (
                "failing_max",
                "number",
                "It ends there once it failed on more than so many per cent of its records; 1 if left out.",
            ),
            (
                "differing_max",
                "number",
                "It ends there once it made something else of more than so many per cent of the records; 10 if left out.",
            ),
        ],
        headers: &[(
            "sawlog-signature",
            "The component's signature in base64, as `sawlog plugin sign` writes it; where the plugin has `signed_by`.",
        )],
        bytes: Some("The component, at most 64 MiB."),
        ..get(
            "/v1/plugins/{name}",
            "Puts another component in the place of a plugin's, until a reload discards it; 422 with the reason where the old one goes on.",
        )
    },
    Call {
        method: "delete",
        ..get(
            "/v1/plugins/{name}/trial",
            "Ends what takes a share of a plugin's records, and what runs beside it; answers with their digests.",
        )
    },
    get("/v1/files", "The files of each file source, and how far they are read."),
    get("/v1/sources", "Every source: how far it is planned, and its own figures."),
    get("/v1/sinks", "Every sink: its circuit, what it holds, how far behind it is."),
    get("/v1/sinks/{name}", "One sink, with its cursors."),
    get("/v1/destinations", "Where each sink delivers, as the present configuration says."),
    get("/v1/epoch", "The present configuration by its digests, and how many older ones are still needed."),
    get("/v1/loss", "The ledger: what became of every input record, by sink and source."),
    get("/v1/ledger", "The same as /v1/loss."),
    get("/v1/checkpoint", "What is durable now: where every sink stands."),
    post("/v1/checkpoint/backup", "Writes a checkpoint now and copies it to the place of the backups."),
    get("/v1/checkpoints", "The checkpoints on the disk."),
    post("/v1/checkpoints", "Writes a checkpoint now."),
    get("/v1/checkpoints/{number}", "What is in a checkpoint."),
    Call {
        query: &[(
            "discard_overrides",
            "boolean",
            "Take the components that the configuration names again where others were put in their places.",
        )],
        ..post("/v1/reload", "Takes the configuration anew; 422 with the reason where the old one goes on.")
    },
    Call {
        body: Some(
            r#"{"type": "object", "required": ["folder", "files", "plugins"], "properties": {
                "folder": {"type": "string", "description": "Where relative paths start from."},
                "files": {"type": "array", "description": "Pairs of a file's path and its text.", "items": {"type": "array", "items": {"type": "string"}}},
                "plugins": {"type": "object", "description": "Empty."}}}"#,
        ),
        ..post(
            "/v1/reload/check",
            "Says whether a reload would take this configuration, and touches nothing. Only on the socket in the data directory.",
        )
    },
    Call {
        query: &[
            ("wait", "boolean", "Answer when everything is delivered."),
            ("timeout_ms", "integer", "Wait at most so long."),
        ],
        ..post("/v1/drain", "Plans no more input and delivers what is planned.")
    },
    Call {
        body: Some(
            r#"{"type": "object", "properties": {
                "ids": {"type": "array", "items": {"type": "string"}, "description": "Record ids; all letters where there is none."},
                "feeder": {"type": "string", "description": "Only letters of this sink or plugin."},
                "sink": {"type": "string", "description": "Only letters that lie in this dead-letter sink."}}}"#,
        ),
        ..post("/v1/dlq/replay", "Sends dead letters again; twice delivers once.")
    },
    post("/v1/sinks/{name}/forget", "Has a sink give up what it has not delivered, and begin anew."),
    Call {
        body: Some(
            r#"{"type": "object", "required": ["to"], "properties": {
                "partition": {"type": "string", "description": "Its name, or the beginning of it; all of the source where there is none."},
                "to": {"type": "string", "description": "`end`, `oldest`, or a position of the partition's newest history at which a record ends."},
                "again": {"type": "boolean", "description": "Whether what lies behind it comes again, instead of what lies before it being lost."}}}"#,
        ),
        ..post(
            "/v1/sources/{name}/seek",
            "Has a source go on reading further on, where what lies between is lost, or further back, where it comes again.",
        )
    },
    Call {
        body: Some(
            r#"{"type": "object", "required": ["how"], "properties": {"how": {"enum": ["accept_skew", "discard_state"]}}}"#,
        ),
        ..post("/v1/partitions/{id}/resume", "Has a partition go on that has stopped.")
    },
    Call {
        body: Some(
            r#"{"type": "object", "required": ["agent"], "properties": {
                "agent": {"type": "string", "description": "The id of another agent."},
                "force": {"type": "boolean", "description": "Also if it wrote within the last hour, or owes rows; they are given up."}}}"#,
        ),
        ..post("/v1/agents/retire", "Ends what an agent that does not come back holds in the sinks.")
    },
    get("/v1/log-level", "The level of the own log."),
    Call {
        method: "put",
        body: Some(
            r#"{"type": "object", "required": ["level"], "properties": {
                "level": {"enum": ["error", "warn", "info", "debug", "trace"]}}}"#,
        ),
        ..get("/v1/log-level", "Changes the level of the own log, until the next start.")
    },
];

/// The description.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for call in CALLS {
        let of_path = paths.entry(call.path).or_insert_with(|| json!({}));
        of_path[call.method] = operation(call);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sawlog agent", "version": env!("CARGO_PKG_VERSION"), "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "On `api.listen`, on `telemetry.metrics` (probes and metrics only), and on the socket `sawlog.sock` in the data directory. Without `api.token` or client certificates nothing is changed over the network; the socket has the file system's rights.",
        },
        "security": [{}, { "token": [] }],
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "description": "`api.token`" } },
            "schemas": { "Error": {
                "type": "object", "required": ["error"],
                "properties": { "error": { "type": "string", "description": "What was wrong, and what mends it." } },
            }},
        },
        "paths": paths,
    })
}

fn operation(call: &Call) -> Value {
    let in_path = call.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path =
        in_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let in_query = call.query.iter().map(
        |(name, kind, about)| json!({ "name": name, "in": "query", "description": about, "schema": { "type": kind } }),
    );
    let in_header = call.headers.iter().map(
        |(name, about)| json!({ "name": name, "in": "header", "description": about, "schema": { "type": "string" } }),
    );
    let parameters: Vec<Value> = in_path.chain(in_query).chain(in_header).collect();
    let mut operation = json!({
        "summary": call.about,
        "responses": {
            "200": { "description": "Done.", "content": { call.answer: {} } },
            "default": {
                "description": "It was not done.",
                "content": { JSON: { "schema": { "$ref": "#/components/schemas/Error" } } },
            },
        },
    });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(schema) = call.body {
        let schema: Value = serde_json::from_str(schema).unwrap_or_default();
        operation["requestBody"] = json!({ "required": true, "content": { JSON: { "schema": schema } } });
    }
    if let Some(about) = call.bytes {
        operation["requestBody"] =
            json!({ "required": true, "description": about, "content": { "application/octet-stream": {} } });
    }
    operation
}

/// Where it is served.
pub fn routes() -> Router<Arc<Handle>> {
    Router::new().route("/v1/openapi.json", axum::routing::get(async || Json(document())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// Paths of all `.route("…"` in the sources below `folder`.
    fn routed(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                routed(&path, found);
            } else if !path.ends_with("openapi.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let routes = text.split(".route(").skip(1);
                found.extend(routes.filter_map(|rest| Some(rest.split('"').nth(1)?.to_owned())));
            }
        }
    }

    #[test]
    fn every_path_is_described_and_no_other() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = BTreeSet::from(["/v1/openapi.json".to_owned()]);
        routed(&sources.join("api"), &mut found);
        routed(&sources.join("control"), &mut found);
        let described: BTreeSet<String> = CALLS.iter().map(|call| call.path.to_owned()).collect();
        assert_eq!(found, described);
    }

    #[test]
    fn every_body_is_a_schema() {
        for call in CALLS {
            let Some(body) = call.body else { continue };
            let schema: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{}: {e}", call.path));
            assert_eq!(schema["type"], "object", "{}", call.path);
        }
    }

    #[test]
    fn the_page_is_what_the_agent_serves() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        let page = serde_json::to_string_pretty(&document()).unwrap() + "\n";
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written == page, "docs/openapi.json is not what is served: UPDATE=1 cargo test -p sawlog openapi::");
    }
}
