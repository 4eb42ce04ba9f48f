//! The walls between rooms, read from the manifests: who may depend on whom.
//!
//! Knows rooms by their package names. A room that is not in the table has no place yet, which is a finding too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Finding;
use crate::workspace;

/// Each room with the rooms that it may see. Everyone may be seen by the daemon only where it says so.
const ROOMS: &[(&str, &[&str])] = &[
    ("sawlog-record", &[]),
    ("sawlog-core", &["sawlog-record"]),
    ("sawlog-settings", &["sawlog-record"]),
    ("sawlog-log", &[]),
    ("sawlog-componentize", &[]),
    ("sawlog-kafka", &["sawlog-record", "sawlog-core", "sawlog-settings"]),
    ("sawlog-queue", &["sawlog-record", "sawlog-core", "sawlog-log"]),
    ("sawlog-checkpoint", &["sawlog-record", "sawlog-core", "sawlog-log"]),
    // The chain's tests build the plugins that they run.
    ("sawlog-chain", &["sawlog-record", "sawlog-core", "sawlog-settings", "sawlog-componentize"]),
    ("sawlog-sources", &["sawlog-record", "sawlog-core", "sawlog-settings", "sawlog-kafka"]),
    ("sawlog-sinks", &["sawlog-record", "sawlog-core", "sawlog-settings", "sawlog-kafka"]),
    (
        "sawlog",
        &[
            "sawlog-record",
            "sawlog-core",
            "sawlog-settings",
            "sawlog-log",
            "sawlog-componentize",
            "sawlog-kafka",
            "sawlog-queue",
            "sawlog-checkpoint",
            "sawlog-chain",
            "sawlog-sources",
            "sawlog-sinks",
        ],
    ),
    ("sawlog-sim", &["sawlog-record", "sawlog-core", "sawlog-log", "sawlog-queue", "sawlog-checkpoint"]),
    // The reader of the end-to-end tests uses no code of the host: it would share its mistakes.
    ("sawlog-e2e", &[]),
    // The bench knows the agent as a program, and its floor and its reader share nothing with it.
    ("sawlog-bench", &[]),
    // It is the agent with another chain in it, which its tests hold against the plugins.
    ("sawlog-native", &["sawlog-record", "sawlog-core", "sawlog-chain", "sawlog"]),
    (TESTS_ONLY, &[]),
    ("xtask", &[]),
];

/// Makes bad input: whoever reads any may use it in tests.
const TESTS_ONLY: &str = "sawlog-fuzz";

/// Rooms that must be deterministic, and what they may not reach by any way: runtimes, entropy, clocks.
const PURE: [&str; 2] = ["sawlog-record", "sawlog-core"];
const IMPURE: [&str; 10] =
    ["tokio", "mio", "async-std", "smol", "async-executor", "rand", "fastrand", "getrandom", "hyper", "wasmtime"];

/// Packages that only some rooms may name; tests of others may, to look at a service with foreign eyes.
const KNOWN_BY: [(&str, &[&str]); 3] = [
    ("wasmtime", &["sawlog-chain"]),
    ("rdkafka", &["sawlog-kafka", "sawlog-e2e", "sawlog-bench"]),
    ("hdfs-native", &["sawlog-sinks", "sawlog-e2e"]),
];

