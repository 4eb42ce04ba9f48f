//! One Elasticsearch node, from the distribution that its own integration tests use.
//!
//! The server refuses to run as root; then it gets the user id of nobody, and all its files lie in the run folder,
//! which that user can enter. Its module list is short: no ILM, no ingest, `GET /` is 405. Another node of its own speaks TLS and
//! asks for a password.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::certificates::{self, STORE_PASSWORD};
use super::java::Java;
use super::state::{CommandLine, Ready, ServiceProcess};
use super::{Layout, Place, launch, lock, ports, provision};

const COORDINATES: &str = "org.elasticsearch.distribution.integ-test-zip:elasticsearch:8.19.21:zip";
const HEAP: &str = "-Xms256m -Xmx512m";
const NOBODY: u32 = 65534;
/// Of the user `elastic`, on the node that asks.
const PASSWORD: &str = "sawlog-test-password";

/// Fetches the distribution.
pub fn provision() -> Result<()> {
    provision::artefact("elasticsearch", COORDINATES).map(|_| ())
}

/// Lays out a node that anybody on this machine may use.
pub fn lay_out(place: &Place) -> Result<Layout> {
    let node = Node::unpacked(place)?;
    write_config(place, &node, "xpack.security.enabled: false\n")?;
    let url = format!("http://127.0.0.1:{}", node.http);
    let health = format!("{url}/_cluster/health?wait_for_status=yellow&timeout=1s");
    let ready = Ready::HttpHas { url: health, texts: vec!["\"timed_out\":false".into()] };
    node.layout(place, "elasticsearch", ready, vec![("SAWLOG_TEST_ELASTICSEARCH", url)])
}

/// Lays out a node behind TLS and a password.
pub fn lay_out_secure(place: &Place) -> Result<Layout> {
    let node = Node::unpacked(place)?;
    let made = certificates::made(&node.java)?;
    let config = place.folder.join("config");
    fs::copy(&made.server, config.join("server.p12"))?;
    fs::copy(keystore(&node, place)?.join("elasticsearch.keystore"), config.join("elasticsearch.keystore"))?;
    let security = "xpack.security.enabled: true
xpack.security.autoconfiguration.enabled: false
xpack.security.http.ssl.enabled: true
xpack.security.http.ssl.keystore.path: server.p12
";
    write_config(place, &node, security)?;
    let ready = Ready::Accepts(format!("127.0.0.1:{}", node.http));
    let endpoints = vec![
        ("SAWLOG_TEST_ELASTICSEARCH_TLS", format!("https://127.0.0.1:{}", node.http)),
        ("SAWLOG_TEST_ELASTICSEARCH_TLS_CA", made.authority.display().to_string()),
        ("SAWLOG_TEST_ELASTICSEARCH_TLS_PASSWORD", PASSWORD.into()),
    ];
    node.layout(place, "elasticsearch-secure", ready, endpoints)
}

/// The node's store of secrets, made once: it takes two starts of a JVM.
fn keystore(node: &Node, place: &Place) -> Result<PathBuf> {
    let secrets = format!("{PASSWORD}\n{STORE_PASSWORD}\n");
    let key = &lock::digest_of([COORDINATES, &secrets].concat().as_bytes())[..12];
    provision::once(&format!("elasticsearch-keystore-{key}"), |new| {
        let tool = node.home.join("bin/elasticsearch-keystore");
        let names = "bootstrap.password xpack.security.http.ssl.keystore.secure_password";
        let script = format!("\"$0\" create && printf '{secrets}' | \"$0\" add -x -f {names}");
        let mut command = command(node, place, None);
        command.program = "/bin/sh".into();
        command.arguments = vec!["-c".into(), script, tool.display().to_string()];
        command.pid_file = None;
        command.environment.insert("ES_PATH_CONF".into(), new.display().to_string());
        launch::run_to_end(&command, &place.log("keystore"), &place.file)
    })
}

/// An unpacked distribution with its folders and ports.
struct Node {
    java: Java,
    home: PathBuf,
    http: u16,
    transport: u16,
}

impl Node {
    fn unpacked(place: &Place) -> Result<Self> {
        let java = Java::find()?;
        let home = unpack(&java, place)?;
        for folder in ["data", "logs", "tmp", "config/jvm.options.d"] {
            fs::create_dir_all(place.folder.join(folder))?;
        }
        fs::copy(home.join("config/log4j2.properties"), place.folder.join("config/log4j2.properties"))?;
        Ok(Self { java, home, http: ports::free()?, transport: ports::free()? })
    }

