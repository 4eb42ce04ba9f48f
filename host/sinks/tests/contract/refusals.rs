//! What stores say to bad input: each error is of the right kind and names its remedy.

use crate::lakes::{bucket, cluster, fresh, hdfs_options, keys, s3_dialects};
use sawlog_core::ports::SinkError;
use sawlog_settings::Secret;
use sawlog_sinks::hdfs::HdfsOptions;
use sawlog_sinks::object::{Blobs, Body};
use sawlog_sinks::s3::S3Options;
use std::time::{Duration, Instant};

fn body() -> Body {
    b"x".to_vec().into()
}

#[tokio::test]
async fn a_missing_bucket_is_refused_at_start() {
    for options in s3_dialects("a_missing_bucket_is_refused_at_start") {
        let missing = bucket(&S3Options { bucket: fresh("no-such-bucket"), ..options });
        for error in [missing.prepare().await.unwrap_err(), missing.list("_sawlog/").await.unwrap_err()] {
            assert!(matches!(&error, SinkError::Refused(text) if text.contains("create the bucket")), "{error}");
        }
    }
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_not_shown() {
    for mut options in s3_dialects("a_wrong_secret_is_refused_and_not_shown") {
        let credentials = options.credentials.as_mut().unwrap();
        credentials.secret_access_key = Secret::clear("a-wrong-secret-that-must-not-be-seen");
        let error = bucket(&options).prepare().await.unwrap_err();
        assert!(matches!(&error, SinkError::Refused(text) if text.contains("credentials")), "{error}");
        assert!(!error.to_string().contains("must-not-be-seen"), "{error}");
    }
}

#[tokio::test]
async fn a_wrong_access_key_is_refused() {
    for mut options in s3_dialects("a_wrong_access_key_is_refused") {
        options.credentials.as_mut().unwrap().access_key_id = Secret::clear("NOBODY");
        let store = bucket(&options);
        let errors = [
            store.prepare().await.unwrap_err(),
            store.list("_sawlog/").await.unwrap_err(),
            store.get(&keys().claim(1)).await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(&error, SinkError::Refused(_)), "{error}");
        }
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_tried_again() {
    let options = S3Options {
        bucket: "logs".into(),
        endpoint: Some("http://127.0.0.1:1".into()),
        region: "us-east-1".into(),
        path_style: true,
        credentials: Some(sawlog_sinks::s3::StaticCredentials {
            access_key_id: Secret::clear("k"),
            secret_access_key: Secret::clear("s"),
            session_token: None,
        }),
        conditional_put: true,
        ..S3Options::default()
    };
    let store = bucket(&options);
    let begin = Instant::now();
    let error = store.list("_sawlog/").await.unwrap_err();
    assert!(matches!(&error, SinkError::Unavailable(_)), "{error}");
    let error = store.put_if_absent("x", body()).await.unwrap_err();
    assert!(matches!(&error, SinkError::Unknown(_)), "whether a put took effect is not known: {error}");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_namenode_that_is_down_is_tried_again() {
    let store = cluster(&HdfsOptions { url: "hdfs://127.0.0.1:1".into(), root: "/x".into(), ..HdfsOptions::default() });
    let begin = Instant::now();
    let error = store.list("_sawlog/").await.unwrap_err();
    assert!(matches!(&error, SinkError::Unavailable(_)), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_file_where_a_folder_should_be_is_refused_by_hdfs() {
    let Some(options) = hdfs_options("a_file_where_a_folder_should_be_is_refused_by_hdfs") else { return };
    let store = cluster(&options);
    store.put_if_absent("a", body()).await.unwrap();
    let error = store.put_if_absent("a/b", body()).await.unwrap_err();
    assert!(matches!(&error, SinkError::Refused(text) if text.contains("path")), "{error}");
}
