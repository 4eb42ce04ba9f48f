//! From a source's configuration to its options. It knows the config's words and what they mean here.

use super::config::{FileSource as Config, IdenticalSmall, Multiline as MultilineConfig, MultilinePreset, ReadFrom};
use super::frame::{Framing, Multiline};
use super::options::{FileOptions, OptionsError, encoding, multiline};
use super::pattern::{Names, PODS};
use sawlog_core::identity::Grain;
use std::path::{Path, PathBuf};

/// Lines of a joined record at most where the config doesn't say.
const LINES_MAX: u32 = 1_000;
/// Bytes that a packed file may unpack to at most.
const UNPACKED_BYTES_MAX: u64 = 4 << 30;
/// A folder that matches nothing: pods' logs are files like others.
const NO_PODS: &str = "/nonexistent";

/// What the options need beside the source's own configuration.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The agent's id.
    pub agent_id: String,
    /// The source's key in the configuration.
    pub source_id: String,
    /// The folder of the configuration, for patterns that begin with `./`.
    pub config_folder: PathBuf,
    /// A folder for scratch files.
    pub scratch: PathBuf,
    /// Whether the run ends with the input.
    pub until_eof: bool,
}

impl FileOptions {
    /// The options that `config` asks for.
    pub fn new(config: &Config, surroundings: Surroundings) -> Result<Self, OptionsError> {
        let absolute = |patterns: &[String]| -> Vec<String> {
            patterns.iter().map(|p| absolute(p, &surroundings.config_folder)).collect()
        };
        let on_pods = config.kubernetes == super::config::Kubernetes::Auto;
        let pods = Path::new(if on_pods { PODS } else { NO_PODS });
        let framing = Framing {
            cri: false,
            encoding: config.encoding.as_deref().map(encoding).transpose()?,
            line_bytes_max: config.line_bytes_max.as_usize(),
            multiline: config.multiline.as_ref().map(multiline_of).transpose()?,
        };
        Ok(Self {
            names: Names::new(
                &absolute(&config.include),
                &absolute(&config.exclude),
                &absolute(&config.rotated),
                pods,
            )?,
            agent_id: surroundings.agent_id,
            source_id: surroundings.source_id,
            roots: config.roots.clone(),
            framing,
            from_end: config.read_from == ReadFrom::End,
            until_eof: surroundings.until_eof,
            rotate_wait: config.rotate_wait.as_duration(),
            idle_timeout: config.idle_timeout.as_duration(),
            poll_interval: config.poll_interval.as_duration(),
            deliver_identical_small: config.identical_small == IdenticalSmall::Deliver,
            open_files_max: config.open_files_max as usize,
            unpacked_bytes_max: UNPACKED_BYTES_MAX,
            scratch: surroundings.scratch,
            grain: Grain::DEFAULT,
            boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default(),
            pods: pods.to_owned(),
        })
    }
}

fn absolute(pattern: &str, folder: &Path) -> String {
    match pattern.strip_prefix("./") {
        Some(below) => format!("{}/{below}", folder.display()),
        None => pattern.to_owned(),
    }
}

fn multiline_of(config: &MultilineConfig) -> Result<Multiline, OptionsError> {
    let lines_max = config.lines_max.unwrap_or(LINES_MAX);
    match (&config.preset, &config.start, &config.r#continue) {
        (Some(preset), ..) => multiline(further_lines(*preset), false, lines_max),
        (_, Some(start), _) => multiline(start.as_str(), true, lines_max),
        (_, _, Some(further)) => multiline(further.as_str(), false, lines_max),
        // The config's own check refuses this; a record is then a line.
        (None, None, None) => multiline("^", true, lines_max),
    }
}

/// What the further lines of a record look like.
fn further_lines(preset: MultilinePreset) -> &'static str {
    match preset {
        MultilinePreset::Java => r"^(\s+(at |\.\.\. \d+ |Suppressed: )|Caused by: |\s*$)",
        MultilinePreset::Python => {
            r"^(Traceback \(most recent call last\)|\s+\S|During handling of |The above exception |\w[\w.]*(Error|Exception|Warning|Interrupt|Exit)\b)"
        }
        MultilinePreset::Go => r"^(goroutine \d+ \[|\s+\S|\[signal |created by |exit status |[\w./*()-]+\(.*\)$|\s*$)",
        MultilinePreset::Indented => r"^[ \t]",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::config::FileSource;
    use super::super::frame::{Block, frame};
    use super::*;
    use std::collections::BTreeSet;

    fn surroundings() -> Surroundings {
        Surroundings {
            agent_id: "a".into(),
            source_id: "s".into(),
            config_folder: "/etc/sawlog".into(),
            scratch: "/tmp".into(),
            until_eof: false,
        }
    }

    #[test]
    fn patterns_of_the_config_folder_and_pods_are_understood() {
        let config: FileSource = serde_json::from_str(r#"{"include": ["./in/*.log"], "kubernetes": "off"}"#).unwrap();
        let options = FileOptions::new(&config, surroundings()).unwrap();
        assert!(options.names.role(Path::new("/etc/sawlog/in/a.log")).is_some());
        assert_eq!((options.framing.line_bytes_max, options.open_files_max), (1 << 20, 4096));
        assert_eq!(options.names.container(Path::new("/var/log/pods/a_b_c/d/0.log")), None);
    }

    #[test]
    fn a_stack_trace_is_one_record() {
        let trace =
            "ERROR boom\njava.lang.E: x\n\tat a.B(C.java:1)\n\t... 3 more\nCaused by: y\nINFO fine\nINFO more\n";
        let config = MultilineConfig { preset: Some(MultilinePreset::Java), ..MultilineConfig::default() };
        let multiline = Some(multiline_of(&config).unwrap());
        let framing = Framing { cri: false, encoding: None, line_bytes_max: 4096, multiline };
        let mut arena = trace.as_bytes().to_vec();
        let splits = BTreeSet::new();
        let block = Block { framing: &framing, splits: &splits, at: 0, from: 0, to: u64::MAX, records_max: 9 };
        let framed = frame(&block, &mut arena);
        let lines: Vec<usize> =
            framed.records.iter().map(|r| r.text.of(&arena).iter().filter(|b| **b == b'\n').count() + 1).collect();
        assert_eq!(lines, [1, 4, 1]);
    }
}
