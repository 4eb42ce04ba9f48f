//! Who asks a registry: a user and a password, from the environment, else from the configuration that `docker login` writes. What
//! they are never leaves this room but to the registry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use serde::Deserialize;

use super::RegistryError;

/// The variables of the environment.
pub const USER: &str = "SAWLOG_REGISTRY_USER";
/// Its password, or a token in place of one.
pub const PASSWORD: &str = "SAWLOG_REGISTRY_PASSWORD";

/// A user and a password.
#[derive(Debug)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password.
    pub password: SecretString,
}

/// What `docker login` keeps, as far as it is read here.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
}

/// What is known for the registry at `host`, and where more may be kept that is not read.
pub fn find(host: &str) -> Result<Option<Credentials>, RegistryError> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (variable(USER), variable(PASSWORD)) {
        (Some(user), Some(password)) => return Ok(Some(Credentials { user, password: password.into() })),
        (None, None) => {}
        (Some(_), None) => return Err(RegistryError::HalfCredentials { is: USER, lacks: PASSWORD }),
        (None, Some(_)) => return Err(RegistryError::HalfCredentials { is: PASSWORD, lacks: USER }),
    }
    let folder = variable("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| variable("HOME").map(|home| Path::new(&home).join(".docker")));
    let Some(path) = folder.map(|folder| folder.join("config.json")) else { return Ok(None) };
    match std::fs::read(&path) {
        Ok(bytes) => read(&bytes, host).map_err(|why| RegistryError::Credentials { path, why }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(RegistryError::Credentials { path, why: error.to_string() }),
    }
}

/// What a configuration of `docker login` has for `host`.
fn read(config: &[u8], host: &str) -> Result<Option<Credentials>, String> {
    let config: DockerConfig = serde_json::from_slice(config).map_err(|error| error.to_string())?;
    let bare = |key: &str| {
        let key = key.trim_start_matches("https://").trim_start_matches("http://");
        key.split('/').next().unwrap_or_default().to_owned()
    };
    let entry = config.auths.iter().find(|(key, _)| bare(key) == host).map(|(_, entry)| entry);
    if let Some(auth) = entry.and_then(|entry| entry.auth.as_deref()) {
        let decoded = STANDARD.decode(auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        let (user, password) = pair.ok_or_else(|| format!("`auth` of {host} is no user and password in base64"))?;
        return Ok(Some(Credentials { user: user.to_owned(), password: password.to_owned().into() }));
    }
    let store = config.cred_helpers.get(host).or(entry.and(config.creds_store.as_ref()));
    match store {
        Some(store) => {
            Err(format!("the program docker-credential-{store} keeps what is for {host}, and it is not asked here"))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    #[test]
    fn a_login_is_found_under_its_host_alone() {
        let auth = STANDARD.encode("me:a:b");
        let config = format!(
            r#"{{"auths":{{"https://registry.example.com/v1/":{{"auth":"{auth}"}},"localhost:5000":{{"auth":"%"}},"other":{{}}}}}}"#
        );
        let found = read(config.as_bytes(), "registry.example.com").expect("readable").expect("an entry");
        assert_eq!((found.user.as_str(), found.password.expose_secret()), ("me", "a:b"));
        assert!(!format!("{found:?}").contains("a:b"));
        assert!(read(config.as_bytes(), "example.com").expect("readable").is_none());
        assert!(read(config.as_bytes(), "other").expect("readable").is_none());
        assert!(read(config.as_bytes(), "localhost:5000").expect_err("no base64").contains("`auth` of localhost:5000"));
        assert!(read(b"{", "x").is_err());
    }

    #[test]
    fn a_program_that_keeps_them_is_named() {
        let helper = br#"{"credHelpers":{"registry.example.com":"cloud"}}"#;
        assert!(read(helper, "registry.example.com").expect_err("not asked").contains("docker-credential-cloud"));
        assert!(read(helper, "other.example.com").expect("readable").is_none());
        let store = br#"{"auths":{"registry.example.com":{}},"credsStore":"desktop"}"#;
        assert!(read(store, "registry.example.com").expect_err("not asked").contains("docker-credential-desktop"));
        assert!(read(store, "other.example.com").expect("readable").is_none());
    }
}
