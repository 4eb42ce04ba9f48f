//! `sawlog run`: from a config that holds together to a running engine, and from signals to its end. It assembles; what is
//! delivered and when is the core's.

#[cfg(test)]
mod accepted_tests;
mod alarms;
pub mod anew;
pub mod canary;
pub mod changes;
mod crash;
pub mod epochs;
pub mod figures;
mod forget;
mod former;
mod ground;
pub mod groups;
pub mod handle;
pub mod memory;
mod outward;
pub mod overrides;
mod pages;
mod partition;
mod parts;
mod pipelines;
mod plugin_lines;
pub mod pulse;
mod reload;
pub mod replay;
mod requests;
mod runtime;
pub mod shadow;
mod sinks;
mod slots;
mod sources;
pub mod swap;
mod timed;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sawlog_core::engine::Engine;
use sawlog_core::watch::{News, Twin};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::config::files::Files;
use crate::telemetry::Telemetry;
use crate::{Between, api, control};

use parts::Running;

pub use handle::Handle;
pub use parts::{RunError, hex};
pub use reload::KeptOverrides;
pub use runtime::SystemClock;

/// How long a look at the state of delivery waits for the next.
const LOOK: Duration = Duration::from_millis(25);

/// The part of the grace that is kept for the last checkpoint, its backup, and the last metrics.
const CLOSING_PART: u32 = 10;

/// The last metrics have at least this long, also where sinks have used up all the grace.
const LAST_PUSH_MIN: Duration = Duration::from_millis(500);

/// What `run` is to do beside running.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// End when everything that is there has been delivered.
    pub until_eof: bool,
    /// Begin with the components that the configuration names, whatever was put in their places.
    pub discard_overrides: bool,
    /// What stands between the chains and the engine.
    pub between: Between,
}

/// Runs until a signal, the end of the input, or a failure that only a new start can mend.
pub fn run(path: &Path, config: Config, files: Files, options: Options) -> Result<ExitCode, RunError> {
    crash::at_panics();
    let runtime = runtime::build(&config)?;
    let path = path.to_owned();
    let ended = runtime.block_on(async move {
        // First of all: a signal that comes while everything starts must not end the process.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut dump = signal(SignalKind::user_defined1())?;
        let mut reopen = signal(SignalKind::user_defined2())?;
        let mut running = tokio::select! {
            running = parts::start(config, files, options) => running?,
            // As after a crash: whatever is durable the next start reads.
            _ = terminate.recv() => return Ok(told_to_end("before everything had started")),
            _ = interrupt.recv() => return Ok(told_to_end("before everything had started")),
        };
        let (handle, mut jobs) = Handle::new(&running, path.clone());
        let telemetry = Telemetry::start(&handle)?;
        running.hearer.tell(telemetry.batches());
        telemetry.tell_stages(&running.hearer.stages);
        tokio::spawn(plugin_lines::tell(Arc::downgrade(&handle)));
        tokio::spawn(canary::watch(Arc::downgrade(&handle)));
        tokio::spawn(alarms::tell(Arc::downgrade(&handle)));
        tokio::spawn(pages::keep_few());
        let api = api::start(handle.clone(), telemetry.clone()).await?;
        let engine = running.engine.clone();
        let mut beat = tokio::time::interval(pulse::BEAT);
        let (is_delivered, until) = loop {
            handle.pulse.beat();
            tokio::select! {
                _ = beat.tick() => {}
                error = engine.failure() => return Err(RunError::Journal(error)),
                news = running.common.watch.news() => tell(&handle.agent, news)?,
                () = finished(&handle, options) => break (true, Instant::now() + running.grace()),
                _ = terminate.recv() => break wind_down(&handle, &running).await?,
                _ = interrupt.recv() => break wind_down(&handle, &running).await?,
                _ = hangup.recv() => tokio::select! {
                    taken = handle.pulse.beat_beside(running.reload(&path, KeptOverrides::All)) => handle.reloaded(&taken, &running),
                    // As after a crash: the next start finds either configuration in force, whole.
                    _ = terminate.recv() => return Ok(told_to_end("in the middle of a reload")),
                    _ = interrupt.recv() => return Ok(told_to_end("in the middle of a reload")),
                },
                Some(job) = jobs.recv() => tokio::select! {
                    () = handle.pulse.beat_beside(job(&mut running)) => {}
                    _ = terminate.recv() => return Ok(told_to_end("in the middle of what a verb asked for")),
                    _ = interrupt.recv() => return Ok(told_to_end("in the middle of what a verb asked for")),
                },
                _ = dump.recv() => tracing::info!(state = %control::status::report(&handle), "asked for by SIGUSR1"),
                _ = reopen.recv() => tracing::info!("the own log is standard error: whoever reads it turns its files over"),
            }
        };
        let ended = running.end(is_delivered, until).await;
        api.close();
        close(telemetry, until).await;
        ended
    });
    crash::is_over();
    // A write to a pipe that nobody reads, or to a mount that hangs, would be waited for without end.
    runtime.shutdown_timeout(LAST_PUSH_MIN);
    ended
}

