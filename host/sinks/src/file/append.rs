//! One growing local file: `NAME.part`, which gets its number as its final name when it is rolled; or one plain file that is never
//! rolled. Executes append, cut and roll; the journal knows the durable length. Knows nothing of cursors.

use super::disk::{Folders, failed, rename_over_nothing, sync_folder};
use super::letters;
use crate::format::Provenance;
use crate::object::{Keys, NewEncoder};
use async_trait::async_trait;
use sawlog_core::ports::{AppendFile, Offer, SinkError};
use sawlog_core::sink::Letter;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where rows are appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AppendTarget {
    /// Numbered files in this folder.
    Folder(PathBuf),
    /// This file, which is never rolled.
    Plain(PathBuf),
}

/// How a file is appended to.
#[derive(Clone)]
pub struct AppendOptions {
    /// Where.
    pub target: AppendTarget,
    /// The agent's id: a part of file names, and of provenance.
    pub agent: String,
    /// The sink's key in the configuration: a part of file names.
    pub sink: String,
    /// The extension of a file, without the dot.
    pub extension: String,
    /// How rows are encoded; one object (frame) per commit.
    pub new_encoder: NewEncoder,
    /// Length at which a file is rolled, bytes.
    pub roll_bytes: u64,
    /// Age of its first row at which a file is rolled.
    pub roll_age: Duration,
    /// Most bytes of all files of this sink together; what comes then waits.
    pub total_bytes_max: Option<u64>,
    /// The target, as people name it.
    pub place: String,
}

/// The file.
pub struct AppendedFile {
    inner: Arc<Inner>,
    /// Whether steps may begin; held through each, because a step goes on when nobody waits for it any more.
    is_open: Arc<Mutex<bool>>,
}

struct Inner {
    options: AppendOptions,
    prefix: String,
    folders: Folders,
    present: Mutex<Option<Present>>,
    /// The buffer of the append before.
    spare: Mutex<Vec<u8>>,
}

/// The file that is appended to.
struct Present {
    number: u64,
    file: File,
    path: PathBuf,
    len: u64,
    /// When its first row was appended in this life.
    since: Option<Instant>,
}

impl AppendedFile {
    /// A file that is opened when the core asks where it stands.
    pub fn new(options: AppendOptions) -> Self {
        let prefix = Keys::new(&options.agent, &options.sink, "").prefix();
        let inner =
            Inner { options, prefix, folders: Folders::default(), present: Mutex::new(None), spare: Mutex::default() };
        Self { inner: Arc::new(inner), is_open: Arc::new(Mutex::new(true)) }
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Inner) -> Result<T, SinkError> + Send + 'static,
    ) -> Result<T, SinkError> {
        let (inner, is_open) = (self.inner.clone(), self.is_open.clone());
        let step = move || {
            let is_open = is_open.lock().unwrap_or_else(PoisonError::into_inner);
            if !*is_open {
                return Err(SinkError::Unavailable("this file has another writer now".to_owned()));
            }
            step(&inner)
        };
        let done = tokio::task::spawn_blocking(step).await;
        done.unwrap_or_else(|e| Err(SinkError::Unknown(format!("a step on the disk did not end: {e}"))))
    }
}

#[async_trait]
impl AppendFile for AppendedFile {
    async fn place(&self) -> Result<String, SinkError> {
        Ok(self.inner.options.place.clone())
    }

    async fn recover(&self, state: Option<(u64, u64)>) -> Result<(u64, u64), SinkError> {
        self.on_disk(move |inner| inner.recover(state)).await
    }

    async fn append(&self, offers: &[Offer], letters: &[Letter]) -> Result<(u64, u64), SinkError> {
        let bytes = self.inner.encode(offers, letters)?;
        self.on_disk(move |inner| {
            let appended = inner.append(&bytes);
            *inner.spare.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
            appended
        })
        .await
    }

    fn due(&self) -> bool {
        let options = &self.inner.options;
        let present = self.inner.present.lock().unwrap_or_else(PoisonError::into_inner);
        let is_folder = matches!(options.target, AppendTarget::Folder(_));
        present.as_ref().is_some_and(|p| {
            let is_old = p.since.is_some_and(|since| since.elapsed() >= options.roll_age);
            is_folder && p.len > 0 && (p.len >= options.roll_bytes || is_old)
        })
    }

