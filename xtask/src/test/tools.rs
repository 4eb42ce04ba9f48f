//! Looks for the programs that a ring needs, and says how to get what is missing.

use std::path::Path;
use std::process::Command;

/// A program that must be there.
pub struct Tool {
    /// What it is called in messages.
    name: &'static str,
    /// How to ask for its version.
    ask: &'static [&'static str],
    /// The oldest version that will do, as major and minor; zeros for any.
    version_min: (u32, u32),
    /// How to get it.
    remedy: &'static str,
}

/// What compiling the workspace and the plugins needs.
pub const FOR_RUST: [Tool; 7] = [
    Tool {
        name: "rustup",
        ask: &["rustup", "--version"],
        version_min: (0, 0),
        remedy: "install rustup; it brings cargo and rustc",
    },
    Tool {
        name: "rustc",
        ask: &["rustc", "--version"],
        version_min: (1, 95),
        remedy: "run `rustup toolchain install` in this repository",
    },
    Tool {
        name: "a C compiler",
        ask: &["cc", "--version"],
        version_min: (0, 0),
        remedy: "Debian: apt-get install gcc",
    },
    Tool {
        name: "a C++ compiler",
        ask: &["c++", "--version"],
        version_min: (0, 0),
        remedy: "Debian: apt-get install g++",
    },
    Tool {
        name: "perl with its standard modules",
        ask: &["perl", "-MFindBin", "-MIPC::Cmd", "-e", "printf '%vd', $^V"],
        version_min: (5, 10),
        remedy: "Debian: apt-get install perl; Kafka's TLS is compiled with it",
    },
    Tool { name: "cmake", ask: &["cmake", "--version"], version_min: (3, 10), remedy: "Debian: apt-get install cmake" },
    Tool {
        name: "python3 with venv",
        ask: &["python3", "-c", "import sys, venv, ensurepip; print(sys.version)"],
        version_min: (3, 11),
        remedy: "Debian: apt-get install python3-venv",
    },
];

/// What the Go SDK needs; nothing else does.
pub const FOR_GO: [Tool; 1] =
    [Tool { name: "go", ask: &["go", "version"], version_min: (1, 24), remedy: "install Go 1.24 or newer" }];

/// What the JavaScript SDK needs; nothing else does.
pub const FOR_JAVASCRIPT: [Tool; 2] = [
    Tool {
        name: "node",
        ask: &["node", "--version"],
        version_min: (20, 0),
        remedy: "install Node.js 20 or newer with npm",
    },
    Tool { name: "npm", ask: &["npm", "--version"], version_min: (9, 0), remedy: "it comes with Node.js" },
];

/// What provisioning real services needs besides.
pub const FOR_SERVICES: [Tool; 4] = [
    Tool {
        name: "java",
        ask: &["java", "--version"],
        version_min: (17, 0),
        remedy: "Debian: apt-get install default-jdk-headless",
    },
    Tool {
        name: "jar",
        ask: &["jar", "--version"],
        version_min: (17, 0),
        remedy: "it comes with a JDK, not with a Java runtime: apt-get install default-jdk-headless",
    },
    Tool { name: "maven", ask: &["mvn", "--version"], version_min: (3, 6), remedy: "Debian: apt-get install maven" },
    Tool {
        name: "go",
        ask: &["go", "version"],
        version_min: (1, 26),
        remedy: "install Go 1.26 or newer; Debian's own is older",
    },
];

/// What is missing or too old, one line each; empty when all is well.
pub fn missing(tools: &[Tool]) -> Vec<String> {
    tools.iter().filter_map(Tool::problem).collect()
}

/// Room on disk below which a run from nothing ends in the middle, bytes: what it writes to the target folders, and the services.
const FREE_MIN_BYTES: u64 = 14 << 30;

/// Says so where a folder's disk has too little room for a run from nothing.
pub fn lack_of_room(folder: &Path) -> Option<String> {
    let free = rustix::fs::statvfs(folder).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)).ok()?;
    too_little(folder, free)
}

