//! One instance of a plugin and its calls, each with a budget. Knows the contract's functions and how they fail; who calls
//! them when, and what happens after a failure, is the runner's matter. Where the instance lives, in this process or in one apart,
//! makes no difference to what its calls give: [`Body`] is the only place that knows it.

mod call;
mod here;

pub(crate) use call::{Answer, Budget, Call, Reply};
pub(crate) use here::{Here, guarded};

use crate::apart::{Crew, ProcessEnd, Seat};
use crate::check::{self, Checked, Expected};
use crate::host::{Said, Telemetry};
use crate::plugin::{Digest, Leniency, Plugin, PluginConfig, Program};
use crate::view::BatchView;
use crate::wit::sawlog::plugin::types::{Edits, Emitted, Failure, Registration as RawRegistration};
use std::sync::Arc;
use std::time::Instant;

/// Calls other than `process` get this many times the budget of a record.
pub const RARE_CALL_FACTOR: u64 = 100;

/// Why a call gave nothing that can be used. The same for the same input on every machine, but for the end of a process, which is
/// the record's doing only where it comes again and again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// The code trapped.
    #[error("trapped: {0}")]
    Trap(String),
    /// The budget of one record was used up.
    #[error("used up its fuel; make it cheaper or raise its `limits.fuel`")]
    Fuel,
    /// It wanted more memory than it may have.
    #[error("wanted more memory than it may have; raise its `limits.memory`")]
    Memory,
    /// The plugin refused the input.
    #[error("rejected: {0}")]
    Rejected(String),
    /// What it returned is not well formed or too large.
    #[error("returned what can't be used: {0}")]
    BadOutput(String),
    /// The process that it runs in, apart from the agent's, has ended.
    #[error("its process ended: {0}")]
    Ended(ProcessEnd),
}

impl CallFailure {
    /// A short word for verdicts and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Fuel => "fuel",
            Self::Memory => "memory",
            Self::Rejected(_) => "rejected",
            Self::BadOutput(_) => "bad_output",
            Self::Ended(_) => "process",
        }
    }
}

/// Why an instance was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// The pool is full or the machine refuses; no fault of the plugin.
    #[error("no room for an instance: {0}")]
    NoRoom(String),
    /// `configure` refused or failed.
    #[error("configure failed: {0}")]
    Configure(String),
    /// The process that was to hold it has ended.
    #[error("its process ended: {0}")]
    Ended(ProcessEnd),
}

/// One instance: its own memory, its own state.
pub struct Instance {
    body: Body,
    plugin: Plugin,
    budget: Budget,
    telemetry: Telemetry,
    fuel_used: u64,
    memory_bytes: usize,
    /// When the last call began.
    began: Instant,
    /// An instance whose call failed can't be entered again.
    dead: bool,
}

/// Where an instance lives.
pub(crate) enum Body {
    Here(Box<Here>),
    Apart(Seat),
}

/// What a new instance said and took.
#[derive(Debug)]
pub(crate) struct Made {
    pub registration: RawRegistration,
    pub memory_bytes: usize,
    pub said: Said,
}

impl Body {
    /// A configured instance, which gets `factor` times the usual budgets, in a process of `crew` where there is one. `columns` are
    /// the registered ones, none where they are not known yet.
    pub fn create(
        program: &Program,
        crew: Option<&Arc<Crew>>,
        (config, digest): (&PluginConfig, Digest),
        factor: u64,
        columns: &[String],
    ) -> Result<(Self, Made), CreateError> {
        if let Some(crew) = crew {
            let (seat, made) = crew.create(factor, columns)?;
            return Ok((Self::Apart(seat), made));
        }
        let (here, made) = Here::create(program, (config, digest), factor, columns)?;
        Ok((Self::Here(Box::new(here)), made))
    }

    fn call(&mut self, call: Call<'_>, budget: Budget) -> Answer {
        match self {
            Self::Here(here) => here.call(call, budget),
            Self::Apart(seat) => seat.call(call, budget),
        }
    }
}

impl Plugin {
    /// A fresh, configured instance with the usual budgets.
    pub fn instance(&self) -> Result<Instance, CreateError> {
        self.instance_for(Leniency::Usual)
    }

    /// A fresh, configured instance with the budgets of `leniency`.
    pub fn instance_for(&self, leniency: Leniency) -> Result<Instance, CreateError> {
        let inner = &self.inner;
        let (what, columns) = ((&inner.config, inner.digest), &inner.registration.columns);
        let (body, made) = Body::create(&inner.program, inner.crew.as_ref(), what, leniency.factor(), columns)?;
        let mut telemetry = Telemetry::default();
        telemetry.hear(made.said);
        Ok(Instance {
            body,
            plugin: self.clone(),
            budget: self.budget(leniency),
            telemetry,
            fuel_used: 0,
            memory_bytes: made.memory_bytes,
            began: Instant::now(),
            dead: false,
        })
    }

    fn budget(&self, leniency: Leniency) -> Budget {
        Budget::of(self.limits(), leniency.factor(), self.inner.program.shared.limits.memory_bytes_max)
    }
}

