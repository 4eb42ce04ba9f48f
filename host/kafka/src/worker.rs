//! A thread that owns a value and runs blocking calls on it, one after the other. It knows nothing of what it runs.

use std::sync::mpsc;
use std::thread;
use tokio::sync::oneshot;

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// The thread of a value.
pub struct Worker<T> {
    jobs: mpsc::Sender<Job<T>>,
}

/// The thread is gone: a job of it panicked.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the thread for blocking calls has ended; restart the agent and report this")]
pub struct WorkerGone;

impl<T: Send + 'static> Worker<T> {
    /// Starts the thread; it ends, and drops `value`, when the worker was dropped and its last job has run.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn start(name: &str, mut value: T) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job<T>>();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Ok(job) = queue.recv() {
                job(&mut value);
            }
        })?;
        Ok(Self { jobs })
    }

    /// Runs `job` after all earlier ones; nobody waits for it.
    ///
    /// # Errors
    /// [`WorkerGone`] after a job has panicked.
    pub fn post(&self, job: impl FnOnce(&mut T) + Send + 'static) -> Result<(), WorkerGone> {
        self.jobs.send(Box::new(job)).map_err(|_| WorkerGone)
    }

    /// Runs `job` after all earlier ones and gives its result. It runs to its end also when the future is dropped.
    ///
    /// # Errors
    /// [`WorkerGone`] after a job has panicked.
    pub async fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, WorkerGone> {
        let (answer, result) = oneshot::channel();
        let job: Job<T> = Box::new(move |value| {
            // Whoever asked may be gone; the job has done its work all the same.
            drop(answer.send(job(value)));
        });
        self.jobs.send(job).map_err(|_| WorkerGone)?;
        result.await.map_err(|_| WorkerGone)
    }
}
