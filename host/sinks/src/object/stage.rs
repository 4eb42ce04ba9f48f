//! The staging area of an object sink: one encoder per path, at most `memory_bytes_max` of encoded rows in memory, the rest in
//! files without a name, which vanish with the process. Knows nothing of claims or stores.

use super::Body;
use crate::format::{Encoder, FormatError, Provenance};
use bytes::Bytes;
use sawlog_core::memory::Member;
use sawlog_core::ports::{Offer, SinkError, Staging};
use sawlog_record::batch::{Batch, Output};
use sawlog_record::template::{Rendering, Template};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Longest name of a folder, bytes: of local file systems and of HDFS.
const FOLDER_BYTES_MAX: usize = 255;
/// Longest path below the sink's own folder, bytes. A key of S3 has 1,024; that folder and the object's own name need some.
const PATH_BYTES_MAX: usize = 640;

/// Makes the encoder of one object.
pub type NewEncoder = Arc<dyn Fn() -> Result<Box<dyn Encoder>, FormatError> + Send + Sync>;

/// How rows are staged.
#[derive(Clone)]
pub struct StageOptions {
    /// The agent's id, for provenance.
    pub agent: String,
    /// The folder of a row's object, relative to the store's root.
    pub path: Template,
    /// Most objects of one claim; rows that would make one more go to the path with `other` in every place.
    pub paths_max: usize,
    /// How rows are encoded.
    pub new_encoder: NewEncoder,
    /// Encoded bytes of all open objects above which the largest go to disk.
    pub memory_bytes_max: usize,
    /// The same for all sinks of this name together, whatever is less.
    pub memory: Arc<Member>,
    /// Where they go; made where it is missing.
    pub spill_folder: PathBuf,
}

/// Indexes of rows by the path that they belong to.
type ByPath = BTreeMap<String, Vec<u32>>;

/// Rows gathered for one claim.
pub(super) struct Stage {
    options: Arc<StageOptions>,
    objects: BTreeMap<String, Object>,
    /// The only paths that are taken, beside the fallback; `None`: the first ones that come.
    named: Option<BTreeSet<String>>,
    /// What `fits` found out, for the `add` that follows: batch, floor, rows by path.
    sorted: Option<(Arc<Batch>, i64, ByPath)>,
    /// The path of the present row.
    rendering: Rendering,
    /// Why an encoder can't go on: it may hold a part of an offer, so nothing of this staging may become visible.
    broken: Option<String>,
}

/// One open object.
struct Object {
    encoder: Option<Box<dyn Encoder>>,
    spilled: Option<(Arc<File>, u64)>,
    /// Encoded bytes behind the spilled ones, out of the encoder.
    tail: Bytes,
}

impl Stage {
    pub(super) fn new(options: Arc<StageOptions>) -> Self {
        Self {
            options,
            objects: BTreeMap::new(),
            named: None,
            sorted: None,
            rendering: Rendering::default(),
            broken: None,
        }
    }

    /// What the object of `path` holds; ends its encoder. `None` for a path without rows.
    pub(super) fn body(&mut self, path: &str) -> Result<Option<Body>, SinkError> {
        if let Some(why) = &self.broken {
            return Err(broken(why));
        }
        let Some(object) = self.objects.get_mut(path) else { return Ok(None) };
        if let Some(encoder) = &mut object.encoder {
            let bytes = encoder.finish().map_err(|e| broken(&e.to_string()))?;
            object.encoder = None;
            object.tail = joined(&object.tail, bytes);
        }
        Ok(Some(Body::staged(object.spilled.clone(), object.tail.clone())))
    }

    /// The rows of `offer` by path, in their order.
    fn by_path(&mut self, offer: &Offer, floor: i64) -> ByPath {
        let batch = &offer.output.batch;
        let mut rows = ByPath::new();
        for index in &offer.output.rows {
            let row = &batch.rows[*index as usize];
            self.options.path.render(batch, row, row.received.max(floor), &mut self.rendering);
            if let Some(rows) = rows.get_mut(self.rendering.text.as_str()) {
                rows.push(*index);
                continue;
            }
            let fresh = rows.keys().filter(|path| !self.objects.contains_key(*path)).count();
            let path = match self.takes(&self.rendering.text, self.objects.len() + fresh) {
                true => self.rendering.text.clone(),
                false => self.options.path.fallback(),
            };
            rows.entry(path).or_default().push(*index);
        }
        rows
    }

    /// Whether rows may go to `path`, with `paths` there. One that no store can name is never claimed: nobody could keep that claim.
    /// Whoever comes first is named, and a path that was not named never is later on, so the names of a claim say for each row where
    /// it went.
    fn takes(&self, path: &str, paths: usize) -> bool {
        match &self.named {
            Some(named) => named.contains(path),
            None => {
                self.objects.contains_key(path) || (paths + 1 < self.options.paths_max.max(2) && can_be_named(path))
            }
        }
    }

    fn encode(&mut self, offer: &Offer, rows: ByPath) -> Result<(), FormatError> {
        let provenance = Provenance { agent: &self.options.agent, source: offer.source.as_str() };
        for (path, rows) in rows {
            let fresh = || Object { encoder: None, spilled: None, tail: Bytes::new() };
            let object = self.objects.entry(path).or_insert_with(fresh);
            let encoder = match &mut object.encoder {
                Some(encoder) => encoder,
                none => none.insert((self.options.new_encoder)()?),
            };
            encoder.append(&Output { batch: offer.output.batch.clone(), rows }, &provenance)?;
        }
        Ok(())
    }

