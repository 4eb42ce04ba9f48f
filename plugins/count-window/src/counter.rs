//! What a window counts, and how older versions of this plugin kept it.

use sawlog_plugin::windows::{Gather, Windows};
use serde::{Deserialize, Serialize};

/// Records of one key in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter(pub u64);

impl Counter {
    /// Counts a record.
    pub fn take(&mut self) {
        self.0 += 1;
    }
}

impl Gather for Counter {
    fn merge(&mut self, later: Self) {
        self.0 += later.0;
    }
}

/// Takes over the state of version 1: a list of (start of the window, key, count).
pub fn read_version_1(old: &[u8], windows: &mut Windows<Counter>) -> Result<(), String> {
    let open: Vec<(i64, String, u64)> = serde_json::from_slice(old).map_err(|e| e.to_string())?;
    for (start, key, count) in open {
        windows.add(&key, start, i64::MIN, |counter| counter.0 += count);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sawlog_plugin::windows::Kind;

    #[test]
    fn windows_of_version_1_go_on() {
        let mut windows = Windows::new(Kind::Tumbling { length: 10 }, 100);
        read_version_1(br#"[[0,"a",3],[10,"b",1]]"#, &mut windows).expect("reads");
        windows.add("a", 9, 0, Counter::take);
        let counts: Vec<_> = windows.close(20, 9).into_iter().map(|c| (c.start, c.key, c.gathered.0)).collect();
        assert_eq!(counts, [(0, "a".into(), 4), (10, "b".into(), 1)]);
        assert!(read_version_1(b"{}", &mut windows).is_err());
    }
}
