//! The page of attacks names the test that tries each: such a test must be there.

use std::collections::BTreeSet;

use super::Finding;

/// The page.
const PAGE: &str = "docs/security.md";

/// Looks through all text files.
pub fn check(texts: &[(String, String)]) -> Vec<Finding> {
    let Some((_, page)) = texts.iter().find(|(name, _)| name == PAGE) else {
        return vec![Finding::new("attack-page", PAGE, "the page of attacks is gone")];
    };
    let rust = texts.iter().filter(|(name, _)| name.ends_with(".rs"));
    let functions: BTreeSet<&str> = rust.flat_map(|(_, text)| functions(text)).collect();
    let mut findings = Vec::new();
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| attack |")) {
        let named = tests(row);
        if named.is_empty() {
            findings.push(Finding::new("attack-page", PAGE, format!("no test is named: {row}")));
        }
        for test in named.into_iter().filter(|test| !functions.contains(test)) {
            findings.push(Finding::new("attack-page", format!("{PAGE}::{test}"), "there is no such test"));
        }
    }
    findings
}

/// Names of functions that a source has.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.split("fn ").skip(1).filter_map(|rest| rest.split_once('(')).map(|(name, _)| name)
}

/// What the last column names.
fn tests(row: &str) -> Vec<&str> {
    let column = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap_or_default();
    column.split('`').skip(1).step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_its_test_is_found() {
        let page = "| attack | what holds | test |\n|---|---|---|\n| a bomb | `limits` | `bombs_fail`, `also_here` |\n| a link | nothing | |\n";
        let texts =
            [(PAGE, page), ("host/x.rs", "#[test]\nfn bombs_fail() {}")].map(|(n, t)| (n.to_string(), t.to_string()));
        let found: Vec<_> = check(&texts).into_iter().map(|finding| finding.place).collect();
        assert_eq!(found, [format!("{PAGE}::also_here"), PAGE.to_string()]);
        assert_eq!(check(&texts[1..]).len(), 1, "the page itself");
    }
}
