//! What reaches out of the process beside components: telemetry that is pushed, the API over TLS, and an end within its grace
//! whatever the other sides do.
#![allow(clippy::unwrap_used, missing_docs)]

mod operator;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use operator::collector::{Collector, Field, field, text};
use operator::{Agent, Node};
use sawlog_settings::connection::TlsServer;
use serde_json::Value;

const LINES: u64 = 500;

fn node(sections: impl FnOnce(&str) -> String) -> Node {
    Node::of(|here| {
        format!(
            "version: 1\nagent: {{ id: operated }}\ndata_dir: {here}/data\n{sections}\
             sources:\n  app: {{ type: file, include: [{here}/logs/*.log] }}\n\
             sinks:\n  out: {{ type: file, inputs: [app], path: {here}/out }}\n",
            sections = sections(here)
        )
    })
}

fn delivered(node: &Node) -> u64 {
    let Ok(ledger) = node.verb(&["loss", "--format", "json"]) else { return 0 };
    let ledger: Value = serde_json::from_str(&ledger).unwrap();
    let lines = ledger["lines"].as_array().unwrap().iter();
    lines.filter(|line| line["sink"] == "out").map(|line| line["delivered"].as_u64().unwrap()).sum()
}

/// Values of the metric `name` in a push whose attributes hold all of `wanted`.
fn points(push: &[u8], name: &str, wanted: &[(&str, &str)]) -> Vec<f64> {
    let metrics = field(push, 1).flat_map(|resource| field(resource, 2)).flat_map(|scope| field(scope, 2));
    let named = metrics.filter(|metric| text(metric, 1) == name);
    // A gauge's points are in field 5, a sum's in field 7.
    let points = named.flat_map(|metric| field(metric, 5).chain(field(metric, 7))).flat_map(|data| field(data, 1));
    let is_wanted = |point: &&[u8]| {
        let attributes: Vec<_> = field(point, 7).map(|pair| (text(pair, 1), text_value(pair))).collect();
        wanted.iter().all(|(key, value)| attributes.contains(&((*key).to_owned(), (*value).to_owned())))
    };
    points.filter(is_wanted).map(|point| Field::double(point, 4).unwrap()).collect()
}

fn text_value(pair: &[u8]) -> String {
    field(pair, 2).map(|value| text(value, 1)).collect()
}

/// Records that the spans called `deliver batch` say were delivered to `out`.
fn traced_records(push: &[u8]) -> u64 {
    let spans = field(push, 1).flat_map(|resource| field(resource, 2)).flat_map(|scope| field(scope, 2));
    let attributes = |span: &[u8]| field(span, 9).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let own = spans.filter(|span| text(span, 5) == "deliver batch").map(attributes);
    let to_out = own.filter(|pairs| pairs.iter().any(|pair| text(pair, 1) == "sink" && text_value(pair) == "out"));
    let records = to_out.flatten().filter(|pair| text(pair, 1) == "records");
    records.map(|pair| field(&pair, 2).filter_map(|value| Field::varint(value, 3)).sum::<u64>()).sum()
}

#[test]
fn metrics_and_traces_are_pushed_and_say_what_the_ledger_says() {
    let collector = Collector::start();
    let to = collector.address.clone();
    let node = node(|_| {
        format!(
            "api: {{ listen: 127.0.0.1:0 }}\ntelemetry: {{ metrics: 127.0.0.1:0, \
             otlp: {{ endpoint: \"http://{to}\", traces: 1.0, metrics_interval: 1s }} }}\n"
        )
    });
    // What is delivered while it still starts is in no trace.
    let mut agent = node.start();
    node.write_lines(LINES);
    agent.wait_until(|| delivered(&node) == LINES);
    // What was not pushed yet is pushed at the end.
    agent.terminate();
    let metrics = collector.received("/v1/metrics");
    let labels = [("sink", "out"), ("source", "app"), ("outcome", "delivered")];
    let last = metrics.iter().rev().find_map(|push| points(push, "sawlog.ledger.records", &labels).first().copied());
    assert_eq!(last, Some(LINES as f64), "{} pushes", metrics.len());
    let traced: u64 = collector.received("/v1/traces").iter().map(|push| traced_records(push)).sum();
    assert_eq!(traced, LINES);
}

#[test]
fn a_push_goes_by_the_proxy() {
    let proxy = Collector::start();
    let by = proxy.address.clone();
    let node = node(|_| {
        format!(
            "api: {{ listen: 127.0.0.1:0 }}\ntelemetry: {{ metrics: 127.0.0.1:0, \
             otlp: {{ endpoint: \"http://collector.invalid:4318\", metrics_interval: 1s, proxy: \"http://{by}\" }} }}\n"
        )
    });
    let mut agent = node.start();
    agent.wait_until(|| !proxy.received("http://collector.invalid:4318/v1/metrics").is_empty());
    agent.terminate();
}