    fn due_in(&self) -> Option<Duration> {
        let options = &self.inner.options;
        let present = self.inner.present.lock().unwrap_or_else(PoisonError::into_inner);
        let is_folder = matches!(options.target, AppendTarget::Folder(_));
        let since = present.as_ref().filter(|p| is_folder && p.len > 0)?.since?;
        Some(options.roll_age.saturating_sub(since.elapsed()))
    }

    async fn roll(&self) -> Result<(u64, u64), SinkError> {
        self.on_disk(Inner::roll).await
    }

    async fn close(&self) {
        let is_open = self.is_open.clone();
        let closing = move || *is_open.lock().unwrap_or_else(PoisonError::into_inner) = false;
        if let Err(error) = tokio::task::spawn_blocking(closing).await {
            tracing::error!(%error, "an appended file could not be closed in order");
        }
    }
}

impl Inner {
    fn encode(&self, offers: &[Offer], refused: &[Letter]) -> Result<Vec<u8>, SinkError> {
        let agent = self.options.agent.as_str();
        let fail = |e| SinkError::Refused(format!("rows can't be encoded: {e}; report this as a bug"));
        let mut encoder = (self.options.new_encoder)().map_err(fail)?;
        encoder.reuse(std::mem::take(&mut *self.spare.lock().unwrap_or_else(PoisonError::into_inner)));
        for offer in offers {
            let provenance = Provenance { agent, source: offer.source.as_str() };
            encoder.append(&offer.output, &provenance).map_err(fail)?;
        }
        for run in refused.chunk_by(letters::alike) {
            let provenance = Provenance { agent, source: run[0].offer.source.as_str() };
            encoder.append(&letters::rows(run), &provenance).map_err(fail)?;
        }
        if encoder.is_empty() { Ok(Vec::new()) } else { encoder.finish().map_err(fail) }
    }

    // ------------------------------------------------------------ where it stands

    fn recover(&self, state: Option<(u64, u64)>) -> Result<(u64, u64), SinkError> {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        *present = None;
        let found = match &self.options.target {
            AppendTarget::Plain(path) => self.recover_plain(path, state)?,
            AppendTarget::Folder(folder) => self.recover_numbered(folder, state)?,
        };
        let at = (found.number, found.len);
        *present = Some(found);
        Ok(at)
    }

    /// A file that was there before the sink keeps what it holds.
    fn recover_plain(&self, path: &Path, state: Option<(u64, u64)>) -> Result<Present, SinkError> {
        self.folders.make(path.parent().unwrap_or(Path::new("/")))?;
        self.open(path, 0, state.map(|(_, len)| len))
    }

