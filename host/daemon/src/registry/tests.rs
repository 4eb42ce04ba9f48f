//! A registry that keeps what it is given, and lies, demands and leads elsewhere as it is told, against push and pull.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;

use super::credentials::Credentials;
use super::transfer::Pulled;
use super::*;
use crate::digest::ContentDigest;

const COMPONENT: &[u8] = b"not run by anybody here";

/// What it keeps, by path, and how it behaves.
#[derive(Default)]
struct Kept {
    things: BTreeMap<String, Vec<u8>>,
    asked: Vec<String>,
    /// Blobs lie here.
    elsewhere: Option<String>,
    /// A header that requests must have, and what is demanded of those that don't.
    guarded: Option<(String, String)>,
    /// Everything is answered so.
    broken: Option<StatusCode>,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Kept>>);

impl Fake {
    fn with<T>(&self, change: impl FnOnce(&mut Kept) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn start(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().fallback(answer).with_state(self.clone());
        drop(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(router.clone());
                drop(tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service)));
            }
        }));
        address
    }
}

async fn answer(State(fake): State<Fake>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    fake.with(|kept| {
        kept.asked.push(format!("{method} {uri} {authorization}"));
        let path = uri.path().to_owned();
        if let Some(status) = kept.broken {
            return (status, "out of order").into_response();
        }
        if path == "/token" {
            return format!("{{\"token\":\"for {}\"}}", uri.query().unwrap_or_default()).into_response();
        }
        if let Some((needed, demand)) = &kept.guarded
            && !authorization.starts_with(needed.as_str())
        {
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, demand.clone())]).into_response();
        }
        match method {
            Method::POST => (StatusCode::ACCEPTED, [(header::LOCATION, format!("{path}1?state=x"))]).into_response(),
            Method::PUT => {
                let digest = uri
                    .query()
                    .and_then(|query| query.split_once("digest="))
                    .map(|(_, digest)| digest.replace("%3A", ":"));
                let path = digest.map_or(path, |digest| format!("/v2/plugins/redact/blobs/{digest}"));
                // A manifest is found under its digest too.
                if path.contains("/manifests/") {
                    kept.things
                        .insert(format!("/v2/plugins/redact/manifests/{}", ContentDigest::of(&body)), body.to_vec());
                }
                kept.things.insert(path, body.to_vec());
                StatusCode::CREATED.into_response()
            }
            _ if path.contains("/blobs/") && kept.elsewhere.is_some() => {
                let elsewhere = kept.elsewhere.clone().unwrap_or_default();
                (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, elsewhere + &path)]).into_response()
            }
            _ => kept
                .things
                .get(&path)
                .map_or(StatusCode::NOT_FOUND.into_response(), |thing| thing.clone().into_response()),
        }
    })
}

fn registry(address: SocketAddr, within: &str) -> Registry {
    registry_of(address, within, None)
}

fn registry_of(address: SocketAddr, within: &str, user: Option<&str>) -> Registry {
    let reference = format!("{address}/plugins/redact{within}").parse().expect("a reference");
    let credentials = user.map(|user| Credentials { user: user.to_owned(), password: "secret".into() });
    Registry::entered_as(credentials, reference, &Access::default()).expect("a client")
}

async fn pushed(registry: &mut Registry) -> Result<ContentDigest, RegistryError> {
    let interface = sawlog_componentize::Interface { imports: Vec::new(), exports: vec!["x".to_owned()] };
    push(registry, COMPONENT.to_vec(), &interface).await
}

