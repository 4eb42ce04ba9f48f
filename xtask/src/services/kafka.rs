//! One Kafka broker that is its own controller.
//!
//! Class data sharing and a formatted disk are made once and kept in the cache folder: together they spare half of
//! the start.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::certificates::{self, STORE_PASSWORD};
use super::java::{FLAGS, Java};
use super::state::{CommandLine, Ready, ServiceProcess};
use super::{Layout, Place, guarded, launch, ports, provision};

const CLUSTER_ID: &str = "c2F3bG9nLXRlc3Qta2Fma2";
/// Users of the listeners that ask who comes: one with all rights, one with none.
const USERS: [(&str, &str); 2] = [("admin", "admin-secret"), ("weak", "weak-secret")];
const SHUTDOWN_SECONDS_MAX: u64 = 60;

/// Fetches the broker and trains its class data archive.
pub fn provision() -> Result<()> {
    trained().map(|_| ())
}

/// Lays out a broker on a fresh disk.
pub fn lay_out(place: &Place) -> Result<Layout> {
    let trained = trained()?;
    let data = place.folder.join("data");
    provision::copy_files(&trained.join("formatted"), &data)?;
    let ports = Ports::free()?;
    let config = write_config(&place.folder, &ports)?;
    let archive = format!("-XX:SharedArchiveFile={}", trained.join("classes.jsa").display());
    let command = java_command(&archive, "kafka.Kafka", &[&config], &place.folder)?;
    Ok(Layout {
        processes: vec![broker(command, place.log("kafka"))],
        endpoints: vec![
            ("SAWLOG_TEST_KAFKA", format!("127.0.0.1:{}", ports.plain)),
            ("SAWLOG_TEST_KAFKA_SASL", format!("127.0.0.1:{}", ports.sasl)),
            ("SAWLOG_TEST_KAFKA_SCRAM", format!("127.0.0.1:{}", ports.scram)),
            ("SAWLOG_TEST_KAFKA_TLS", format!("127.0.0.1:{}", ports.tls)),
            ("SAWLOG_TEST_KAFKA_WIRE", format!("127.0.0.1:{}", ports.wire)),
            ("SAWLOG_TEST_KAFKA_BEHIND_WIRE", format!("127.0.0.1:{}", ports.behind_wire)),
            ("SAWLOG_TEST_KAFKA_CERTIFICATES", certificates::made(&Java::find()?)?.folder.display().to_string()),
        ],
    })
}

/// Where a broker listens.
struct Ports {
    /// Everybody may come.
    plain: u16,
    /// SASL/PLAIN without TLS.
    sasl: u16,
    /// TLS and SCRAM.
    scram: u16,
    /// TLS with a client certificate.
    tls: u16,
    /// Nobody listens here but a test that wants to stand between the broker and its clients.
    wire: u16,
    /// Who comes here is told to go on at `wire`.
    behind_wire: u16,
}

impl Ports {
    fn free() -> Result<Self> {
        Ok(Self {
            plain: ports::free()?,
            sasl: ports::free()?,
            scram: ports::free()?,
            tls: ports::free()?,
            wire: ports::free()?,
            behind_wire: ports::free()?,
        })
    }
}

fn broker(command: CommandLine, log: PathBuf) -> ServiceProcess {
    let ready = vec![Ready::LogHas("Kafka Server started".into())];
    ServiceProcess { name: "kafka".into(), service: "kafka".into(), command, ready, log, identity: None }
}

fn java_command(flag: &str, main: &str, arguments: &[&str], folder: &Path) -> Result<CommandLine> {
    let jars = provision::jars("kafka")?;
    let mut all: Vec<String> = FLAGS.iter().map(ToString::to_string).collect();
    all.extend(["-Xms128m", "-Xmx256m", flag, "-cp", &provision::class_path(&jars)?, main].map(String::from));
    all.extend(arguments.iter().map(ToString::to_string));
    Ok(CommandLine {
        program: Java::find()?.program("java"),
        arguments: all,
        environment: BTreeMap::new(),
        directory: folder.to_path_buf(),
        user_id: None,
        pid_file: None,
    })
}

/// Single partitions of the internal topics keep the first transaction quick; a small cleaner buffer allows the heap.
/// Topics are not made by accident: a test that names a missing one must notice. Whoever comes without a name may do all, so
/// that only tests of rights meet the other listeners.
fn write_config(folder: &Path, ports: &Ports) -> Result<String> {
    let Ports { plain, sasl, scram, tls, wire, behind_wire } = ports;
    let (controller, made) = (ports::free()?, certificates::made(&Java::find()?)?);
    let (server, authority) = (made.server.display(), made.authority.display());
    let users: String = USERS.iter().map(|(name, password)| format!(" user_{name}=\"{password}\"")).collect();
    let config = format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plain},SASL://127.0.0.1:{sasl},SCRAM://127.0.0.1:{scram},TLS://127.0.0.1:{tls},WIRE://127.0.0.1:{behind_wire},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL://127.0.0.1:{sasl},SCRAM://127.0.0.1:{scram},TLS://127.0.0.1:{tls},WIRE://127.0.0.1:{wire}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,SCRAM:SASL_SSL,TLS:SSL,WIRE:PLAINTEXT,CONTROLLER:PLAINTEXT
listener.name.sasl.sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required{users};
listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512
listener.name.scram.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.scram.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PKCS12
ssl.keystore.location={server}
ssl.keystore.password={STORE_PASSWORD}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
listener.name.tls.ssl.client.auth=required
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:admin;User:CN=client
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=2097152
",
        data = folder.join("data").display()
    );
    let path = folder.join("server.properties");
    fs::write(&path, config)?;
    Ok(path.to_str().context("the run folder's path is not UTF-8")?.to_string())
}

/// The folder with `classes.jsa` and `formatted/`, made by running the broker once.
fn trained() -> Result<PathBuf> {
    let jars = provision::jars("kafka")?;
    let jars_name = jars.file_name().and_then(|name| name.to_str()).context("the cache folder's path is not UTF-8")?;
    provision::once(&format!("{jars_name}-trained-2-{}", Java::find()?.version), train)
}

fn train(new: &Path) -> Result<()> {
    guarded(|run| {
        let (file, folder) = (run.file(), run.file().folder());
        let log = folder.join("kafka.log");
        let config = write_config(folder, &Ports::free()?)?;
        let scram = ["SCRAM-SHA-256", "SCRAM-SHA-512"].into_iter().flat_map(|mechanism| {
            USERS.map(|(name, password)| format!("{mechanism}=[name={name},password={password}]"))
        });
        let scram: Vec<String> = scram.flat_map(|user| ["--add-scram".to_string(), user]).collect();
        let mut format = vec!["format", "-t", CLUSTER_ID, "-c", &config];
        format.extend(scram.iter().map(String::as_str));
        let format = java_command("-Xshare:auto", "kafka.tools.StorageTool", &format, folder)?;
        launch::run_to_end(&format, &log, file)?;
        provision::copy_files(&folder.join("data"), &new.join("formatted"))?;
        let archive = format!("-XX:ArchiveClassesAtExit={}", new.join("classes.jsa").display());
        launch::start(file, &broker(java_command(&archive, "kafka.Kafka", &[&config], folder)?, log))?;
        run.signal("kafka", Signal::TERM)?;
        for process in file.named("kafka")? {
            let identity = process.identity.context("the broker was not noted")?;
            identity.wait_gone(Duration::from_secs(SHUTDOWN_SECONDS_MAX))?;
        }
        ensure!(new.join("classes.jsa").is_file(), "the broker left no class data archive when it ended");
        Ok(())
    })
}