    /// Moves the largest objects to disk until half of the memory is free. What was moved stays moved where it fails.
    fn make_room(&mut self) -> Result<(), SinkError> {
        let in_memory: usize = self.objects.values().map(Object::in_memory).sum();
        let bytes_max = self.options.memory_bytes_max.min(self.options.memory.bytes_max());
        if in_memory <= bytes_max {
            return Ok(());
        }
        let mut by_size: Vec<(usize, &mut Object)> =
            self.objects.values_mut().map(|o| (o.in_memory(), o)).filter(|(size, _)| *size > 0).collect();
        by_size.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
        let mut left = in_memory;
        for (_, object) in by_size {
            if left <= bytes_max / 2 {
                break;
            }
            let before = object.in_memory();
            object.drain().map_err(|e| broken(&e.to_string()))?;
            object.spill(&self.options.spill_folder).map_err(|e| {
                SinkError::Unavailable(format!("rows can't be staged in {}: {e}", self.options.spill_folder.display()))
            })?;
            left = (left + object.in_memory()).saturating_sub(before);
        }
        Ok(())
    }
}

impl Staging for Stage {
    fn add(&mut self, offer: &Offer, floor: i64) -> Result<(), SinkError> {
        if let Some(why) = &self.broken {
            return Err(broken(why));
        }
        // Before the rows go in: an offer that fails comes again as a whole.
        self.make_room()?;
        let rows = match self.sorted.take() {
            Some((batch, at, rows)) if Arc::ptr_eq(&batch, &offer.output.batch) && at == floor => rows,
            _ => self.by_path(offer, floor),
        };
        self.encode(offer, rows).map_err(|e| {
            let why = e.to_string();
            let error = broken(&why);
            self.broken = Some(why);
            error
        })
    }

    fn fits(&mut self, offer: &Offer, floor: i64) -> bool {
        let rows = self.by_path(offer, floor);
        let fresh = rows.keys().filter(|path| !self.objects.contains_key(*path)).count();
        self.sorted = Some((offer.output.batch.clone(), floor, rows));
        fresh == 0 || self.objects.is_empty() || self.objects.len() + fresh < self.options.paths_max
    }

    fn restrict(&mut self, paths: &[String]) {
        self.named = Some(paths.iter().cloned().collect());
        for path in paths {
            match (self.options.new_encoder)() {
                Ok(encoder) => {
                    let object = Object { encoder: Some(encoder), spilled: None, tail: Bytes::new() };
                    self.objects.entry(path.clone()).or_insert(object);
                }
                Err(error) => self.broken = Some(error.to_string()),
            }
        }
    }

    fn paths(&self) -> Vec<String> {
        self.objects.keys().cloned().collect()
    }

    fn bytes(&self) -> u64 {
        self.objects.values().map(|o| o.in_memory() as u64 + o.spilled.as_ref().map_or(0, |(_, len)| *len)).sum()
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

impl Object {
    fn in_memory(&self) -> usize {
        self.tail.len() + self.encoder.as_ref().map_or(0, |e| e.len())
    }

    /// Takes finished bytes out of the encoder.
    fn drain(&mut self) -> Result<(), FormatError> {
        if let Some(encoder) = &mut self.encoder {
            self.tail = joined(&self.tail, encoder.drain()?);
        }
        Ok(())
    }

    fn spill(&mut self, folder: &PathBuf) -> io::Result<()> {
        let (file, len) = match &self.spilled {
            Some((file, len)) => (file.clone(), *len),
            None => {
                std::fs::create_dir_all(folder)?;
                (Arc::new(tempfile::tempfile_in(folder)?), 0)
            }
        };
        file.write_all_at(&self.tail, len)?;
        self.spilled = Some((file, len + self.tail.len() as u64));
        self.tail = Bytes::new();
        Ok(())
    }
}

/// Whether values from records have not made a path too long.
fn can_be_named(path: &str) -> bool {
    path.len() <= PATH_BYTES_MAX && path.split('/').all(|folder| folder.len() <= FOLDER_BYTES_MAX)
}

fn joined(head: &Bytes, tail: Vec<u8>) -> Bytes {
    if head.is_empty() {
        return tail.into();
    }
    let mut bytes = Vec::with_capacity(head.len() + tail.len());
    bytes.extend_from_slice(head);
    bytes.extend_from_slice(&tail);
    bytes.into()
}

fn broken(why: &str) -> SinkError {
    SinkError::Refused(format!("rows can't be encoded: {why}; restart sawlog, nothing is lost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_values_make_too_long_is_none() {
        let value = "a".repeat(64);
        assert!(can_be_named(""));
        assert!(can_be_named(&format!("dt=2026-11-28/{value}-{value}-{value}")));
        assert!(!can_be_named(&format!("dt=2026-11-28/{value}-{value}-{value}-{value}")), "one folder");
        assert!(!can_be_named(&format!("{value}/").repeat(10)), "all folders");
    }
}
