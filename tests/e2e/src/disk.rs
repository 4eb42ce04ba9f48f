//! Small disks that only the test sees: it runs itself again in a user and mount namespace and mounts a tmpfs there.

use anyhow::{Result, bail, ensure};
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set inside the namespace.
const INSIDE: &str = "SAWLOG_TEST_NAMESPACE";
/// The file that fills a disk.
const BALLAST: &str = "ballast";

/// Whether this process may mount what only it sees. If not, the test of this name has been run again where it may, or this has
/// said that it can't be.
pub fn is_inside(test: &str) -> Result<bool> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(true);
    }
    let unshared = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]);
        command
    };
    match unshared().args(["sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]).output() {
        Ok(tried) if tried.status.success() => {}
        tried => {
            println!("NOT RUN: {test}: a tmpfs can't be mounted in a user namespace here: {tried:?}");
            return Ok(false);
        }
    }
    let this = std::env::current_exe()?;
    let done = unshared().arg(this).args(["--exact", test, "--nocapture"]).env(INSIDE, "1").output()?;
    let said = String::from_utf8_lossy(&done.stdout);
    let errors = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success() && said.contains("1 passed"), "inside the namespace: {said}{errors}");
    println!("{said}");
    Ok(false)
}

/// A mounted disk.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts an empty one of this size at a folder that is made here.
    pub fn mount(at: &Path, mebibytes: u32) -> Result<Self> {
        std::fs::create_dir_all(at)?;
        mount(&["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"], at)?;
        Ok(Self(at.to_owned()))
    }

    /// Leaves not a byte free.
    pub fn fill(&self) -> Result<()> {
        let mut ballast = File::options().create(true).append(true).open(self.0.join(BALLAST))?;
        for piece in [vec![0u8; 1 << 20], vec![0u8; 1]] {
            loop {
                match ballast.write(&piece) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => bail!("filling {}: {error}", self.0.display()),
                }
            }
        }
        Ok(())
    }

    /// Leaves this much free of what `fill` took.
    pub fn leave(&self, kibibytes: u64) -> Result<()> {
        self.fill()?;
        let ballast = File::options().write(true).open(self.0.join(BALLAST))?;
        let bytes = ballast.metadata()?.len();
        Ok(ballast.set_len(bytes.saturating_sub(kibibytes << 10))?)
    }

    /// Gives back what `fill` took.
    pub fn free(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.0.join(BALLAST))?)
    }

    /// Makes it read-only or writable again.
    pub fn set_writable(&self, writable: bool) -> Result<()> {
        mount(&["-o", if writable { "remount,rw" } else { "remount,ro" }], &self.0)
    }
}

fn mount(arguments: &[&str], at: &Path) -> Result<()> {
    let done = Command::new("mount").args(arguments).arg(at).output()?;
    ensure!(done.status.success(), "mount {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
