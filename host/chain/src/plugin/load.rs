//! From bytes to a plugin, or to an error that says which of the many things is wrong and how to mend it.

use super::{Allow, Digest, Isolation, Loaded, Plugin, PluginConfig, Program, Transform};
use crate::apart::Crew;
use crate::cache;
use crate::engine::{Engine, Shared};
use crate::host;
use crate::instance::{Body, CreateError, Made};
use crate::registration::Registration;
use crate::schema::{self, SchemaError};
use crate::wit::exports::sawlog::plugin as exports;
use std::collections::BTreeSet;
use std::sync::Arc;
use wasmparser::Parser;
use wasmtime::component::Component;

/// Version of the contract that this build speaks; `wit/` has a folder for each that ever was.
const CONTRACT: &str = "0.1.0";

/// Why a plugin was not loaded. The old configuration stays in force.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is something else.
    #[error("plugin {plugin}: {found}, but a WASM component is needed; build it with `sawlog plugin build`")]
    NotComponent {
        /// Name in the configuration.
        plugin: String,
        /// What the bytes are.
        found: String,
    },
    /// The component is damaged or uses what is switched off.
    #[error(
        "plugin {plugin}: the component is not valid: {reason}; build it again, threads and memory64 are not supported"
    )]
    Invalid {
        /// Name in the configuration.
        plugin: String,
        /// What the engine said.
        reason: String,
    },
    /// It exports no world of the contract.
    #[error("plugin {plugin}: exports [{}], but a plugin exports sawlog:plugin/lifecycle@{CONTRACT} and transform@{CONTRACT} or transform-records@{CONTRACT} (and state@{CONTRACT} to keep state); build it against wit/{CONTRACT}", found.join(", "))]
    WrongWorld {
        /// Name in the configuration.
        plugin: String,
        /// Its exports.
        found: Vec<String>,
    },
    /// It wants something from the host that plugins don't get.
    #[error("plugin {plugin}: imports {}, which no plugin is given; remove what needs it", imports.join(", "))]
    ForbiddenImport {
        /// Name in the configuration.
        plugin: String,
        /// The imports.
        imports: Vec<String>,
    },
    /// It needs a permission that the configuration doesn't give.
    #[error("plugin {plugin}: {reason}, which is not allowed; add `{permission}` to its `allow`")]
    NotAllowed {
        /// Name in the configuration.
        plugin: String,
        /// What needs it.
        reason: String,
        /// The word to add.
        permission: &'static str,
    },
    /// Built for another version of the contract.
    #[error(
        "plugin {plugin} was built for version {found} of the contract, this agent speaks {CONTRACT}; take a build of it for {CONTRACT}, or an agent that speaks {found}"
    )]
    OtherContract {
        /// Name in the configuration.
        plugin: String,
        /// The version that it names.
        found: String,
    },
    /// The configuration does not fit the plugin's schema.
    #[error("plugin {plugin}: {source}")]
    Schema {
        /// Name in the configuration.
        plugin: String,
        /// Every mistake.
        source: SchemaError,
    },
    /// `configure` refused, failed, or returned something that can't be.
    #[error("plugin {plugin}: configure refused: {reason}")]
    ConfigureRefused {
        /// Name in the configuration.
        plugin: String,
        /// What it said.
        reason: String,
    },
    /// The component or its memory is larger than allowed.
    #[error("plugin {plugin}: {what} has {bytes} bytes, the limit is {bytes_max}; {remedy}")]
    TooBig {
        /// Name in the configuration.
        plugin: String,
        /// What is too big.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
        /// What helps.
        remedy: &'static str,
    },
    /// It can't have a process of its own.
    #[error(
        "plugin {plugin}: no process of its own can be had for it: {reason}; mend that, or write `isolation: none`"
    )]
    NoProcess {
        /// Name in the configuration.
        plugin: String,
        /// Why.
        reason: String,
    },
    /// No instance could be made, for no fault of the plugin.
    #[error("plugin {plugin}: no instance can be made: {reason}; run fewer plugins, partitions or sinks that lag")]
    NoRoom {
        /// Name in the configuration.
        plugin: String,
        /// What the engine said.
        reason: String,
    },
}

