//! Slow, many, encrypted and multiplexed connections, and their end.

use super::*;
use sawlog_settings::connection::TlsServer;
use sawlog_settings::{ByteSize, Period, Secret};
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{self, pki_types};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_let_go_and_others_are_served_meanwhile() {
    let queue = StandIn::empty(1, QUOTA_BYTES);
    let mut options = options();
    options.limits.header_time = Period::from_millis(300);
    options.limits.body_time = Period::from_millis(300);
    options.limits.idle_time = Period::from_millis(600);
    let source = begun(&options, &queue).await;
    let begin = Instant::now();
    let slow_head = raw(&source, b"POST /logs HTTP/1.1\r\nhost");
    let head = b"POST /logs HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 10\r\n\r\nhalf";
    let (silent, slow_body) = (raw(&source, b""), raw(&source, head));
    let others = async {
        assert_eq!(post(&source, &[NDJSON], "{}").await.status, 200);
        begin.elapsed()
    };
    let (slow_head, silent, slow_body, others) = tokio::join!(slow_head, silent, slow_body, others);
    assert_eq!((slow_head.as_str(), silent.as_str()), ("", ""), "closed without an answer");
    assert!(slow_body.starts_with("HTTP/1.1 408") && slow_body.contains("connection: close"), "{slow_body}");
    assert!(others < Duration::from_secs(5));
    assert_eq!((queue.requests(), queue.reserved_bytes()), (1, 0));
    let ok = b"POST /logs HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\na\n";
    let answer = raw(&source, &[&ok[..], ok].concat()).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "an idle connection ends after its requests: {answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_limited_by_address_and_in_all() {
    let queue = StandIn::empty(1, QUOTA_BYTES);
    let mut options = options();
    options.limits.connections_per_address = 2;
    let source = begun(&options, &queue).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(TcpStream::connect(source.local_addr()).await.unwrap());
    }
    let answer = raw(&source, b"").await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: "), "{answer}");
    held.clear();
    let served = async {
        while raw(&source, b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 429")
        {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, served).await.unwrap();
    options.limits.connections = 1;
    let source = begun(&options, &queue).await;
    let _held = TcpStream::connect(source.local_addr()).await.unwrap();
    let answer = raw(&source, b"").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_is_spoken_in_the_clear() {
    let queue = StandIn::empty(2, QUOTA_BYTES);
    let source = begun(&options(), &queue).await;
    let stream = TcpStream::connect(source.local_addr()).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let send = |n: u32| {
        let mut sender = sender.clone();
        let request = Request::post("http://localhost/logs").header("content-type", "application/x-ndjson");
        let request = request.body(Full::new(Bytes::from(format!("{{\"n\":{n}}}\n")))).unwrap();
        async move { told(sender.send_request(request).await.unwrap()).await.status }
    };
    let answers = futures_util::future::join_all((0..50).map(send)).await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    assert_eq!(texts(&source).await.len(), 50);
    connection.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_requests_under_way_end_and_takes_no_more() {
    let queue = StandIn::empty(1, QUOTA_BYTES);
    let source = begun(&options(), &queue).await;
    let mut stream = TcpStream::connect(source.local_addr()).await.unwrap();
    let head = b"POST /logs HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 6\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).await.unwrap();
    assert!(asked.starts_with(b"HTTP/1.1 100"));
    let stopping = tokio::spawn({
        let source = source.clone();
        async move { source.stop(Duration::from_secs(10)).await }
    });
    sleep(Duration::from_millis(100)).await;
    stream.write_all(b"a line").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    timeout(PATIENCE, stopping).await.unwrap().unwrap();
    assert!(TcpStream::connect(source.local_addr()).await.is_err());
    assert_eq!(texts(&source).await, ["a line"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_address_and_unreadable_certificates_are_told() {
    let queue = StandIn::empty(1, QUOTA_BYTES);
    let source = begun(&options(), &queue).await;
    let taken = HttpOptions { listen: source.local_addr(), ..options() };
    let error = |options: &HttpOptions| {
        HttpIntake::open(options, "a", "s", queue.clone(), sawlog_core::memory::Pool::unbounded())
            .err()
            .map(|e| e.to_string())
    };
    assert!(error(&taken).is_some_and(|error| error.contains("choose a free port")));
    let tls = Some(TlsServer { cert: "/nowhere.pem".into(), key: "/nowhere.pem".into(), client_ca: None });
    let told = error(&HttpOptions { tls, ..options() });
    assert!(told.as_ref().is_some_and(|error| error.contains("tls.") && error.contains("/nowhere.pem")), "{told:?}");
}

/// An authority, and PEM files of certificates that it signed.
struct Authority {
    folder: tempfile::TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    root: pki_types::CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        let root = certificate.der().clone();
        Self { folder, issuer: rcgen::Issuer::new(params, key), root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sign(&self, name: &str) -> (pki_types::CertificateDer<'static>, pki_types::PrivateKeyDer<'static>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        (certificate.der().clone(), pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    fn client(
        &self,
        own: Option<(pki_types::CertificateDer<'static>, pki_types::PrivateKeyDer<'static>)>,
    ) -> TlsConnector {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match own {
            Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        TlsConnector::from(Arc::new(config))
    }
}

async fn post_over(tls: TlsConnector, source: &HttpIntake, body: &str) -> std::io::Result<String> {
    let stream = TcpStream::connect(source.local_addr()).await?;
    let mut stream = tls.connect("localhost".try_into().unwrap(), stream).await?;
    let head = "POST /logs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n";
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap()?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_spoken_and_clients_prove_who_they_are_where_asked() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.sign("localhost");
    let queue = StandIn::empty(1, QUOTA_BYTES);
    let mut tls =
        TlsServer { cert: authority.path("localhost.pem"), key: authority.path("localhost.key"), client_ca: None };
    let source = begun(&HttpOptions { tls: Some(tls.clone()), ..options() }, &queue).await;
    let answer = post_over(authority.client(None), &source, "{\"n\":1}\n").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(post_over(stranger.client(None), &source, "{}").await.is_err(), "the client checks the server");
    assert!(!raw(&source, b"POST /logs HTTP/1.1\r\n\r\n").await.contains("200"), "plain text gets nowhere");
    tls.client_ca = Some(authority.path("ca.pem"));
    let source = begun(&HttpOptions { tls: Some(tls), ..options() }, &queue).await;
    let answer = post_over(authority.client(Some(authority.sign("client"))), &source, "{\"n\":2}\n").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for own in [None, Some(stranger.sign("client"))] {
        assert!(!post_over(authority.client(own), &source, "{}").await.is_ok_and(|answer| answer.contains("200")));
    }
    assert_eq!(queue.requests(), 2);
}

#[tokio::test]
async fn who_fills_its_own_part_of_the_queue_keeps_nobody_else_out() {
    let mut options = options();
    options.auth.tokens = vec![Secret::clear("one"), Secret::clear("two")];
    options.limits.body = ByteSize::kib(1);
    options.limits.queue_per_client = Some(ByteSize::kib(1));
    let queue = StandIn::empty(1, QUOTA_BYTES);
    let source = begun(&options, &queue).await;
    let body = format!("{{\"text\":\"{}\"}}\n", "x".repeat(600));
    let send = |token: &'static str| {
        let (source, body) = (source.clone(), body.clone());
        async move { post(&source, &[NDJSON, ("authorization", token)], body).await }
    };
    assert_eq!(send("Bearer one").await.status, 200);
    let told = send("Bearer one").await;
    assert_eq!(told.status, 429);
    assert!(told.head.contains_key("retry-after") && told.body["error"].as_str().unwrap().contains("queue_per_client"));
    assert_eq!(send("Bearer two").await.status, 200);
    let stored = all(&source, LIMITS).await;
    assert_eq!(stored.len(), 2, "nothing of what was refused is there");
    source.trim(stored[0].0, u64::MAX).await;
    assert_eq!(send("Bearer one").await.status, 200, "what was delivered is not held against it");
    source.stop(PATIENCE).await;
}