/// An authority with PEM files of what it signed.
struct Authority {
    folder: PathBuf,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        std::fs::write(folder.join(format!("{name}.pem")), &pem).unwrap();
        Self { folder: folder.to_owned(), issuer: rcgen::Issuer::new(params, key), pem }
    }

    /// Writes `name.pem` and `name.key` of a certificate for 127.0.0.1; both as one PEM.
    fn sign(&self, name: &str) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let (certificate, key) = (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem());
        std::fs::write(self.folder.join(format!("{name}.pem")), &certificate).unwrap();
        std::fs::write(self.folder.join(format!("{name}.key")), &key).unwrap();
        format!("{certificate}\n{key}")
    }
}

/// The status of an answer of the API to a client that trusts `authority` alone, or why there is none.
fn ask(agent: &Agent, authority: &Authority, own: Option<&str>) -> Result<u16, String> {
    let trusted = reqwest::Certificate::from_pem(authority.pem.as_bytes()).unwrap();
    let mut client = reqwest::Client::builder().tls_certs_only([trusted]).no_proxy();
    if let Some(own) = own {
        client = client.identity(reqwest::Identity::from_pem(own.as_bytes()).unwrap());
    }
    let url = format!("https://{}/v1/status", agent.address("api.listen").unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sent = runtime.block_on(client.build().unwrap().get(url).send());
    sent.map(|answer| answer.status().as_u16()).map_err(|error| format!("{error:?}"))
}

#[test]
fn the_api_speaks_tls_asks_for_certificates_and_reads_its_own_again() {
    let folder = tempfile::tempdir().unwrap();
    let (old, clients) = (Authority::new(folder.path(), "old"), Authority::new(folder.path(), "clients"));
    old.sign("server");
    let own = clients.sign("client");
    let at = folder.path().display().to_string();
    let node = node(|_| {
        format!(
            "api: {{ listen: 127.0.0.1:0, tls: {{ cert: {at}/server.pem, key: {at}/server.key, client_ca: {at}/clients.pem }} }}\n\
             telemetry: {{ metrics: 127.0.0.1:0 }}\n"
        )
    });
    let mut agent = node.start();
    assert_eq!(ask(&agent, &old, Some(&own)), Ok(200));
    assert!(ask(&agent, &old, None).is_err(), "a client without a certificate");
    assert!(ask(&agent, &old, Some(&old.sign("stranger"))).is_err(), "a client of another authority");

    // The same files with other contents.
    let new = Authority::new(folder.path(), "new");
    new.sign("server");
    assert!(ask(&agent, &new, Some(&own)).is_err(), "nothing was reloaded yet");
    assert!(!node.verb(&["reload"]).unwrap().contains("after a restart"));
    assert_eq!(ask(&agent, &new, Some(&own)), Ok(200), "the exchanged certificate");
    assert!(ask(&agent, &old, Some(&own)).is_err(), "the one before is still shown");

    std::fs::write(folder.path().join("server.pem"), "no certificate").unwrap();
    let refused = node.verb(&["reload"]).unwrap_err();
    assert!(refused.contains("`api`") && refused.contains("server.pem"), "{refused}");
    assert_eq!(ask(&agent, &new, Some(&own)), Ok(200), "the one before goes on");

    new.sign("server");
    node.edit(|config| config.replace(&format!(", client_ca: {at}/clients.pem"), ", client_ca: null"));
    let said = node.verb(&["reload"]).unwrap();
    assert!(said.contains("in effect after a restart only: api.tls"), "{said}");
    assert!(ask(&agent, &new, None).is_err(), "clients must show one until the restart");
    agent.terminate();
}

/// A server that asks for a certificate, notes which it is shown, and hangs up.
struct Doorkeeper {
    url: String,
    shown: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Doorkeeper {
    fn start(at: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let file = |name: &str| at.join(name);
        let (cert, key, client_ca) = (file("server.pem"), file("server.key"), Some(file("clients.pem")));
        let acceptor = sawlog_sources::http::acceptor(&TlsServer { cert, key, client_ca }).unwrap();
        let shown: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let noted = shown.clone();
        std::thread::spawn(move || {
            runtime.block_on(async {
                while let Ok((client, _)) = listener.accept().await {
                    let Ok(client) = acceptor.accept(client).await else { continue };
                    let certificates = client.get_ref().1.peer_certificates().unwrap();
                    noted.lock().unwrap().push(certificates[0].to_vec());
                }
            });
        });
        Self { url, shown }
    }

    /// The last certificate that was shown is the one in this PEM.
    fn knows(&self, pem: &str) -> bool {
        let shown = self.shown.lock().unwrap();
        shown.last().is_some_and(|last| pem.replace(['\r', '\n'], "").contains(&STANDARD.encode(last)))
    }
}

#[test]
fn whatever_is_sent_shows_the_certificate_that_lies_in_the_same_files_at_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let (servers, clients) = (Authority::new(folder.path(), "servers"), Authority::new(folder.path(), "clients"));
    servers.sign("server");
    let first = clients.sign("client");
    let doors = [(); 4].map(|()| Doorkeeper::start(folder.path()));
    let at = folder.path().display();
    let tls = format!("tls: {{ ca: {at}/servers.pem, cert: {at}/client.pem, key: {at}/client.key }}");
    let bucket = |door: &Doorkeeper| {
        let keys = "credentials: { access_key_id: k, secret_access_key: s }";
        format!("bucket: logs, endpoint: \"{}\", path_style: true, {keys}, {tls}", door.url)
    };
    let node = node(|_| {
        format!(
            "api: {{ listen: 127.0.0.1:0 }}\nshutdown: {{ grace: 1s }}\n\
             telemetry: {{ metrics: 127.0.0.1:0, otlp: {{ endpoint: \"{}\", metrics_interval: 1s, {tls} }} }}\n\
             checkpoint: {{ interval: 200ms }}\n",
            doors[2].url
        )
    });
    node.write_lines(LINES);
    let mut agent = node.start();
    agent.wait_until(|| delivered(&node) == LINES);
    agent.terminate();
    // Its directory is not empty: it need not wait for what the backup says.
    let backup = format!("interval: 200ms, backup: {{ type: s3, every: 1s, {} }}", bucket(&doors[3]));
    let common = "inputs: [app], retry: { initial: 50ms, max: 100ms }";
    let sinks = format!(
        "  search: {{ type: elasticsearch, {common}, {tls}, endpoints: [\"{}\"], index: logs, all: true }}\n  \
         bucket: {{ type: s3, {common}, {}, prefix: logs }}\n",
        doors[0].url,
        bucket(&doors[1])
    );
    node.edit(|config| config.replace("interval: 200ms", &backup) + &sinks);
    let mut agent = node.start();
    agent.wait_until(|| doors.iter().all(|door| door.knows(&first)));
    let second = clients.sign("client");
    std::thread::sleep(Duration::from_millis(300));
    assert!(doors.iter().all(|door| door.knows(&first)), "nothing was reloaded yet");
    agent.hang_up();
    agent.wait_until(|| doors.iter().all(|door| door.knows(&second)));
    for door in &doors {
        let earlier = door.shown.lock().unwrap().len();
        agent.wait_until(|| door.shown.lock().unwrap().len() > earlier + 1);
        assert!(door.knows(&second), "the certificate before is still shown");
    }
    agent.terminate();
}

#[test]
fn a_registry_is_shown_the_certificate_that_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let (servers, clients) = (Authority::new(folder.path(), "servers"), Authority::new(folder.path(), "clients"));
    servers.sign("server");
    let own = clients.sign("client");
    let door = Doorkeeper::start(folder.path());
    let at = |name: &str| folder.path().join(name).display().to_string();
    let reference = format!("{}/plugin:1", door.url.trim_start_matches("https://"));
    let node = node(|_| String::new());
    let pull = |cert: &str, key: &str| {
        let to = at("plugin.wasm");
        let ca = at("servers.pem");
        let asked = [
            "plugin",
            "pull",
            &reference,
            "-o",
            &to,
            "--allow-tag",
            "--ca",
            &ca,
            "--cert",
            &at(cert),
            "--key",
            &at(key),
        ];
        node.verb(&asked).unwrap_err()
    };
    let hung_up = pull("client.pem", "client.key");
    assert!(door.knows(&own), "{hung_up}");
    let refused = pull("client.pem", "absent.key");
    assert!(refused.contains("absent.key") && refused.contains("give PEM files"), "{refused}");
}

