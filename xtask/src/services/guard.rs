//! The guard: a process of its own that outlives whoever started a run and then ends all of it.
//!
//! It holds one end of a pipe. The runner has the other and never writes; when the runner is done, fails, panics, is
//! interrupted or killed with SIGKILL, the kernel closes it, the guard reads the end and clears up. So no signal
//! handler and no destructor has to be right.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::Run;
use super::state::{MARK_VARIABLE, StateFile};

/// Does some work in a run of its own, all of which is ended when the work is done, fails, or dies with this process.
pub fn guarded<T>(work: impl FnOnce(&Run) -> Result<T>) -> Result<T> {
    let run = Run::create()?;
    let guard = Guard::start(&run)?;
    let outcome = work(&run);
    guard.finish()?;
    outcome
}

/// This very program, also where its file was replaced meanwhile: a ring of tests compiles it again.
const THIS: &str = "/proc/self/exe";

/// The runner's end of the pipe.
struct Guard {
    process: Child,
}

impl Guard {
    /// Starts the guard of a run, before anything else of that run is started.
    fn start(run: &Run) -> Result<Self> {
        let process = Command::new(THIS)
            .args(["services", "guard"])
            .arg(run.file().path())
            .env_remove(MARK_VARIABLE)
            .process_group(0)
            .stdin(Stdio::piped())
            .spawn()
            .context("cannot start the guard of the services")?;
        Ok(Self { process })
    }

    /// Lets the guard end the run now, and waits for it.
    fn finish(mut self) -> Result<()> {
        drop(self.process.stdin.take());
        let status = self.process.wait().context("cannot wait for the guard")?;
        ensure!(status.success(), "the guard could not end the run: {status}");
        Ok(())
    }
}

/// What the guard itself does.
pub fn stand(file: StateFile) -> Result<()> {
    io::stdin().read_to_end(&mut Vec::new()).context("cannot wait for the end of standard input")?;
    Run::at(file).end()?;
    Ok(())
}
