//! The `s3` sink: rows as objects of S3 and its clones. It knows no other sink.

mod bucket;
mod client;
pub mod config;
mod credentials;

pub use bucket::Bucket;
pub use client::{ClientError, S3Options, StaticCredentials};

use crate::object::{Blobs, Encoding, Keys, Lake, OpenError, Owner, below};
use config::{ConditionalPut, S3Sink};
use sawlog_core::ports::SinkPort;
use sawlog_settings::component::{DescribeSink as _, Provenance, SinkCommon};
use std::sync::Arc;

/// The sink that `options` describe. Reads PEM files; opens no connection yet.
pub fn open(options: &S3Sink, common: &SinkCommon, owner: &Owner) -> Result<SinkPort, OpenError> {
    let encoding = Encoding { format: options.format, columns: &options.columns, provenance: Provenance::Full };
    let new_encoder = encoding.new_encoder(common)?;
    let keys = Keys::new(&owner.agent, &owner.sink, options.format.extension());
    let bucket = Bucket::new(&connection(options), keys.clone())?;
    let stage = owner.stage(
        below(options.root(), &options.prefix)?,
        options.paths_max,
        new_encoder,
        options.stage_memory.as_bytes(),
    );
    Ok(SinkPort::Objects(Arc::new(Lake::new(bucket, keys, stage, options.place()))))
}

/// The objects below the sink's root. Reads PEM files; opens no connection yet.
pub fn blobs(options: &S3Sink, owner: &Owner) -> Result<Box<dyn Blobs>, OpenError> {
    let keys = Keys::new(&owner.agent, &owner.sink, options.format.extension());
    Ok(Box::new(Bucket::new(&connection(options), keys)?))
}

fn connection(options: &S3Sink) -> S3Options {
    S3Options {
        bucket: options.bucket.clone(),
        root: options.root().to_owned(),
        endpoint: options.endpoint.clone(),
        region: options.region.clone(),
        path_style: options.path_style,
        credentials: options.credentials.clone().map(|given| StaticCredentials {
            access_key_id: given.access_key_id,
            secret_access_key: given.secret_access_key,
            session_token: given.session_token,
        }),
        tls: options.tls.clone(),
        proxy: options.proxy.clone(),
        conditional_put: options.conditional_put == ConditionalPut::Required,
    }
}