#[test]
fn a_reload_moves_backups_and_names_what_takes_a_restart() {
    let node = node(|here| {
        format!(
            "api: {{ listen: 127.0.0.1:0 }}\ntelemetry: {{ metrics: 127.0.0.1:0 }}\n\
             checkpoint: {{ interval: 200ms, backup: {{ type: folder, path: {here}/first, every: 1s }} }}\n"
        )
    });
    node.write_lines(LINES);
    let mut agent = node.start();
    let copies = |name: &str| walk(&node.folder().join(name));
    agent.wait_until(|| copies("first") > 0);
    node.edit(|config| {
        config.replace("/first", "/second").replace("data_dir", "on_missing_epoch: accept_skew\ndata_dir")
    });
    let said = node.verb(&["reload"]).unwrap();
    assert!(said.contains("in effect after a restart only: on_missing_epoch\n"), "{said}");
    agent.wait_until(|| copies("second") > 0);
    node.edit(|config| config.replace("backup: {", "keep: 3 } #"));
    let said = node.verb(&["reload"]).unwrap();
    assert!(said.contains("checkpoint.keep, checkpoint.backup"), "{said}");
    agent.terminate();
}

/// Files below a folder.
fn walk(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.map(|entry| entry.unwrap().path()).map(|path| if path.is_dir() { walk(&path) } else { 1 }).sum()
}

