//! From options to the parts of a sink of objects: whose it is, where paths begin, how rows are encoded.

use super::{NewEncoder, StageOptions, keys::safe};
use crate::format::{FormatError, RowWriter, encoder};
use crate::hdfs::ClusterError;
use crate::s3::ClientError;
use sawlog_core::memory::Share;
use sawlog_record::template::{Template, TemplateError, Values};
use sawlog_settings::component::{Provenance, SinkCommon};
use sawlog_settings::format::{Column, ObjectFormat};
use std::path::PathBuf;
use std::sync::Arc;

/// Whose sink it is, and where its agent keeps what is its own.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The agent's id.
    pub agent: String,
    /// The sink's key in the configuration.
    pub sink: String,
    /// The agent's data directory.
    pub data_dir: PathBuf,
    /// Memory for open objects of all sinks of this name, where `stage_memory` is not less.
    pub stage: Arc<Share>,
}

/// Why a sink can't be made of its options. `sawlog validate` finds the same.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The path is no template.
    #[error("`{template}`: {error}")]
    Template {
        /// What was given.
        template: String,
        /// What is wrong.
        error: TemplateError,
    },
    /// The format can't be written so.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// No client can be made for the bucket.
    #[error(transparent)]
    S3(#[from] ClientError),
    /// No client can be made for the cluster.
    #[error(transparent)]
    Hdfs(#[from] ClusterError),
}

/// What every sink of objects or files says about encoding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoding<'a> {
    pub format: ObjectFormat,
    pub columns: &'a [Column],
    /// What holds where `provenance` is not given.
    pub provenance: Provenance,
}

impl Encoding<'_> {
    /// Makes encoders; whatever can be wrong with the options is found here.
    pub fn new_encoder(&self, common: &SinkCommon) -> Result<NewEncoder, OpenError> {
        let provenance = common.provenance.unwrap_or(self.provenance);
        let (format, columns) = (self.format, self.columns.to_vec());
        let writer = RowWriter { provenance, time_member: None };
        encoder(format, &columns, writer.clone())?;
        Ok(Arc::new(move || encoder(format, &columns, writer.clone())))
    }
}

/// The template of what lies below `root` in `path`.
pub(crate) fn below(root: &str, path: &str) -> Result<Template, OpenError> {
    let rest = path.strip_prefix(root).unwrap_or(path).trim_matches('/');
    let fail = |error| OpenError::Template { template: path.to_owned(), error };
    Template::parse(rest, Values::Names).map_err(fail)
}

impl Owner {
    /// Staging for this sink.
    pub(crate) fn stage(
        &self,
        path: Template,
        paths_max: u32,
        new_encoder: NewEncoder,
        memory_bytes_max: u64,
    ) -> StageOptions {
        let memory_bytes_max = usize::try_from(memory_bytes_max).unwrap_or(usize::MAX);
        StageOptions {
            agent: self.agent.clone(),
            path,
            paths_max: paths_max as usize,
            new_encoder,
            memory_bytes_max,
            memory: Arc::new(self.stage.join()),
            spill_folder: self.data_dir.join("stage").join(safe(&self.sink)),
        }
    }
}
