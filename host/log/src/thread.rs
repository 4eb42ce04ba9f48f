//! Where blocking disk calls run: on a thread of their own, or inline for a simulated disk. It knows nothing of the work.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// Who makes the blocking calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drive {
    /// A thread of its own. For real disks; needs no particular async runtime.
    Thread,
    /// The task that asks, after yielding once so that others can join. For simulated disks: no thread, no clock, the same
    /// seed gives the same run.
    Inline,
}

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs one after the other, in the order they were handed over.
pub struct DiskThread {
    jobs: Option<mpsc::Sender<Job>>,
}

/// The thread is gone, which only a panicking job can bring about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the thread for disk work is gone; restart, and report the panic that its log shows")]
pub struct Gone;

impl DiskThread {
    /// Starts a thread of this name (at most 15 bytes show in the system's tools), or none.
    pub fn start(drive: Drive, name: &str) -> io::Result<Self> {
        if drive == Drive::Inline {
            return Ok(Self { jobs: None });
        }
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Ends when the handle is dropped, after the jobs handed over before.
            while let Ok(job) = queue.recv() {
                job();
            }
        })?;
        Ok(Self { jobs: Some(jobs) })
    }

    /// Runs `job` and gives back what it returned. Dropping the future does not stop the job.
    pub async fn call<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> Result<R, Gone> {
        let Some(jobs) = &self.jobs else {
            yield_once().await;
            return Ok(job());
        };
        let (done, result) = oneshot::channel();
        let job = Box::new(move || {
            if done.send(job()).is_err() {
                // The caller lost interest; the job is done all the same.
            }
        });
        jobs.send(job).map_err(|_| Gone)?;
        result.await.map_err(|_| Gone)
    }
}

/// Lets every other ready task run once before going on.
pub(crate) async fn yield_once() {
    struct Once(bool);
    impl Future for Once {
        type Output = ();
        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            if std::mem::replace(&mut self.0, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        }
    }
    Once(false).await;
}
