//! From a source's configuration to its options. It knows the config's words and what they mean here.

use super::config::{FileSource as Config, IdenticalSmall, Multiline as MultilineConfig, MultilinePreset, ReadFrom};
use super::frame::{Framing, Multiline};
use super::options::{FileOptions, OptionsError, encoding, multiline};
use super::pattern::{Names, PODS};
use sawlog_core::identity::Grain;
use sawlog_core::memory::Pool;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Lines of a joined record at most where the config doesn't say.
const LINES_MAX: u32 = 1_000;
/// A folder that matches nothing: pods' logs are files like others.
const NO_PODS: &str = "/nonexistent";

/// What the options need beside the source's own configuration.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The agent's id.
    pub agent_id: String,
    /// The source's key in the configuration.
    pub source_id: String,
    /// A folder for scratch files.
    pub scratch: PathBuf,
    /// Room on the disk for them, of all sources together.
    pub unpacked: Arc<Pool>,
    /// Whether the run ends with the input.
    pub until_eof: bool,
}

impl FileOptions {
    /// The options that `config` asks for.
    pub fn new(config: &Config, surroundings: Surroundings) -> Result<Self, OptionsError> {
        let on_pods = config.kubernetes == super::config::Kubernetes::Auto;
        let pods = Path::new(if on_pods { PODS } else { NO_PODS });
        let framing = Framing {
            cri: false,
            // What is UTF-8 stays as it is, valid or not.
            encoding: config
                .encoding
                .as_deref()
                .map(encoding)
                .transpose()?
                .filter(|known| *known != encoding_rs::UTF_8),
            line_bytes_max: config.line_bytes_max.as_usize(),
            multiline: config.multiline.as_ref().map(multiline_of).transpose()?,
        };
        Ok(Self {
            names: Names::new(&config.include, &config.exclude, &config.rotated, pods)?,
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
            unpacked: surroundings.unpacked,
            scratch: surroundings.scratch,
            grain: Grain::DEFAULT,
            boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default(),
            pods: pods.to_owned(),
        })
    }
}

