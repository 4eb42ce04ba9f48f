//! The stores under test, each below a root of its own, and eyes that look at them without the code under test where they can.

use crate::rows::encoders;
use sawlog_core::memory::Share;
use sawlog_record::template::{Template, Values};
use sawlog_settings::Secret;
use sawlog_settings::format::ObjectFormat;
use sawlog_sinks::file::Folder;
use sawlog_sinks::hdfs::{Cluster, HdfsOptions};
use sawlog_sinks::object::{Blobs, Keys, Lake, StageOptions};
use sawlog_sinks::s3::{Bucket, S3Options, StaticCredentials};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// Keys of the sink under test.
pub fn keys() -> Keys {
    Keys::new("node-1", "lake", "jsonl")
}

/// A lake over `blobs` with a folder per hour of the received time.
pub fn lake<B: Blobs>(blobs: B, spill: &Path, memory_bytes_max: usize) -> Lake<B> {
    let options = StageOptions {
        agent: "node-1".into(),
        path: Template::parse("dt={received_time:%Y-%m-%d}/hour={received_time:%H}", Values::Names).unwrap(),
        paths_max: 4,
        new_encoder: encoders(ObjectFormat::JsonLines),
        memory_bytes_max,
        memory: Arc::new(Share::new(usize::MAX).join()),
        spill_folder: spill.to_owned(),
    };
    Lake::new(blobs, keys(), options, "here".into())
}

/// A name that no other run uses.
pub fn fresh(what: &str) -> String {
    format!("{what}-{:016x}", fastrand::u64(..))
}

/// A folder.
pub fn folder(at: &TempDir) -> Folder {
    Folder::new(at.path().join("lake"), &keys())
}

/// Options of the bucket under test, below a fresh root; says NOT RUN where there is none.
pub fn s3_options(test: &str) -> Option<S3Options> {
    options_of("S3", "s3", test)
}

/// The same of every dialect of S3 that runs: MinIO is the second one, and a test that ran against the first has run.
pub fn s3_dialects(test: &str) -> Vec<S3Options> {
    let has_second = std::env::var_os("SAWLOG_TEST_MINIO_ENDPOINT").is_some();
    let second = || options_of("MINIO", "minio", test);
    s3_options(test).into_iter().chain(has_second.then(second).flatten()).collect()
}

fn options_of(dialect: &str, service: &str, test: &str) -> Option<S3Options> {
    let variable = |name: &str| std::env::var(format!("SAWLOG_TEST_{dialect}_{name}")).ok();
    let (Some(endpoint), Some(access), Some(secret), Some(bucket)) =
        (variable("ENDPOINT"), variable("ACCESS_KEY"), variable("SECRET_KEY"), variable("BUCKET"))
    else {
        println!("NOT RUN: {test}: SAWLOG_TEST_{dialect}_ENDPOINT is not set; run `cargo xtask services up {service}`");
        return None;
    };
    Some(S3Options {
        bucket,
        root: fresh(test),
        endpoint: Some(endpoint),
        region: "us-east-1".into(),
        path_style: true,
        credentials: Some(StaticCredentials {
            access_key_id: Secret::clear(access),
            secret_access_key: Secret::clear(secret),
            session_token: None,
        }),
        tls: None,
        proxy: None,
        conditional_put: true,
    })
}

/// The bucket under test.
pub fn bucket(options: &S3Options) -> Bucket {
    Bucket::new(options, keys()).unwrap()
}

/// Options of the cluster under test, below a fresh root; says NOT RUN where there is none.
pub fn hdfs_options(test: &str) -> Option<HdfsOptions> {
    let Ok(url) = std::env::var("SAWLOG_TEST_HDFS") else {
        println!("NOT RUN: {test}: SAWLOG_TEST_HDFS is not set; run `cargo xtask services up hdfs`");
        return None;
    };
    Some(HdfsOptions { url, root: format!("/sawlog-test/{}", fresh(test)), ..HdfsOptions::default() })
}

/// The cluster under test.
pub fn cluster(options: &HdfsOptions) -> Cluster {
    Cluster::new(options, &keys()).unwrap()
}
