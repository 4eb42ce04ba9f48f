//! `sawlog plugin`: what authors of plugins need. A verb is a file; none of them knows a running agent or a configuration, but for
//! `swap`, which is one of [`crate::control`].

mod bench;
mod build;
mod create;
mod inspect;
mod load;
mod native;
mod pull;
mod push;
mod run;
mod sdk;
mod sign;
mod test;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use thiserror::Error;

/// What plugins with `isolation: process` run in: this program, by the verb that nobody else needs. Its allocator starts no thread of
/// its own, and has one arena for the one thread that there is.
pub fn process() -> sawlog_chain::apart::Program {
    let environment = vec![("_RJEM_MALLOC_CONF".into(), "background_thread:false,narenas:1".into())];
    sawlog_chain::apart::Program { environment, ..sawlog_chain::apart::Program::this(&["plugin-process"]) }
}

/// Verbs for authors of plugins.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Write a new plugin that builds and passes its test.
    New(create::Options),
    /// Make a component of a plugin's sources.
    Build(build::Options),
    /// Run a plugin's own tests natively, build it, and hold it against its golden files, under several cuts of batches and resets of
    /// instances.
    Test(test::Options),
    /// Run records, or one dead letter, through a plugin, one outcome a line; with `--watch` again after every change.
    Run(run::Options),
    /// Measure a plugin over records from a file.
    Bench(bench::Options),
    /// Show what a component is: its digest, size, imports, exports and the schema of its configuration.
    Inspect(inspect::Options),
    /// Put a component into an OCI registry; prints the name that never changes.
    Push(push::Options),
    /// Get a component from an OCI registry, by its digest.
    Pull(pull::Options),
    /// Make a pair of keys, to sign components and to verify them.
    Keygen(sign::Pair),
    /// Sign a component; the signature is a file beside it.
    Sign(sign::Options),
    /// Hold a component against its signature.
    Verify(sign::Options),
    /// Put another component in the place of a plugin's in a running agent, without losing or repeating a record.
    Swap(crate::control::swap::Options),
    /// End what `swap --canary` or `swap --shadow` began in a running agent; the plugin's own component goes on.
    EndTrial(crate::control::trial::Options),
}

/// How a plugin is loaded for a trial.
#[derive(Debug, Args)]
pub struct Loading {
    /// The component, or a folder of sources, which is built first.
    #[arg(default_value = ".")]
    pub plugin: PathBuf,
    /// What the plugin may: `state`, `timers`, `kernels`. Nothing where none is given, as in a configuration.
    #[arg(long, value_delimiter = ',', value_parser = ["state", "timers", "kernels"])]
    pub allow: Vec<String>,
}

/// Why a verb could not do its work.
#[derive(Debug, Error)]
pub enum PluginError {
    /// A file or folder can't be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The name of a new plugin.
    #[error("`{0}` is no name for a plugin; write 1 to 64 small letters, digits and hyphens, a letter first")]
    Name(String),
    /// There is something already.
    #[error("{} is there already; choose another name, or remove it", .0.display())]
    Exists(PathBuf),
    /// No language was recognised.
    #[error("{}: no sources of a plugin; expected Cargo.toml, go.mod, app.py, plugin.js, plugin.ts, or a .c or .cpp file", .0.display())]
    NoSources(PathBuf),
    /// A tool is missing.
    #[error("{0}")]
    Tool(String),
    /// The sources can't be built.
    #[error(transparent)]
    Build(#[from] sawlog_componentize::BuildError),
    /// The file is no component.
    #[error("{}: {source}", path.display())]
    Component {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sawlog_componentize::EncodeError,
    },
    /// The file is something else.
    #[error("{} is no plugin: {why}; `sawlog plugin build` makes one", path.display())]
    NoPlugin {
        /// The file, or its name in a registry.
        path: PathBuf,
        /// What it is.
        why: &'static str,
    },
    /// No engine.
    #[error(transparent)]
    Engine(#[from] sawlog_chain::EngineError),
    /// The plugin can't be loaded.
    #[error(transparent)]
    Load(#[from] sawlog_chain::LoadError),
    /// Its schema can't be read.
    #[error(transparent)]
    Schema(#[from] sawlog_chain::SchemaError),
    /// Input that is no record.
    #[error("{place}: {source}; write one JSON object a line")]
    Input {
        /// Where the input comes from.
        place: String,
        /// Which line, and why.
        source: sawlog_chain::trial::InputError,
    },
    /// Standard input can be read once only.
    #[error("--watch runs the same records again: name their file with --input, or a letter with --record")]
    NothingToWatch,
    /// There is no such dead letter.
    #[error("{0}")]
    Letter(String),
    /// A file that the agent's config gives it.
    #[error(transparent)]
    File(#[from] crate::config::plugins::PluginFileError),
    /// The plugin could not go on.
    #[error(transparent)]
    Trial(#[from] sawlog_chain::RunError),
    /// More than one view holds.
    #[error("at most {max} records can be measured at once, {found} are there; take fewer")]
    TooMany {
        /// The most.
        max: usize,
        /// What is there.
        found: usize,
    },
    /// A call failed.
    #[error("the plugin fails: {0}")]
    Call(sawlog_chain::CallFailure),
    /// A registry does not take or give it.
    #[error(transparent)]
    Registry(#[from] crate::registry::RegistryError),
    /// A signature can't be made, or does not hold.
    #[error(transparent)]
    Signature(#[from] crate::signature::SignatureError),
    /// A running agent does not take it.
    #[error(transparent)]
    Control(#[from] crate::control::ControlError),
    /// No runtime to ask it in.
    #[error("nothing can be asked over the network here: {0}")]
    Runtime(std::io::Error),
    /// Nobody reads what is printed.
    #[error("the output can't be written: {0}")]
    Output(std::io::Error),
}

impl PluginError {
    /// What failed at `path`.
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

impl Verb {
    /// Does it.
    pub fn run(&self) -> Result<ExitCode, PluginError> {
        match self {
            Self::New(options) => create::run(options),
            Self::Build(options) => build::run(options),
            Self::Test(options) => test::run(options),
            Self::Run(options) => run::run(options),
            Self::Bench(options) => bench::run(options),
            Self::Inspect(options) => inspect::run(options),
            Self::Push(options) => push::run(options),
            Self::Pull(options) => pull::run(options),
            Self::Keygen(options) => sign::generate(options),
            Self::Sign(options) => sign::sign(options),
            Self::Verify(options) => sign::verify(options),
            Self::Swap(options) => Ok(crate::control::swap::run(options)?),
            Self::EndTrial(options) => Ok(crate::control::trial::run(options)?),
        }
    }
}

/// Where a verb waits for a registry.
fn blocking() -> Result<tokio::runtime::Runtime, PluginError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PluginError::Runtime)
}

/// Prints a line.
fn say(line: &str) -> Result<(), PluginError> {
    use std::io::Write as _;
    writeln!(std::io::stdout().lock(), "{line}").map_err(PluginError::Output)
}
