//! The reference registry of OCI artifacts, twice: plain, and behind TLS and a password.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use super::certificates;
use super::java::Java;
use super::state::{CommandLine, Ready, ServiceProcess};
use super::{Layout, Place, ports, provision};

const USER: &str = "sawlog";
const PASSWORD: &str = "sawlog-test-password";
/// The password as the server keeps it: bcrypt of four rounds, for it has nothing to protect.
const PASSWORD_HASH: &str = "$2y$04$abcdefghijklmnopqrstuuZJuUs730c9FVDfR6Mt9t.n7zim/VLFm";

fn program() -> Result<PathBuf> {
    provision::go_program("registry", "github.com/distribution/distribution/v3/cmd/registry")
}

/// Builds the server.
pub fn provision() -> Result<()> {
    program().map(|_| ())
}

/// Lays out both, each with empty data.
pub fn lay_out(place: &Place) -> Result<Layout> {
    let certificates = certificates::made(&Java::find()?)?;
    let file = |name: &str| certificates.folder.join(name).display().to_string();
    let passwords = place.folder.join("passwords");
    fs::write(&passwords, format!("{USER}:{PASSWORD_HASH}\n"))?;
    let guarded = format!(
        "  tls:\n    certificate: {}\n    key: {}\nauth:\n  htpasswd:\n    realm: sawlog\n    path: {}\n",
        file("server.pem"),
        file("server-key.pem"),
        passwords.display()
    );
    let (plain, secure) = (format!("127.0.0.1:{}", ports::free()?), format!("127.0.0.1:{}", ports::free()?));
    let ready = Ready::HttpHas { url: format!("http://{plain}/v2/"), texts: Vec::new() };
    let processes = vec![
        process(place, "registry", &plain, "", ready)?,
        process(place, "registry-secure", &secure, &guarded, Ready::Accepts(secure.clone()))?,
    ];
    let endpoints = vec![
        ("SAWLOG_TEST_REGISTRY", plain),
        ("SAWLOG_TEST_REGISTRY_TLS", secure),
        ("SAWLOG_TEST_REGISTRY_TLS_CA", file("authority.pem")),
        ("SAWLOG_TEST_REGISTRY_TLS_USER", USER.to_string()),
        ("SAWLOG_TEST_REGISTRY_TLS_PASSWORD", PASSWORD.to_string()),
    ];
    Ok(Layout { processes, endpoints })
}

fn process(place: &Place, name: &str, address: &str, more: &str, ready: Ready) -> Result<ServiceProcess> {
    let (data, config) = (place.folder.join(format!("{name}-data")), place.folder.join(format!("{name}.yaml")));
    fs::create_dir_all(&data)?;
    let text = format!(
        "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n  secret: {name}\n{more}",
        data.display()
    );
    fs::write(&config, text)?;
    let command = CommandLine {
        program: program()?,
        arguments: vec!["serve".into(), config.display().to_string()],
        environment: BTreeMap::from([("OTEL_TRACES_EXPORTER".into(), "none".into())]),
        directory: place.folder.clone(),
        user_id: None,
        pid_file: None,
    };
    Ok(ServiceProcess {
        name: name.into(),
        service: "registry".into(),
        command,
        ready: vec![ready],
        log: place.log(name),
        identity: None,
    })
}