    fn layout(
        &self,
        place: &Place,
        name: &str,
        ready: Ready,
        endpoints: Vec<(&'static str, String)>,
    ) -> Result<Layout> {
        let user_id = rustix::process::geteuid().is_root().then_some(NOBODY);
        if let Some(id) = user_id {
            give_to(id, &place.folder)?;
        }
        let process = ServiceProcess {
            name: name.into(),
            service: name.into(),
            command: command(self, place, user_id),
            ready: vec![ready],
            log: place.log(name),
            identity: None,
        };
        Ok(Layout { processes: vec![process], endpoints })
    }
}

fn command(node: &Node, place: &Place, user_id: Option<u32>) -> CommandLine {
    let text = |path: PathBuf| path.display().to_string();
    let pid_file = place.folder.join("data/elasticsearch.pid");
    CommandLine {
        program: node.home.join("bin/elasticsearch"),
        arguments: vec!["-d".into(), "-p".into(), text(pid_file.clone())],
        environment: BTreeMap::from([
            ("HOME".into(), text(place.folder.clone())),
            ("ES_TMPDIR".into(), text(place.folder.join("tmp"))),
            ("ES_PATH_CONF".into(), text(place.folder.join("config"))),
            ("ES_JAVA_HOME".into(), text(node.java.home.clone())),
            ("ES_JAVA_OPTS".into(), HEAP.into()),
        ]),
        directory: place.folder.clone(),
        user_id,
        pid_file: Some(pid_file),
    }
}

/// Unpacks with the JDK's own `jar`, which is there wherever the server can run; it does not keep execute bits.
fn unpack(java: &Java, place: &Place) -> Result<PathBuf> {
    let archives = provision::artefact("elasticsearch", COORDINATES)?;
    let archive = fs::read_dir(&archives)?.next().context("the cache folder holds no distribution")??.path();
    let status = Command::new(java.program("jar"))
        .args(["--extract", "--file"])
        .arg(&archive)
        .current_dir(&place.folder)
        .status()
        .context("cannot run jar: install a JDK, not only a Java runtime")?;
    ensure!(status.success(), "jar could not unpack {}: {status}", archive.display());
    let unpacked = fs::read_dir(&place.folder)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.join("bin/elasticsearch").is_file())
        .context("the distribution has no bin/elasticsearch")?;
    for program in fs::read_dir(unpacked.join("bin"))? {
        fs::set_permissions(program?.path(), fs::Permissions::from_mode(0o755))?;
    }
    Ok(unpacked)
}

/// The stock options (G1, touching every page at start) would take 750 MB instead of 290.
/// Requests are bounded lower than by default, so that tests meet the limit with little.
fn write_config(place: &Place, node: &Node, security: &str) -> Result<()> {
    let (folder, Node { http, transport, .. }) = (&place.folder, node);
    let config = format!(
        "cluster.name: sawlog-test
node.name: one
path.data: {data}
path.logs: {logs}
network.host: 127.0.0.1
http.port: {http}
http.max_content_length: 8mb
transport.port: {transport}
discovery.type: single-node
node.processors: 2
cluster.routing.allocation.disk.threshold_enabled: false
{security}",
        data = folder.join("data").display(),
        logs = folder.join("logs").display()
    );
    fs::write(folder.join("config/elasticsearch.yml"), config)?;
    let options = "-XX:+UseSerialGC
-XX:TieredStopAtLevel=1
-XX:-AlwaysPreTouch
-Djava.io.tmpdir=${ES_TMPDIR}
-Dorg.apache.lucene.store.MMapDirectory.sharedArenaMaxPermits=1
";
    fs::write(folder.join("config/jvm.options"), options)?;
    Ok(())
}

/// Hands what the node writes to another user; the unpacked distribution stays ours and can be read by all.
fn give_to(id: u32, folder: &Path) -> Result<()> {
    let give =
        |path: &Path| chown(path, Some(id), Some(id)).with_context(|| format!("cannot give {} away", path.display()));
    for name in [".", "data", "logs", "tmp", "config"] {
        give(&folder.join(name))?;
    }
    for entry in fs::read_dir(folder.join("config"))? {
        give(&entry?.path())?;
    }
    Ok(())
}
