//! What the verbs do that need no running agent, and how any verb fails.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use sawlog_core::watch::Ending;
use sawlog_settings::component::Severity;
use serde_json::json;
use thiserror::Error;

use crate::cli;
use crate::complete::{self, CompleteError, Question};
use crate::config::files::{Files, FilesError};
use crate::config::references::{Machine, MachineWithComponents, References};
use crate::config::{self, Config, Loaded};
use crate::control::switches;
use crate::run::RunError;
use crate::setup::{self, SetupError};
use crate::{Between, diagnostics, graph, own_log, preflight, schema, summary, validate};

/// Exit code of a config that is refused.
const CONFIG_IS_WRONG: u8 = 2;

/// Exit code of `validate` where the config holds together, and a reload of the agent that runs would refuse it.
const RELOAD_REFUSES: u8 = 4;

/// Exit code of an agent that met another one of its id: a new start alone mends nothing.
const TWINS: u8 = 3;

/// Why a verb ends without having done its work.
#[derive(Debug, Error)]
pub enum VerbError {
    /// The config can't be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The config is refused; the text holds every complaint.
    #[error("{0}")]
    Refused(String),
    /// The agent does not run, or could not go on.
    #[error(transparent)]
    Run(#[from] RunError),
    /// `setup` could not make something.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// `complete` has no answer.
    #[error(transparent)]
    Complete(#[from] CompleteError),
    /// What a running agent, or its data directory, was asked for.
    #[error(transparent)]
    Control(#[from] crate::control::ControlError),
    /// What an author of a plugin asked for.
    #[error(transparent)]
    Plugin(#[from] crate::plugin::PluginError),
    /// Nobody reads what is printed.
    #[error("the output can't be written: {0}; let something read it")]
    Output(#[from] std::io::Error),
    /// A report that is no JSON.
    #[error("the report can't be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl VerbError {
    /// Says it on standard error, and gives the exit code.
    pub fn tell(&self) -> ExitCode {
        if let Self::Output(error) = self
            && error.kind() == std::io::ErrorKind::BrokenPipe
        {
            return ExitCode::SUCCESS;
        }
        eprintln!("{}", self.to_string().trim_end());
        match self {
            Self::Files(_) | Self::Refused(_) => ExitCode::from(CONFIG_IS_WRONG),
            Self::Run(RunError::Ending(Ending::Twins(_))) => ExitCode::from(TWINS),
            Self::Run(_)
            | Self::Setup(_)
            | Self::Complete(_)
            | Self::Control(_)
            | Self::Plugin(_)
            | Self::Output(_)
            | Self::Json(_) => ExitCode::FAILURE,
        }
    }
}

/// The config at `path`, after its warnings have been said on standard error.
pub fn load(path: &Path) -> Result<Config, VerbError> {
    Ok(load_with_files(path, &Machine)?.0)
}

fn load_with_files(path: &Path, from: &dyn References) -> Result<(Config, Files), VerbError> {
    let Loaded { config, complaints, files } = config::load(path, from)?;
    let report = if complaints.is_empty() { String::new() } else { diagnostics::text(&complaints, &files) };
    match config {
        Some(config) => {
            eprint!("{report}");
            Ok((config, files))
        }
        None => Err(VerbError::Refused(report)),
    }
}

/// `sawlog run`
pub fn run(options: &cli::Run, between: Between) -> Result<ExitCode, VerbError> {
    // A start reads components once, when it loads them.
    let from: &dyn References = if options.dry_run { &MachineWithComponents } else { &Machine };
    let (config, files) = load_with_files(&options.config.path, from)?;
    let mut report = validate::report(&config, &files);
    if options.dry_run {
        report.take(&config, switches::of(&config, &files));
    }
    let mut findings = preflight::check(&config);
    findings.extend(options.until_eof.then(|| preflight::endless(&config)).into_iter().flatten());
    let summary = summary::text(&config, &report);
    if !findings.is_empty() {
        eprintln!("{summary}");
        return Err(VerbError::Refused(findings.join("\n")));
    }
    if options.dry_run {
        print(&summary)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Standard output belongs to the console sink.
    eprintln!("{summary}");
    own_log::start(&config.sections.telemetry.log);
    let (until_eof, discard_overrides) = (options.until_eof, options.discard_overrides);
    let run = crate::run::Options { until_eof, discard_overrides, between };
    Ok(crate::run::run(&options.config.path, config, files, run)?)
}

/// `sawlog validate`
pub fn validate(options: &cli::Validate) -> Result<ExitCode, VerbError> {
    let loaded = config::load(&options.config.path, &MachineWithComponents)?;
    let report = loaded.config.as_ref().map(|config| {
        let mut report = validate::report(config, &loaded.files);
        report.take(config, switches::of(config, &loaded.files));
        report
    });
    if options.format == cli::Format::Json {
        let complaints = diagnostics::machine(&loaded.complaints, &loaded.files);
        let valid = !loaded.complaints.iter().any(|complaint| complaint.severity == Severity::Error);
        print(&serde_json::to_string_pretty(&json!({ "valid": valid, "complaints": complaints, "report": report }))?)?;
    } else {
        if !loaded.complaints.is_empty() {
            eprint!("{}", diagnostics::text(&loaded.complaints, &loaded.files));
        }
        if let (Some(config), Some(report)) = (&loaded.config, &report) {
            print(&validate::text(config, report))?;
        }
    }
    let Some(report) = report else { return Ok(ExitCode::from(CONFIG_IS_WRONG)) };
    match report.reload.filter(|reload| !reload.taken) {
        None => Ok(ExitCode::SUCCESS),
        Some(reload) => {
            eprintln!(
                "the config holds together, but the agent that runs on its `data_dir` would refuse it at a reload and go on with its \
                 own: {}",
                reload.said
            );
            Ok(ExitCode::from(RELOAD_REFUSES))
        }
    }
}

/// `sawlog schema`
pub fn schema() -> Result<ExitCode, VerbError> {
    print(&serde_json::to_string_pretty(&schema::schema())?)?;
    Ok(ExitCode::SUCCESS)
}

/// `sawlog setup`
pub fn setup(options: &cli::Setup) -> Result<ExitCode, VerbError> {
    let config = load(&options.config.path)?;
    let agent = crate::agent_id::resolve(&config.sections.agent.id, &Machine).map_err(RunError::from)?;
    let wanted = setup::Wanted { partitions: options.partitions, replicas: options.replicas, dry_run: options.dry_run };
    print(&setup::run(&config, &agent, wanted)?)?;
    Ok(ExitCode::SUCCESS)
}

/// `sawlog complete`
pub fn complete(options: &cli::Complete) -> Result<ExitCode, VerbError> {
    let config = load(&options.config.path)?;
    let agent = crate::agent_id::resolve(&config.sections.agent.id, &Machine).map_err(RunError::from)?;
    let silent_for = options.silent_for.map(|period| period.as_duration());
    let question = Question { hour: options.hour, sink: options.sink.clone(), silent_for };
    let answer = complete::ask(&config, &agent, &question)?;
    print(&answer.text)?;
    Ok(if answer.is_closed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `sawlog graph`
pub fn graph(options: &cli::Graph) -> Result<ExitCode, VerbError> {
    let config = load(&options.config.path)?;
    print(&graph::draw(&config, options.format))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints on standard output, with one line end.
pub fn print(text: &str) -> Result<(), std::io::Error> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.trim_end().as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}