fn told_to_end(when: &str) -> ExitCode {
    tracing::warn!("told to end {when}; the next start goes on from what is durable");
    ExitCode::SUCCESS
}

/// Has the last metrics and traces go out, as far as there is time: a collector may hang.
async fn close(telemetry: Arc<Telemetry>, until: Instant) {
    let (closed, done) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        telemetry.close();
        // Nobody waits any more where time was up.
        closed.send(()).is_ok()
    });
    let until = until.max(Instant::now() + LAST_PUSH_MIN);
    if tokio::time::timeout_at(until.into(), done).await.is_err() {
        tracing::warn!("the last metrics and traces have not been taken in time");
    }
}

/// Says that a twin was met; an error where the process has to end.
fn tell(agent: &str, news: News) -> Result<(), RunError> {
    match news {
        News::End(ending) => return Err(ending.into()),
        News::Met(Twin { sink, other, own }) => tracing::error!(
            agent, %sink, other, own,
            "another process writes under this agent's id; stop one of them, or give it an `agent.id` and a `data_dir` of its own"
        ),
    }
    Ok(())
}

/// Resolves when `--until-eof` is done; never without it.
async fn finished(handle: &Handle, options: Options) {
    if !options.until_eof {
        std::future::pending::<()>().await;
    }
    let all = |is: fn(&Engine) -> bool| {
        handle.groups.unsettled().is_empty() && handle.engines().iter().all(|engine| is(engine))
    };
    while !all(Engine::is_finished) {
        tokio::time::sleep(LOOK).await;
    }
    while !all(Engine::is_drained) {
        handle.engines().iter().for_each(|engine| engine.flush_always());
        tokio::time::sleep(LOOK).await;
    }
}

/// Stops planning and waits until everything planned is delivered, at most for `grace` without what leaving groups takes; what
/// is left is delivered after the next start. Tells whether nothing is left, and when all must have ended.
async fn wind_down(handle: &Handle, running: &Running) -> Result<(bool, Instant), RunError> {
    let grace = running.grace();
    let until = Instant::now() + grace;
    let mut delivering = std::pin::pin!(deliver_rest(handle, grace - grace / CLOSING_PART));
    loop {
        tokio::select! {
            is_delivered = &mut delivering => return Ok((is_delivered, until)),
            news = running.common.watch.news() => tell(&handle.agent, news)?,
        }
    }
}

async fn deliver_rest(handle: &Handle, grace: Duration) -> bool {
    let until = Instant::now() + grace.saturating_sub(handle.groups.leaving_time(grace));
    handle.wind_down();
    while !handle.engines().iter().all(|engine| engine.is_delivered()) && Instant::now() < until {
        handle.pulse.beat();
        tokio::time::sleep(LOOK).await;
    }
    handle.is_delivered()
}
