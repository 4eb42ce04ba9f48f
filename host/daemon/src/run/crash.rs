//! A panic ends the process, at once and without unwinding: a task that is gone would be missed by nobody, and whoever finds its
//! locks goes on with what it had half done. A crash is what delivery is proven for.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};
use std::process::abort;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// What the last line of the log may take: nobody may read standard error.
const TELLING_MAX: Duration = Duration::from_secs(1);

static IS_OVER: AtomicBool = AtomicBool::new(false);

/// From here on a panic is logged with its place and ends the process, on whatever thread it is; but for those that are caught on
/// purpose.
pub fn at_panics() {
    panic::set_hook(Box::new(|panic| {
        if sawlog_chain::is_contained() || IS_OVER.load(Ordering::Relaxed) {
            return tell(panic, "a panic, which is a mistake of the agent or of a library; it was contained");
        }
        // Where there is no thread to be had, the line is waited for.
        drop(thread::Builder::new().spawn(|| {
            thread::sleep(TELLING_MAX);
            abort();
        }));
        tell(panic, "a panic, which is a mistake of the agent or of a library, ends the process; report it");
        abort();
    }));
}

/// Everything has been done: what panics now only has its runtime taken away.
pub fn is_over() {
    IS_OVER.store(true, Ordering::Relaxed);
}

fn tell(panic: &PanicHookInfo<'_>, what: &str) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = thread::current();
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(backtrace));
    let reason = panic.payload_as_str().map(without_text).unwrap_or_default();
    tracing::error!(place, thread = thread.name(), reason, backtrace, "{what}");
}

/// The message of a panic, but for the text that a wrong index was meant for: that may be a record.
fn without_text(message: &str) -> &str {
    message.find(" of `").and_then(|at| message.get(..at)).unwrap_or(message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::env;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Output};

    use super::*;
    use crate::config::sections::OwnLog;
    use crate::own_log;
    use crate::run::runtime;
    use sawlog_core::engine::Spawner as _;

    const WAY: &str = "SAWLOG_TEST_PANIC";

    fn fails() {
        panic!("as asked");
    }

    /// What the process that [`panics`] is does in each way.
    fn panic_somewhere(way: &str) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let outcome = match way {
            "task" => {
                runtime::RuntimeSpawner(runtime.handle().clone()).spawn(None, Box::pin(async { panic!("in a task") }));
                loop {
                    thread::park();
                }
            }
            "thread" => thread::spawn(|| "größer, und geheim".split_at(3).0.len()).join().map(drop),
            "aside" => {
                let done = runtime.block_on(runtime::aside(fails));
                assert!(done.is_err());
                Ok(())
            }
            "engine" => sawlog_chain::contained(fails).or(Ok(())),
            "late" => {
                is_over();
                thread::spawn(fails).join().or(Ok(()))
            }
            other => panic!("{other}"),
        };
        assert!(outcome.is_ok());
    }

    /// The process that panics, where one of the tests below wants it to.
    #[test]
    fn panics() {
        if let Ok(way) = env::var(WAY) {
            own_log::start(&OwnLog::default());
            at_panics();
            panic_somewhere(&way);
        }
    }

    fn ended(way: &str) -> (Output, String) {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "run::crash::tests::panics", "--nocapture"]).env(WAY, way);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output, said)
    }

    #[test]
    fn a_panic_of_any_task_or_thread_ends_the_process_and_the_log_says_where() {
        for (way, reason) in [("task", "in a task"), ("thread", "")] {
            let (output, said) = ended(way);
            assert_eq!(output.status.signal(), Some(6), "{way}: {said}");
            assert!(said.contains("ends the process") && said.contains("crash.rs:"), "{said}");
            assert!(said.contains(reason) && !said.contains("geheim"), "{said}");
        }
    }

    #[test]
    fn a_panic_that_is_caught_on_purpose_is_logged_and_ends_nothing() {
        for way in ["aside", "engine", "late"] {
            let (output, said) = ended(way);
            assert!(output.status.success(), "{way}: {said}");
            assert!(said.contains("it was contained") && said.contains("crash.rs:"), "{said}");
        }
    }
}
