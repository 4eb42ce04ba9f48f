//! Tasks that end together and can be waited for: those of one source, or the one of a sink, when the configuration takes them
//! away. It knows nothing of what they do; they may be dropped at any await, as if the process had died there.

use event_listener::Event;
use futures_util::future::{Either, select};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A group of tasks.
#[derive(Default)]
pub(crate) struct Tasks {
    ending: AtomicBool,
    running: AtomicUsize,
    changed: Event,
}

impl Tasks {
    /// Runs `task` until it is done or the group ends; `None` where it was cut off or the group had ended before.
    pub(crate) async fn run<T>(&self, task: impl Future<Output = T>) -> Option<T> {
        // The task is dropped in `until_ending`: whoever waits for the end finds nothing of it.
        self.hold(self.until_ending(task)).await
    }

    /// Runs `task` to its end, which [`Tasks::end`] waits for; it asks [`Tasks::until_ending`] itself where it may be cut off.
    pub(crate) async fn hold<T>(&self, task: impl Future<Output = T>) -> T {
        self.running.fetch_add(1, Ordering::SeqCst);
        let _running = Running(self);
        task.await
    }

    /// The outcome of `task`, or `None` as soon as the group ends.
    pub(crate) async fn until_ending<T>(&self, task: impl Future<Output = T>) -> Option<T> {
        let ending = self.changed.listen();
        if self.ending.load(Ordering::SeqCst) {
            return None;
        }
        let (mut task, mut ending) = (pin!(task), ending);
        loop {
            match select(task, ending).await {
                Either::Left((done, _)) => return Some(done),
                Either::Right(((), unfinished)) => {
                    task = unfinished;
                    ending = self.changed.listen();
                    if self.ending.load(Ordering::SeqCst) {
                        return None;
                    }
                }
            }
        }
    }

    /// Whether the group ends.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    /// Ends all tasks; resolves when the last one is dropped. None begins any more.
    pub(crate) async fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
        self.changed.notify(usize::MAX);
        loop {
            let changed = self.changed.listen();
            if self.running.load(Ordering::SeqCst) == 0 {
                return;
            }
            changed.await;
        }
    }
}

/// One task of a group, until it is done or dropped.
struct Running<'a>(&'a Tasks);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use futures_util::future::{join, pending, ready};

    #[test]
    fn the_end_waits_for_every_task_and_lets_none_begin() {
        let tasks = Tasks::default();
        assert_eq!(tasks.run(ready(7)).now_or_never(), Some(Some(7)));
        let mut stuck = Box::pin(tasks.run(pending::<u8>()));
        assert!(stuck.as_mut().now_or_never().is_none(), "it runs");
        assert!(tasks.end().now_or_never().is_none(), "the end waits while it is not dropped");
        assert_eq!(join(stuck, tasks.end()).now_or_never(), Some((None, ())));
        assert_eq!(tasks.run(ready(7)).now_or_never(), Some(None), "too late");
    }

    #[test]
    fn the_end_does_not_wait_for_a_task_that_was_dropped() {
        let tasks = Tasks::default();
        let mut held = Box::pin(tasks.hold(pending::<u8>()));
        assert!(held.as_mut().now_or_never().is_none(), "it runs");
        let mut end = Box::pin(tasks.end());
        assert!(end.as_mut().now_or_never().is_none(), "the end waits");
        drop(held);
        assert_eq!(end.now_or_never(), Some(()));
    }
}
