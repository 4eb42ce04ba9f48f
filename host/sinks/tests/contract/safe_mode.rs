//! A namenode in safe mode: one of its own, without datanodes, started with the command line of the test services.

use crate::lakes::{cluster, fresh};
use sawlog_core::ports::SinkError;
use sawlog_sinks::hdfs::HdfsOptions;
use sawlog_sinks::object::Blobs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a namenode may take to start.
const START_TIME_MAX: Duration = Duration::from_secs(90);

/// Program and arguments of the namenode of the test services, and its folder of settings.
struct Template {
    program: String,
    arguments: Vec<String>,
    conf: String,
}

fn template() -> Option<Template> {
    let state = std::fs::read_to_string(std::env::var("SAWLOG_TEST_SERVICES").ok()?).ok()?;
    let state: serde_json::Value = serde_json::from_str(&state).ok()?;
    let command = &state["processes"].as_array()?.iter().find(|p| p["name"] == "hdfs-namenode")?["command"];
    let text = |value: &serde_json::Value| Some(value.as_str()?.to_owned());
    let arguments: Vec<String> = command["arguments"].as_array()?.iter().filter_map(text).collect();
    let class_path = arguments.iter().skip_while(|a| *a != "-cp").nth(1)?;
    let conf = class_path.split(':').next()?.to_owned();
    Some(Template { program: text(&command["program"])?, arguments, conf })
}

/// The process ends with the test, also with one that fails.
struct Namenode(Child);

impl Drop for Namenode {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn site(properties: &[(&str, &str)]) -> String {
    let lines = properties.iter().map(|(n, v)| format!("<property><name>{n}</name><value>{v}</value></property>"));
    format!("<configuration>{}</configuration>", lines.collect::<String>())
}

/// Starts a namenode that waits for a datanode that never comes.
fn start(template: &Template, at: &Path) -> (Namenode, String) {
    let conf = at.join("conf");
    for web in ["hdfs", "datanode", "static"] {
        std::fs::create_dir_all(conf.join("webapps").join(web)).unwrap();
    }
    let url = format!("hdfs://127.0.0.1:{}", free_port());
    let http = format!("127.0.0.1:{}", free_port());
    let names = format!("file://{}", at.join("name").display());
    let settings = [
        ("dfs.namenode.name.dir", names.as_str()),
        ("dfs.namenode.http-address", &http),
        ("dfs.permissions.enabled", "false"),
        ("dfs.namenode.safemode.min.datanodes", "1"),
    ];
    std::fs::write(conf.join("core-site.xml"), site(&[("fs.defaultFS", &url)])).unwrap();
    std::fs::write(conf.join("hdfs-site.xml"), site(&settings)).unwrap();
    let run = |more: &[&str]| {
        let arguments = template.arguments.iter().map(|a| a.replacen(&template.conf, conf.to_str().unwrap(), 1));
        let mut command = Command::new(&template.program);
        command.args(arguments).args(more).current_dir(at).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    assert!(run(&["-format", "-force", "-nonInteractive"]).status().unwrap().success(), "the disk is formatted");
    let namenode = Namenode(run(&[]).spawn().unwrap());
    let begin = Instant::now();
    while TcpStream::connect(url.trim_start_matches("hdfs://")).is_err() {
        assert!(begin.elapsed() < START_TIME_MAX, "the namenode does not accept connections");
        std::thread::sleep(Duration::from_millis(100));
    }
    (namenode, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn safe_mode_is_waited_for_and_named() {
    let Some(template) = template() else {
        println!(
            "NOT RUN: safe_mode_is_waited_for_and_named: SAWLOG_TEST_SERVICES names no state of running services with hdfs"
        );
        return;
    };
    let at = TempDir::new().unwrap();
    let (_namenode, url) = start(&template, at.path());
    let store = cluster(&HdfsOptions { url, root: format!("/{}", fresh("safe")), ..HdfsOptions::default() });
    for error in [store.prepare().await.unwrap_err(), store.put_if_absent("a", b"x".to_vec().into()).await.unwrap_err()]
    {
        assert!(matches!(&error, SinkError::Unavailable(text) if text.contains("safe mode")), "{error}");
    }
    assert!(!store.exists("a").await.unwrap(), "reads work");
}
