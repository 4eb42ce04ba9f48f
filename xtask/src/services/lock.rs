//! `xtask/services.lock`: the digest of every file that a service is made of.
//!
//! A line is `sha256 bytes name`, sorted by name, where a name is `service/file`. A service without lines is recorded
//! when it is first fetched; from then on a file more, a file less or another digest is an error, never an update.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::workspace;

/// Names and contents (digest and length) of a service's files.
pub type Contents = BTreeMap<String, (String, u64)>;

fn path() -> PathBuf {
    workspace::root().join("xtask/services.lock")
}

/// Holds the files of a folder against the lock, or records them when the service has no lines yet.
pub fn check_or_record(service: &str, folder: &Path) -> Result<()> {
    let found = contents(service, folder)?;
    ensure!(!found.is_empty(), "{} is empty: delete it and try again", folder.display());
    let text = fs::read_to_string(path()).unwrap_or_default();
    let mut locked = parse(&text)?;
    let of_service: Contents = locked.clone().into_iter().filter(|(name, _)| belongs(name, service)).collect();
    if of_service.is_empty() {
        ensure!(
            std::env::var_os("CI").is_none(),
            "{service} is not in services.lock: record it outside CI and commit it"
        );
        locked.extend(found);
        fs::write(path(), print(&locked)).with_context(|| format!("cannot write {}", path().display()))?;
        eprintln!("{service}: recorded in xtask/services.lock");
        return Ok(());
    }
    compare(&of_service, &found).with_context(|| {
        format!("{} is not what xtask/services.lock pins: delete the folder to fetch it again; if it still differs, do not trust it", folder.display())
    })
}

fn belongs(name: &str, service: &str) -> bool {
    name.split_once('/').is_some_and(|(first, _)| first == service)
}

fn compare(locked: &Contents, found: &Contents) -> Result<()> {
    for (name, (digest, _)) in locked {
        match found.get(name) {
            None => bail!("{name} is missing"),
            Some((other, _)) => ensure!(other == digest, "{name} has sha256 {other}, pinned is {digest}"),
        }
    }
    match found.keys().find(|name| !locked.contains_key(*name)) {
        Some(name) => bail!("{name} is not pinned"),
        None => Ok(()),
    }
}

fn contents(service: &str, folder: &Path) -> Result<Contents> {
    let mut found = Contents::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("a file name is not UTF-8")?.to_string();
        found.insert(format!("{service}/{name}"), digest(&path)?);
    }
    Ok(found)
}

/// The sha256 of a file in hexadecimal, and its length in bytes.
pub fn digest(path: &Path) -> Result<(String, u64)> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer).with_context(|| format!("cannot read {}", path.display()))?;
        if read == 0 {
            return Ok((hexadecimal(&hash.finalize()), bytes));
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}

/// The sha256 of some bytes in hexadecimal.
pub fn digest_of(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse(text: &str) -> Result<Contents> {
    let mut contents = Contents::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [digest, bytes, name] = fields[..] else {
            bail!("services.lock:{}: expected `sha256 bytes name`, found {line:?}", number + 1)
        };
        contents.insert(name.to_string(), (digest.to_string(), bytes.parse()?));
    }
    Ok(contents)
}

fn print(contents: &Contents) -> String {
    let mut text = String::from(
        "# sha256 bytes service/file; recorded on first fetch, checked on every start. See services/lock.rs.\n",
    );
    for (name, (digest, bytes)) in contents {
        text.push_str(&format!("{digest} {bytes} {name}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn one(name: &str, digest: &str) -> Contents {
        Contents::from([(name.to_string(), (digest.to_string(), 3))])
    }

    #[test]
    fn text_and_contents_are_the_same() {
        let contents = one("kafka/a.jar", "00ff");
        assert_eq!(parse(&print(&contents)).unwrap(), contents);
        assert!(parse("00ff kafka/a.jar").is_err());
    }

    #[test]
    fn another_digest_a_missing_and_an_added_file_are_errors() {
        let locked = one("kafka/a.jar", "00ff");
        compare(&locked, &locked).unwrap();
        assert!(compare(&locked, &one("kafka/a.jar", "00fe")).is_err());
        assert!(compare(&locked, &Contents::new()).is_err());
        assert!(compare(&Contents::new(), &locked).is_err());
    }

    #[test]
    fn the_digest_is_sha256() {
        assert_eq!(digest_of(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
