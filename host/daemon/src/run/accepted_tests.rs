//! What `validate` accepts, `run` builds: configs are drawn at random, right and wrong ones, and whatever the config's own rules let
//! pass is made into chains and sources, as a start and a reload do, with nothing of the world but an empty folder.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sawlog_chain::pipeline::FieldsOf;
use sawlog_core::memory::Pool;
use sawlog_sources::file::configured::Surroundings;
use sawlog_sources::file::options::FileOptions;
use sawlog_sources::registry::SourceOptions;

use super::pipelines;
use crate::config::files::{Files, SourceFile};
use crate::config::references::References;
use crate::config::{Config, understand};

struct Nothing;
impl References for Nothing {
    fn env(&self, _: &str) -> Option<String> {
        None
    }
    fn file(&self, _: &Path) -> Result<String, String> {
        Err("there is none".to_owned())
    }
}

/// xorshift: the same configs on every machine.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    /// The first one most of the time: or hardly a config would be right in everything.
    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        if self.below(4) > 0 { words[0] } else { words[self.below(words.len())] }
    }

    fn inputs(&mut self, names: &[String]) -> String {
        let picked: Vec<&str> = (0..1 + self.below(2)).map(|_| names[self.below(names.len())].as_str()).collect();
        picked.join(", ")
    }
}

const PATTERNS: [&str; 9] =
    ["/a/*.log", "/b/[", "/c/{x,y}.log", "/d/{x.log", "./e/*.log", "/f/[]a].log", "/g/**/h", "/i/[b-a].log", "/j/\\\\"];
const MULTILINES: [&str; 6] = [
    "",
    ", multiline: { start: '^\\d' }",
    ", multiline: { start: '(' }",
    ", multiline: { preset: java }",
    ", multiline: { continue: '^\\s' }",
    ", multiline: { continue: 'x{2000}{2000}' }",
];
const ENCODINGS: [&str; 4] = ["", ", encoding: utf-16le", ", encoding: klingon", ", encoding: UTF-8"];
const TRIES: [&str; 5] =
    ["[json, text]", "[{ regex: '(?P<a>x)' }]", "[{ regex: '(' }]", "[text, json]", "[cri, logfmt]"];
const CONDITIONS: [&str; 4] = ["a == 1", "a ==", "a in [1, 2]", "severity == \"ERROR\""];

fn drawn(draw: &mut Draw) -> String {
    let mut text = "version: 1\nsources:\n".to_owned();
    let mut names: Vec<String> = Vec::new();
    for n in 0..1 + draw.below(2) {
        let (pattern, multiline, encoding) = (draw.of(&PATTERNS), draw.of(&MULTILINES), draw.of(&ENCODINGS));
        text += &format!(
            "  s{n}: {{ type: file, include: ['{}']{multiline}{encoding} }}\n",
            pattern.replacen('/', &format!("/{n}"), 1)
        );
        names.push(format!("s{n}"));
    }
    text += "transforms:\n";
    for n in 0..1 + draw.below(4) {
        let inputs = draw.inputs(&names);
        let condition = draw.of(&CONDITIONS);
        let options = match draw.below(4) {
            0 | 1 => format!("type: parse, inputs: [{inputs}], try: {}", draw.of(&TRIES)),
            2 => format!("type: filter, inputs: [{inputs}], condition: '{condition}'"),
            _ => format!("type: route, inputs: [{inputs}], routes: {{ hot: '{condition}', cold: 'b == 2' }}"),
        };
        text += &format!("  t{n}: {{ {options} }}\n");
        let outputs = if options.starts_with("type: route") { [".hot", ".cold"].as_slice() } else { &[""] };
        names.extend(outputs.iter().map(|output| format!("t{n}{output}")));
    }
    // Everything is read by some sink, or most configs would be refused for that.
    text + &format!("sinks:\n  out: {{ type: blackhole, inputs: [{}] }}\n", names.join(", "))
}

/// What a start makes of it that asks nothing of the world; the first refusal.
fn built(config: &Config) -> Result<(), String> {
    let none = std::collections::BTreeMap::new();
    for (name, source) in &config.sources {
        let fields: FieldsOf = Arc::new(|_| sawlog_record::decode::Source::default());
        pipelines::build(config, name, fields, &none).map_err(|e| e.to_string())?;
        if let SourceOptions::File(file) = &source.options {
            let around = Surroundings {
                agent_id: "a".into(),
                source_id: name.clone(),
                scratch: "/nowhere".into(),
                unpacked: Pool::unbounded(),
                until_eof: false,
            };
            FileOptions::new(file, around).map_err(|e| e.to_string())?;
        }
    }
    pipelines::build_replay(config, &none).map(drop).map_err(|e| e.to_string())
}

#[test]
fn what_the_config_s_own_rules_accept_is_built() {
    let mut draw = Draw(0x9E37_79B9_7F4A_7C15);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..3_000 {
        let text = drawn(&mut draw);
        let file = SourceFile::of_config(PathBuf::from("c.yaml"), text.clone());
        let loaded =
            understand(Files { files: vec![file], folder: PathBuf::from("/nowhere"), ..Files::default() }, &Nothing);
        match &loaded.config {
            None => refused += 1,
            Some(config) => {
                accepted += 1;
                assert_eq!(built(config), Ok(()), "validate accepts this, run refuses it:\n{text}");
            }
        }
    }
    assert!(accepted > 100 && refused > 100, "both kinds were met: {accepted} accepted, {refused} refused");
}
