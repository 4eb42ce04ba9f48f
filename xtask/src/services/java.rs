//! The Java that services run on: where it is, which it is, and the flags that make it small and quick to start.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Flags that pay everywhere: less memory and a shorter start for a lower throughput that tests do not need.
pub const FLAGS: [&str; 2] = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// The oldest Java that every service runs on.
pub const MAJOR_MIN: u32 = 17;

/// A Java installation.
pub struct Java {
    /// Its home.
    pub home: PathBuf,
    /// Its version, as `17.0.15`.
    pub version: String,
}

impl Java {
    /// The Java of `JAVA_HOME`, else of the path.
    pub fn find() -> Result<Self> {
        let remedy = format!("install a JDK {MAJOR_MIN} or newer (Debian: apt-get install default-jdk-headless)");
        let program = std::env::var_os("JAVA_HOME").map_or("java".into(), |home| Path::new(&home).join("bin/java"));
        let output = Command::new(program)
            .args(["-XshowSettings:properties", "-version"])
            .output()
            .with_context(|| format!("cannot run java: {remedy}"))?;
        let text = String::from_utf8_lossy(&output.stderr);
        let java =
            Self { home: property(&text, "java.home")?.into(), version: property(&text, "java.version")?.into() };
        ensure!(java.major() >= MAJOR_MIN, "java is {}: {remedy}", java.version);
        Ok(java)
    }

    /// The path of one of its programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.home.join("bin").join(name)
    }

    fn major(&self) -> u32 {
        self.version.split(['.', '-', '+']).next().and_then(|major| major.parse().ok()).unwrap_or(0)
    }
}

fn property<'a>(text: &'a str, name: &str) -> Result<&'a str> {
    text.lines()
        .find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix("= "))
        .map(str::trim)
        .with_context(|| format!("java -XshowSettings:properties does not tell {name}"))
}
