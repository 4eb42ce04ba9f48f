//! A single-thread executor: of the tasks that can go on it takes one at random, and lets virtual time pass only when none
//! can. A crash is the loss of all of them at once.

use crate::world::World;
use futures_util::future::BoxFuture;
use futures_util::task::{ArcWake, waker};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

struct Flag(AtomicBool);

impl ArcWake for Flag {
    fn wake_by_ref(arc: &Arc<Self>) {
        arc.0.store(true, Ordering::Relaxed);
    }
}

struct Task {
    future: BoxFuture<'static, ()>,
    ready: Arc<Flag>,
}

/// Tasks that others spawn while they run.
#[derive(Clone, Default)]
pub struct Spawned(Arc<Mutex<Vec<BoxFuture<'static, ()>>>>);

impl Spawned {
    /// Adds a task.
    pub fn push(&self, future: BoxFuture<'static, ()>) {
        self.0.lock().expect("one thread").push(future);
    }
}

/// Why a life ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// A crash was drawn at an effect.
    Crashed,
    /// Enough steps were made.
    Paused,
    /// Nothing can go on and no timer runs.
    Stuck,
}

/// One process life.
pub struct Executor {
    tasks: Vec<Task>,
    spawned: Spawned,
}

impl Executor {
    /// No tasks yet.
    pub fn new(spawned: Spawned) -> Self {
        Self { tasks: Vec::new(), spawned }
    }

    /// Runs at most `steps` polls; `between` is called before each.
    pub fn run(&mut self, world: &World, steps: usize, mut between: impl FnMut(&World) -> bool) -> End {
        for _ in 0..steps {
            if between(world) {
                return End::Paused;
            }
            if !self.step(world) {
                if !world.pass_time() {
                    return End::Stuck;
                }
                continue;
            }
            if world.has_crashed() {
                return End::Crashed;
            }
        }
        End::Paused
    }

    /// Polls one task that can go on; `false` where none can.
    pub fn step(&mut self, world: &World) -> bool {
        let ready = self.ready();
        if ready.is_empty() {
            return false;
        }
        let index = ready[world.rng(|r| r.below(ready.len()))];
        self.poll(index);
        true
    }

    /// Whether a task can go on.
    pub fn can_step(&mut self) -> bool {
        !self.ready().is_empty()
    }

    fn take_spawned(&mut self) {
        for future in self.spawned.0.lock().expect("one thread").drain(..) {
            self.tasks.push(Task { future, ready: Arc::new(Flag(AtomicBool::new(true))) });
        }
    }

    fn ready(&mut self) -> Vec<usize> {
        self.take_spawned();
        (0..self.tasks.len()).filter(|i| self.tasks[*i].ready.0.load(Ordering::Relaxed)).collect()
    }

    fn poll(&mut self, index: usize) {
        let task = &mut self.tasks[index];
        task.ready.0.store(false, Ordering::Relaxed);
        let waker = waker(task.ready.clone());
        if let Poll::Ready(()) = task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            drop(self.tasks.swap_remove(index));
        }
    }
}
