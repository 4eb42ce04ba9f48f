//! The processes of one plugin, and the instances that live in them.

use super::process::{EndedBy, Process, ProcessEnd, patience};
use super::spawn::Program;
use super::wire::{Load, Malformed, Ready, Request, Wire, read, write_call};
use crate::engine::EngineLimits;
use crate::host::Said;
use crate::instance::{Answer, Budget, Call, CallFailure, CreateError, Made, RARE_CALL_FACTOR};
use crate::plugin::{Digest, Leniency, PluginConfig};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wasmtime::component::Component;

/// Instances that live in one process at most; then there is one more. They share its memory, which is bounded by as many.
pub const INSTANCES_MAX: u32 = 32;
/// Processes beyond what that takes, for each processor: a call that finds its process at work waits for it.
const PER_PROCESSOR: usize = 2;
/// How long what a test tries may take.
const ATTEMPT_PATIENCE: Duration = Duration::from_secs(2);
/// How long a process may take to load code.
const LOAD_PATIENCE: Duration = Duration::from_secs(60);

/// Processes of one plugin.
pub(crate) struct Crew {
    program: Program,
    /// What every process is told first, but for its code.
    name: String,
    digest: Digest,
    config: PluginConfig,
    limits: EngineLimits,
    component: Component,
    processes: Mutex<Vec<Arc<Process>>>,
    /// Number of the next instance.
    next: AtomicU64,
    ends: Ends,
}

/// How processes ended of which nobody wanted it.
#[derive(Debug, Default)]
struct Ends {
    count: AtomicU64,
    newest: Mutex<Option<String>>,
    without_namespaces: Mutex<Option<String>>,
}

/// What is known of the processes of a plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessFigures {
    /// Processes that run.
    pub running: u64,
    /// How many have ended that were to go on; each was replaced when it was needed.
    pub ended: u64,
    /// How the newest of them ended.
    pub newest_end: Option<String>,
    /// Why they have no network namespace of their own, where they have none: system calls are refused all the same.
    pub without_namespaces: Option<String>,
}

impl Crew {
    /// Processes for `component`, started by `program` when they are needed. `engine` are the limits of the agent's own.
    pub fn new(
        program: Program,
        (name, digest, config): (&str, Digest, &PluginConfig),
        component: Component,
        engine: EngineLimits,
    ) -> Self {
        let most = Budget::of(config.limits, Leniency::OtherBuild.factor(), engine.memory_bytes_max).memory_bytes_max;
        Self {
            program,
            name: name.to_owned(),
            digest,
            config: config.clone(),
            limits: EngineLimits { memory_bytes_max: most, ..engine },
            component,
            processes: Mutex::default(),
            next: AtomicU64::new(0),
            ends: Ends::default(),
        }
    }

    /// A configured instance in one of the processes; see [`crate::instance::Body::create`].
    pub fn create(self: &Arc<Self>, factor: u64, columns: &[String]) -> Result<(Seat, Made), CreateError> {
        let process = self.process()?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        // From here on it counts, and is forgotten by the process too when the seat is given up.
        let seat = Seat { crew: self.clone(), process, id };
        let fuel = self.config.limits.fuel_per_record.saturating_mul(factor).saturating_mul(RARE_CALL_FACTOR);
        let request = Request::Create(id, factor, columns.to_vec());
        let made = seat.process.ask(
            patience(fuel),
            |out| request.put(out),
            |answer| match read::<Result<Made, CreateError>>(answer)? {
                Err(CreateError::Ended(_)) => Err(Malformed),
                answer => Ok(answer),
            },
        );
        let made = made.map_err(|end| CreateError::Ended(self.ended(end)))??;
        Ok((seat, made))
    }

    /// A process with room for one more instance, which is counted there: the one with the fewest, or a new one where all have some
    /// and there may be more.
    fn process(&self) -> Result<Arc<Process>, CreateError> {
        if let Some(process) = self.with_room() {
            return Ok(process);
        }
        // Nobody who asks for figures waits for this.
        let process = Arc::new(self.start()?);
        process.instances.fetch_add(1, Ordering::Relaxed);
        self.processes().push(process.clone());
        Ok(process)
    }

