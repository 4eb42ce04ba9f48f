//! The real S3 as a sink's destination and as a table that DuckDB reads. Shares no code with the agent.

use crate::{read, service, unique};
use anyhow::Result;

/// A prefix of its own in the test bucket.
pub struct Bucket {
    endpoint: String,
    key: String,
    secret: String,
    bucket: String,
    region: String,
    prefix: String,
}

impl Bucket {
    /// The bucket that the test command names; `None` prints that `test` is not run.
    pub fn find(test: &str) -> Option<Self> {
        let endpoint = service(test, "SAWLOG_TEST_S3_ENDPOINT")?;
        let get = |name: &str| service(test, name);
        Some(Self {
            endpoint,
            key: get("SAWLOG_TEST_S3_ACCESS_KEY")?,
            secret: get("SAWLOG_TEST_S3_SECRET_KEY")?,
            bucket: get("SAWLOG_TEST_S3_BUCKET")?,
            region: get("SAWLOG_TEST_S3_REGION")?,
            prefix: unique("cell"),
        })
    }

    /// The sink's part of a config.
    pub fn sink(&self, input: &str) -> String {
        let Self { endpoint, key, secret, bucket, region, prefix } = self;
        format!(
            "{{ type: s3, inputs: [{input}], bucket: {bucket}, endpoint: \"{endpoint}\", region: {region}, path_style: true, prefix: \"{prefix}/dt={{received_time:%Y-%m-%d}}/hour={{received_time:%H}}\", format: jsonl, roll: {{ size: 1MiB, age: 1s }}, credentials: {{ access_key_id: {key}, secret_access_key: {secret} }} }}"
        )
    }

    /// What DuckDB finds.
    pub fn rows(&self) -> Result<Vec<u64>> {
        let Self { endpoint, key, secret, bucket, region, prefix } = self;
        let host = endpoint.trim_start_matches("http://");
        let prepare = format!(
            "from duckdb_extensions import import_extension\nimport_extension('httpfs')\nc.execute('LOAD httpfs')\nc.execute(\"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', ENDPOINT '{host}', REGION '{region}', URL_STYLE 'path', USE_SSL false)\")"
        );
        read::duckdb(&prepare, &format!("s3://{bucket}/{prefix}/*/*/*.jsonl"))
    }
}
