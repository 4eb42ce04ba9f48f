//! An S3 sink without `credentials` takes them by the usual chain: variables, a profile, the metadata of an instance, a web
//! identity. The bucket is real; metadata and the token service are stand-ins, which no request of the agent can tell from the
//! real ones. With a `proxy` and a `tls.ca` in the sink, metadata are asked directly, and the token service through the proxy.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::agent::Agent;
use sawlog_e2e::feed::{Feed, Sender};
use sawlog_e2e::s3::Bucket;
use sawlog_e2e::shown::Shown as _;
use sawlog_e2e::told::sink_trouble;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_secs(60);
const LINES: u64 = 40;

/// One port that is a proxy to who sends it whole addresses or CONNECT, and metadata to who asks it for a path. It plays the
/// token service itself, by a certificate that the test made, and writes down whatever is asked.
const STAND_IN: &str = r#"
import json, socket, ssl, sys, threading
folder, key, secret = sys.argv[1:]
certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
certificate.load_cert_chain(folder + '/sts.pem', folder + '/sts.key')
credentials = {'AccessKeyId': key, 'SecretAccessKey': secret, 'Expiration': '2099-01-01T00:00:00Z'}
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)

def note(line):
    with open(folder + '/asked', 'a') as asked:
        asked.write(line + '\n')

def head(client):
    read = b''
    while not read.endswith(b'\r\n\r\n'):
        byte = client.recv(1)
        if not byte:
            sys.exit()
        read += byte
    return read

def answer(client, body):
    client.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n' % len(body) + body)
    client.close()

def copy(of, to):
    try:
        while data := of.recv(65536):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)
    except OSError:
        pass

def serve(client):
    asked = head(client)
    method, target = asked.decode().split(' ')[:2]
    if target.startswith('/'):
        note('metadata ' + target)
        if target == '/latest/api/token':
            return answer(client, b'a-token')
        if target.endswith('/security-credentials/'):
            return answer(client, b'writer')
        return answer(client, json.dumps(credentials | {'Code': 'Success', 'Token': ''}).encode())
    note('proxy ' + target)
    if method == 'CONNECT' and target.startswith('sts.'):
        client.sendall(b'HTTP/1.1 200 OK\r\n\r\n')
        client = certificate.wrap_socket(client, server_side=True)
        asked = head(client).decode().lower()
        body = client.recv(int(asked.split('content-length: ')[1].split('\r\n')[0]))
        note('sts ' + body.decode())
        members = ''.join('<%s>%s</%s>' % (name, value, name) for name, value in credentials.items())
        root = 'AssumeRoleWithWebIdentity'
        return answer(client, ('<%sResponse><%sResult><Credentials>%s<SessionToken></SessionToken></Credentials></%sResult></%sResponse>' % (root, root, members, root, root)).encode())
    host, port = target.split('//')[1].split('/')[0].split(':')
    server = socket.create_connection((host, int(port)))
    server.sendall(asked)
    threading.Thread(target=copy, args=(server, client), daemon=True).start()
    copy(client, server)

while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

struct StandIn {
    process: Child,
    address: String,
}

