//! Words that must not stand in any text file: hosts of package registries and paths of somebody's machine.
//!
//! The words are put together from halves here, so that this file may exist.

use super::Finding;

/// Files that tools write, which name hosts by nature.
const WRITTEN_BY_TOOLS: [&str; 3] = ["Cargo.lock", "go.sum", "package-lock.json"];

const HOSTS: [(&str, &str); 9] = [
    ("crates", ".io"),
    ("pypi", ".org"),
    ("files.pythonhosted", ".org"),
    ("registry.npmjs", ".org"),
    ("proxy.golang", ".org"),
    ("sum.golang", ".org"),
    ("repo1.maven", ".org"),
    ("repo.", "maven.apache.org"),
    ("deb.debian", ".org"),
];

const MACHINE_PATHS: [(&str, &str); 3] = [("/work/", "main"), ("/work/", "shared"), ("/root/", ".")];

/// Looks through one text file.
pub fn check(path: &str, text: &str) -> Vec<Finding> {
    if WRITTEN_BY_TOOLS.iter().any(|name| path.ends_with(name)) {
        return Vec::new();
    }
    let found = |words: &[(&str, &str)]| words.iter().map(|(a, b)| format!("{a}{b}")).find(|word| text.contains(word));
    let host = found(&HOSTS).map(|host| {
        Finding::new("registry-host", path, format!("names {host}; say which package is meant, not where it lies"))
    });
    let machine = found(&MACHINE_PATHS).map(|machine| {
        Finding::new(
            "machine-path",
            path,
            format!("names {machine}, a path of one machine; take it from the environment"),
        )
    });
    host.into_iter().chain(machine).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_machine_path_are_found_except_where_tools_write() {
        let text = format!("see {}{} and {}{}", HOSTS[0].0, HOSTS[0].1, MACHINE_PATHS[0].0, MACHINE_PATHS[0].1);
        let rules: Vec<_> = check("docs/a.md", &text).into_iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, ["registry-host", "machine-path"]);
        assert_eq!(check("plugins/Cargo.lock", &text), Vec::new());
        assert_eq!(check("docs/a.md", "crates and pypi"), Vec::new());
    }
}