impl Engine {
    /// Loads the component `bytes` as `name` (its name in the configuration): checks its configuration against its schema,
    /// compiles it or takes the compiled code from the cache, links it, configures one instance and asks what it wants.
    pub fn load(&self, name: &str, bytes: &[u8], config: PluginConfig) -> Result<Plugin, LoadError> {
        let plugin = name.to_owned();
        check_bytes(name, bytes, self.shared.limits.component_bytes_max)?;
        let memory_bytes_max = config.limits.memory_bytes_max;
        if memory_bytes_max > self.shared.limits.memory_bytes_max {
            let (bytes, bytes_max) = (memory_bytes_max, self.shared.limits.memory_bytes_max);
            let what = "its memory limit";
            return Err(LoadError::TooBig { plugin, what, bytes, bytes_max, remedy: "lower `limits.memory`" });
        }
        check_config(name, bytes, &config.config_json)?;
        let digest = Digest::of(bytes);
        let component = compile(&self.shared, &digest, bytes)
            .map_err(|e| LoadError::Invalid { plugin: plugin.clone(), reason: format!("{e:#}") })?;
        let program = link(&self.shared, name, &component, &config)?;
        let crew = crew(&self.shared, (name, digest, &config), component)?;
        let made = Body::create(&program, crew.as_ref(), (&config, digest), 1, &[]).map_err(|e| match e {
            CreateError::NoRoom(reason) if crew.is_some() => LoadError::NoProcess { plugin: plugin.clone(), reason },
            CreateError::NoRoom(reason) => LoadError::NoRoom { plugin: plugin.clone(), reason },
            CreateError::Configure(reason) => LoadError::ConfigureRefused { plugin: plugin.clone(), reason },
            CreateError::Ended(end) => LoadError::NoProcess { plugin: plugin.clone(), reason: end.to_string() },
        });
        let (_, Made { registration: raw, .. }) = made?;
        let mut registration = Registration::check(raw)
            .map_err(|reason| LoadError::ConfigureRefused { plugin: plugin.clone(), reason })?;
        if matches!(program.transform, Transform::Records(_)) {
            crate::records::widen(&mut registration);
        }
        Ok(Plugin {
            inner: Arc::new(Loaded {
                name: plugin,
                digest,
                config,
                registration,
                program,
                crew,
                counters: Default::default(),
                shadow: Default::default(),
            }),
            canary: None,
        })
    }
}

/// The processes that instances of the plugin are to live in, if not in this one. None is started yet.
fn crew(
    shared: &Shared,
    (name, digest, config): (&str, Digest, &PluginConfig),
    component: Component,
) -> Result<Option<Arc<Crew>>, LoadError> {
    if config.isolation == Isolation::None {
        return Ok(None);
    }
    let Some(program) = shared.apart.get() else {
        let reason = "this program starts none".to_owned();
        return Err(LoadError::NoProcess { plugin: name.to_owned(), reason });
    };
    Ok(Some(Arc::new(Crew::new(program.clone(), (name, digest, config), component, shared.limits))))
}

/// Reads the schema of the component `bytes` and holds `config_json` against it, without running or compiling anything:
/// what `validate` does.
pub fn check_config(name: &str, bytes: &[u8], config_json: &str) -> Result<(), LoadError> {
    let schema = schema::of_component(bytes).and_then(|found| match found {
        Some(schema) => schema::check(&schema, config_json),
        None => Ok(()),
    });
    schema.map_err(|source| LoadError::Schema { plugin: name.to_owned(), source })
}

/// Whether `bytes` are a component at all, and at most `bytes_max` of them.
pub fn check_bytes(name: &str, bytes: &[u8], bytes_max: usize) -> Result<(), LoadError> {
    let plugin = name.to_owned();
    if bytes.len() > bytes_max {
        let what = "the component";
        let remedy = "make it smaller: strip it, or leave what it does not need out of it";
        return Err(LoadError::TooBig { plugin, what, bytes: bytes.len(), bytes_max, remedy });
    }
    if Parser::is_component(bytes) {
        return Ok(());
    }
    let found = if Parser::is_core_wasm(bytes) {
        "this is a core WASM module".to_owned()
    } else {
        format!("this is no WASM at all (it begins with {:02x?})", &bytes[..bytes.len().min(8)])
    };
    Err(LoadError::NotComponent { plugin, found })
}

/// Compiled code from the cache, or compiled now and put there.
fn compile(shared: &Shared, digest: &Digest, bytes: &[u8]) -> wasmtime::Result<Component> {
    let Some(cache) = &shared.cache else { return Component::from_binary(&shared.engine, bytes) };
    let key = cache::key(&blake3::Hash::from_bytes(digest.0), &shared.engine.precompile_compatibility_hash());
    if let Some(artefact) = cache.read(&key) {
        // An artefact of other settings is refused by its own header; then it is made anew.
        if let Ok(component) = deserialize(&shared.engine, &artefact) {
            return Ok(component);
        }
    }
    let component = Component::from_binary(&shared.engine, bytes)?;
    // A cache that can't be written costs time, not correctness; the next start tries again.
    if let Err(e) = cache.write(&key, &component.serialize()?) {
        shared.cache_failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(e.to_string());
    }
    Ok(component)
}

#[allow(unsafe_code, reason = "loading compiled code is unsafe by nature; see the SAFETY comment")]
fn deserialize(engine: &wasmtime::Engine, artefact: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the artefact came out of `serialize` of this engine version: `CodeCache::read` gives only files of a folder and
    // with a mode that nobody but this user can write, whole by their digest (tests in `cache`), and to a process that a plugin
    // runs in the agent that started it hands what it has loaded itself.
    unsafe { Component::deserialize(engine, artefact) }
}

