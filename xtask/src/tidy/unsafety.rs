//! `unsafe` stands only in files that ARCHITECTURE.md lists, each with its reason. The lint `unsafe_code` is denied everywhere, so a
//! file with `unsafe` in it allows that, and is found by it. Sources outside of the workspace, guests of the host, are left alone.

use super::Finding;

const LIST: &str = "ARCHITECTURE.md";
/// How the list begins; it ends with its paragraph.
const HEAD: &str = "**Unsafe.**";
const ROOMS: [&str; 4] = ["host/", "tests/", "bench/", "xtask/"];

/// Looks through all text files, by their names.
pub fn check(texts: &[(String, String)]) -> Vec<Finding> {
    let page = texts.iter().find(|(name, _)| name == LIST).map_or("", |(_, text)| text.as_str());
    let list = page.split("\n\n").find(|paragraph| paragraph.starts_with(HEAD)).unwrap_or_default();
    let rust =
        texts.iter().filter(|(name, _)| name.ends_with(".rs") && ROOMS.iter().any(|room| name.starts_with(room)));
    let mut findings = Vec::new();
    for (name, text) in rust {
        match (allows_unsafe(text), list.contains(&format!("`{name}`"))) {
            (true, false) => {
                let message = format!("has `unsafe`: do without it, or list it in {LIST} with its reason and its test");
                findings.push(Finding::new("unsafe", name, message));
            }
            (false, true) => {
                findings.push(Finding::new(
                    "unsafe",
                    name,
                    format!("has no `unsafe` any more: take it off the list in {LIST}"),
                ));
            }
            _ => {}
        }
    }
    findings
}

/// The words are put together from halves, so that this file may exist.
fn allows_unsafe(text: &str) -> bool {
    text.contains(concat!("allow(", "unsafe_code"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_unsafe_and_the_list_name_each_other() {
        let unsafe_text = concat!("#![allow(", "unsafe_code)]");
        let texts = |list: &str, files: &[(&str, &str)]| {
            let mut texts = vec![(LIST.to_owned(), format!("# Page\n\n{HEAD} {list}\n\n`host/b.rs` is nice"))];
            texts.extend(files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())));
            check(&texts).into_iter().map(|finding| finding.place).collect::<Vec<_>>()
        };
        let both = [("host/a.rs", unsafe_text), ("host/b.rs", "")];
        assert_eq!(texts("`host/a.rs`: it must", &both), Vec::<String>::new());
        assert_eq!(texts("nothing", &both), ["host/a.rs"]);
        assert_eq!(texts("`host/a.rs`, `host/b.rs`", &both), ["host/b.rs"]);
        assert_eq!(texts("", &[("sdk/a.rs", unsafe_text)]), Vec::<String>::new());
    }
}
