//! A bucket as a store of objects: conditional puts, of one request or of several parts, and a probe that the store keeps the
//! condition. Knows nothing of claims.

use super::client::{ClientError, S3Options, operator};
use super::credentials;
use crate::object::{Blobs, Body, Keys};
use async_trait::async_trait;
use futures_util::future::join_all;
use opendal::{Buffer, Error, ErrorKind, Operator, Writer};
use sawlog_core::ports::{PutOutcome, SinkError};

/// Bodies up to this go in one request, bytes.
const SINGLE_PUT_BYTES_MAX: u64 = 8 << 20;
/// Least size of a part, bytes.
const PART_BYTES_MIN: u64 = 8 << 20;
/// Most parts that S3 takes.
const PARTS_MAX: u64 = 10_000;
/// Puts to one key that the probe sends at once.
const PROBE_PUTS: usize = 16;

/// The objects below one prefix of a bucket.
pub struct Bucket {
    operator: Operator,
    keys: Keys,
    place: String,
    is_conditional: bool,
}

impl Bucket {
    /// The bucket that `options` name. Reads PEM files; opens no connection.
    pub fn new(options: &S3Options, keys: Keys) -> Result<Self, ClientError> {
        let at = options.endpoint.as_deref().unwrap_or("AWS");
        let place = format!("bucket {} at {at}", options.bucket);
        Ok(Self { operator: operator(options)?, keys, place, is_conditional: options.conditional_put })
    }

    async fn put(&self, key: &str, body: &Body) -> Result<(), Error> {
        if body.len() > SINGLE_PUT_BYTES_MAX {
            return self.put_parts(key, body).await;
        }
        let mut chunks = Vec::new();
        let mut offset = 0;
        while offset < body.len() {
            let chunk = read(body, offset).await?;
            offset += chunk.len() as u64;
            chunks.push(chunk);
        }
        let write = self.operator.write_with(key, Buffer::from(chunks));
        write.if_not_exists(self.is_conditional).await.map(drop)
    }

    async fn put_parts(&self, key: &str, body: &Body) -> Result<(), Error> {
        let part = PART_BYTES_MIN.max(body.len() / PARTS_MAX + 1) as usize;
        let mut writer =
            self.operator.writer_with(key).if_not_exists(self.is_conditional).chunk(part).concurrent(2).await?;
        let sent = send_parts(&mut writer, body).await;
        if sent.is_err()
            && let Err(error) = writer.abort().await
        {
            // The bucket's lifecycle rule removes what stays.
            tracing::debug!(key, %error, "unfinished upload was not aborted");
        }
        sent
    }

    /// Two puts to one key, the second refused; then many at once, of which one wins. A store that only looks before it writes
    /// fails the second test.
    async fn probe(&self) -> Result<(), SinkError> {
        let keys = [self.keys.probe(fastrand::u64(..)), self.keys.probe(fastrand::u64(..))];
        let body = || Body::from(b"sawlog probes whether a second put to a key is refused\n".to_vec());
        let first = self.put_if_absent(&keys[0], body()).await?;
        let second = self.put_if_absent(&keys[0], body()).await?;
        let puts = join_all((0..PROBE_PUTS).map(|_| self.put_if_absent(&keys[1], body()))).await;
        let created = puts.iter().filter(|put| matches!(put, Ok(PutOutcome::Created))).count();
        for key in &keys {
            self.delete(key).await?;
        }
        if first == PutOutcome::Created && second == PutOutcome::Exists && created <= 1 {
            return Ok(());
        }
        Err(SinkError::Refused(format!(
            "{} does not refuse a second put to a key (If-None-Match): one after another {first:?} and {second:?}, and {created} of \
             {PROBE_PUTS} at once were told that they created it; exactly-once needs it: use another store or a newer version of \
             this one, or write `conditional_put: unsupported` and run no second agent with this agent's id",
            self.place
        )))
    }

