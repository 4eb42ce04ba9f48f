//! `sawlog plugin push` and `pull` against the reference registry, plain and behind TLS and a password. What lies there is read with
//! an HTTP client of its own.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::{service, unique};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Runs `sawlog plugin …` in a folder, with no login but what is given: whether it succeeded, and all that it said.
fn plugin(folder: &Path, login: &[(&str, &str)], arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(std::env::var("SAWLOG_TEST_BINARY").unwrap());
    command.arg("plugin").args(arguments).current_dir(folder).env("DOCKER_CONFIG", folder);
    command.env_remove("SAWLOG_REGISTRY_USER").env_remove("SAWLOG_REGISTRY_PASSWORD").envs(login.iter().copied());
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[track_caller]
fn done(folder: &Path, arguments: &[&str]) -> String {
    let (is_done, said) = plugin(folder, &[], arguments);
    assert!(is_done, "{arguments:?}: {said}");
    said
}

#[track_caller]
fn refused(folder: &Path, login: &[(&str, &str)], arguments: &[&str], why: &str) {
    let (is_done, said) = plugin(folder, login, arguments);
    assert!(!is_done && said.contains(why), "{arguments:?} should say {why:?}: {said}");
    assert!(!folder.join("redact.wasm").exists(), "{arguments:?} wrote a file");
}

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    format!("sha256:{}", String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap())
}

#[test]
fn a_plugin_goes_to_a_registry_and_comes_back_by_its_digest() {
    let name = "a plugin through a registry";
    let (Some(address), Some(plugins)) = (service(name, "SAWLOG_TEST_REGISTRY"), service(name, "SAWLOG_TEST_PLUGINS"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let component = Path::new(&plugins).join("redact.wasm");
    let original = component.to_str().unwrap();
    let repository = format!("{address}/{}/redact", unique("plugins"));
    let tagged = format!("{repository}:1.0");

    let pin = done(folder, &["push", &tagged, original]).trim().to_owned();
    assert!(pin.starts_with(&format!("{repository}@sha256:")), "{pin}");
    assert_eq!(done(folder, &["push", &tagged, original]).trim(), pin, "the same component is the same artifact");

    let said = done(folder, &["pull", &pin]);
    assert_eq!(std::fs::read(folder.join("redact.wasm")).unwrap(), std::fs::read(&component).unwrap());
    assert!(said.contains(&format!("digest: {}", sha256(&component))), "{said}");
    std::fs::write(folder.join("redact.wasm"), "mine").unwrap();
    let (is_done, said) = plugin(folder, &[], &["pull", &pin]);
    assert!(!is_done && said.contains("is there already"), "{said}");
    assert_eq!(std::fs::read(folder.join("redact.wasm")).unwrap(), b"mine");
    std::fs::remove_file(folder.join("redact.wasm")).unwrap();

    refused(folder, &[], &["pull", &tagged], "--allow-tag");
    let said = done(folder, &["pull", &tagged, "--allow-tag", "-o", "tagged.wasm"]);
    assert!(said.starts_with(&pin) && sha256(&folder.join("tagged.wasm")) == sha256(&component), "{said}");

    // What other tools for WASM see.
    let (_, digest) = pin.split_once('@').unwrap();
    let path = repository.strip_prefix(&format!("{address}/")).unwrap();
    let at = |what: &str| format!("http://{address}/v2/{path}/{what}");
    let answer = minreq::get(at(&format!("manifests/{digest}")))
        .with_header("Accept", "application/vnd.oci.image.manifest.v1+json")
        .send()
        .unwrap();
    let manifest: Value = serde_json::from_slice(answer.as_bytes()).unwrap();
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(manifest["layers"][0]["digest"], sha256(&component).as_str());
    let config = minreq::get(at(&format!("blobs/{}", manifest["config"]["digest"].as_str().unwrap()))).send().unwrap();
    let config: Value = serde_json::from_slice(config.as_bytes()).unwrap();
    assert_eq!((&config["architecture"], &config["os"]), (&"wasm".into(), &"wasip2".into()));
    assert!(config["component"]["exports"].to_string().contains("sawlog:plugin/transform@0.1.0"), "{config}");

    let unknown = format!("{repository}@sha256:{}", "0".repeat(64));
    refused(folder, &[], &["pull", &unknown], "the registry has none");
    refused(folder, &[], &["pull", &format!("{repository}@sha256:12")], "no digest");
    refused(folder, &[], &["push", &tagged, "/etc/hostname"], "is no plugin");
    refused(folder, &[], &["push", "redact:1.0", original], "names no registry");
    let silent = pin.replace(&address, "127.0.0.1:1");
    refused(folder, &[], &["pull", &silent], "127.0.0.1:1");
}

#[test]
fn a_registry_behind_tls_wants_its_authority_and_a_password() {
    let name = "a registry behind TLS";
    let get = |variable: &str| service(name, variable);
    let (Some(address), Some(plugins)) = (get("SAWLOG_TEST_REGISTRY_TLS"), get("SAWLOG_TEST_PLUGINS")) else { return };
    let variable = |what: &str| std::env::var(format!("SAWLOG_TEST_REGISTRY_TLS_{what}")).unwrap();
    let (ca, user, password) = (variable("CA"), variable("USER"), variable("PASSWORD"));
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let component = Path::new(&plugins).join("redact.wasm");
    let original = component.to_str().unwrap();
    let tagged = format!("{address}/{}/redact:1", unique("plugins"));
    let login = |password| [("SAWLOG_REGISTRY_USER", &*user), ("SAWLOG_REGISTRY_PASSWORD", password)];

    refused(folder, &[], &["push", &tagged, original, "--ca", &ca], "SAWLOG_REGISTRY_USER");
    refused(folder, &login("wrong"), &["push", &tagged, original, "--ca", &ca], &format!("lets `{user}` not in"));
    refused(
        folder,
        &[login(&password)[0]],
        &["push", &tagged, original, "--ca", &ca],
        "SAWLOG_REGISTRY_PASSWORD is not",
    );
    refused(folder, &login(&password), &["push", &tagged, original, "--ca", original], "PEM file");
    let (is_done, pin) = plugin(folder, &login(&password), &["push", &tagged, original, "--ca", &ca]);
    assert!(is_done, "{pin}");
    let pin = pin.trim();

    let by_name = pin.replace("127.0.0.1", "localhost");
    refused(folder, &login(&password), &["pull", &by_name], "the registry answers");
    let foreign = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    std::fs::write(folder.join("foreign.pem"), foreign.cert.pem()).unwrap();
    refused(folder, &login(&password), &["pull", pin, "--ca", "foreign.pem"], "--ca names the authority");

    // As `docker login` keeps it.
    let encoded = Command::new("python3")
        .args(["-c", &format!("import base64; print(base64.b64encode(b'{user}:{password}').decode(), end='')")])
        .output()
        .unwrap();
    let auth = String::from_utf8(encoded.stdout).unwrap();
    std::fs::write(folder.join("config.json"), format!(r#"{{"auths":{{"{address}":{{"auth":"{auth}"}}}}}}"#)).unwrap();
    let said = done(folder, &["pull", pin, "--ca", &ca]);
    assert!(said.starts_with(pin), "{said}");
    assert_eq!(std::fs::read(folder.join("redact.wasm")).unwrap(), std::fs::read(&component).unwrap());
}
