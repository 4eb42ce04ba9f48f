//! Every plugin that we ship does what its golden files and its page say, wherever batches are cut and instances reset.
#![allow(clippy::unwrap_used)]

mod support;

use sawlog_chain::{PluginConfig, conformance, trial};
use std::path::Path;
use support::example::Example;

/// Write the golden outputs instead of comparing them: for their author, who then reads the diff.
const REWRITE: &str = "SAWLOG_GOLDEN_WRITE";
/// Records over all golden files of a plugin.
const RECORDS_MIN: usize = 20;

/// Runs every golden case of plugin `name` and the example of its page, with what the page allows it.
fn golden(name: &str) {
    let folder = support::repository().join("plugins").join(name);
    let example = Example::read(&folder);
    let engine = support::engine();
    let bytes = support::component(name);
    let run = |place: &Path, config_json: String, files: Vec<(String, Vec<u8>)>, input: &str| {
        let config = PluginConfig { config_json, files, allow: example.allow, ..Default::default() };
        let plugin = engine.load(name, &bytes, config).unwrap_or_else(|e| panic!("{}: {e}", place.display()));
        let input = trial::read(input).unwrap_or_else(|e| panic!("{}: {e}", place.display()));
        let found = trial::run(&plugin, &input).unwrap();
        conformance::check(&plugin, &input).unwrap_or_else(|e| panic!("{}: {e}", place.display()));
        (found, input.rows.len())
    };
    let mut records = 0;
    for case in support::folders(&folder.join("golden")) {
        let config_json = std::fs::read_to_string(case.join("config.json")).unwrap();
        let input = std::fs::read_to_string(case.join("input.ndjson")).unwrap();
        let files = support::files_in(&case.join("files"));
        let (found, rows) = run(&case, config_json, files, &input);
        compare(&case.join("output.ndjson"), &(found.join("\n") + "\n"));
        records += rows;
    }
    assert!(records >= RECORDS_MIN, "{name} has {records} golden records, at least {RECORDS_MIN} are wanted");
    let page = folder.join("README.md");
    let (found, _) = run(&page, example.config_json.clone(), example.files.clone(), &example.input);
    example.compare(&page, &found, std::env::var_os(REWRITE).is_some());
}

fn compare(path: &Path, found: &str) {
    if std::env::var_os(REWRITE).is_some() {
        return std::fs::write(path, found).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap();
    for (i, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "{} line {}", path.display(), i + 1);
    }
    assert_eq!(found, expected, "{}", path.display());
}

macro_rules! plugins {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            golden($name);
        })*

        const TESTED: &[&str] = &[$($name),*];
    };
}

plugins! {
    aggregate: "aggregate",
    count_window: "count-window",
    dedupe: "dedupe",
    enrich: "enrich",
    fields: "fields",
    fingerprint: "fingerprint",
    join_exceptions: "join-exceptions",
    level_filter: "level-filter",
    mask_ip: "mask-ip",
    normalise_level: "normalise-level",
    parse_csv: "parse-csv",
    parse_json: "parse-json",
    parse_key_value: "parse-key-value",
    parse_logfmt: "parse-logfmt",
    parse_nginx: "parse-nginx",
    parse_pattern: "parse-pattern",
    parse_syslog: "parse-syslog",
    parse_time: "parse-time",
    parse_user_agent: "parse-user-agent",
    protect: "protect",
    redact: "redact",
    redact_pattern: "redact-pattern",
    sample: "sample",
    sample_c: "sample-c",
    sample_tail: "sample-tail",
    sessionize: "sessionize",
    throttle: "throttle",
}

/// A text of about `bytes` bytes, of as many pieces as that takes.
fn long(bytes: usize, piece: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for i in 0.. {
        if text.len() >= bytes {
            break;
        }
        text.push_str(&piece(i));
    }
    text
}

