//! One run of services: a folder, a state file, and everything that was started under its mark.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use rustix::process::Signal;

use super::state::{MARK_VARIABLE, STATE_VARIABLE, StateFile};
use super::{Place, Service, launch, provision};
use crate::process;

/// A run; dropping it ends nothing, see [`Run::end`] and the guard.
pub struct Run {
    file: StateFile,
}

impl Run {
    /// A new run with an empty folder below the system's folder for temporary files.
    ///
    /// Others may enter the folder, because Elasticsearch refuses to run as root and gets another user id.
    pub fn create() -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        let name = format!("sawlog-services-{}-{}", std::process::id(), now.as_millis());
        let folder = std::env::temp_dir().join(name);
        fs::DirBuilder::new()
            .mode(0o755)
            .create(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self { file: StateFile::in_folder(&folder) })
    }

    /// A run that exists.
    pub fn at(file: StateFile) -> Self {
        Self { file }
    }

    /// Its state file.
    pub fn file(&self) -> &StateFile {
        &self.file
    }

    /// What a test gets in its environment: the endpoints of all services, the path of the state file, and the mark.
    pub fn environment(&self) -> Result<BTreeMap<String, String>> {
        let mut variables = self.file.read()?.endpoints;
        for name in [STATE_VARIABLE, MARK_VARIABLE] {
            variables.insert(name.to_string(), self.file.path().display().to_string());
        }
        Ok(variables)
    }

    /// Provisions the services one after the other, then starts those that this run does not have, all at once, and
    /// returns when every one is ready.
    pub fn start(&self, services: &[Service]) -> Result<()> {
        let present = self.file.read()?.processes;
        let absent: Vec<Service> =
            services.iter().copied().filter(|one| !present.iter().any(|known| known.service == one.name())).collect();
        super::fetch(&absent)?;
        let python = provision::python_with("duckdb")?.display().to_string();
        let schemas = provision::python_data("kubernetes-schemas")?.display().to_string();
        let logrotate = match provision::debian_program("logrotate", &["logrotate", "libpopt0"]) {
            Ok(program) => ("SAWLOG_TEST_LOGROTATE", program.display().to_string()),
            Err(error) => ("SAWLOG_TEST_WITHOUT_LOGROTATE", format!("{error:#}").replace(['\n', '\''], " ")),
        };
        self.file.update(|state| {
            state.endpoints.insert(logrotate.0.to_string(), logrotate.1);
            state.endpoints.insert("SAWLOG_TEST_PYTHON".to_string(), python);
            state.endpoints.insert("SAWLOG_TEST_KUBERNETES_SCHEMAS".to_string(), schemas);
        })?;
        thread::scope(|scope| {
            let starts: Vec<_> = absent.iter().map(|service| scope.spawn(|| self.start_one(*service))).collect();
            starts.into_iter().try_for_each(|start| start.join().map_err(|_| anyhow!("a start panicked"))?)
        })
    }

    fn start_one(&self, service: Service) -> Result<()> {
        let begin = Instant::now();
        let folder = self.file.folder().join(service.name());
        fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let layout = service
            .lay_out(&Place { folder, file: self.file.clone() })
            .with_context(|| format!("cannot lay out {}", service.name()))?;
        for process in &layout.processes {
            launch::start(&self.file, process)?;
        }
        self.file.update(|state| {
            state.endpoints.extend(layout.endpoints.into_iter().map(|(name, value)| (name.to_string(), value)));
        })?;
        eprintln!("{}: ready after {:.1} s", service.name(), begin.elapsed().as_secs_f64());
        Ok(())
    }

    /// Kills the processes of that name with SIGKILL.
    pub fn kill(&self, name: &str) -> Result<()> {
        self.file.named(name)?.iter().filter_map(|one| one.identity).try_for_each(process::ProcessIdentity::kill)
    }

    /// Sends a signal to the processes of that name.
    pub fn signal(&self, name: &str, signal: Signal) -> Result<()> {
        self.file.named(name)?.iter().filter_map(|one| one.identity).try_for_each(|identity| identity.signal(signal))
    }

    /// Kills the processes of that name and starts them again, in their order, on the same data and ports.
    pub fn restart(&self, name: &str) -> Result<()> {
        self.kill(name)?;
        self.file.named(name)?.iter().try_for_each(|process| launch::start(&self.file, process))
    }

    /// Kills everything that carries the mark of this run and deletes its folder. Returns how many processes there were.
    pub fn end(&self) -> Result<usize> {
        let ended = process::kill_marked(&self.file.mark())?;
        match fs::remove_dir_all(self.file.folder()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.file.folder().display()))
            }
            _ => Ok(ended),
        }
    }
}
