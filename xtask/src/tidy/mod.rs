//! `cargo xtask tidy`: the house rules that a machine can hold.
//!
//! A rule reports findings; `xtask/tidy.ratchet` lists those that are there for now. A listed finding may get smaller,
//! never larger, and when it does the list must follow (`--shrink`): so the list only gets shorter.

mod attacks;
mod ratchet;
mod source;
mod unsafety;
mod walls;
mod words;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::workspace;
use ratchet::Ratchet;

/// What tidy may be asked for.
#[derive(clap::Args)]
pub struct Options {
    /// Take out of the ratchet what is no longer found, and write what got smaller
    #[arg(long)]
    shrink: bool,
}

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The rule.
    pub rule: &'static str,
    /// A file, or a file and an item in it; no line, so that the ratchet does not change with unrelated edits.
    pub place: String,
    /// How much: lines for lengths, else 1.
    pub measure: u64,
    /// For a person: what is wrong and how to mend it.
    pub message: String,
}

impl Finding {
    fn new(rule: &'static str, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { rule, place: place.into(), measure: 1, message: message.into() }
    }
}

/// Runs the rules; fails when there is a problem.
pub fn run(options: &Options) -> Result<ExitCode> {
    if options.shrink {
        let findings = findings()?;
        let shrunk = read_ratchet()?.shrunk(&findings);
        fs::write(ratchet_path(), shrunk.print()).context("cannot write xtask/tidy.ratchet")?;
    }
    Ok(if check()? == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints every problem and returns how many there are.
pub fn check() -> Result<usize> {
    let problems = read_ratchet()?.problems(&findings()?);
    problems.iter().for_each(|problem| println!("tidy: {problem}"));
    println!("tidy: {} problems", problems.len());
    Ok(problems.len())
}

fn findings() -> Result<Vec<Finding>> {
    let root = workspace::root();
    let mut findings = walls::check(&root)?;
    let texts = texts(&root)?;
    findings.extend(attacks::check(&texts));
    findings.extend(unsafety::check(&texts));
    let rust = texts.iter().filter(|(name, _)| name.ends_with(".rs"));
    let test_only: BTreeSet<String> = rust.flat_map(|(name, text)| source::test_only_files(name, text)).collect();
    for (name, text) in &texts {
        findings.extend(words::check(name, text));
        if is_source(name) {
            findings.extend(source::check(name, text, test_only.contains(name)));
        }
    }
    findings.sort();
    Ok(findings)
}

/// All text files that git knows or would add, with their contents.
fn texts(root: &Path) -> Result<Vec<(String, String)>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("cannot run git: install it (Debian: apt-get install git)")?;
    ensure!(output.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8_lossy(&output.stdout);
    let read = |name: &str| fs::read_to_string(root.join(name)).ok().map(|text| (name.to_string(), text));
    Ok(names.split('\0').filter_map(read).collect())
}

fn is_source(name: &str) -> bool {
    [".rs", ".py", ".go", ".js", ".ts", ".c", ".h"].iter().any(|known| name.ends_with(known))
}

fn ratchet_path() -> PathBuf {
    workspace::root().join("xtask/tidy.ratchet")
}

fn read_ratchet() -> Result<Ratchet> {
    Ratchet::parse(&fs::read_to_string(ratchet_path()).context("cannot read xtask/tidy.ratchet")?)
}