/// Everything that the agent talks to refuses or hangs: it ends within its grace, and not long after it.
#[test]
fn it_ends_within_its_grace_whatever_the_other_sides_do() {
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hangs = hanging.local_addr().unwrap();
    let node = node(|_| {
        "api: { listen: 127.0.0.1:0 }\ntelemetry: { metrics: 127.0.0.1:0 }\nshutdown: { grace: 2s }\ncheckpoint: { interval: 200ms }\n"
            .to_owned()
    });
    node.write_lines(LINES);
    let mut agent = node.start();
    agent.wait_until(|| delivered(&node) == LINES);
    agent.terminate();

    // Its directory is not empty: it need not wait for a backup, nor for what sinks hold.
    let bucket = |endpoint: &str| {
        format!(
            "bucket: logs, endpoint: \"http://{endpoint}\", path_style: true, credentials: {{ access_key_id: k, secret_access_key: s }}"
        )
    };
    let (refused, hung) = (bucket("127.0.0.1:1"), bucket(&hangs.to_string()));
    let dead = format!(
        "  refusing: {{ type: s3, inputs: [app], prefix: logs, {refused} }}\n  hanging: {{ type: s3, inputs: [app], prefix: logs, {hung} }}\n  \
         searching: {{ type: elasticsearch, inputs: [app], endpoints: [\"http://{hangs}\"], index: logs, all: true }}\n"
    );
    let otlp =
        format!("metrics: 127.0.0.1:0, otlp: {{ endpoint: \"http://{hangs}\", traces: 1.0, metrics_interval: 1s }}");
    node.edit(|config| {
        let config =
            config.replace("interval: 200ms", &format!("interval: 200ms, backup: {{ type: s3, every: 1s, {hung} }}"));
        config.replace("metrics: 127.0.0.1:0", &otlp) + &dead
    });
    let mut agent = node.start();
    let mut log = std::fs::File::options().append(true).open(node.folder().join("logs/app.log")).unwrap();
    log.write_all(b"one more\n").unwrap();
    agent.wait_until(|| delivered(&node) == LINES + 1);
    // A backup and a push are under way.
    std::thread::sleep(Duration::from_millis(1_500));
    let began = Instant::now();
    agent.terminate();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}:\n{}", began.elapsed(), agent.log());
    let told = agent.log();
    assert!(
        told.contains("the last checkpoint is not backed up") && told.contains("have not been taken in time"),
        "{told}"
    );
    assert!(told.contains("some sinks have not taken everything yet"), "{told}");
}

/// An empty directory, and nobody says whether there is a backup of it.
#[test]
fn sigterm_is_heard_while_it_waits_for_a_backup_at_its_start() {
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hangs = hanging.local_addr().unwrap();
    let node = node(|_| {
        format!(
            "api: {{ listen: 127.0.0.1:0 }}\ntelemetry: {{ metrics: 127.0.0.1:0 }}\nshutdown: {{ grace: 1s }}\n\
             checkpoint: {{ backup: {{ type: s3, bucket: logs, endpoint: \"http://{hangs}\", path_style: true, \
             credentials: {{ access_key_id: k, secret_access_key: s }} }} }}\n"
        )
    });
    let mut agent = node.start_without_waiting();
    // It has asked the store, which does not answer.
    let held = hanging.accept().unwrap();
    let began = Instant::now();
    agent.terminate();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}:\n{}", began.elapsed(), agent.log());
    assert!(agent.log().contains("told to end before everything had started"), "{}", agent.log());
    drop(held);
}