#[tokio::test]
async fn what_is_pushed_comes_back_by_digest_and_by_tag_and_is_sent_once() {
    let fake = Fake::default();
    let address = fake.start().await;
    let pin = pushed(&mut registry(address, ":1.0")).await.expect("pushed");
    assert_eq!(pushed(&mut registry(address, ":1.0")).await.expect("pushed again"), pin);
    let sent = fake.with(|kept| kept.asked.iter().filter(|asked| asked.starts_with("POST")).count());
    assert_eq!(sent, 2, "the component and the configuration, once");
    for within in [":1.0", &format!("@{pin}"), &format!(":0.9@{pin}")] {
        let pulled = pull(&mut registry(address, within)).await.expect(within);
        assert_eq!(pulled, Pulled { pin: pin.clone(), component: COMPONENT.to_vec() });
    }
    let other = ContentDigest::of(b"other");
    let error = pushed(&mut registry(address, &format!("@{other}"))).await.expect_err("another pin").to_string();
    assert!(error.contains(other.as_str()) && error.contains(pin.as_str()), "{error}");
    let error = pull(&mut registry(address, ":2.0")).await.expect_err("no such tag").to_string();
    assert!(error.contains("/manifests/2.0") && error.contains("has none"), "{error}");
}

#[tokio::test]
async fn what_was_exchanged_is_refused_with_both_digests() {
    let fake = Fake::default();
    let address = fake.start().await;
    let pin = pushed(&mut registry(address, ":1.0")).await.expect("pushed");
    let blob = format!("/v2/plugins/redact/blobs/{}", ContentDigest::of(COMPONENT));
    // As long as the right one: only the digest tells.
    let evil: Vec<u8> = COMPONENT.iter().rev().copied().collect();
    fake.with(|kept| kept.things.insert(blob.clone(), evil.clone()));
    let error = pull(&mut registry(address, &format!("@{pin}"))).await.expect_err("another component");
    let (expected, found) = (ContentDigest::of(COMPONENT).to_string(), ContentDigest::of(&evil).to_string());
    assert!(
        matches!(&error, RegistryError::OtherDigest { expected: e, found: f, .. } if (e, f) == (&expected, &found)),
        "{error}"
    );
    assert!(error.to_string().contains(&format!("http://{address}{blob}")), "{error}");

    fake.with(|kept| kept.things.insert(blob, COMPONENT.iter().chain(b"!").copied().collect()));
    let error = pull(&mut registry(address, &format!("@{pin}"))).await.expect_err("longer than it says").to_string();
    assert!(error.contains(&format!("more than {} bytes", COMPONENT.len())), "{error}");

    fake.with(|kept| kept.things.insert(format!("/v2/plugins/redact/manifests/{pin}"), b"{}".to_vec()));
    let error = pull(&mut registry(address, &format!("@{pin}"))).await.expect_err("another manifest");
    let found = ContentDigest::of(b"{}").to_string();
    assert!(
        matches!(&error, RegistryError::OtherDigest { expected: e, found: f, .. } if (e.as_str(), f) == (pin.as_str(), &found)),
        "{error}"
    );
    fake.with(|kept| kept.things.insert("/v2/plugins/redact/manifests/odd".to_owned(), b"{}".to_vec()));
    let error = pull(&mut registry(address, ":odd")).await.expect_err("no manifest").to_string();
    assert!(error.contains("is no component"), "{error}");
}

#[tokio::test]
async fn a_registry_that_is_down_or_out_of_order_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let error = pull(&mut registry(address, ":1")).await.expect_err("nobody listens").to_string();
    assert!(
        error.contains(&address.to_string()) && error.contains("refused") && error.contains("see that it runs"),
        "{error}"
    );
    let fake = Fake::default();
    fake.with(|kept| kept.broken = Some(StatusCode::SERVICE_UNAVAILABLE));
    let address = fake.start().await;
    let error = pushed(&mut registry(address, ":1")).await.expect_err("out of order").to_string();
    assert!(error.contains("503") && error.contains("/blobs/sha256:"), "{error}");
    let error = pull(&mut registry(address, ":1")).await.expect_err("out of order").to_string();
    assert!(error.contains("503 Service Unavailable: out of order"), "{error}");
}

