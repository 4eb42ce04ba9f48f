//! Fetches and builds what services are made of, once, into the user's cache folder.
//!
//! Maven and Go are driven through their own clients with pinned inputs (`xtask/services/`): a pom, or a go.mod with
//! its go.sum. A result is made beside its place and renamed into it, so a folder that exists is whole.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::lock;
use crate::workspace;

const MAVEN_DEPENDENCY_PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1";

/// The folder of the pinned inputs of a service.
pub fn inputs(service: &str) -> PathBuf {
    workspace::root().join("xtask/services").join(service)
}

/// The jars that the service's pom resolves to, held against the lock. Returns the folder that holds them.
pub fn jars(service: &str) -> Result<PathBuf> {
    let pom = inputs(service).join("pom.xml");
    let key = &lock::digest(&pom)?.0[..12];
    let place = once(&format!("{service}-{key}"), |new| {
        // Its local repository is shared by all services and not made for two at once.
        let _lock = locked("maven")?;
        let mut maven = maven()?;
        maven.arg("-f").arg(&pom).arg(format!("{MAVEN_DEPENDENCY_PLUGIN}:copy-dependencies"));
        maven.arg("-DincludeScope=runtime").arg(format!("-DoutputDirectory={}", new.display()));
        run(&mut maven, "mvn", "Maven (Debian: apt-get install maven)")
    })?;
    lock::check_or_record(service, &place)?;
    Ok(place)
}

/// One artefact of Maven (`group:artifact:version:type`), held against the lock. Returns the folder that holds it.
pub fn artefact(service: &str, coordinates: &str) -> Result<PathBuf> {
    let key = &lock::digest_of(coordinates.as_bytes())[..12];
    let place = once(&format!("{service}-{key}"), |new| {
        // Its local repository is shared by all services and not made for two at once.
        let _lock = locked("maven")?;
        let mut maven = maven()?;
        maven.arg(format!("{MAVEN_DEPENDENCY_PLUGIN}:copy")).arg(format!("-Dartifact={coordinates}"));
        maven.arg(format!("-DoutputDirectory={}", new.display()));
        run(&mut maven, "mvn", "Maven (Debian: apt-get install maven)")
    })?;
    lock::check_or_record(service, &place)?;
    Ok(place)
}

/// A program built by Go from the service's go.mod. Returns its path.
///
/// The sources are held against go.sum by Go itself; the program is held against the digest it had when it was built,
/// because another Go release makes other bytes of the same sources.
pub fn go_program(service: &str, package: &str) -> Result<PathBuf> {
    let module = inputs(service);
    let key = &lock::digest(&module.join("go.sum"))?.0[..12];
    let place = once(&format!("{service}-{key}"), |new| {
        let scratch = workspace::cache()?.join(format!("{service}-go-scratch"));
        let program = new.join(service);
        let mut go = Command::new("go");
        go.current_dir(&module).args(["build", "-trimpath", "-mod=readonly", "-modcacherw", "-ldflags=-s -w", "-o"]);
        go.arg(&program).arg(package).env("GOMODCACHE", scratch.join("modules")).env("GOCACHE", scratch.join("build"));
        run(&mut go, "go", "Go 1.26 or newer")?;
        fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
        fs::write(new.join("sha256"), lock::digest(&program)?.0)?;
        Ok(())
    })?;
    let program = place.join(service);
    let built = fs::read_to_string(place.join("sha256"))?;
    ensure!(lock::digest(&program)?.0 == built, "{} is not what was built: delete its folder", program.display());
    Ok(program)
}

/// A Python with the pinned packages of `xtask/services/NAME/requirements.txt`. Returns its path.
///
/// pip itself holds every package against the digests in that file.
pub fn python_with(name: &str) -> Result<PathBuf> {
    let requirements = inputs(name).join("requirements.txt");
    let key = &lock::digest(&requirements)?.0[..12];
    // An environment knows its own path, so it is made in its place; the mark beside it says that it is whole.
    let done = once(&format!("{name}-{key}"), |new| {
        let place = workspace::cache()?.join(format!("{name}-{key}-python"));
        let remedy = "Python 3.11 or newer with venv (Debian: apt-get install python3-venv)";
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place), "python3", remedy)?;
        let mut pip = Command::new(place.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]);
        run(pip.arg("--require-hashes").arg("-r").arg(&requirements), "pip", remedy)?;
        let program = place.join("bin/python");
        fs::write(new.join("path"), program.to_str().context("the cache folder's path is not UTF-8")?)?;
        Ok(())
    })?;
    Ok(fs::read_to_string(done.join("path"))?.into())
}

/// The folder of what the pinned packages of `xtask/services/NAME/requirements.txt` hold, for those who want their data only.
pub fn python_data(name: &str) -> Result<PathBuf> {
    let requirements = inputs(name).join("requirements.txt");
    let key = &lock::digest(&requirements)?.0[..12];
    once(&format!("{name}-{key}"), |new| {
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--only-binary=:all:",
            "--no-deps",
        ]);
        pip.arg("--require-hashes").arg("--target").arg(new).arg("-r").arg(&requirements);
        run(&mut pip, "pip", "Python 3.11 or newer with pip (Debian: apt-get install python3-pip)")
    })
}