fn too_little(folder: &Path, free: u64) -> Option<String> {
    let gib = |bytes: u64| bytes >> 30;
    (free < FREE_MIN_BYTES).then(|| {
        format!(
            "{} has {} GiB free, a run from nothing needs {}: make room, or set CARGO_TARGET_DIR to a folder on a disk that has it",
            folder.display(),
            gib(free),
            gib(FREE_MIN_BYTES),
        )
    })
}

impl Tool {
    fn problem(&self) -> Option<String> {
        let (program, arguments) = self.ask.split_first()?;
        let output = match Command::new(program).args(arguments).current_dir(crate::workspace::root()).output() {
            Ok(output) if output.status.success() => output.stdout,
            Ok(output) => return Some(format!("{} does not work ({}): {}", self.name, output.status, self.remedy)),
            Err(error) => return Some(format!("{} is missing ({error}): {}", self.name, self.remedy)),
        };
        if self.version_min == (0, 0) {
            return None;
        }
        let found = version(&String::from_utf8_lossy(&output));
        if found.is_some_and(|found| found >= self.version_min) {
            return None;
        }
        let (major, minor) = self.version_min;
        let found = found.map_or("of an unknown version".to_string(), |(major, minor)| format!("{major}.{minor}"));
        Some(format!("{} is {found}, needed is {major}.{minor}: {}", self.name, self.remedy))
    }
}

/// What stands between two escape characters, less the colour that its first letter ends.
fn plain_part(index: usize, part: &str) -> &str {
    let coloured = if index == 0 { None } else { part.strip_prefix('[') };
    let Some(sequence) = coloured else { return part };
    sequence
        .find(|character: char| character.is_ascii_alphabetic())
        .and_then(|end| sequence.get(end + 1..))
        .unwrap_or("")
}

/// The first thing in the text that looks like `12.34`, or else like `12`, at the start of a word. Colours are no part
/// of it: Maven prints its name in bold also where nobody asked for a terminal, and `ESC[1m` has a digit.
fn version(text: &str) -> Option<(u32, u32)> {
    let plain: String = text.split('\u{1b}').enumerate().map(|(index, part)| plain_part(index, part)).collect();
    plain.split_whitespace().find_map(|word| {
        let start = word.find(|character: char| character.is_ascii_digit())?;
        let numbers = word.get(start..)?;
        let mut parts = numbers.split(|character: char| !character.is_ascii_digit());
        let major = parts.next()?.parse().ok()?;
        Some((major, parts.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(version("rustc 1.95.0 (59807616e 2026-04-14)"), Some((1, 95)));
        assert_eq!(version("openjdk 17.0.15 2025-04-15"), Some((17, 0)));
        assert_eq!(version("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(version("cmake version 3.25.1"), Some((3, 25)));
        assert_eq!(version("openjdk 21 2023-09-19"), Some((21, 0)));
        assert_eq!(version("\u{1b}[1mApache Maven 3.8.7\u{1b}[m"), Some((3, 8)));
        assert_eq!(version("none"), None);
    }

    #[test]
    fn a_disk_with_too_little_room_is_named_with_what_is_needed() {
        assert_eq!(too_little(Path::new("/data"), FREE_MIN_BYTES), None);
        let said = too_little(Path::new("/data"), 3 << 30).unwrap_or_default();
        assert!(said.starts_with("/data has 3 GiB free, a run from nothing needs 14"), "{said}");
        assert!(lack_of_room(Path::new("/no such folder")).is_none(), "what can't be asked is not refused");
    }

    #[test]
    fn a_missing_and_an_old_program_are_named_with_their_remedy() {
        let tools = [
            Tool { name: "ghost", ask: &["sawlog-no-such-program"], version_min: (0, 0), remedy: "wait for midnight" },
            Tool { name: "rustc", ask: &["rustc", "--version"], version_min: (900, 0), remedy: "wait a century" },
        ];
        let missing = missing(&tools);
        assert_eq!(missing.len(), 2);
        assert!(missing[0].starts_with("ghost is missing") && missing[0].ends_with("wait for midnight"), "{missing:?}");
        assert!(missing[1].starts_with("rustc is 1.") && missing[1].contains("needed is 900.0"), "{missing:?}");
    }
}