#[tokio::test]
async fn tokens_and_passwords_are_given_where_they_are_demanded() {
    let fake = Fake::default();
    let address = fake.start().await;
    let demand = format!(
        "Bearer realm=\"http://{address}/token\",service=\"here\",scope=\"repository:plugins/redact:pull,push\""
    );
    fake.with(|kept| kept.guarded = Some(("Bearer for service=here&scope=repository%3Aplugins".to_owned(), demand)));
    let pin = pushed(&mut registry_of(address, ":1", Some("me"))).await.expect("with a token");
    let asked = fake.with(|kept| std::mem::take(&mut kept.asked));
    // Only the server of tokens learns the password: it is `me:secret`.
    assert!(asked.iter().all(|a| a.contains(" /token?") == a.contains("Basic bWU6c2VjcmV0")), "{asked:?}");
    assert_eq!(asked.iter().filter(|a| a.contains(" /token?")).count(), 1, "a token is kept: {asked:?}");

    fake.with(|kept| kept.guarded = Some(("Basic bWU6c2VjcmV0".to_owned(), "Basic realm=\"x\"".to_owned())));
    assert_eq!(pull(&mut registry_of(address, ":1", Some("me"))).await.expect("with a password").pin, pin);
    let error = pull(&mut registry_of(address, ":1", Some("you"))).await.expect_err("another user").to_string();
    assert!(error.contains("lets `you` not in") && !error.contains("secret"), "{error}");
    let error = pull(&mut registry(address, ":1")).await.expect_err("no user").to_string();
    assert!(error.contains("whoever gives no name") && error.contains("SAWLOG_REGISTRY_USER"), "{error}");
}

#[tokio::test]
async fn what_lies_elsewhere_is_followed_without_the_password_and_never_to_the_link() {
    let (fake, other) = (Fake::default(), Fake::default());
    let (address, elsewhere) = (fake.start().await, other.start().await);
    let pin = pushed(&mut registry(address, ":1")).await.expect("pushed");
    other.with(|o| o.things = fake.with(|kept| kept.things.clone()));
    fake.with(|kept| {
        kept.guarded = Some(("Basic bWU6c2VjcmV0".to_owned(), "Basic realm=\"x\"".to_owned()));
        kept.elsewhere = Some(format!("http://{elsewhere}"));
    });
    assert_eq!(pull(&mut registry_of(address, ":1", Some("me"))).await.expect("elsewhere").pin, pin);
    let asked = other.with(|kept| kept.asked.clone());
    assert!(asked.len() == 1 && !asked[0].contains("Basic"), "{asked:?}");

    for (location, why) in [
        ("http://169.254.169.254", "an address of the link"),
        ("file://", "neither http nor https"),
        (&*format!("http://{address}"), "more than 4 times"),
    ] {
        fake.with(|kept| kept.elsewhere = Some(location.to_owned()));
        let error = pull(&mut registry_of(address, ":1", Some("me"))).await.expect_err(location).to_string();
        assert!(error.contains(why), "{location}: {error}");
    }
}

#[tokio::test]
async fn plain_http_is_for_this_machine_and_for_those_who_ask_for_it() {
    let of = |text: &str, access: &Access| {
        let registry = Registry::entered_as(None, text.parse().expect("a reference"), access).expect("a client");
        registry.url("").expect("an address").scheme().to_owned()
    };
    let (usual, insecure) = (Access::default(), Access { insecure: true, ..Access::default() });
    assert_eq!(of("registry.example.com/a", &usual), "https");
    assert_eq!(of("registry.example.com/a", &insecure), "http");
    assert_eq!(of("localhost:5000/a", &usual), "http");
    let reference = "169.254.169.254:80/a:1".parse().expect("a reference");
    let mut registry = Registry::entered_as(None, reference, &insecure).expect("a client");
    let error = pull(&mut registry).await.expect_err("the link").to_string();
    assert!(error.contains("an address of the link"), "{error}");
}