    fn with_room(&self) -> Option<Arc<Process>> {
        let mut processes = self.processes();
        processes.retain(|process| !process.has_ended());
        let few = std::thread::available_parallelism().map_or(1, usize::from) * PER_PROCESSOR;
        let instances = |process: &Arc<Process>| process.instances.load(Ordering::Relaxed);
        let emptiest = processes.iter().min_by_key(|process| instances(process))?;
        let may_share = processes.len() >= few && instances(emptiest) < INSTANCES_MAX as usize;
        if instances(emptiest) > 0 && !may_share {
            return None;
        }
        emptiest.instances.fetch_add(1, Ordering::Relaxed);
        Some(emptiest.clone())
    }

    fn processes(&self) -> MutexGuard<'_, Vec<Arc<Process>>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> Result<Process, CreateError> {
        let no_room = |error: String| CreateError::NoRoom(format!("a process can't be started: {error}"));
        let process = Process::start(&self.program).map_err(|error| no_room(error.to_string()))?;
        let load = Load {
            limits: self.limits,
            name: self.name.clone(),
            digest: self.digest.0.to_vec(),
            config: self.config.clone(),
            code: self.component.serialize().map_err(|error| no_room(format!("{error:#}")))?,
        };
        let loaded = process.ask(LOAD_PATIENCE, |out| load.put(out), read::<Result<Ready, String>>);
        let ready = loaded.map_err(|end| CreateError::Ended(self.ended(end)))?.map_err(no_room)?;
        *self.ends.without_namespaces.lock().unwrap_or_else(PoisonError::into_inner) = ready.without_namespaces;
        Ok(process)
    }

    /// Counts an end, and passes it on.
    fn ended(&self, end: ProcessEnd) -> ProcessEnd {
        if end.by != EndedBy::AnotherCall {
            self.ends.count.fetch_add(1, Ordering::Relaxed);
            *self.ends.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(end.reason.clone());
        }
        end
    }

    /// What is known of its processes.
    pub fn figures(&self) -> ProcessFigures {
        let processes = self.processes();
        let known = |text: &Mutex<Option<String>>| text.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ProcessFigures {
            running: processes.iter().filter(|process| !process.has_ended()).count() as u64,
            ended: self.ends.count.load(Ordering::Relaxed),
            newest_end: known(&self.ends.newest),
            without_namespaces: known(&self.ends.without_namespaces),
        }
    }

    /// The numbers that the system has given its processes.
    pub fn pids(&self) -> Vec<u32> {
        self.processes().iter().filter(|process| !process.has_ended()).map(|process| process.pid).collect()
    }

    /// Has a process try what `serve_trying` of its program knows by this text.
    pub fn attempt(self: &Arc<Self>, what: &str) -> Result<String, ProcessEnd> {
        let process = self.process().map_err(|error| ProcessEnd { by: EndedBy::Itself, reason: error.to_string() })?;
        let request = Request::Try(what.to_owned());
        let tried = process.ask(ATTEMPT_PATIENCE, |out| request.put(out), read::<String>);
        process.instances.fetch_sub(1, Ordering::Relaxed);
        tried.map_err(|end| self.ended(end))
    }
}

/// An instance in a process.
pub(crate) struct Seat {
    crew: Arc<Crew>,
    process: Arc<Process>,
    id: u64,
}

impl Seat {
    /// Makes a call, which takes what `budget` gives at most.
    pub fn call(&mut self, call: Call<'_>, budget: Budget) -> Answer {
        let write = |out: &mut Vec<u8>| write_call(self.id, budget, call, out);
        let answer = self.process.ask(patience(budget.fuel), write, |answer| match read::<Answer>(answer)? {
            Answer { reply: Err(CallFailure::Ended(_)), .. } => Err(Malformed),
            answer => Ok(answer),
        });
        answer.unwrap_or_else(|end| {
            let reply = Err(CallFailure::Ended(self.crew.ended(end)));
            Answer { reply, fuel_used: 0, memory_bytes: 0, said: Said::default() }
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.process.instances.fetch_sub(1, Ordering::Relaxed);
        self.process.tell(|out| Request::Forget(self.id).put(out));
    }
}