pub(super) fn multiline_of(config: &MultilineConfig) -> Result<Multiline, OptionsError> {
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
        MultilinePreset::Java => {
            r"^(\s+(at |\.\.\. \d+ |Suppressed: |Caused by: |\[CIRCULAR REFERENCE)|Caused by: |\s*nested exception is|\s*$)"
        }
        MultilinePreset::Python => {
            r"^(\s|$|Traceback \(most recent call last\)|During handling of |The above exception |\w+(\.\w+)*(Error|Exception|Warning|Interrupt|Exit|Iteration)(: |:?$)|\w+(\.\w+)*\.[A-Z]\w*(: |:?$))"
        }
        MultilinePreset::Go => {
            r"^(\s|$|goroutine \d+ |runtime stack:|\[signal |created by |exit status \d+$|[\w./*()%\[\]·-]+\(.*\)$|r\w{1,5} +0x[0-9a-f]+$)"
        }
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

    fn options(config: &str) -> FileOptions {
        let config: FileSource = serde_json::from_str(config).unwrap();
        let surroundings = Surroundings {
            agent_id: "a".into(),
            source_id: "s".into(),
            scratch: "/tmp".into(),
            unpacked: Pool::unbounded(),
            until_eof: false,
        };
        FileOptions::new(&config, surroundings).unwrap()
    }

    #[test]
    fn pods_are_pods_unless_they_are_off() {
        let path = Path::new("/var/log/pods/a_b_c/d/0.log");
        let config = |more: &str| options(&format!(r#"{{"include": ["/var/log/pods/*/*/*.log"]{more}}}"#));
        let (auto, off) = (config(""), config(r#", "kubernetes": "off""#));
        assert_eq!((auto.framing.line_bytes_max, auto.open_files_max), (1 << 20, 4096));
        assert_eq!(auto.names.container(path), path.parent().map(Path::to_owned));
        assert_eq!(off.names.container(path), None);
        assert_eq!(off.names.role(path).unwrap().partition, path);
        let fields =
            |options: &FileOptions| super::super::pattern::pod_fields(path.parent().unwrap(), &options.pods).len();
        assert_eq!((fields(&auto), fields(&off)), (4, 0));
    }

    #[test]
    fn utf_8_is_not_decoded() {
        for label in ["utf-8", "UTF8", "unicode-1-1-utf-8"] {
            let options = options(&format!(r#"{{"include": ["/l/*.log"], "encoding": "{label}"}}"#));
            assert_eq!(options.framing.encoding, None, "{label}");
        }
        let other = options(r#"{"include": ["/l/*.log"], "encoding": "cp949"}"#);
        assert_eq!(other.framing.encoding, Some(encoding_rs::EUC_KR));
    }

    /// How many lines each record has.
    fn lines_of_records(preset: MultilinePreset, text: &str) -> Vec<usize> {
        let config = MultilineConfig { preset: Some(preset), ..MultilineConfig::default() };
        let multiline = Some(multiline_of(&config).unwrap());
        let framing = Framing { cri: false, encoding: None, line_bytes_max: 4096, multiline };
        let mut arena = text.as_bytes().to_vec();
        let (splits, to) = (BTreeSet::from([text.len() as u64]), text.len() as u64);
        let block =
            Block { framing: &framing, splits: &splits, at: 0, first: 0, from: 0, to, records_max: 99, long: None };
        let framed = frame(&block, &mut arena);
        framed.records.iter().map(|r| r.text.of(&arena).iter().filter(|b| **b == b'\n').count() + 1).collect()
    }

    #[test]
    fn java_stack_traces_are_one_record() {
        let text = "2026-11-26 12:00:00,123 INFO  [main] shop.Orders - order 17 comes in
java.lang.IllegalStateException: order 17 has no customer
\tat shop.Orders.customer(Orders.java:41) ~[shop.jar:1.4]
\tat java.base/java.lang.Thread.run(Thread.java:1583)
\tSuppressed: java.io.IOException: the stream is closed
\t\tat shop.Store.close(Store.java:12)
\t\t... 2 more
\tCaused by: java.net.SocketException: Broken pipe
\t\t... 4 common frames omitted
Caused by: java.sql.SQLException: connection refused
\tat shop.Db.open(Db.java:7)
\t... 12 more

2026-11-26 12:00:00,200 INFO  [main] shop.Orders - order 18 comes in
2026-11-26 12:00:00,201 INFO  [main] shop.Orders - order 19 comes in
";
        assert_eq!(lines_of_records(MultilinePreset::Java, text), [1, 12, 1, 1]);
    }

    #[test]
    fn python_tracebacks_are_one_record() {
        let text = r#"ERROR:shop.orders:order 17 is not saved
Traceback (most recent call last):
  File "/app/shop/db.py", line 12, in save
    cursor.execute(statement)
    ~~~~~~~~~~~~~~^^^^^^^^^^^
sqlite3.OperationalError: database is locked

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/shop/orders.py", line 31, in place
    raise NotPlaced(17) from error
shop.errors.NotPlaced: 17
INFO:shop.orders:order 18 comes in
shop.orders: order 19 comes in
ERROR:root:stopped
Traceback (most recent call last):
  File "/app/shop/main.py", line 3, in <module>
KeyboardInterrupt
INFO:root:bye
"#;
        assert_eq!(lines_of_records(MultilinePreset::Python, text), [13, 1, 1, 4, 1]);
    }

    #[test]
    fn go_panics_are_one_record() {
        let text = "2026/11/26 12:00:00 order 17 comes in
panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x48f2e5]

goroutine 1 gp=0xc0000061c0 m=0 mp=0x5a1b40 [running]:
panic({0x48a0c0?, 0x4b9f30?})
\t/usr/local/go/src/runtime/panic.go:787 +0x132
example.com/shop/orders.(*Order).Total(...)
\t/app/orders/order.go:12
example.com/shop/orders.Map[...](0xc000012120, {0xc00001a0a8, 0x3})
\t/app/orders/order.go:20 +0x25
main.main.func1()
\t/app/main.go:9 +0x1f
created by main.main in goroutine 1
\t/app/main.go:30 +0x5d

goroutine 18 [chan receive]:
net/http.(*conn).serve(0xc0001, {0x4b9f30, 0xc0002})
\t/usr/local/go/src/net/http/server.go:2102 +0x625
rax    0x0
exit status 2
2026/11/26 12:00:01 order 18 comes in
2026/11/26 12:00:02 order 19 comes in (late)
";
        assert_eq!(lines_of_records(MultilinePreset::Go, text), [1, 20, 1, 1]);
    }

    #[test]
    fn indented_lines_belong_to_the_one_before() {
        let text = "statement: select 1\n\tfrom t\n  where x\nnext\n\nlast\n";
        assert_eq!(lines_of_records(MultilinePreset::Indented, text), [3, 1, 1, 1]);
    }
}
