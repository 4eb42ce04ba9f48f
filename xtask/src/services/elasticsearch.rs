//! One Elasticsearch node, from the distribution that its own integration tests use.
//!
//! The server refuses to run as root; then it gets the user id of nobody, and all its files lie in the run folder,
//! which that user can enter. Its module list is short: no ILM, no ingest, `GET /` is 405.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::java::Java;
use super::state::{CommandLine, Ready, ServiceProcess};
use super::{Layout, Place, ports, provision};

const COORDINATES: &str = "org.elasticsearch.distribution.integ-test-zip:elasticsearch:8.19.21:zip";
const HEAP: &str = "-Xms256m -Xmx512m";
const NOBODY: u32 = 65534;

/// Fetches the distribution.
pub fn provision() -> Result<()> {
    provision::artefact("elasticsearch", COORDINATES).map(|_| ())
}

/// Unpacks the distribution and configures one node.
pub fn lay_out(place: &Place) -> Result<Layout> {
    let java = Java::find()?;
    let home = unpack(&java, place)?;
    for folder in ["data", "logs", "tmp", "config/jvm.options.d"] {
        fs::create_dir_all(place.folder.join(folder))?;
    }
    let (http, transport) = (ports::free()?, ports::free()?);
    write_config(place, http, transport)?;
    fs::copy(home.join("config/log4j2.properties"), place.folder.join("config/log4j2.properties"))?;
    let user_id = rustix::process::geteuid().is_root().then_some(NOBODY);
    if let Some(id) = user_id {
        give_to(id, &place.folder)?;
    }
    let ready = vec![Ready::HttpHas {
        url: format!("http://127.0.0.1:{http}/_cluster/health?wait_for_status=yellow&timeout=1s"),
        texts: vec!["\"timed_out\":false".into()],
    }];
    Ok(Layout {
        processes: vec![ServiceProcess {
            name: "elasticsearch".into(),
            service: "elasticsearch".into(),
            command: command(&java, &home, place, user_id),
            ready,
            log: place.log("elasticsearch"),
            identity: None,
        }],
        endpoints: vec![("SAWLOG_TEST_ELASTICSEARCH", format!("http://127.0.0.1:{http}"))],
    })
}

fn command(java: &Java, home: &Path, place: &Place, user_id: Option<u32>) -> CommandLine {
    let text = |path: PathBuf| path.display().to_string();
    let pid_file = place.folder.join("data/elasticsearch.pid");
    CommandLine {
        program: home.join("bin/elasticsearch"),
        arguments: vec!["-d".into(), "-p".into(), text(pid_file.clone())],
        environment: BTreeMap::from([
            ("HOME".into(), text(place.folder.clone())),
            ("ES_TMPDIR".into(), text(place.folder.join("tmp"))),
            ("ES_PATH_CONF".into(), text(place.folder.join("config"))),
            ("ES_JAVA_HOME".into(), text(java.home.clone())),
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
fn write_config(place: &Place, http: u16, transport: u16) -> Result<()> {
    let folder = &place.folder;
    let config = format!(
        "cluster.name: sawlog-test
node.name: one
path.data: {data}
path.logs: {logs}
network.host: 127.0.0.1
http.port: {http}
transport.port: {transport}
discovery.type: single-node
node.processors: 2
cluster.routing.allocation.disk.threshold_enabled: false
xpack.security.enabled: false
",
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
    for name in [
        ".",
        "data",
        "logs",
        "tmp",
        "config",
        "config/jvm.options.d",
        "config/elasticsearch.yml",
        "config/jvm.options",
        "config/log4j2.properties",
    ] {
        let path = folder.join(name);
        chown(&path, Some(id), Some(id)).with_context(|| format!("cannot give {} to user {id}", path.display()))?;
    }
    Ok(())
}
