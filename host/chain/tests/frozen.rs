//! The contract is frozen: no word of a version in `wit/` changes once plugins are built for it, and what was built for it loads and
//! gives what it gave. `tests/data/contract-VERSION/` keeps a component of each world as it was built then.
#![allow(clippy::unwrap_used)]

mod support;

use sawlog_chain::{Allow, Plugin, PluginConfig, conformance, trial};
use std::path::{Path, PathBuf};

/// Every version that ever was, with the digest of its files.
const FROZEN: [(&str, &str); 1] = [("0.1.0", "ca113f826dfd27cd71907b6cc9809b50")];

const WORLDS: [&str; 3] = ["record-transformer", "stateful-transformer", "transformer"];

const REMEDY: &str = "plugins are built against this text, and agents hold them to it. To change the contract, leave the folder of this \
                      version as it is and put a new one beside it (copy it, raise the version in every `package` and `@` of it); then \
                      let the host define and try both, newest first (host/chain/src/wit.rs, plugin/load.rs), move the SDKs and \
                      host/componentize to the new one, put a component of each world into \
                      host/chain/tests/data/contract-VERSION, and add a line here";

fn name(folder: &Path) -> String {
    folder.file_name().unwrap().to_str().unwrap().to_owned()
}

/// A digest over the names and contents of the files in `folder`.
fn digest(folder: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, content) in support::files_in(folder) {
        for part in [name.as_bytes(), &content[..]] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

#[test]
fn no_word_of_a_version_of_the_contract_changes() {
    let folders = support::folders(&support::repository().join("wit"));
    let names: Vec<String> = folders.iter().map(|folder| name(folder)).collect();
    let frozen: Vec<&str> = FROZEN.iter().map(|(version, _)| *version).collect();
    assert_eq!(names, frozen, "a version of the contract came or went: {REMEDY}");
    for (folder, (version, expected)) in folders.iter().zip(FROZEN) {
        assert_eq!(digest(folder), expected, "wit/{version} is frozen: {REMEDY}");
    }
}

fn data(version: &str, world: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(format!("contract-{version}")).join(world)
}

fn load(folder: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Result<Plugin, sawlog_chain::LoadError> {
    let mut bytes = std::fs::read(folder.join("plugin.component")).unwrap();
    change(&mut bytes);
    let config_json = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let allow = Allow { state: true, timers: true, kernels: false };
    support::engine().load("kept", &bytes, PluginConfig { config_json, allow, ..Default::default() })
}

#[test]
fn what_was_built_for_a_version_loads_from_then_on_and_gives_what_it_gave() {
    for (version, _) in FROZEN {
        for world in WORLDS {
            let folder = data(version, world);
            let plugin = load(&folder, |_| {}).unwrap();
            assert_eq!(plugin.stateful(), world == "stateful-transformer");
            let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
            let input = trial::read(&read("input.ndjson")).unwrap();
            let found = trial::run(&plugin, &input).unwrap().join("\n") + "\n";
            assert_eq!(found, read("output.ndjson"), "{version} {world}");
            conformance::check(&plugin, &input).unwrap();
        }
    }
}

/// The same component, as one built for another version says of itself.
#[test]
fn a_plugin_for_another_version_is_refused_with_both_versions() {
    for world in WORLDS {
        for other in ["0.0.9", "0.2.0", "1.0.0"] {
            let to_other = |bytes: &mut Vec<u8>| {
                let (from, to) = (b"@0.1.0", format!("@{other}"));
                let places: Vec<usize> =
                    (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
                assert!(!places.is_empty());
                places.into_iter().for_each(|at| bytes[at..at + from.len()].copy_from_slice(to.as_bytes()));
            };
            let refused = load(&data("0.1.0", world), to_other).map(drop).unwrap_err().to_string();
            let expected = format!("was built for version {other} of the contract, this agent speaks 0.1.0");
            assert!(refused.contains(&expected), "{world} {other}: {refused}");
            assert!(refused.contains("take a build of it for 0.1.0"), "{world} {other}: {refused}");
        }
    }
}
