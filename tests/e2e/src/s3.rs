//! The real S3 as a sink's destination and as a table that DuckDB reads. Shares no code with the agent.

use crate::shown::Shown;
use crate::wire::Wire;
use crate::{read, service, unique};
use anyhow::{Context, Result};

/// A prefix of its own in the test bucket.
#[derive(Clone)]
pub struct Bucket {
    /// URL of the gateway.
    pub endpoint: String,
    /// Access key.
    pub key: String,
    /// Secret key.
    pub secret: String,
    /// The bucket's name.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// What all keys of this test begin with.
    pub prefix: String,
}

impl Bucket {
    /// The bucket that the test command names; `None` prints that `test` is not run.
    pub fn find(test: &str) -> Option<Self> {
        service(test, "SAWLOG_TEST_S3_ENDPOINT")?;
        Some(Self::from_environment(unique("cell")).expect("the test command sets all of them"))
    }

    /// The bucket in MinIO, the second dialect, which `cargo xtask test --full` starts.
    pub fn find_in_minio(test: &str) -> Option<Self> {
        service(test, "SAWLOG_TEST_MINIO_ENDPOINT")?;
        Some(Self::of_dialect("MINIO", unique("cell")).expect("the test command sets all of them"))
    }

    /// The bucket that the environment names.
    pub fn from_environment(prefix: String) -> Result<Self> {
        Self::of_dialect("S3", prefix)
    }

    fn of_dialect(dialect: &str, prefix: String) -> Result<Self> {
        let get = |name: &str| {
            std::env::var(format!("SAWLOG_TEST_{dialect}_{name}")).with_context(|| format!("no {name} of {dialect}"))
        };
        Ok(Self {
            endpoint: get("ENDPOINT")?,
            key: get("ACCESS_KEY")?,
            secret: get("SECRET_KEY")?,
            bucket: get("BUCKET")?,
            region: get("REGION")?,
            prefix,
        })
    }

    /// The same place in another bucket.
    pub fn named(self, bucket: &str) -> Self {
        Self { bucket: bucket.to_owned(), ..self }
    }

    /// The same place, reached through a wire.
    pub fn through(&self, wire: &Wire) -> Self {
        Self { endpoint: wire.url(), ..self.clone() }
    }

    /// The bucket's name.
    pub fn name(&self) -> &str {
        &self.bucket
    }

    /// The secret access key.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The sink's part of a config.
    pub fn sink(&self, input: &str) -> String {
        let Self { key, secret, .. } = self;
        self.sink_with(input, &format!("credentials: {{ access_key_id: {key}, secret_access_key: {secret} }}"))
    }

    /// The same with `more` in place of the credentials.
    pub fn sink_with(&self, input: &str, more: &str) -> String {
        let Self { endpoint, bucket, region, prefix, .. } = self;
        format!(
            "{{ type: s3, inputs: [{input}], bucket: {bucket}, endpoint: \"{endpoint}\", region: {region}, path_style: true, prefix: \"{prefix}/dt={{received_time:%Y-%m-%d}}/hour={{received_time:%H}}\", format: jsonl, roll: {{ size: 1MiB, age: 1s }}, retry: {{ max: 1s }}, {more} }}"
        )
    }

    /// The same place for the backups of checkpoints, taken when they are asked for.
    pub fn backup(&self) -> String {
        let Self { endpoint, key, secret, bucket, region, prefix } = self;
        format!(
            "{{ type: s3, bucket: {bucket}, prefix: {prefix}, endpoint: \"{endpoint}\", region: {region}, path_style: true, every: 1h, credentials: {{ access_key_id: {key}, secret_access_key: {secret} }} }}"
        )
    }

    /// Lets DuckDB into the bucket.
    fn prepare(&self) -> String {
        let Self { endpoint, key, secret, region, .. } = self;
        let host = endpoint.trim_start_matches("http://");
        format!(
            "from duckdb_extensions import import_extension\nimport_extension('httpfs')\nc.execute('LOAD httpfs')\nc.execute(\"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', ENDPOINT '{host}', REGION '{region}', URL_STYLE 'path', USE_SSL false)\")"
        )
    }
}

/// What DuckDB finds.
impl Shown for Bucket {
    fn rows(&self) -> Result<Vec<u64>> {
        read::duckdb(&self.prepare(), &format!("s3://{}/{}/*/*/*.jsonl", self.bucket, self.prefix))
    }

    /// Object by object.
    fn spoiled(&self, removed: u64, repeated: u64) -> Result<Vec<u64>> {
        let copy = Self { prefix: format!("{}-copy", self.prefix), ..self.clone() };
        let Self { bucket, prefix, .. } = self;
        let program = format!(
            "import duckdb\nc = duckdb.connect()\n{prepare}\n\
             for (object,) in c.execute(\"select file from glob('s3://{bucket}/{prefix}/*/*/*.jsonl')\").fetchall():\n    \
             to = object.replace('{prefix}', '{to}', 1)\n    \
             rows = f\"select * from read_json('{{object}}', format='newline_delimited', hive_partitioning=false)\"\n    \
             c.execute(f\"copy ({{rows}} where seq <> {removed}) to '{{to}}' (format json)\")\n    \
             if c.execute(f'{{rows}} where seq = {repeated}').fetchall():\n        \
             c.execute(f\"copy ({{rows}} where seq = {repeated}) to '{{to}}.again.jsonl' (format json)\")\n",
            prepare = self.prepare(),
            to = copy.prefix,
        );
        read::python(&program)?;
        copy.rows()
    }
}
