//! What a component, plugin or route may be called. Names become file names, topics' parts and labels, so the rule is
//! narrow; it knows nothing of what the names are used for.

use sawlog_settings::decode::Complaint;
use sawlog_settings::node::Place;

/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 63;

/// Why `name` may not be used; the part after the semicolon says how to mend it.
pub fn error(name: &str) -> Option<String> {
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    if name.chars().count() > NAME_CHARS_MAX {
        return Some(format!("the name `{name}` is longer than {NAME_CHARS_MAX} characters; shorten it"));
    }
    match name.chars().next() {
        Some(first) if first.is_ascii_lowercase() && name.chars().all(rest) => None,
        _ => Some(format!(
            "`{name}` is no name; use a-z, 0-9, `_` and `-`, beginning with a letter, such as `{}`",
            mended(name)
        )),
    }
}

/// The same as a complaint at the place of the name.
pub fn complaint(name: &str, place: Place) -> Option<Complaint> {
    error(name).map(|reason| Complaint::error(place, reason))
}

fn mended(name: &str) -> String {
    let folded: String = name
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
        .collect();
    let from = folded.find(|c: char| c.is_ascii_lowercase()).unwrap_or(folded.len());
    if from == folded.len() { "my_name".to_owned() } else { folded[from..].to_owned() }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_narrow() {
        for good in ["a", "app-1", "my_lake"] {
            assert_eq!(super::error(good), None, "{good}");
        }
        for bad in ["", "1a", "A", "a.b", "a b", "_a", "ä", &"x".repeat(64)] {
            assert!(super::error(bad).is_some(), "{bad}");
        }
        assert!(super::error("My.Lake").is_some_and(|reason| reason.ends_with("such as `my_lake`")));
    }
}
