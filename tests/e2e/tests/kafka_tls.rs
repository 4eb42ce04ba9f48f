//! Kafka behind TLS: SCRAM over it, and client certificates. Source and sink of the real binary deliver through both across a kill;
//! what is wrong with a certificate or a password is said with what mends it.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::cell::{Plan, run_with};
use sawlog_e2e::feed::{Sender as _, Topic, plain};
use sawlog_e2e::shown::Committed;
use sawlog_e2e::trial::{Trial, none};
use sawlog_e2e::{read, service, unique};

/// The listeners of one broker and the folder with what a client needs.
struct Broker {
    plain: String,
    scram: String,
    mutual: String,
    certificates: String,
}

impl Broker {
    fn find(test: &str) -> Option<Self> {
        Some(Self {
            plain: service(test, "SAWLOG_TEST_KAFKA")?,
            scram: service(test, "SAWLOG_TEST_KAFKA_SCRAM")?,
            mutual: service(test, "SAWLOG_TEST_KAFKA_TLS")?,
            certificates: service(test, "SAWLOG_TEST_KAFKA_CERTIFICATES")?,
        })
    }

    /// Options of a connection by SCRAM.
    fn by_scram(&self, mechanism: &str, password: &str) -> String {
        let (brokers, ca) = (&self.scram, self.authority());
        format!(
            "brokers: [\"{brokers}\"], tls: {{ ca: {ca} }}, sasl: {{ mechanism: {mechanism}, username: admin, password: \"{password}\" }}"
        )
    }

    /// Options of a connection by a client certificate.
    fn by_certificate(&self, ca: &str) -> String {
        self.by_certificate_in(&self.certificates, ca)
    }

    /// The same with the client's own certificate in this folder.
    fn by_certificate_in(&self, folder: &str, ca: &str) -> String {
        let brokers = &self.mutual;
        format!(
            "brokers: [\"{brokers}\"], tls: {{ ca: {ca}, cert: {folder}/client.pem, key: {folder}/client-key.pem }}"
        )
    }

    fn authority(&self) -> String {
        format!("{}/authority.pem", self.certificates)
    }
}

fn sink(connection: &str, topic: &str, cursors: &str) -> String {
    format!(
        "{{ type: kafka, inputs: [parsed], {connection}, topic: {topic}, cursor_topic: {cursors}, batch: {{ age: 200ms }}, retry: {{ max: 1s }} }}"
    )
}

#[test]
fn scram_and_client_certificates_carry_every_row_once_across_kills() {
    let Some(broker) = Broker::find("kafka by TLS") else { return };
    for (source_mechanism, to_certificate) in [("SCRAM-SHA-256", true), ("SCRAM-SHA-512", false)] {
        let (from, to, cursors) = (unique("from"), unique("to"), unique("cursors"));
        read::make_topics(&broker.plain, &[(&from, 3, false), (&to, 3, false), (&cursors, 16, true)]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        std::fs::write(&password, "admin-secret").unwrap();
        let password = format!("${{file:{}}}", password.display());
        let (scram, certificate) =
            (broker.by_scram(source_mechanism, &password), broker.by_certificate(&broker.authority()));
        let (source, target) = if to_certificate { (scram, certificate) } else { (certificate, scram) };
        let config = format!(
            "version: 1\nagent: {{ id: e2e }}\ndata_dir: ./data\ncheckpoint: {{ interval: 1s }}\n\
             sources:\n  orders: {{ type: kafka, {source}, topics: [{from}], partitions: [0, 1, 2], group_id: {from}, start: earliest }}\n\
             transforms:\n  parsed: {{ type: parse, inputs: [orders], try: [json, text] }}\n\
             sinks:\n  out: {}\n",
            sink(&target, &to, &cursors)
        );
        let plan = Plan::of_kills(2, 600);
        let feed = Topic::numbered(&broker.plain, &from, 0, plain).unwrap();
        run_with(folder.path(), &config, plan, feed, &Committed::of(&broker.plain, &to)).unwrap();
    }
}

#[test]
fn what_is_wrong_with_a_certificate_or_a_password_is_said_and_mended_by_a_reload() {
    let Some(broker) = Broker::find("kafka by TLS, refused") else { return };
    let (topic, cursors) = (unique("guarded"), unique("cursors"));
    read::make_topics(&broker.plain, &[(&topic, 3, false), (&cursors, 16, true)]).unwrap();
    let plain_sink = sink(&format!("brokers: [\"{}\"]", broker.plain), &topic, &cursors);
    let mut trial = Trial::begin(plain, &plain_sink).unwrap();
    // An authority that signed nothing.
    let stranger = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let path = trial.path().join("stranger.pem");
    std::fs::write(&path, stranger.cert.pem()).unwrap();
    trial.reload(&sink(&broker.by_certificate(&path.display().to_string()), &topic, &cursors)).unwrap();
    trial.feed.send(300).unwrap();
    trial.says("check `tls`").unwrap();
    // The right authority, and no certificate of the client's own.
    let nameless = format!("brokers: [\"{}\"], tls: {{ ca: {} }}", broker.mutual, broker.authority());
    trial.reload(&sink(&nameless, &topic, &cursors)).unwrap();
    trial.feed.send(300).unwrap();
    trial.says("certificate").unwrap();
    trial.secret("kafka", "a-wrong-password").unwrap();
    let scram = broker.by_scram("SCRAM-SHA-512", "${secret:kafka}");
    trial.reload(&sink(&scram, &topic, &cursors)).unwrap();
    trial.feed.send(300).unwrap();
    trial.says("check `sasl`").unwrap();
    trial.kill().unwrap();
    trial.secret("kafka", "admin-secret").unwrap();
    trial.reload(&sink(&scram, &topic, &cursors)).unwrap();
    trial.feed.send(300).unwrap();
    trial.exact(none, &Committed::of(&broker.plain, &topic)).unwrap();
}

#[test]
fn a_certificate_that_is_exchanged_in_its_files_is_shown_after_a_reload() {
    let Some(broker) = Broker::find("kafka by TLS, another certificate") else { return };
    let (topic, cursors) = (unique("exchanged"), unique("cursors"));
    read::make_topics(&broker.plain, &[(&topic, 3, false), (&cursors, 16, true)]).unwrap();
    let plain_sink = sink(&format!("brokers: [\"{}\"]", broker.plain), &topic, &cursors);
    let mut trial = Trial::begin(plain, &plain_sink).unwrap();
    // One that no authority signed, which the broker does not take.
    let stranger = rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
    let own = |name: &str| trial.path().join(name);
    let (cert, key) = (own("client.pem"), own("client-key.pem"));
    std::fs::write(&cert, stranger.cert.pem()).unwrap();
    std::fs::write(&key, stranger.signing_key.serialize_pem()).unwrap();
    let connection = broker.by_certificate_in(&trial.path().display().to_string(), &broker.authority());
    let guarded = sink(&connection, &topic, &cursors);
    trial.reload(&guarded).unwrap();
    trial.feed.send(300).unwrap();
    trial.says("certificate").unwrap();
    for (to, name) in [(&cert, "client.pem"), (&key, "client-key.pem")] {
        std::fs::copy(format!("{}/{name}", broker.certificates), to).unwrap();
    }
    trial.reload(&guarded).unwrap();
    trial.feed.send(300).unwrap();
    trial.exact(none, &Committed::of(&broker.plain, &topic)).unwrap();
}
