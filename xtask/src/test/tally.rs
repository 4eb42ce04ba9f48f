//! Counts what the runners of tests say, line by line, and decides which lines a person needs to see.
//!
//! Trusts only closing lines: libtest's `test result:` and a plain `N passed, N failed[, N skipped]`. A test that
//! could not run prints a line that starts with `NOT RUN`; libtest counts it as passed, so it is taken back here.

use std::ops::AddAssign;

/// How libtest reports a test that is only the other half of another one, which starts it as a process of its own to kill
/// it: `#[ignore = "the child of …"]`. It does run, so it is not counted as skipped.
const CHILD: &str = " ... ignored, the child of ";

/// The sums of some runners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that ran and held.
    pub passed: u64,
    /// Tests that ran and did not hold.
    pub failed: u64,
    /// Tests that did not run.
    pub skipped: u64,
    /// The lines that say which tests did not run, and why.
    pub not_run: Vec<String>,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.not_run.extend(other.not_run);
    }
}

impl Tally {
    /// One check that held or did not.
    pub fn of_check(holds: bool) -> Self {
        Self { passed: u64::from(holds), failed: u64::from(!holds), ..Self::default() }
    }

    /// One ring, or test, that did not run.
    pub fn of_not_run(what: &str, why: &str) -> Self {
        Self { skipped: 1, not_run: vec![format!("NOT RUN: {what}: {why}")], ..Self::default() }
    }

    /// Without the tests that only lacked a service: a later ring runs them again, with it.
    pub fn before_services(mut self) -> Self {
        let before = self.not_run.len();
        self.not_run.retain(|line| !line.contains("SAWLOG_TEST_"));
        self.skipped = self.skipped.saturating_sub((before - self.not_run.len()) as u64);
        self
    }

    /// How many tests it is about.
    pub fn total(&self) -> u64 {
        self.passed + self.failed + self.skipped
    }

    /// The closing line.
    pub fn line(&self) -> String {
        let (passed, failed, skipped) = (self.passed, self.failed, self.skipped);
        if skipped == 0 {
            format!("{passed} passed, {failed} failed")
        } else {
            format!("{passed} passed, {failed} failed, {skipped} skipped")
        }
    }
}

/// Reads the output of one command.
#[derive(Default)]
pub struct Reader {
    tally: Tally,
    children: u64,
    in_output_of_passed_tests: bool,
}

impl Reader {
    /// Takes the next line; returns whether it is worth showing.
    pub fn read(&mut self, line: &str) -> bool {
        if line.starts_with("NOT RUN") {
            self.tally.not_run.push(line.to_string());
            return true;
        }
        if let Some(counted) = libtest(line).or_else(|| plain(line)) {
            self.in_output_of_passed_tests = false;
            self.tally += counted;
            return true;
        }
        if line.starts_with("test ") && line.contains(CHILD) {
            self.children += 1;
            return false;
        }
        match line {
            "successes:" => self.in_output_of_passed_tests = true,
            "failures:" => self.in_output_of_passed_tests = false,
            _ => {}
        }
        !self.in_output_of_passed_tests && !is_noise(line)
    }

    /// The sums, with tests that said NOT RUN taken from the passed to the skipped.
    pub fn finish(mut self) -> Tally {
        let not_run = self.tally.not_run.len() as u64;
        let moved = not_run.min(self.tally.passed);
        self.tally.passed -= moved;
        self.tally.skipped -= self.children.min(self.tally.skipped);
        self.tally.skipped += not_run;
        self.tally
    }
}

fn is_noise(line: &str) -> bool {
    line.is_empty() || line.starts_with("running ") || (line.starts_with("test ") && line.ends_with("... ok"))
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; …`
fn libtest(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut tally = Tally::default();
    for count in counts.split("; ") {
        let Some((number, what)) = count.split_once(' ') else { continue };
        match (number.parse(), what) {
            (Ok(number), "passed") => tally.passed = number,
            (Ok(number), "failed") => tally.failed = number,
            (Ok(number), "ignored") => tally.skipped = number,
            _ => {}
        }
    }
    Some(tally)
}

/// `3 passed, 0 failed`, perhaps `, 1 skipped`, perhaps after one word with a colon.
fn plain(line: &str) -> Option<Tally> {
    let counts = match line.split_once(": ") {
        Some((word, rest)) if !word.contains(' ') => rest,
        _ => line,
    };
    let mut tally = Tally::default();
    let parts: Vec<&str> = counts.split(", ").collect();
    if !(2..=3).contains(&parts.len()) {
        return None;
    }
    for (part, (what, place)) in parts.iter().zip([
        ("passed", &mut tally.passed),
        ("failed", &mut tally.failed),
        ("skipped", &mut tally.skipped),
    ]) {
        *place = part.strip_suffix(what)?.trim_end().parse().ok()?;
    }
    Some(tally)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(lines: &[&str]) -> (Tally, Vec<String>) {
        let mut reader = Reader::default();
        let shown = lines.iter().filter(|line| reader.read(line)).map(ToString::to_string).collect();
        (reader.finish(), shown)
    }

    #[test]
    fn closing_lines_of_several_binaries_are_summed() {
        let first = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        let second =
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        let (tally, shown) = read(&[
            "running 4 tests",
            "test a ... ok",
            first,
            "test b ... FAILED",
            second,
            "sim: 7 passed, 2 failed, 1 skipped",
        ]);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (12, 3, 2));
        assert_eq!(shown.len(), 4);
    }

    #[test]
    fn a_test_that_could_not_run_is_not_counted_as_passed() {
        let closing = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        let (tally, shown) = read(&[
            "successes:",
            "---- full_disk stdout ----",
            "NOT RUN: full_disk: no user namespaces",
            "chatter",
            closing,
        ]);
        assert_eq!(tally.line(), "1 passed, 0 failed, 1 skipped");
        assert_eq!(shown, ["NOT RUN: full_disk: no user namespaces", closing]);
    }

    #[test]
    fn what_a_later_ring_runs_is_not_counted_before() {
        let closing = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        let needs_service = "NOT RUN: topics: SAWLOG_TEST_KAFKA names no broker";
        let (tally, _) = read(&[needs_service, "NOT RUN: full_disk: no user namespaces", closing]);
        assert_eq!(tally.before_services().line(), "1 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn a_child_that_another_test_starts_is_not_skipped_and_other_ignored_tests_are() {
        let closing = "test result: ok. 3 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        let child = "test takes_until_killed ... ignored, the child of the test below, which starts it";
        let (tally, shown) = read(&[child, "test later ... ignored", closing]);
        assert_eq!(tally.line(), "3 passed, 0 failed, 1 skipped");
        assert_eq!(shown, ["test later ... ignored", closing]);
    }

    #[test]
    fn talk_is_not_taken_for_a_closing_line() {
        for line in
            ["3 passed", "he said: 3 passed, 0 failed", "all passed, none failed", "3 passed, 0 failed, 1 odd", ""]
        {
            assert_eq!(plain(line), None, "{line}");
        }
    }

    #[test]
    fn output_of_a_failed_test_is_shown() {
        let (_, shown) = read(&["successes:", "quiet", "failures:", "---- a stdout ----", "assertion failed"]);
        assert_eq!(shown, ["failures:", "---- a stdout ----", "assertion failed"]);
    }
}