impl Instance {
    /// The plugin that this is an instance of.
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// Whether a call failed, so that no other can be made.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Linear memory that the instance holds, bytes; it never shrinks.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Has the next calls be held to the budgets of `leniency`. Memory that it has it keeps.
    pub fn hold_to(&mut self, leniency: Leniency) {
        self.budget = self.plugin.budget(leniency);
    }

    /// Everything it said since this was last asked.
    pub fn take_telemetry(&mut self) -> Telemetry {
        let mut telemetry = std::mem::take(&mut self.telemetry);
        telemetry.settle();
        telemetry
    }

    /// Has the last call count nothing of the plugin's own: it failed.
    pub fn uncount(&mut self) {
        self.telemetry.abandon();
    }

    /// Fuel that the last call used.
    pub fn fuel_used(&self) -> u64 {
        self.fuel_used
    }

    /// One call over all rows of `view`, with the budget of one record. The answer is checked in full.
    pub fn process(&mut self, view: &Arc<BatchView>) -> Result<Checked, CallFailure> {
        let answer = self.call(Call::Process(view), self.budget).and_then(|reply| match reply {
            Reply::Edits(edits) => self.checked(edits, view),
            _ => Err(Reply::odd()),
        });
        let failure = answer.as_ref().err().map(CallFailure::code);
        self.plugin.inner.counters.called(self.began.elapsed(), self.fuel_used, self.memory_bytes, failure);
        answer
    }

    fn checked(&self, answer: Result<Edits, Failure>, view: &BatchView) -> Result<Checked, CallFailure> {
        let edits = answer.map_err(|Failure::Rejected(text)| CallFailure::Rejected(text))?;
        let timers = self.plugin.allow().timers && self.plugin.stateful();
        let expected = Expected { rows: view.rows(), registration: self.plugin.registration(), timers };
        check::check_edits(edits, expected).map_err(|e| CallFailure::BadOutput(e.0))
    }

    /// Gives out what is held back: event time is taken to be `now` (unix nanoseconds; the PLAN's time, or `i64::MAX` where
    /// the partition has ended).
    pub fn flush(&mut self, now: i64) -> Result<Vec<Emitted>, CallFailure> {
        if !self.plugin.stateful() {
            return Ok(Vec::new());
        }
        let Reply::Emitted(answer) = self.rare_call(Call::Flush(now))? else { return Err(Reply::odd()) };
        let emitted = answer.map_err(|Failure::Rejected(text)| CallFailure::Rejected(text))?;
        check::check_emitted(&emitted, self.plugin.registration()).map_err(|e| CallFailure::BadOutput(e.0))?;
        Ok(emitted)
    }

    /// Its state as bytes; empty for a stateless plugin.
    pub fn snapshot(&mut self) -> Result<Vec<u8>, CallFailure> {
        if !self.plugin.stateful() {
            return Ok(Vec::new());
        }
        let Reply::Snapshot(snapshot) = self.rare_call(Call::Snapshot)? else { return Err(Reply::odd()) };
        let (bytes, bytes_max) = (snapshot.len(), self.plugin.limits().state_bytes_max);
        if bytes > bytes_max {
            let text =
                format!("a snapshot of {bytes} bytes, the limit is {bytes_max}; raise `limits.state` of the plugin");
            return Err(CallFailure::BadOutput(text));
        }
        Ok(snapshot)
    }

    /// Takes over a snapshot of the same state version. Only on a fresh instance.
    pub fn restore(&mut self, snapshot: &[u8]) -> Result<(), CallFailure> {
        self.take(Call::Restore(snapshot))
    }

    /// Takes over a snapshot of the older state version `version`. Only on a fresh instance.
    pub fn upgrade(&mut self, version: u32, old: &[u8]) -> Result<(), CallFailure> {
        self.take(Call::Upgrade(version, old))
    }

    fn take(&mut self, state: Call<'_>) -> Result<(), CallFailure> {
        let Reply::Taken(answer) = self.rare_call(state)? else { return Err(Reply::odd()) };
        answer.map_err(CallFailure::Rejected)
    }

    fn rare_call(&mut self, call: Call<'_>) -> Result<Reply, CallFailure> {
        self.call(call, Budget { fuel: self.budget.fuel.saturating_mul(RARE_CALL_FACTOR), ..self.budget })
    }

    fn call(&mut self, call: Call<'_>, budget: Budget) -> Result<Reply, CallFailure> {
        if self.dead {
            return Err(CallFailure::Trap("the instance trapped before".into()));
        }
        self.began = Instant::now();
        self.telemetry.begin();
        let answer = self.body.call(call, budget);
        self.plugin.inner.counters.took(self.began.elapsed());
        self.telemetry.hear(answer.said);
        (self.fuel_used, self.memory_bytes) = (answer.fuel_used, answer.memory_bytes);
        self.dead = answer.reply.is_err();
        answer.reply
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("plugin", &self.plugin).field("dead", &self.dead).finish_non_exhaustive()
    }
}
