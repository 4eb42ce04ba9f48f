//! What a bucket makes of answers that the real servers of the tests never give: conditions ignored, conflicts, throttling.

use crate::lakes::keys;
use sawlog_core::ports::{PutOutcome, SinkError};
use sawlog_settings::Secret;
use sawlog_sinks::object::Blobs;
use sawlog_sinks::s3::{Bucket, S3Options, StaticCredentials};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

/// Answers every request of the process's life with what `answer` says to its method: status and code of the error.
fn serve(answer: fn(&str) -> (u16, &'static str)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            std::thread::spawn(move || while answer_one(connection.as_ref().unwrap(), answer).is_some() {});
        }
    });
    endpoint
}

fn answer_one(mut connection: &TcpStream, answer: fn(&str) -> (u16, &'static str)) -> Option<()> {
    let mut reader = BufReader::new(connection);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok().filter(|n| *n > 0)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).ok()?;
    let (status, code) = answer(first.split(' ').next()?);
    let body = match code {
        "" => String::new(),
        code => format!(
            "<Error><Code>{code}</Code><Message>no</Message><Resource>x</Resource><RequestId>1</RequestId></Error>"
        ),
    };
    write!(connection, "HTTP/1.1 {status} X\r\nETag: \"x\"\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok()
}

fn bucket(endpoint: String) -> Bucket {
    let options = S3Options {
        bucket: "logs".into(),
        endpoint: Some(endpoint),
        region: "us-east-1".into(),
        path_style: true,
        credentials: Some(StaticCredentials {
            access_key_id: Secret::clear("k"),
            secret_access_key: Secret::clear("s"),
            session_token: None,
        }),
        conditional_put: true,
        ..S3Options::default()
    };
    Bucket::new(&options, keys()).unwrap()
}

#[tokio::test]
async fn a_store_that_ignores_conditions_fails_the_probe() {
    let store = bucket(serve(|method| if method == "DELETE" { (204, "") } else { (200, "") }));
    let error = store.prepare().await.unwrap_err();
    assert!(
        matches!(&error, SinkError::Refused(text) if text.contains("If-None-Match") && text.contains("conditional_put")),
        "{error}"
    );
}

#[tokio::test]
async fn a_conflict_is_not_taken_for_existence() {
    let put = |endpoint| async move { bucket(endpoint).put_if_absent("x", b"x".to_vec().into()).await.unwrap() };
    assert_eq!(put(serve(|_| (409, "ConditionalRequestConflict"))).await, PutOutcome::Conflict);
    assert_eq!(put(serve(|_| (412, "PreconditionFailed"))).await, PutOutcome::Exists);
}

#[tokio::test]
async fn throttling_is_waited_for_and_an_unknown_404_is_not_absence() {
    let store = bucket(serve(|_| (503, "SlowDown")));
    let error = store.put_if_absent("x", b"x".to_vec().into()).await.unwrap_err();
    assert!(matches!(&error, SinkError::Unavailable(_)), "{error}");
    let store = bucket(serve(|_| (404, "XAdminUserNotFound")));
    let error = store.get("x").await.unwrap_err();
    assert!(matches!(&error, SinkError::Refused(_)), "{error}");
}
