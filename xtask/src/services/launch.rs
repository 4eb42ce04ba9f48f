//! Starts one process of a service and waits, with a limit, until it is ready.
//!
//! Knows command lines and probes, not services. Whatever goes wrong, the error ends with the tail of the log.

use std::fs::{self, File, OpenOptions};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::state::{CommandLine, MARK_VARIABLE, Ready, ServiceProcess, StateFile};
use crate::process::ProcessIdentity;

/// The longest wait for one process to become ready, on a busy machine.
const READY_SECONDS_MAX: u64 = 180;
/// The longest wait for one answer of a probe.
const ANSWER_SECONDS_MAX: u64 = 5;
const POLL: Duration = Duration::from_millis(50);
const LOG_TAIL_LINES: usize = 40;

/// Starts the process, notes it in the state file at once, and waits until it is ready.
pub fn start(file: &StateFile, process: &ServiceProcess) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(READY_SECONDS_MAX);
    let log_start = fs::metadata(&process.log).map_or(0, |metadata| metadata.len());
    start_and_wait(file, process, log_start, deadline).with_context(|| {
        format!("{} did not start; the end of {}:\n{}", process.name, process.log.display(), tail(&process.log))
    })
}

fn start_and_wait(file: &StateFile, process: &ServiceProcess, log_start: u64, deadline: Instant) -> Result<()> {
    let mut child = spawn(&process.command, &process.log, file.path())?;
    let identity = match &process.command.pid_file {
        None => ProcessIdentity::of(child.id()).context("it ended at once")?,
        Some(pid_file) => {
            wait_for_launcher(&mut child, deadline)?;
            read_pid(pid_file)?
        }
    };
    file.put(ServiceProcess { identity: Some(identity), ..process.clone() })?;
    for sign in &process.ready {
        wait_for(sign, identity, &process.log, log_start, deadline)?;
    }
    Ok(())
}

/// Runs a command of a service to its end, with its output in the log: formatting a disk, for example.
pub fn run_to_end(command: &CommandLine, log: &Path, file: &StateFile) -> Result<()> {
    let mut child = spawn(command, log, file.path())?;
    let deadline = Instant::now() + Duration::from_secs(READY_SECONDS_MAX);
    wait_for_launcher(&mut child, deadline).with_context(|| format!("the end of {}:\n{}", log.display(), tail(log)))
}

fn spawn(command: &CommandLine, log: &Path, state: &Path) -> Result<Child> {
    let output = OpenOptions::new().create(true).append(true).open(log)?;
    let mut spawned = Command::new(&command.program);
    spawned
        .args(&command.arguments)
        .envs(&command.environment)
        .env(MARK_VARIABLE, state)
        .current_dir(&command.directory)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    if let Some(id) = command.user_id {
        spawned.uid(id).gid(id);
    }
    spawned.spawn().with_context(|| format!("cannot run {}", command.program.display()))
}

fn wait_for_launcher(child: &mut Child, deadline: Instant) -> Result<()> {
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "it ended with {status}");
            return Ok(());
        }
        if Instant::now() > deadline {
            child.kill()?;
            bail!("it was not done after {READY_SECONDS_MAX} s");
        }
        std::thread::sleep(POLL);
    }
}

fn read_pid(pid_file: &Path) -> Result<ProcessIdentity> {
    let text = fs::read_to_string(pid_file).with_context(|| format!("it left no pid file {}", pid_file.display()))?;
    let pid = text.trim().parse().with_context(|| format!("{} holds no pid: {text:?}", pid_file.display()))?;
    ProcessIdentity::of(pid).with_context(|| format!("the process {pid} that it named is gone"))
}

fn wait_for(sign: &Ready, identity: ProcessIdentity, log: &Path, log_start: u64, deadline: Instant) -> Result<()> {
    loop {
        if shows(sign, log, log_start) {
            return Ok(());
        }
        ensure!(identity.is_alive(), "it ended before {}", describe(sign));
        ensure!(Instant::now() < deadline, "within {READY_SECONDS_MAX} s it never came so far that {}", describe(sign));
        std::thread::sleep(POLL);
    }
}

fn describe(sign: &Ready) -> String {
    match sign {
        Ready::LogHas(text) => format!("its log says {text:?}"),
        Ready::HttpHas { url, texts } => format!("{url} answers 200 with {texts:?}"),
        Ready::Accepts(address) => format!("{address} accepts connections"),
    }
}

fn shows(sign: &Ready, log: &Path, log_start: u64) -> bool {
    match sign {
        Ready::LogHas(text) => read_from(log, log_start).is_ok_and(|seen| seen.contains(text.as_str())),
        Ready::HttpHas { url, texts } => {
            get(url).is_some_and(|body| texts.iter().all(|text| body.contains(text.as_str())))
        }
        Ready::Accepts(address) => TcpStream::connect(address).is_ok(),
    }
}

fn get(url: &str) -> Option<String> {
    let response = minreq::get(url).with_timeout(ANSWER_SECONDS_MAX).send().ok()?;
    (response.status_code == 200).then(|| response.as_str().ok().map(String::from)).flatten()
}

fn read_from(log: &Path, start: u64) -> Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn tail(log: &Path) -> String {
    let text = read_from(log, 0).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}