    fn recover_numbered(&self, folder: &Path, state: Option<(u64, u64)>) -> Result<Present, SinkError> {
        let Some((number, len)) = state else {
            self.folders.make(folder)?;
            let behind = self.numbers(folder)?.into_iter().map(|(n, _)| n + 1).max();
            let number = behind.unwrap_or(1);
            return self.open(&self.part(folder, number), number, Some(0));
        };
        let part = self.part(folder, number);
        if exists(&part)? {
            return self.open(&part, number, Some(len));
        }
        let closed = self.closed(folder, number);
        match std::fs::metadata(&closed) {
            Ok(meta) if meta.len() == len => {
                sync_folder(folder)?;
                self.open(&self.part(folder, number + 1), number + 1, Some(0))
            }
            Ok(meta) => Err(SinkError::Refused(format!(
                "{} has {} bytes and the journal says {len}; somebody changed it: bring it back, or move it away",
                closed.display(),
                meta.len()
            ))),
            Err(e) if e.kind() == io::ErrorKind::NotFound && len == 0 => {
                self.folders.make(folder)?;
                self.open(&part, number, Some(0))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(gone(&part, len)),
            Err(e) => Err(failed("can't look at", &closed, e)),
        }
    }

    /// Opens the file, makes its name durable, and cuts it to `len`; `None` leaves what it holds. An empty file is a person's
    /// word that what it held may be gone.
    fn open(&self, path: &Path, number: u64, len: Option<u64>) -> Result<Present, SinkError> {
        let fail = |error| failed("can't open", path, error);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(fail)?;
        let there = file.metadata().map_err(fail)?.len();
        let len = match len {
            None => there,
            Some(_) if there == 0 => 0,
            Some(len) if there < len => return Err(gone(path, len)),
            Some(len) => len,
        };
        if there > len {
            file.set_len(len).map_err(|e| failed("can't cut", path, e))?;
        }
        file.sync_all().map_err(fail)?;
        sync_folder(path.parent().unwrap_or(Path::new("/")))?;
        let since = (len > 0).then(Instant::now);
        Ok(Present { number, file, path: path.to_owned(), len, since })
    }

    // ------------------------------------------------------------ append, roll

    fn append(&self, bytes: &[u8]) -> Result<(u64, u64), SinkError> {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let present = present.as_mut().ok_or_else(unrecovered)?;
        if bytes.is_empty() {
            return Ok((present.number, present.len));
        }
        self.check_total(bytes.len() as u64, present.len)?;
        let written = present.file.write_all_at(bytes, present.len).and_then(|()| present.file.sync_data());
        if let Err(error) = written {
            // On a full disk the cut gives back what the failed write took.
            present.file.set_len(present.len).map_err(|e| failed("can't cut", &present.path, e))?;
            return Err(failed("can't append to", &present.path, error));
        }
        present.len += bytes.len() as u64;
        present.since.get_or_insert_with(Instant::now);
        Ok((present.number, present.len))
    }

    fn check_total(&self, more: u64, present: u64) -> Result<(), SinkError> {
        let Some(max) = self.options.total_bytes_max else { return Ok(()) };
        let total = match &self.options.target {
            AppendTarget::Plain(_) => present,
            AppendTarget::Folder(folder) => self.numbers(folder)?.into_iter().map(|(_, len)| len).sum(),
        };
        if total + more <= max {
            return Ok(());
        }
        Err(SinkError::Refused(format!(
            "its files take {total} bytes and `max_size` is {max}; delete closed files or raise `max_size`, delivery goes on by itself"
        )))
    }

    fn roll(&self) -> Result<(u64, u64), SinkError> {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let current = present.as_ref().ok_or_else(unrecovered)?;
        let AppendTarget::Folder(folder) = &self.options.target else { return Ok((current.number, current.len)) };
        if current.len == 0 {
            return Ok((current.number, 0));
        }
        let (number, closed) = (current.number, self.closed(folder, current.number));
        if exists(&current.path)? && !rename_over_nothing(&current.path, &closed)? {
            let at = closed.display();
            return Err(SinkError::Refused(format!("{at} is in the way; move it, delivery goes on by itself")));
        }
        sync_folder(folder)?;
        *present = Some(self.open(&self.part(folder, number + 1), number + 1, Some(0))?);
        Ok((number + 1, 0))
    }

    // ------------------------------------------------------------ names

    fn closed(&self, folder: &Path, number: u64) -> PathBuf {
        folder.join(format!("{}{number:010}.{}", self.prefix, self.options.extension))
    }

    fn part(&self, folder: &Path, number: u64) -> PathBuf {
        folder.join(format!("{}{number:010}.{}.part", self.prefix, self.options.extension))
    }

    /// Number and length of every file of this sink.
    fn numbers(&self, folder: &Path) -> Result<Vec<(u64, u64)>, SinkError> {
        let fail = |error| failed("can't list", folder, error);
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name();
            let digits = name.to_str().and_then(|n| n.strip_prefix(&self.prefix)?.split('.').next()).map(str::parse);
            if let Some(Ok(number)) = digits {
                numbers.push((number, entry.metadata().map_err(fail)?.len()));
            }
        }
        Ok(numbers)
    }
}

fn exists(path: &Path) -> Result<bool, SinkError> {
    path.try_exists().map_err(|e| failed("can't look for", path, e))
}

fn gone(path: &Path, len: u64) -> SinkError {
    SinkError::Refused(format!(
        "{} does not hold the {len} bytes that the journal says were delivered; bring the file back (is the disk mounted?), or put \
         an empty file of that name there to go on without them",
        path.display()
    ))
}

fn unrecovered() -> SinkError {
    SinkError::Unavailable("the file is not open; it is opened by the next recovery".into())
}
