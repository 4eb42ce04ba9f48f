//! The `hdfs` sink: rows as files of HDFS. It knows no other sink.

mod cluster;
pub mod config;
mod failure;

pub use cluster::{Cluster, ClusterError, HdfsOptions};

use crate::object::{Blobs, Encoding, Keys, Lake, OpenError, Owner, below};
use config::HdfsSink;
use sawlog_core::ports::SinkPort;
use sawlog_settings::component::{DescribeSink as _, Provenance, SinkCommon};
use std::sync::Arc;

/// The sink that `options` describe. Opens no connection yet.
pub fn open(options: &HdfsSink, common: &SinkCommon, owner: &Owner) -> Result<SinkPort, OpenError> {
    let encoding = Encoding { format: options.format, columns: &options.columns, provenance: Provenance::Full };
    let new_encoder = encoding.new_encoder(common)?;
    let keys = Keys::new(&owner.agent, &owner.sink, options.format.extension());
    let cluster = Cluster::new(&connection(options), &keys)?;
    let stage = owner.stage(
        below(options.root(), &options.path)?,
        options.paths_max,
        new_encoder,
        options.stage_memory.as_bytes(),
    );
    Ok(SinkPort::Objects(Arc::new(Lake::new(cluster, keys, stage, options.place()))))
}

/// The files below the sink's root. Opens no connection yet.
pub fn blobs(options: &HdfsSink, owner: &Owner) -> Result<Box<dyn Blobs>, OpenError> {
    let keys = Keys::new(&owner.agent, &owner.sink, options.format.extension());
    Ok(Box::new(Cluster::new(&connection(options), &keys)?))
}

fn connection(options: &HdfsSink) -> HdfsOptions {
    HdfsOptions {
        url: options.url.clone(),
        root: options.root().to_owned(),
        user: options.user.clone(),
        kerberos: options.kerberos.clone().map(|k| (k.principal, k.keytab)),
        options: options.options.clone(),
    }
}
