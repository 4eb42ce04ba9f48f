//! The process's own clock, threads and runtime behind the core's ports.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sawlog_core::engine::Spawner;
use sawlog_core::ports::Clock;
use sawlog_record::id::PartitionId;

use tokio::task::JoinSet;

use crate::config::Config;

/// Workers for the main path, as many as `limits.cpu` or the machine gives.
pub fn workers(config: &Config) -> usize {
    config.sections.limits.workers()
}

/// The workers.
pub fn build(config: &Config) -> std::io::Result<tokio::runtime::Runtime> {
    let builder = &mut tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(workers(config)).enable_all().thread_name("sawlog").build()
}

/// Does what reads files or computes for long on a thread of its own: a mount may hang, and who waits is to hear signals. Where it
/// panics, whoever asked goes on without it, as with a configuration that can't be read.
pub async fn aside<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> std::io::Result<R> {
    let done = tokio::task::spawn_blocking(move || sawlog_chain::contained(work)).await?;
    done.map_err(|_| std::io::Error::other("it ended in a panic, which the log shows; report it"))
}

/// The machine's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
    }

    fn elapsed(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }

    fn booted(&self) -> Duration {
        // The clock of CLOCK_BOOTTIME as the kernel prints it: that of the standard library stands still while the machine sleeps.
        let uptime = std::fs::read_to_string("/proc/uptime").ok();
        let seconds = uptime.as_deref().and_then(|text| text.split(' ').next()?.parse().ok());
        // Where it can't be read just now, no time has passed: another clock would show a gap that is none.
        static LAST_MS: AtomicU64 = AtomicU64::new(0);
        match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
            Some(booted) => {
                LAST_MS.fetch_max(u64::try_from(booted.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
                booted
            }
            None => Duration::from_millis(LAST_MS.load(Ordering::Relaxed)),
        }
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn nonce(&self) -> u64 {
        let mut bytes = [0; 8];
        match getrandom::fill(&mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            // No entropy: the time of day at least differs from life to life.
            Err(_) => self.now() as u64,
        }
    }
}

/// Starts tasks that end with it: those of a partition that may be taken away.
#[derive(Debug, Default)]
pub struct Bounded(Mutex<JoinSet<()>>);

impl Spawner for Bounded {
    fn spawn(&self, _: Option<PartitionId>, task: BoxFuture<'static, ()>) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

impl Bounded {
    /// Ends all of them: they hold the engine that holds this.
    pub fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

/// Starts tasks on the runtime that calls.
#[derive(Debug)]
pub struct RuntimeSpawner(pub tokio::runtime::Handle);

impl Spawner for RuntimeSpawner {
    fn spawn(&self, _: Option<PartitionId>, task: BoxFuture<'static, ()>) {
        drop(self.0.spawn(task));
    }
}
