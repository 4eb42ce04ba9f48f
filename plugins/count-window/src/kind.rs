//! How the configuration says that time is cut.

use crate::SECOND;
use sawlog_plugin::windows::Kind;
use serde::Deserialize;

/// What the configuration says of it.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Cut {
    window_seconds: Option<i64>,
    slide_seconds: Option<i64>,
    gap_seconds: Option<i64>,
    records: Option<u64>,
}

impl Cut {
    /// The kind of windows that this is.
    pub fn kind(self) -> Result<Kind, String> {
        match (self.window_seconds, self.slide_seconds, self.gap_seconds, self.records) {
            (Some(length), None, None, None) => Ok(Kind::Tumbling { length: length * SECOND }),
            (Some(length), Some(step), None, None) if step <= length => {
                Ok(Kind::Sliding { length: length * SECOND, step: step * SECOND })
            }
            (Some(_), Some(_), None, None) => Err("slide_seconds is longer than window_seconds".into()),
            (None, None, Some(gap), None) => Ok(Kind::Session { gap: gap * SECOND }),
            (None, None, None, Some(rows)) => Ok(Kind::Count { rows }),
            _ => {
                Err("one of window_seconds (with slide_seconds or not), gap_seconds and records says what a window is"
                    .into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_to_cut_time_is_taken() {
        let kind = |json: &str| serde_json::from_str::<Cut>(json).expect("parses").kind();
        assert_eq!(kind(r#"{"window_seconds":2}"#), Ok(Kind::Tumbling { length: 2 * SECOND }));
        let sliding = Kind::Sliding { length: 2 * SECOND, step: SECOND };
        assert_eq!(kind(r#"{"window_seconds":2,"slide_seconds":1}"#), Ok(sliding));
        assert_eq!(kind(r#"{"gap_seconds":2}"#), Ok(Kind::Session { gap: 2 * SECOND }));
        assert_eq!(kind(r#"{"records":2}"#), Ok(Kind::Count { rows: 2 }));
        for two in ["{}", r#"{"window_seconds":2,"records":1}"#, r#"{"slide_seconds":2}"#] {
            assert!(kind(two).is_err_and(|told| told.contains("one of")), "{two}");
        }
        assert!(kind(r#"{"window_seconds":1,"slide_seconds":2}"#).is_err_and(|told| told.contains("longer")));
    }
}