impl Engine {
    /// Links `code`, which an engine of the same settings compiled, ready for instances to be made; the error says why not.
    pub(crate) fn link_compiled(&self, name: &str, code: &[u8], config: &PluginConfig) -> Result<Program, String> {
        let component = deserialize(&self.shared.engine, code).map_err(|error| format!("{error:#}"))?;
        // Files are made now or never: the process that asks for this gives up the right to.
        component.initialize_copy_on_write_image().map_err(|error| format!("{error:#}"))?;
        link(&self.shared, name, &component, config).map_err(|error| error.to_string())
    }
}

fn link(shared: &Arc<Shared>, name: &str, component: &Component, config: &PluginConfig) -> Result<Program, LoadError> {
    let plugin = || name.to_owned();
    let kind = component.component_type();
    let imports: Vec<String> = kind.imports(&shared.engine).map(|(name, _)| name.to_owned()).collect();
    let found: Vec<String> = kind.exports(&shared.engine).map(|(name, _)| name.to_owned()).collect();
    check_interface(name, &imports, &found, config.allow)?;
    let invalid = |e: wasmtime::Error| LoadError::Invalid { plugin: plugin(), reason: format!("{e:#}") };
    let mut linker = shared.linker.clone();
    for version in wasi_versions(&imports) {
        host::define_wasi(&mut linker, &version).map_err(invalid)?;
    }
    linker.define_unknown_imports_as_traps(component).map_err(invalid)?;
    let pre = linker.instantiate_pre(component).map_err(invalid)?;
    let lifecycle = exports::lifecycle::GuestIndices::new(&pre).map_err(invalid)?;
    let transform = match exports(&found, "transform") {
        true => Transform::Columns(exports::transform::GuestIndices::new(&pre).map_err(invalid)?),
        false => Transform::Records(exports::transform_records::GuestIndices::new(&pre).map_err(invalid)?),
    };
    let state = exports(&found, "state").then(|| exports::state::GuestIndices::new(&pre));
    let state = state.transpose().map_err(invalid)?;
    Ok(Program { shared: Arc::clone(shared), pre, lifecycle, transform, state })
}

/// Whether a component with these imports and exports is a plugin of the contract that this agent speaks, and `allow` covers what
/// it needs.
pub fn check_interface(name: &str, imports: &[String], found: &[String], allow: Allow) -> Result<(), LoadError> {
    let plugin = || name.to_owned();
    let not_allowed =
        |reason: &str, permission| LoadError::NotAllowed { plugin: plugin(), reason: reason.to_owned(), permission };
    let version = |name: &String| Some(name.strip_prefix("sawlog:plugin/")?.split_once('@')?.1.to_owned());
    if let Some(other) = imports.iter().chain(found).filter_map(version).find(|found| found != CONTRACT) {
        return Err(LoadError::OtherContract { plugin: plugin(), found: other });
    }
    let is_known = |import: &str| {
        let interface = import.strip_prefix("sawlog:plugin/").and_then(|i| i.strip_suffix(CONTRACT));
        matches!(interface, Some("types@" | "host@" | "kernels@")) || is_virtual_wasi(import)
    };
    let unknown: Vec<String> = imports.iter().filter(|import| !is_known(import)).cloned().collect();
    if !unknown.is_empty() {
        return Err(LoadError::ForbiddenImport { plugin: plugin(), imports: unknown });
    }
    if !allow.kernels && imports.iter().any(|i| i.starts_with("sawlog:plugin/kernels@")) {
        return Err(not_allowed("it uses native kernels", "kernels"));
    }
    if !exports(found, "lifecycle") || !(exports(found, "transform") || exports(found, "transform-records")) {
        return Err(LoadError::WrongWorld { plugin: plugin(), found: found.to_vec() });
    }
    if exports(found, "state") && !allow.state {
        return Err(not_allowed("it keeps state over batches", "state"));
    }
    Ok(())
}

fn exports(found: &[String], interface: &str) -> bool {
    found.contains(&format!("sawlog:plugin/{interface}@{CONTRACT}"))
}

/// The versions of WASI that the imports name.
fn wasi_versions(imports: &[String]) -> BTreeSet<String> {
    let imports = imports.iter().filter(|import| is_virtual_wasi(import));
    imports.filter_map(|import| Some(import.rsplit_once('@')?.1.to_owned())).collect()
}

/// Interfaces that language runtimes import of themselves. The host gives them no capability.
fn is_virtual_wasi(import: &str) -> bool {
    let Some((package, rest)) = import.strip_prefix("wasi:").and_then(|i| i.split_once('/')) else { return false };
    matches!(package, "cli" | "clocks" | "filesystem" | "io" | "random" | "sockets") && rest.contains("@0.2.")
}
