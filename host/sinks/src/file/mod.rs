//! The `file` sink: rows as lines of a local file, or as a lake of local files. It knows no other sink.

mod append;
pub mod config;
mod disk;
mod folder;
mod letters;
mod written;

pub use append::{AppendOptions, AppendTarget, AppendedFile};
pub use folder::Folder;
pub use written::{Unreadable, Written};

use crate::object::{Blobs, Encoding, Keys, Lake, OpenError, Owner, below};
use config::FileSink;
use sawlog_core::ports::SinkPort;
use sawlog_settings::component::{DescribeSink as _, Provenance, SinkCommon};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The sink that `options` describe. Touches no file yet.
pub fn open(options: &FileSink, common: &SinkCommon, owner: &Owner) -> Result<SinkPort, OpenError> {
    let encoding = Encoding { format: options.format, columns: &options.columns, provenance: Provenance::None };
    let new_encoder = encoding.new_encoder(common)?;
    let extension = options.format.extension();
    if options.is_lake() {
        let template = below(options.root(), &options.path)?;
        let keys = Keys::new(&owner.agent, &owner.sink, extension);
        let folder = Folder::new(on_disk(options.root(), owner), &keys);
        let stage = owner.stage(template, options.paths_max, new_encoder, options.stage_memory.as_bytes());
        return Ok(SinkPort::Objects(Arc::new(Lake::new(folder, keys, stage, options.place()))));
    }
    let folder = || AppendTarget::Folder(on_disk(&options.path, owner));
    Ok(SinkPort::Append(Arc::new(AppendedFile::new(AppendOptions {
        target: plain(options, &owner.data_dir).map_or_else(folder, AppendTarget::Plain),
        agent: owner.agent.clone(),
        sink: owner.sink.clone(),
        extension: extension.to_owned(),
        new_encoder,
        roll_bytes: options.roll.size.as_bytes(),
        roll_age: options.roll.age.as_duration(),
        total_bytes_max: options.max_size.map(|size| size.as_bytes()),
        place: options.place(),
    }))))
}

/// The files below the root of a lake. Touches no file yet.
pub fn blobs(options: &FileSink, owner: &Owner) -> Box<dyn Blobs> {
    let keys = Keys::new(&owner.agent, &owner.sink, options.format.extension());
    Box::new(Folder::new(on_disk(options.root(), owner), &keys))
}

fn on_disk(path: &str, owner: &Owner) -> PathBuf {
    below_data_dir(path, &owner.data_dir)
}

fn below_data_dir(path: &str, data_dir: &Path) -> PathBuf {
    match path.strip_prefix("{data_dir}") {
        Some(rest) => data_dir.join(rest.trim_start_matches('/')),
        None => path.into(),
    }
}

/// The one file that an appended sink writes, where its path has the extension of one; else its path is a folder.
fn plain(options: &FileSink, data_dir: &Path) -> Option<PathBuf> {
    let path = below_data_dir(&options.path, data_dir);
    let extension = format!(".{}", options.format.extension());
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(&extension)).then_some(path)
}
