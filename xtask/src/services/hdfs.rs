//! A NameNode and a DataNode, each a JVM of its own, on the plain jars of Hadoop.
//!
//! The jars lack the folders of the web interface, which must exist on the class path but may be empty.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::java::{FLAGS, Java};
use super::state::{CommandLine, Ready, ServiceProcess};
use super::{Layout, Place, guarded, launch, ports, provision};

const NAME_NODE: &str = "org.apache.hadoop.hdfs.server.namenode.NameNode";
const DATA_NODE: &str = "org.apache.hadoop.hdfs.server.datanode.DataNode";

/// Without it the nodes log nothing.
const LOGGING: &str = "log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{ISO8601} %p %c{1}: %m%n
";

/// Fetches the jars and formats a NameNode's disk.
pub fn provision() -> Result<()> {
    formatted().map(|_| ())
}

/// The folder `name/current` of a NameNode that was formatted once: it names neither ports nor paths, so every run
/// starts from a copy and spares a JVM.
fn formatted() -> Result<PathBuf> {
    let jars = provision::jars("hdfs")?;
    let jars_name = jars.file_name().and_then(|name| name.to_str()).context("the cache folder's path is not UTF-8")?;
    let folder = provision::once(&format!("{jars_name}-formatted"), |new| {
        guarded(|run| {
            let place = Place { folder: run.file().folder().to_path_buf(), file: run.file().clone() };
            write_config(&place.folder, ports::free()?, ports::free()?)?;
            let format = command(&place, NAME_NODE, &["-format", "-force", "-nonInteractive"])?;
            launch::run_to_end(&format, &place.log("hdfs-format"), &place.file)?;
            provision::copy_files(&place.folder.join("name/current"), new)
        })
    })?;
    Ok(folder)
}

/// Lays out both nodes on fresh disks.
pub fn lay_out(place: &Place) -> Result<Layout> {
    let (rpc, http) = (ports::free()?, ports::free()?);
    write_config(&place.folder, rpc, http)?;
    provision::copy_files(&formatted()?, &place.folder.join("name/current"))?;
    let jmx = format!("http://127.0.0.1:{http}/jmx?qry=Hadoop:service=NameNode,name=");
    let bean = |name: &str, texts: &[&str]| Ready::HttpHas {
        url: format!("{jmx}{name}"),
        texts: texts.iter().map(ToString::to_string).collect(),
    };
    let name_node_ready = vec![bean("NameNodeInfo", &["\"ClusterId\""])];
    // A restarted DataNode counts as alive by its past life for some seconds, so its own log must speak first.
    let data_node_ready = vec![
        Ready::LogHas("successfully registered with NN".into()),
        bean("FSNamesystemState", &["\"NumLiveDataNodes\" : 1"]),
        bean("NameNodeInfo", &["\"Safemode\" : \"\""]),
    ];
    Ok(Layout {
        processes: vec![
            node(place, "hdfs-namenode", NAME_NODE, name_node_ready)?,
            node(place, "hdfs-datanode", DATA_NODE, data_node_ready)?,
        ],
        endpoints: vec![
            ("SAWLOG_TEST_HDFS", format!("hdfs://127.0.0.1:{rpc}")),
            ("SAWLOG_TEST_WEBHDFS", format!("http://127.0.0.1:{http}/webhdfs/v1")),
        ],
    })
}

fn node(place: &Place, name: &str, main: &str, ready: Vec<Ready>) -> Result<ServiceProcess> {
    let command = command(place, main, &[])?;
    Ok(ServiceProcess {
        name: name.into(),
        service: "hdfs".into(),
        command,
        ready,
        log: place.log(name),
        identity: None,
    })
}

fn command(place: &Place, main: &str, arguments: &[&str]) -> Result<CommandLine> {
    let class_path =
        format!("{}:{}", place.folder.join("conf").display(), provision::class_path(&provision::jars("hdfs")?)?);
    let mut all: Vec<String> = FLAGS.iter().map(ToString::to_string).collect();
    all.extend(["-Xms64m", "-Xmx192m", "-Djava.net.preferIPv4Stack=true"].map(String::from));
    // Without this every call of WebHDFS is answered 500.
    all.extend(["--add-opens=java.base/java.lang=ALL-UNNAMED", "-cp", &class_path, main].map(String::from));
    all.extend(arguments.iter().map(ToString::to_string));
    Ok(CommandLine {
        program: Java::find()?.program("java"),
        arguments: all,
        environment: BTreeMap::new(),
        directory: place.folder.clone(),
        user_id: None,
        pid_file: None,
    })
}

/// Small blocks let tests cross a block's border cheaply; a killed DataNode is noticed after 14 s, not 10 minutes.
fn write_config(folder: &Path, rpc: u16, http: u16) -> Result<()> {
    let conf = folder.join("conf");
    for web in ["hdfs", "datanode", "static"] {
        fs::create_dir_all(conf.join("webapps").join(web))?;
    }
    fs::write(conf.join("log4j.properties"), LOGGING)?;
    let url = format!("hdfs://127.0.0.1:{rpc}");
    fs::write(conf.join("core-site.xml"), site(&[("fs.defaultFS", &url)]))?;
    let http = format!("127.0.0.1:{http}");
    let (data, data_http, data_ipc) = (loopback()?, loopback()?, loopback()?);
    let name_folder = format!("file://{}", folder.join("name").display());
    let data_folder = format!("file://{}", folder.join("data").display());
    let site = site(&[
        ("dfs.replication", "1"),
        ("dfs.namenode.name.dir", &name_folder),
        ("dfs.datanode.data.dir", &data_folder),
        ("dfs.namenode.http-address", &http),
        ("dfs.datanode.address", &data),
        ("dfs.datanode.http.address", &data_http),
        ("dfs.datanode.ipc.address", &data_ipc),
        ("dfs.datanode.hostname", "127.0.0.1"),
        ("dfs.namenode.datanode.registration.ip-hostname-check", "false"),
        ("dfs.permissions.enabled", "false"),
        ("dfs.namenode.safemode.extension", "0"),
        ("dfs.heartbeat.interval", "1"),
        ("dfs.namenode.heartbeat.recheck-interval", "2000"),
        ("dfs.client.block.write.replace-datanode-on-failure.policy", "NEVER"),
        ("dfs.blocksize", "8388608"),
    ]);
    fs::write(conf.join("hdfs-site.xml"), site)?;
    Ok(())
}

fn loopback() -> Result<String> {
    Ok(format!("127.0.0.1:{}", ports::free()?))
}

fn site(properties: &[(&str, &str)]) -> String {
    let rows: Vec<String> = properties
        .iter()
        .map(|(name, value)| format!("  <property><name>{name}</name><value>{value}</value></property>\n"))
        .collect();
    format!("<configuration>\n{}</configuration>\n", rows.concat())
}
