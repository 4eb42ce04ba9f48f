//! The test program as the process that plugins run in.

use sawlog_chain::apart::{Attempts, Program, serve_trying};
use sawlog_chain::{BatchView, Engine};
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

/// An engine whose plugins may run in processes of this test program, which has a test `child` that calls [`be_the_process`].
pub fn engine(child: &str) -> Engine {
    super::engine().runs_apart(Program::this(&["--exact", child, "--ignored", "--nocapture", "--test-threads=1"]))
}

/// Lives as such a process, and ends with it.
pub fn be_the_process() {
    let code = serve_trying(Attempts { attempt, before });
    std::process::exit(i32::from(code != ExitCode::SUCCESS));
}

/// A record that its process does not outlive, as if the sandbox of the engine did not hold.
pub const DEADLY: &str = "deadly";

fn before(view: &BatchView) {
    let deadly = |data: &[u8]| data.windows(DEADLY.len()).any(|text| text == DEADLY.as_bytes());
    if view.columns().iter().any(|column| deadly(&column.data)) {
        std::process::abort();
    }
}

fn attempt(what: &str) -> String {
    let said = |done: std::io::Result<()>| format!("{done:?}");
    match what {
        "nothing" => "done".to_owned(),
        "environment" => format!("{:?}", std::env::vars_os().collect::<Vec<_>>()),
        "time" => format!("{}", std::time::SystemTime::now() > std::time::UNIX_EPOCH),
        "socket" => said(std::net::UdpSocket::bind("127.0.0.1:0").map(drop)),
        "unix socket" => said(std::os::unix::net::UnixStream::pair().map(drop)),
        "open" => said(std::fs::File::open("/etc/passwd").map(drop)),
        "folder" => said(std::fs::read_dir("/").map(drop)),
        "own folder" => said(std::env::current_dir().map(drop)),
        "create" => said(std::fs::write("/tmp/sawlog-was-here", "")),
        "program" => said(std::process::Command::new("/bin/true").status().map(drop)),
        "other program" => said(Err(std::process::Command::new("/bin/true").exec())),
        "thread" => said(std::thread::Builder::new().spawn(|| {}).map(drop)),
        "kill" => said(rustix::process::test_kill_process(rustix::process::getpid()).map_err(Into::into)),
        "end with nobody" => said(rustix::process::set_parent_process_death_signal(None).map_err(Into::into)),
        "be seen" => said(
            rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable).map_err(Into::into),
        ),
        "files" => said(rustix::io::dup(std::io::stdin()).map(drop).map_err(Into::into)),
        "run what it wrote" => said(map_executable()),
        "memory" => format!("{}", std::hint::black_box(vec![1u8; 4 << 30]).len()),
        "hang" => loop {
            std::thread::yield_now();
        },
        other => panic!("nobody knows how to try {other:?}"),
    }
}

#[allow(unsafe_code, reason = "mapping memory is unsafe, and whether it can be mapped executable is what is tried")]
fn map_executable() -> std::io::Result<()> {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    let all = ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC;
    // SAFETY: a new mapping somewhere, which nobody uses.
    let mapped = unsafe { mmap_anonymous(std::ptr::null_mut(), 4096, all, MapFlags::PRIVATE) };
    Ok(mapped.map(drop)?)
}
