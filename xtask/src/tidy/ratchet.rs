//! The list of findings that are there for now. It knows how to compare and to shrink, and nothing of the rules.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::Finding;

const HEAD: &str =
    "# rule place measure: what breaks a rule of tidy for now. Only `cargo xtask tidy --shrink` writes here.\n";

/// Known findings with their largest allowed measure, by rule and place.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ratchet {
    allowed: BTreeMap<(String, String), u64>,
}

impl Ratchet {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self> {
        let mut allowed = BTreeMap::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let wrong = || format!("tidy.ratchet:{}: expected `rule place measure`, found {line:?}", number + 1);
            let (rule, rest) = line.split_once(' ').with_context(wrong)?;
            let (place, measure) = rest.rsplit_once(' ').with_context(wrong)?;
            allowed.insert((rule.to_string(), place.to_string()), measure.parse().with_context(wrong)?);
        }
        Ok(Self { allowed })
    }

    /// The file's text.
    pub fn print(&self) -> String {
        let lines: Vec<String> =
            self.allowed.iter().map(|((rule, place), measure)| format!("{rule} {place} {measure}\n")).collect();
        format!("{HEAD}{}", lines.concat())
    }

    /// What a person must mend: findings that are new or grew, and lines of the list that are too generous by now.
    pub fn problems(&self, findings: &[Finding]) -> Vec<String> {
        let measured = measured(findings);
        let grown = findings
            .iter()
            .filter(|finding| self.allowance(finding.rule, &finding.place) < finding.measure)
            .map(|finding| format!("{}: {}: {}", finding.place, finding.rule, finding.message));
        let loose = self
            .allowed
            .iter()
            .filter(|(key, allowed)| measured.get(*key).copied().unwrap_or(0) < **allowed)
            .map(|((rule, place), _)| format!("{place}: {rule}: it got better; run `cargo xtask tidy --shrink`"));
        grown.chain(loose).collect()
    }

    /// The list with every line brought down to what is found; nothing is added.
    pub fn shrunk(&self, findings: &[Finding]) -> Self {
        let measured = measured(findings);
        let allowed = self
            .allowed
            .iter()
            .filter_map(|(key, allowed)| Some((key.clone(), *allowed.min(measured.get(key)?))))
            .collect();
        Self { allowed }
    }

    fn allowance(&self, rule: &str, place: &str) -> u64 {
        self.allowed.get(&(rule.to_string(), place.to_string())).copied().unwrap_or(0)
    }
}

/// The largest measure of each rule and place.
fn measured(findings: &[Finding]) -> BTreeMap<(String, String), u64> {
    let mut measured = BTreeMap::new();
    for finding in findings {
        let largest: &mut u64 = measured.entry((finding.rule.to_string(), finding.place.clone())).or_default();
        *largest = finding.measure.max(*largest);
    }
    measured
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn long(measure: u64) -> Vec<Finding> {
        vec![Finding { rule: "file-length", place: "a b.rs".into(), measure, message: "too long".into() }]
    }

    #[test]
    fn a_new_or_grown_finding_is_a_problem_and_a_known_one_is_not() {
        let ratchet = Ratchet::parse("# head\nfile-length a b.rs 700\n").unwrap();
        assert_eq!(ratchet.problems(&long(700)), Vec::<String>::new());
        assert_eq!(ratchet.problems(&long(701)).len(), 1);
        assert_eq!(Ratchet::default().problems(&long(601)).len(), 1);
    }

    #[test]
    fn what_got_better_must_leave_the_list() {
        let ratchet = Ratchet::parse("file-length a b.rs 700\n").unwrap();
        assert_eq!(ratchet.problems(&long(650)).len(), 1);
        assert_eq!(ratchet.problems(&[]).len(), 1);
        assert_eq!(ratchet.shrunk(&long(650)), Ratchet::parse("file-length a b.rs 650\n").unwrap());
        assert_eq!(ratchet.shrunk(&[]), Ratchet::default());
    }

    #[test]
    fn shrinking_never_adds_or_raises() {
        let ratchet = Ratchet::parse("file-length a b.rs 700\n").unwrap();
        assert_eq!(ratchet.shrunk(&long(900)), ratchet);
        assert_eq!(Ratchet::default().shrunk(&long(900)), Ratchet::default());
    }

    #[test]
    fn text_and_list_are_the_same() {
        let ratchet = Ratchet::parse("fn-length x.rs::main 71\nfile-length a b.rs 700").unwrap();
        assert_eq!(Ratchet::parse(&ratchet.print()).unwrap(), ratchet);
        assert!(Ratchet::parse("file-length a.rs many").is_err());
    }
}