/// Reads the manifests of the workspace and all packages it resolves to.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let output = workspace::cargo()
        .args(["metadata", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is no JSON")?;
    let mut findings = check_rooms(&metadata);
    findings.extend(check_purity(&metadata));
    Ok(findings)
}

fn check_rooms(metadata: &Value) -> Vec<Finding> {
    let members: BTreeSet<&str> = array(&metadata["workspace_members"]).iter().filter_map(Value::as_str).collect();
    let packages = array(&metadata["packages"])
        .iter()
        .filter(|package| package["id"].as_str().is_some_and(|id| members.contains(id)));
    let packages: Vec<&Value> = packages.collect();
    let names: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    packages.iter().flat_map(|package| check_room(package, &names)).collect()
}

fn check_room(package: &Value, rooms: &BTreeSet<&str>) -> Vec<Finding> {
    let name = package["name"].as_str().unwrap_or_default();
    let Some((_, may_see)) = ROOMS.iter().find(|(room, _)| *room == name) else {
        return vec![Finding::new("wall", name, "is in no row of xtask/src/tidy/walls.rs: decide what it may see")];
    };
    let sees = array(&package["dependencies"]).iter().filter_map(|one| Some((one["name"].as_str()?, &one["kind"])));
    sees.filter(|(other, _)| *other != name)
        .filter_map(|(other, kind)| {
            let is_for_tests = other == TESTS_ONLY && kind == "dev";
            if rooms.contains(other) && !may_see.contains(&other) && !is_for_tests {
                return Some(Finding::new(
                    "wall",
                    format!("{name} -> {other}"),
                    "rooms see each other only as design and walls.rs say",
                ));
            }
            let (_, knowers) =
                KNOWN_BY.iter().find(|(package, knowers)| *package == other && !knowers.contains(&name))?;
            if kind == "dev" {
                return None;
            }
            Some(Finding::new("wall", format!("{name} -> {other}"), format!("only {knowers:?} may know {other}")))
        })
        .collect()
}

/// Walks what the pure rooms resolve to, without what only their tests use.
fn check_purity(metadata: &Value) -> Vec<Finding> {
    let names: BTreeMap<&str, &str> = array(&metadata["packages"])
        .iter()
        .filter_map(|package| Some((package["id"].as_str()?, package["name"].as_str()?)))
        .collect();
    let nodes: BTreeMap<&str, &Value> =
        array(&metadata["resolve"]["nodes"]).iter().filter_map(|node| Some((node["id"].as_str()?, node))).collect();
    let pure = names.iter().filter(|(_, name)| PURE.contains(*name));
    pure.flat_map(|(id, room)| {
        let reached = reach(id, &nodes);
        let impure: BTreeSet<&str> =
            reached.iter().filter_map(|id| names.get(id).copied()).filter(|name| IMPURE.contains(name)).collect();
        let message = "decides without runtime, clock and chance; ask through a port";
        impure.into_iter().map(move |other| Finding::new("purity", format!("{room} -> {other}"), message))
    })
    .collect()
}

fn reach<'a>(from: &'a str, nodes: &BTreeMap<&'a str, &'a Value>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(id) = open.pop() {
        for dependency in nodes.get(id).map(|node| array(&node["deps"])).unwrap_or_default() {
            let runs = array(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            if let Some(other) = dependency["pkg"].as_str().filter(|_| runs)
                && reached.insert(other)
            {
                open.push(other);
            }
        }
    }
    reached
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn places(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn a_room_may_not_see_its_sibling_nor_the_roof() {
        let package = |name: &str, sees: &[&str]| {
            let dependencies: Vec<Value> = sees.iter().map(|other| json!({ "name": other })).collect();
            json!({ "id": name, "name": name, "dependencies": dependencies })
        };
        let metadata = json!({
            "workspace_members": ["sawlog-core", "sawlog-sinks", "sawlog-sources", "sawlog", "sawlog-attic"],
            "packages": [
                package("sawlog-core", &["sawlog", "serde"]),
                package("sawlog-sinks", &["sawlog-core", "sawlog-sources", "rdkafka"]),
                package("sawlog-sources", &["sawlog-core"]),
                package("sawlog", &["sawlog-sinks", "sawlog-core"]),
                package("sawlog-attic", &[]),
            ],
        });
        let expected =
            ["sawlog-core -> sawlog", "sawlog-sinks -> sawlog-sources", "sawlog-sinks -> rdkafka", "sawlog-attic"];
        assert_eq!(places(check_rooms(&metadata)), expected);
    }

    #[test]
    fn a_pure_room_may_not_reach_a_runtime_but_its_tests_may() {
        let needs = |pkg: &str, kind: Value| json!({ "pkg": pkg, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "packages": [
                { "id": "c", "name": "sawlog-core" }, { "id": "h", "name": "harmless" },
                { "id": "t", "name": "tokio" }, { "id": "r", "name": "rand" },
            ],
            "resolve": { "nodes": [
                { "id": "c", "deps": [needs("h", Value::Null), needs("r", json!("dev"))] },
                { "id": "h", "deps": [needs("t", Value::Null)] },
                { "id": "t", "deps": [] }, { "id": "r", "deps": [] },
            ] },
        });
        assert_eq!(places(check_purity(&metadata)), ["sawlog-core -> tokio"]);
    }
}
