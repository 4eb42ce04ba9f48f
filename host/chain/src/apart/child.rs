//! The life of a process that a plugin runs in: load, give up everything, then answer calls until nobody asks.

use super::confine;
use super::frame;
use super::wire::{Asked, Load, Ready, Request, Wire, read_trusting};
use crate::engine::Engine;
use crate::instance::{Answer, CallFailure, CreateError, Here, Made};
use crate::plugin::{Digest, PluginConfig, Program};
use crate::view::BatchView;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::process::ExitCode;

/// The longest message that is taken, bytes: code is large. Whoever sends it is trusted.
const MESSAGE_BYTES_MAX: u64 = 4 << 30;
/// Room for messages that is kept between calls, bytes.
const ROOM_KEPT_MAX: usize = 1 << 20;

/// What a test has happen in a process of its program, once that is confined.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Attempts {
    /// Tries what this text stands for, and says what came of it.
    pub attempt: fn(&str) -> String,
    /// Comes before each call with a batch.
    pub before: fn(&BatchView),
}

/// Lives as a process that a plugin runs in, which the agent starts (`Program`); standard input is its stream to the agent.
pub fn serve() -> ExitCode {
    life(None)
}

/// The same with a way to try, from within, what such a process may not do. For tests.
#[doc(hidden)]
pub fn serve_trying(attempts: Attempts) -> ExitCode {
    life(Some(attempts))
}

fn life(attempts: Option<Attempts>) -> ExitCode {
    if !is_stream() {
        eprintln!("the agent alone starts this, for plugins with `isolation: process`");
        return ExitCode::FAILURE;
    }
    match work(attempts) {
        Ok(()) => ExitCode::SUCCESS,
        // The agent sees that it has ended; it has nowhere to say more.
        Err(_) => ExitCode::FAILURE,
    }
}

fn is_stream() -> bool {
    let found = rustix::fs::fstat(std::io::stdin());
    found.is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Socket)
}

/// Standard input, both ways.
struct Stream;

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(std::io::stdin(), into)?)
    }
}

impl Write for Stream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(std::io::stdin(), from)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn work(attempts: Option<Attempts>) -> io::Result<()> {
    let without_namespaces = confine::leave()?;
    let (mut message, mut out) = (Vec::new(), Vec::new());
    if !receive(&mut message)? {
        return Ok(());
    }
    let load: Load = read_trusting(&message).map_err(io::Error::other)?;
    let loaded = Plugin::load(load, attempts).and_then(|plugin| {
        confine::give_up(plugin.config.limits.memory_bytes_max).map_err(|error| error.to_string())?;
        Ok(plugin)
    });
    frame::begin(&mut out);
    let ready = loaded.as_ref().map(|_| Ready { without_namespaces }).map_err(String::clone);
    ready.put(&mut out);
    send(&mut out)?;
    let Ok(mut plugin) = loaded else { return Ok(()) };
    loop {
        for room in [&mut message, &mut out] {
            if room.capacity() > ROOM_KEPT_MAX {
                *room = Vec::new();
            }
        }
        if !receive(&mut message)? {
            return Ok(());
        }
        let request = read_trusting(&message).map_err(io::Error::other)?;
        frame::begin(&mut out);
        if plugin.answer(request, &mut out) {
            send(&mut out)?;
        }
    }
}

fn receive(message: &mut Vec<u8>) -> io::Result<bool> {
    frame::receive(&mut Stream, message, MESSAGE_BYTES_MAX, || Ok(()))
}

fn send(out: &mut [u8]) -> io::Result<()> {
    frame::send(&mut Stream, out, || Ok(()))
}

/// A call of an instance that was never made, or whose making failed.
fn unknown() -> Answer {
    let reply = Err(CallFailure::Trap("there is no such instance".into()));
    Answer { reply, fuel_used: 0, memory_bytes: 0, said: Default::default() }
}

/// The plugin, and its instances by their numbers.
struct Plugin {
    program: Program,
    config: PluginConfig,
    digest: Digest,
    instances: BTreeMap<u64, Here>,
    attempts: Option<Attempts>,
}

impl Plugin {
    fn load(load: Load, attempts: Option<Attempts>) -> Result<Self, String> {
        let engine = Engine::new(load.limits, None).map_err(|error| error.to_string())?;
        let digest = load.digest.try_into().map(Digest).map_err(|_| "a digest has 32 bytes".to_owned())?;
        let program = engine.link_compiled(&load.name, &load.code, &load.config)?;
        Ok(Self { program, config: load.config, digest, instances: BTreeMap::new(), attempts })
    }

    /// Writes the answer to a request; false where there is none.
    fn answer(&mut self, request: Request, out: &mut Vec<u8>) -> bool {
        match request {
            Request::Create(instance, factor, columns) => self.create(instance, factor, &columns).put(out),
            Request::Call(instance, budget, asked) => {
                if let (Some(attempts), Asked::Process(view)) = (&self.attempts, &asked) {
                    (attempts.before)(view);
                }
                match self.instances.get_mut(&instance) {
                    Some(here) => here.call(asked.call(), budget).put(out),
                    None => unknown().put(out),
                }
            }
            Request::Forget(instance) => {
                self.instances.remove(&instance);
                return false;
            }
            Request::Try(what) => {
                self.attempts.map_or_else(String::new, |attempts| (attempts.attempt)(&what)).put(out);
            }
        }
        true
    }

    fn create(&mut self, instance: u64, factor: u64, columns: &[String]) -> Result<Made, CreateError> {
        let (here, made) = Here::create(&self.program, (&self.config, self.digest), factor, columns)?;
        self.instances.insert(instance, here);
        Ok(made)
    }
}