impl StandIn {
    fn start(folder: &Path, bucket: &Bucket) -> Self {
        let made = rcgen::generate_simple_self_signed(["sts.amazonaws.com".to_owned()]).unwrap();
        std::fs::write(folder.join("sts.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("sts.key"), made.signing_key.serialize_pem()).unwrap();
        let mut command = Command::new("python3");
        command.args(["-c", STAND_IN]).arg(folder).args([&bucket.key, &bucket.secret]);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { process, address: format!("http://127.0.0.1:{}", port.trim()) }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn start(folder: &Path, sink: &str, variables: &[(&str, &str)]) -> (Agent, Feed) {
    let here = folder.display();
    std::fs::create_dir(folder.join("logs")).unwrap();
    let config = format!(
        "version: 1\nagent: {{ id: trusted }}\ndata_dir: {here}/data\napi: {{ listen: \"127.0.0.1:0\" }}\ncheckpoint: {{ interval: 1s }}\n\
         sources:\n  app: {{ type: file, include: [{here}/logs/app.log] }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n\
         sinks:\n  out: {sink}\n"
    );
    std::fs::write(folder.join("sawlog.yaml"), config).unwrap();
    let mut feed = Feed::new(&folder.join("logs/app.log"));
    feed.send(LINES).unwrap();
    // What the machine has of its own must not answer in place of what is tested.
    let empty = folder.join("none").display().to_string();
    let own = [("AWS_SHARED_CREDENTIALS_FILE", empty.as_str()), ("AWS_CONFIG_FILE", empty.as_str())];
    (Agent::start_with_environment(folder, &[&own, variables].concat()).unwrap(), feed)
}

/// Everything is in the bucket once.
fn delivers(mut agent: Agent, bucket: &Bucket) {
    agent.wait_until("the rows", WAIT_MAX, || Ok(bucket.rows()?.len() as u64 >= LINES)).unwrap();
    let mut rows = bucket.rows().unwrap();
    rows.sort_unstable();
    assert_eq!(rows, (0..LINES).collect::<Vec<_>>());
    agent.terminate().unwrap();
}

const NO_METADATA: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");

#[test]
fn variables_give_them() {
    let Some(bucket) = Bucket::find("credentials, variables") else { return };
    let folder = tempfile::tempdir().unwrap();
    let variables =
        [("AWS_ACCESS_KEY_ID", bucket.key.as_str()), ("AWS_SECRET_ACCESS_KEY", &bucket.secret), NO_METADATA];
    let (agent, _) = start(folder.path(), &bucket.sink_with("parsed", ""), &variables);
    delivers(agent, &bucket);
}

#[test]
fn a_profile_gives_them_and_a_wrong_one_says_what_was_looked_for() {
    let Some(bucket) = Bucket::find("credentials, profile") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let Bucket { key, secret, .. } = &bucket;
    let profiles = format!(
        "[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing\n[writer]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
    );
    std::fs::write(&file, profiles).unwrap();
    let file = file.display().to_string();
    let variables = |profile| [("AWS_SHARED_CREDENTIALS_FILE", file.as_str()), ("AWS_PROFILE", profile), NO_METADATA];
    let (mut agent, _) = start(folder.path(), &bucket.sink_with("parsed", ""), &variables("nope"));
    let told = || Ok(sink_trouble(folder.path(), "out").ok().flatten().unwrap_or_default());
    agent.wait_until("the trouble", WAIT_MAX, || told().map(|told| told.contains("no credentials: neither"))).unwrap();
    assert!(told().unwrap().contains("AWS_PROFILE"), "{}", told().unwrap());
    agent.terminate().unwrap();
    delivers(Agent::start_with_environment(folder.path(), &variables("writer")).unwrap(), &bucket);
}

#[test]
fn an_instance_gives_them_and_is_asked_past_the_proxy() {
    let Some(bucket) = Bucket::find("credentials, instance metadata") else { return };
    let folder = tempfile::tempdir().unwrap();
    let stand_in = StandIn::start(folder.path(), &bucket);
    let sink = bucket.sink_with("parsed", &format!("proxy: \"{}\"", stand_in.address));
    let (agent, _) = start(folder.path(), &sink, &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &stand_in.address)]);
    delivers(agent, &bucket);
    let asked = std::fs::read_to_string(folder.path().join("asked")).unwrap();
    assert!(asked.contains("metadata /latest/meta-data/iam/security-credentials/writer"), "{asked}");
    assert!(!asked.lines().any(|line| line.starts_with("proxy") && line.contains("/latest/")), "{asked}");
    assert!(asked.contains(&format!("proxy {}", bucket.endpoint)), "the bucket is reached by the proxy: {asked}");
}

#[test]
fn a_web_identity_gives_them_and_its_service_is_reached_by_the_proxy() {
    let Some(bucket) = Bucket::find("credentials, web identity") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let stand_in = StandIn::start(path, &bucket);
    std::fs::write(path.join("identity"), "an-identity").unwrap();
    // The store's own authority signs nothing for the token service, which the machine trusts.
    let own = rcgen::generate_simple_self_signed(["store".to_owned()]).unwrap();
    std::fs::write(path.join("own.pem"), own.cert.pem()).unwrap();
    let (own, public) = (path.join("own.pem").display().to_string(), path.join("sts.pem").display().to_string());
    let sink = bucket.sink_with("parsed", &format!("proxy: \"{}\", tls: {{ ca: {own} }}", stand_in.address));
    let identity = path.join("identity").display().to_string();
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", identity.as_str()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/writer"),
        ("SSL_CERT_FILE", &public),
        NO_METADATA,
    ];
    let (agent, _) = start(path, &sink, &variables);
    delivers(agent, &bucket);
    let asked = std::fs::read_to_string(path.join("asked")).unwrap();
    assert!(asked.contains("proxy sts.amazonaws.com:443") && asked.contains("WebIdentityToken=an-identity"), "{asked}");
}