    /// Names directly below `folder`, those of folders with their `/`.
    async fn names(&self, folder: &str) -> Result<Vec<String>, SinkError> {
        let entries = self.operator.list(folder).await;
        let entries = entries.map_err(|e| self.failed(&format!("can't list {folder}"), &e, false))?;
        let names = entries.iter().filter_map(|entry| entry.path().strip_prefix(folder));
        Ok(names.filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    /// What an error means; `is_write`: it may have taken effect.
    fn failed(&self, what: &str, error: &Error, is_write: bool) -> SinkError {
        if credentials::are_missing(error) {
            return SinkError::Unavailable(format!("{what} in {}: {}", self.place, credentials::NONE_FOUND));
        }
        let text = format!("{what} in {}: {error}", self.place);
        match error.kind() {
            ErrorKind::PermissionDenied => SinkError::Refused(format!(
                "{text}; check the credentials and what `sawlog validate` says they must allow"
            )),
            ErrorKind::ConfigInvalid => {
                SinkError::Refused(format!("{text}; create the bucket, or correct `bucket` and `region`"))
            }
            ErrorKind::NotFound => SinkError::Refused(format!("{text}; check `endpoint`, `bucket` and the access key")),
            ErrorKind::Unsupported => SinkError::Refused(text),
            ErrorKind::RateLimited => SinkError::Unavailable(text),
            _ if is_write => SinkError::Unknown(text),
            _ => SinkError::Unavailable(text),
        }
    }
}

async fn send_parts(writer: &mut Writer, body: &Body) -> Result<(), Error> {
    let mut offset = 0;
    while offset < body.len() {
        let chunk = read(body, offset).await?;
        offset += chunk.len() as u64;
        writer.write(chunk).await?;
    }
    writer.close().await.map(drop)
}

async fn read(body: &Body, offset: u64) -> Result<bytes::Bytes, Error> {
    body.read_chunk(offset).await.map_err(|e| Error::new(ErrorKind::Unexpected, e.to_string()))
}

#[async_trait]
impl Blobs for Bucket {
    async fn prepare(&self) -> Result<(), SinkError> {
        if self.is_conditional { self.probe().await } else { Ok(()) }
    }

    async fn put_if_absent(&self, key: &str, body: Body) -> Result<PutOutcome, SinkError> {
        if !self.is_conditional && self.exists(key).await? {
            return Ok(PutOutcome::Exists);
        }
        match self.put(key, &body).await {
            Ok(()) => Ok(PutOutcome::Created),
            Err(error) if error.kind() == ErrorKind::ConditionNotMatch => Ok(PutOutcome::Exists),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(PutOutcome::Conflict),
            Err(error) => Err(self.failed(&format!("can't put {key}"), &error, true)),
        }
    }

    async fn replace(&self, key: &str, bytes: Vec<u8>) -> Result<(), SinkError> {
        let put = self.operator.write(key, bytes).await;
        put.map(drop).map_err(|e| self.failed(&format!("can't put {key}"), &e, true))
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, SinkError> {
        match self.operator.read(key).await {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            // An unknown access key or bucket is 404 too; only this one says that nothing is there.
            Err(error) if error.kind() == ErrorKind::NotFound && error.message().contains("NoSuchKey") => Ok(None),
            Err(error) => Err(self.failed(&format!("can't get {key}"), &error, false)),
        }
    }

    async fn exists(&self, key: &str) -> Result<bool, SinkError> {
        match self.operator.stat(key).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.failed(&format!("can't look for {key}"), &error, false)),
        }
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, SinkError> {
        Ok(self.names(folder).await?.into_iter().filter(|name| !name.ends_with('/')).collect())
    }

    async fn folders(&self, folder: &str) -> Result<Vec<String>, SinkError> {
        let names = self.names(folder).await?;
        Ok(names.iter().filter_map(|name| name.strip_suffix('/')).map(str::to_owned).collect())
    }

    async fn delete(&self, key: &str) -> Result<(), SinkError> {
        self.operator.delete(key).await.map_err(|e| self.failed(&format!("can't delete {key}"), &e, true))
    }
}
