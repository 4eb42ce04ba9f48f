//! The names of claims and data objects: pure functions of who writes, what number and which attempt.

use std::fmt::Write as _;

/// The folder of all claim logs, with its `/`.
pub(super) const LOGS: &str = "_sawlog/";

/// The names that one agent's sink gives to its blobs. Agent and sink are written so that no name begins with `_` or `.`
/// (readers skip those) or holds a `/`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keys {
    agent: String,
    sink: String,
    extension: String,
}

impl Keys {
    /// Names for `sink` of `agent`, whose data objects end in `.extension`.
    pub fn new(agent: &str, sink: &str, extension: &str) -> Self {
        Self { agent: safe(agent), sink: safe(sink), extension: extension.to_owned() }
    }

    /// The key of the `index`-th object of a claim: `<path>/<agent>-<sink>-<n>-<attempt>-<i>.<ext>`.
    pub fn data(&self, path: &str, number: u64, attempt: &str, index: usize) -> String {
        let folder = if path.is_empty() { String::new() } else { format!("{}/", path.trim_end_matches('/')) };
        format!("{folder}{}{number}-{attempt}-{index}.{}", self.prefix(), self.extension)
    }

    /// What every name begins with: `<agent>-<sink>-`.
    pub fn prefix(&self) -> String {
        format!("{}-{}-", self.agent, self.sink)
    }

    /// The folder of the claims, with its `/`.
    pub fn claims(&self) -> String {
        format!("{LOGS}{}/{}/", self.agent, self.sink)
    }

    /// The key of claim `number`.
    pub fn claim(&self, number: u64) -> String {
        format!("{}{number:020}", self.claims())
    }

    /// Where the time up to which hours are closed is published.
    pub fn complete(&self) -> String {
        format!("{}complete", self.claims())
    }

    /// A key for start-up probes.
    pub fn probe(&self, nonce: u64) -> String {
        format!("{}probe-{nonce:016x}", self.claims())
    }

    /// The folder of unfinished blobs, with its `/`, in stores that need one.
    pub fn unfinished(&self) -> String {
        format!("_tmp/{}/{}/", self.agent, self.sink)
    }
}

/// The number of the claim with this file name.
pub fn claim_number(name: &str) -> Option<u64> {
    (name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit())).then(|| name.parse().ok()).flatten()
}

/// `name` with everything but letters, digits, `.`, `-` and `_` written as `%XX`, and also a `.` or `_` at its start.
pub fn safe(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (i, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => out.push(byte as char),
            b'.' | b'_' if i > 0 => out.push(byte as char),
            _ => write!(out, "%{byte:02X}").expect("a string takes whatever is written"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_readers_and_recovery_expect() {
        let keys = Keys::new("node-1", "lake", "jsonl.gz");
        assert_eq!(keys.data("dt=2026-01-01/hour=05", 7, "ab", 2), "dt=2026-01-01/hour=05/node-1-lake-7-ab-2.jsonl.gz");
        assert_eq!(keys.data("", 7, "ab", 0), "node-1-lake-7-ab-0.jsonl.gz");
        assert_eq!(keys.claim(7), "_sawlog/node-1/lake/00000000000000000007");
        assert_eq!(claim_number("00000000000000000007"), Some(7));
        for other in ["7", "complete", "probe-00000000000000", "0000000000000000000x", "+0000000000000000007"] {
            assert_eq!(claim_number(other), None, "{other}");
        }
    }

    #[test]
    fn no_name_leaves_its_folder_or_hides_from_readers() {
        assert_eq!(safe("../x"), "%2E.%2Fx");
        assert_eq!(safe("_a"), "%5Fa");
        assert_eq!(safe("ä"), "%C3%A4");
        assert_ne!(safe("a/b"), safe("a%2Fb"), "the escape itself is escaped");
    }
}