/// A program of Debian: the machine's own, else that of these packages, which apt fetches and holds against the archive's
/// signatures. Nothing is installed. Returns its path.
pub fn debian_program(program: &str, packages: &[&str]) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    if let Some(own) = folders.map(|folder| folder.join(program)).find(|own| own.is_file()) {
        return Ok(own);
    }
    let place = once(&format!("{program}-debian"), |new| {
        let remedy = format!("apt, or the program itself (Debian: apt-get install {program})");
        run(Command::new("apt-get").arg("download").args(packages).current_dir(new), "apt-get", &remedy)?;
        let unpacked = new.join("root");
        for package in files_below(new)?.iter().filter(|file| file.extension().is_some_and(|end| end == "deb")) {
            run(Command::new("dpkg-deb").arg("-x").arg(new.join(package)).arg(&unpacked), "dpkg-deb", &remedy)?;
        }
        let script = new.join(program);
        fs::write(
            &script,
            format!(
                "#!/bin/sh\n# Runs the program beside the libraries that came with it.\nroot=$(dirname \"$0\")/root\n\
                 for folder in \"$root\"/usr/lib/*-linux-gnu*; do LD_LIBRARY_PATH=$folder; done\n\
                 export LD_LIBRARY_PATH\nexec \"$root/usr/sbin/{program}\" \"$@\"\n"
            ),
        )?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        run(Command::new(&script).arg("--version"), program, &remedy)
    })?;
    Ok(place.join(program))
}

/// A copy of the folder `source` of programs for Node.js, with the packages of its `package-lock.json`.
///
/// npm itself holds every package against the digests in that file.
pub fn node_tool(source: &Path) -> Result<PathBuf> {
    let files = files_below(source)?;
    let mut contents = Vec::new();
    for file in &files {
        contents.extend(file.to_string_lossy().as_bytes());
        contents.extend(fs::read(source.join(file)).with_context(|| format!("cannot read {}", file.display()))?);
    }
    let key = &lock::digest_of(&contents)[..12];
    let name = source.file_name().unwrap_or_default().to_string_lossy();
    once(&format!("node-{name}-{key}"), |new| {
        for file in &files {
            let (from, to) = (source.join(file), new.join(file));
            fs::create_dir_all(to.parent().unwrap_or(new))?;
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(new);
        run(&mut npm, "npm", "Node.js 20 or newer with npm")
    })
}

/// The files below a folder, as paths within it and in order, without installed packages.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut todo) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(within) = todo.pop() {
        for entry in fs::read_dir(folder.join(&within)).with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry?;
            let path = within.join(entry.file_name());
            match entry.file_type()?.is_dir() {
                true if entry.file_name() == "node_modules" => {}
                true => todo.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The class path of a folder of jars: sorted, so that it is the same text each time and class data can be shared.
pub fn class_path(jars: &Path) -> Result<String> {
    let mut paths: Vec<String> = Vec::new();
    for entry in fs::read_dir(jars)? {
        paths.push(entry?.path().to_str().context("a jar's path is not UTF-8")?.to_string());
    }
    paths.sort();
    Ok(paths.join(":"))
}

/// Copies the files of a folder, not its folders, into a new one.
pub fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))
            .with_context(|| format!("cannot copy {}", entry.path().display()))?;
    }
    Ok(())
}

/// Makes `cache/name` with `make`, unless it is there. One process at a time makes the same thing.
pub fn once(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = workspace::cache()?;
    let place = cache.join(name);
    if place.is_dir() {
        return Ok(place);
    }
    let _lock = locked(name)?;
    if place.is_dir() {
        return Ok(place);
    }
    let new = cache.join(format!("{name}.new"));
    if new.exists() {
        fs::remove_dir_all(&new).with_context(|| format!("cannot remove {}", new.display()))?;
    }
    fs::create_dir_all(&new).with_context(|| format!("cannot create {}", new.display()))?;
    eprintln!("{name}: fetching and building, once");
    let start = Instant::now();
    make(&new).with_context(|| format!("cannot provision {name}"))?;
    fs::rename(&new, &place).with_context(|| format!("cannot put {} into its place", new.display()))?;
    eprintln!("{name}: done in {:.1} s", start.elapsed().as_secs_f64());
    Ok(place)
}

/// Holds a lock of this name in the cache folder for as long as the file is open.
fn locked(name: &str) -> Result<File> {
    let path = workspace::cache()?.join(format!("{name}.lock"));
    let lock = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(lock)
}

/// Maven with one local repository for all services, kept in the cache folder.
fn maven() -> Result<Command> {
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B"]).arg(format!("-Dmaven.repo.local={}", workspace::cache()?.join("m2").display()));
    Ok(maven)
}

fn run(command: &mut Command, program: &str, remedy: &str) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {program}: install {remedy}"))?;
    ensure!(
        output.status.success(),
        "{program} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
