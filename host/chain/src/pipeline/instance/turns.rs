//! Calls that may cost much more than one with a batch: all others have their turn before each, and go on beside it where the state is
//! large.

use super::calls::stopped;
use crate::{Leniency, Plugin, Runner};
use sawlog_core::ports::ChainFailure;
use tokio::runtime::Handle;
use tokio::task::{JoinError, yield_now};

/// Sees to it that the runner has its instance, with a turn for all others before each call that this takes.
pub(super) async fn risen(runner: &mut Runner) -> Result<(), ChainFailure> {
    while !turn(runner, Runner::rise).await.map_err(stopped)? {}
    Ok(())
}

/// Saves the state of a runner that is due for it.
pub(super) async fn settled(runner: &mut Runner) {
    if runner.is_due() {
        turn(runner, Runner::settle).await;
    }
}

/// A call other than that with a batch: it may cost much more than one, so all others have their turn before it, and go on beside it
/// where the state is large.
pub(super) async fn turn<T: Send + 'static>(
    runner: &mut Runner,
    work: impl FnOnce(&mut Runner) -> T + Send + 'static,
) -> T {
    if !runner.is_heavy() {
        yield_now().await;
        return work(runner);
    }
    let plugin = runner.plugin().clone();
    let mut taken = std::mem::replace(runner, Runner::new(plugin.clone(), Leniency::Usual));
    let done = aside(&plugin, true, move || {
        let done = work(&mut taken);
        (taken, done)
    });
    let (taken, done) = done.await;
    *runner = taken;
    done
}

/// Does what may take long on a thread beside the workers, where there are such; so much at once as the machine has processors.
pub(super) async fn aside<T: Send + 'static>(
    plugin: &Plugin,
    is_long: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let Some(runtime) = Handle::try_current().ok().filter(|_| is_long) else {
        yield_now().await;
        return work();
    };
    let _place = plugin.beside_the_workers().await;
    match runtime.spawn_blocking(work).await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The process ends, and who waits here with it: nobody may go on with a state that is not there.
        Err(Err(_)) => std::future::pending().await,
    }
}