/// Whatever a text is made of, reading the longest one that these plugins take costs less than the fuel of one record: `on_failure`
/// decides what becomes of a text, not the limit of a call.
#[test]
fn parsers_read_their_longest_texts_within_the_fuel_of_a_record() {
    let size = (32 << 10) - 64;
    let error = "2026/01/31 05:06:07 [error] 1#1: ";
    // Which plugin, a text, and whether it is refused: too many members, or too large a record.
    let texts = [
        ("parse-json", format!("{{{}\"z\":0}}", long(size, |i| format!("\"{i:x}\":1,"))), true),
        ("parse-json", format!("{{{}\"z\":0}}", long(size, |i| format!("\"\\u0061{i:x}\":1,"))), true),
        (
            "parse-json",
            format!("{{{}\"z\":\"{}\"}}", long(6_500, |i| format!("\"\\u0061{i:x}\":1,")), "x".repeat(26_000)),
            false,
        ),
        ("parse-json", format!("{{\"a\":[{}0]}}", long(size, |_| "{\"a\":[]},".into())), false),
        ("parse-json", format!("{{\"a\":\"{}\"}}", long(size, |_| "\\u00e9".into())), false),
        ("parse-logfmt", long(size, |i| format!("{i:x}= ")), true),
        ("parse-logfmt", format!("a=\"{}\"", long(size, |_| "\\u00e9".into())), false),
        ("parse-nginx", format!("{error}{}", long(size, |_| ", client: a, request: \"a".into())), false),
        ("parse-nginx", format!("{error}{}", long(size, |_| "\u{1}".into())), true),
    ];
    for (name, text, is_too_large) in texts {
        let config = PluginConfig { config_json: r#"{"error_field":"error"}"#.into(), ..Default::default() };
        let plugin = support::engine().load(name, &support::component(name), config).unwrap();
        let input = trial::read(&serde_json::json!({"body": text}).to_string()).unwrap();
        let found = trial::run(&plugin, &input).unwrap();
        let start: String = text.chars().take(60).collect();
        println!("{name}: {} fuel for {} bytes, {start}", plugin.figures().fuel, text.len());
        let is_refused = found[0].contains(r#""error":"#);
        assert!(!found[0].contains(r#""dead":"#) && is_refused == is_too_large, "{name}: {start}: {:.200}", found[0]);
    }
}

/// Folders below `plugins/` that are no plugins to be shipped: two for the tests of the host, what several share, what is built.
const NOT_SHIPPED: [&str; 4] = ["hostile", "lib", "target", "typed"];

/// What a page of all plugins says of each of them, in `docs/plugins.md` the figures of `sawlog plugin bench --all plugins`.
#[test]
fn every_plugin_has_a_schema_a_test_and_its_place_on_the_pages_of_all() {
    let read = |path: &str| std::fs::read_to_string(support::repository().join(path)).unwrap();
    let (page, figures) = (read("plugins/README.md"), read("docs/plugins.md"));
    for folder in support::folders(&support::repository().join("plugins")) {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        if NOT_SHIPPED.contains(&name.as_str()) {
            continue;
        }
        assert!(folder.join("schema.json").exists(), "{name} has no schema.json");
        assert!(TESTED.contains(&name.as_str()), "{name} is in no line of `plugins!`");
        assert!(page.contains(&format!("[{name}]({name}/README.md)")), "{name} is not in plugins/README.md");
        assert!(figures.contains(&format!("\n| {name} | ")), "{name} is in no row of docs/plugins.md");
        malformed(&name, &folder);
    }
}

/// Whether a record is what a case is to hold.
type IsSo = fn(&serde_json::Value) -> bool;

/// Values that are no text, or none to speak of.
const MALFORMED: [(&str, IsSo); 3] = [
    ("an empty text", |value| value == ""),
    ("a null", |value| value.is_null()),
    ("another type than text", |value| value.is_array() || value.is_object() || value.is_boolean()),
];

/// The golden input of a plugin has what logs have: text that is no UTF-8, an empty one, a null, another type, and nothing at all.
fn malformed(name: &str, folder: &Path) {
    let cases = support::folders(&folder.join("golden"));
    let inputs: String =
        cases.iter().map(|case| std::fs::read_to_string(case.join("input.ndjson")).unwrap() + "\n").collect();
    let has = |is: &dyn Fn(&serde_json::Value) -> bool| {
        inputs.lines().filter(|line| !line.is_empty()).any(|line| is(&serde_json::from_str(line).unwrap()))
    };
    let values = |record: &serde_json::Value| record.as_object().unwrap().values().cloned().collect::<Vec<_>>();
    let no_utf8 = |text: &serde_json::Value| {
        let digits = text.as_str().unwrap().as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        String::from_utf8(digits.chunks(2).map(byte).collect()).is_err()
    };
    let of_bytes =
        |record: &serde_json::Value| record["$bytes"].as_object().is_some_and(|fields| fields.values().any(no_utf8));
    assert!(has(&of_bytes), "{name}: no golden record has text that is not UTF-8");
    for (what, is) in MALFORMED {
        assert!(has(&|record| values(record).iter().any(is)), "{name}: no golden record has {what}");
    }
    let is_bare = |record: &serde_json::Value| record.as_object().unwrap().keys().all(|key| key == "$time");
    assert!(has(&is_bare), "{name}: no golden record is without the field");
}

/// A plugin of the world of typed records has no page: it is for the tests of that world.
#[test]
fn the_world_of_typed_records() {
    let case = support::repository().join("plugins/typed/golden/every-outcome");
    let plugin = support::engine().load("typed", &support::component("typed"), PluginConfig::default()).unwrap();
    let input = trial::read(&std::fs::read_to_string(case.join("input.ndjson")).unwrap()).unwrap();
    compare(&case.join("output.ndjson"), &(trial::run(&plugin, &input).unwrap().join("\n") + "\n"));
    conformance::check(&plugin, &input).unwrap();
}
