//! The WASI that language runtimes insist on, without any capability: the clock is the planned time of the batch, random
//! numbers restart at every call, there is no environment, no file and no socket, and what is printed goes nowhere.
//!
//! Only what a runtime calls of itself is defined; every other WASI import traps when called.

use super::{Guest, charge};
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType};

/// Random bytes of one call.
const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// How many bytes a stream says it takes at once.
const WRITE_BYTES_MAX: u64 = 64 << 10;

/// Clock and random numbers of one instance.
#[derive(Debug)]
pub struct Virtual {
    seed: [u8; 32],
    random: blake3::OutputReader,
    time: i64,
}

impl Virtual {
    /// `seed` = H(epoch, plugin digest).
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, random: blake3::Hasher::new_keyed(&seed).finalize_xof(), time: 0 }
    }

    /// Restarts the random numbers and sets the clock, unix nanoseconds.
    pub fn begin(&mut self, time: i64) {
        self.random = blake3::Hasher::new_keyed(&self.seed).finalize_xof();
        self.time = time;
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.random.fill(&mut bytes);
        bytes
    }

    fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// `wasi:clocks/wall-clock.datetime`
#[derive(ComponentType, Lift, Lower, Clone, Copy)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

/// `wasi:io/streams.stream-error`; the first case carries an error that is never made here.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

struct IoError;
struct InputStream;
struct OutputStream;
struct Pollable;
struct TerminalInput;
struct TerminalOutput;
struct Descriptor;
struct Directory;

type Store<'a> = StoreContextMut<'a, Guest>;

/// All handles of a kind are the same: nothing is behind them, so none has to be kept.
const HANDLE: u32 = 1;

/// Defines the interfaces under `version`, the one that a component names: 0.2.x are all compatible.
pub fn define(linker: &mut Linker<Guest>, version: &str) -> wasmtime::Result<()> {
    define_cli(linker, version)?;
    define_terminals(linker, version)?;
    define_clocks(linker, version)?;
    define_random(linker, version)?;
    define_io(linker, version)?;
    define_streams(linker, version)?;
    define_files(linker, version)
}

/// Names a resource in an interface that owns or uses it; nothing is behind a handle, so dropping one does nothing.
fn resource<R: 'static>(instance: &mut LinkerInstance<'_, Guest>, name: &str) -> wasmtime::Result<()> {
    instance.resource(name, ResourceType::host::<R>(), |_, _| Ok(()))
}

fn name(interface: &str, version: &str) -> String {
    format!("wasi:{interface}@{version}")
}

fn define_cli(linker: &mut Linker<Guest>, version: &str) -> wasmtime::Result<()> {
    let mut environment = linker.instance(&name("cli/environment", version))?;
    environment.func_wrap("get-environment", |_: Store<'_>, (): ()| Ok((Vec::<(String, String)>::new(),)))?;
    environment.func_wrap("get-arguments", |_: Store<'_>, (): ()| Ok((Vec::<String>::new(),)))?;
    environment.func_wrap("initial-cwd", |_: Store<'_>, (): ()| Ok((None::<String>,)))?;
    let mut exit = linker.instance(&name("cli/exit", version))?;
    exit.func_wrap("exit", |_: Store<'_>, (_status,): (Result<(), ()>,)| {
        Err::<(), _>(wasmtime::Error::msg("the plugin called exit"))
    })?;
    let mut stdin = linker.instance(&name("cli/stdin", version))?;
    resource::<InputStream>(&mut stdin, "input-stream")?;
    stdin.func_wrap("get-stdin", |_: Store<'_>, (): ()| Ok((Resource::<InputStream>::new_own(HANDLE),)))?;
    let mut stdout = linker.instance(&name("cli/stdout", version))?;
    resource::<OutputStream>(&mut stdout, "output-stream")?;
    stdout.func_wrap("get-stdout", |_: Store<'_>, (): ()| Ok((Resource::<OutputStream>::new_own(HANDLE),)))?;
    let mut stderr = linker.instance(&name("cli/stderr", version))?;
    resource::<OutputStream>(&mut stderr, "output-stream")?;
    stderr.func_wrap("get-stderr", |_: Store<'_>, (): ()| Ok((Resource::<OutputStream>::new_own(HANDLE),)))
}

fn define_terminals(linker: &mut Linker<Guest>, version: &str) -> wasmtime::Result<()> {
    let mut input = linker.instance(&name("cli/terminal-input", version))?;
    resource::<TerminalInput>(&mut input, "terminal-input")?;
    let mut output = linker.instance(&name("cli/terminal-output", version))?;
    resource::<TerminalOutput>(&mut output, "terminal-output")?;
    let mut stdin = linker.instance(&name("cli/terminal-stdin", version))?;
    resource::<TerminalInput>(&mut stdin, "terminal-input")?;
    stdin.func_wrap("get-terminal-stdin", |_: Store<'_>, (): ()| Ok((None::<Resource<TerminalInput>>,)))?;
    for (interface, function) in
        [("cli/terminal-stdout", "get-terminal-stdout"), ("cli/terminal-stderr", "get-terminal-stderr")]
    {
        let mut instance = linker.instance(&name(interface, version))?;
        resource::<TerminalOutput>(&mut instance, "terminal-output")?;
        instance.func_wrap(function, |_: Store<'_>, (): ()| Ok((None::<Resource<TerminalOutput>>,)))?;
    }
    Ok(())
}

fn define_clocks(linker: &mut Linker<Guest>, version: &str) -> wasmtime::Result<()> {
    let mut wall = linker.instance(&name("clocks/wall-clock", version))?;
    wall.func_wrap("now", |store: Store<'_>, (): ()| {
        let time = store.data().wasi.time.max(0).unsigned_abs();
        Ok((Datetime { seconds: time / 1_000_000_000, nanoseconds: (time % 1_000_000_000) as u32 },))
    })?;
    wall.func_wrap("resolution", |_: Store<'_>, (): ()| Ok((Datetime { seconds: 0, nanoseconds: 1 },)))?;
    let mut monotonic = linker.instance(&name("clocks/monotonic-clock", version))?;
    resource::<Pollable>(&mut monotonic, "pollable")?;
    monotonic.func_wrap("now", |store: Store<'_>, (): ()| Ok((store.data().wasi.time.max(0).unsigned_abs(),)))?;
    monotonic.func_wrap("resolution", |_: Store<'_>, (): ()| Ok((1u64,)))?;
    for function in ["subscribe-instant", "subscribe-duration"] {
        // Every wait is over at once.
        monotonic
            .func_wrap(function, |_: Store<'_>, (_until,): (u64,)| Ok((Resource::<Pollable>::new_own(HANDLE),)))?;
    }
    Ok(())
}

fn define_random(linker: &mut Linker<Guest>, version: &str) -> wasmtime::Result<()> {
    for (interface, bytes, number) in [
        ("random/random", "get-random-bytes", "get-random-u64"),
        ("random/insecure", "get-insecure-random-bytes", "get-insecure-random-u64"),
    ] {
        let mut random = linker.instance(&name(interface, version))?;
        random.func_wrap(bytes, |mut store: Store<'_>, (len,): (u64,)| {
            charge(&mut store, len)?;
            if len > RANDOM_BYTES_MAX {
                return Err(wasmtime::Error::msg(format!("{len} random bytes, at most {RANDOM_BYTES_MAX} are given")));
            }
            Ok((store.data_mut().wasi.bytes(len as usize),))
        })?;
        random.func_wrap(number, |mut store: Store<'_>, (): ()| Ok((store.data_mut().wasi.number(),)))?;
    }
    let mut seed = linker.instance(&name("random/insecure-seed", version))?;
    seed.func_wrap("insecure-seed", |mut store: Store<'_>, (): ()| {
        let wasi = &mut store.data_mut().wasi;
        Ok(((wasi.number(), wasi.number()),))
    })
}

fn define_io(linker: &mut Linker<Guest>, version: &str) -> wasmtime::Result<()> {
    let mut error = linker.instance(&name("io/error", version))?;
    resource::<IoError>(&mut error, "error")?;
    let mut poll = linker.instance(&name("io/poll", version))?;
    resource::<Pollable>(&mut poll, "pollable")?;
    poll.func_wrap("[method]pollable.ready", |_: Store<'_>, (_p,): (Resource<Pollable>,)| Ok((true,)))?;
    poll.func_wrap("[method]pollable.block", |_: Store<'_>, (_p,): (Resource<Pollable>,)| Ok(()))?;
    poll.func_wrap("poll", |_: Store<'_>, (list,): (Vec<Resource<Pollable>>,)| {
        Ok(((0..list.len() as u32).collect::<Vec<u32>>(),))
    })
}

fn define_streams(linker: &mut Linker<Guest>, version: &str) -> wasmtime::Result<()> {
    let mut streams = linker.instance(&name("io/streams", version))?;
    resource::<IoError>(&mut streams, "error")?;
    resource::<Pollable>(&mut streams, "pollable")?;
    resource::<InputStream>(&mut streams, "input-stream")?;
    resource::<OutputStream>(&mut streams, "output-stream")?;
    for function in ["[method]input-stream.read", "[method]input-stream.blocking-read"] {
        streams.func_wrap(function, |_: Store<'_>, (_s, _len): (Resource<InputStream>, u64)| {
            Ok((Err::<Vec<u8>, StreamError>(StreamError::Closed),))
        })?;
    }
    for function in ["[method]output-stream.write", "[method]output-stream.blocking-write-and-flush"] {
        streams.func_wrap(function, |mut store: Store<'_>, (_s, text): (Resource<OutputStream>, Vec<u8>)| {
            charge(&mut store, text.len() as u64)?;
            Ok((Ok::<(), StreamError>(()),))
        })?;
    }
    for function in ["[method]output-stream.flush", "[method]output-stream.blocking-flush"] {
        streams
            .func_wrap(function, |_: Store<'_>, (_s,): (Resource<OutputStream>,)| Ok((Ok::<(), StreamError>(()),)))?;
    }
    streams.func_wrap("[method]output-stream.check-write", |_: Store<'_>, (_s,): (Resource<OutputStream>,)| {
        Ok((Ok::<u64, StreamError>(WRITE_BYTES_MAX),))
    })?;
    streams.func_wrap("[method]output-stream.subscribe", |_: Store<'_>, (_s,): (Resource<OutputStream>,)| {
        Ok((Resource::<Pollable>::new_own(HANDLE),))
    })?;
    streams.func_wrap("[method]input-stream.subscribe", |_: Store<'_>, (_s,): (Resource<InputStream>,)| {
        Ok((Resource::<Pollable>::new_own(HANDLE),))
    })
}

fn define_files(linker: &mut Linker<Guest>, version: &str) -> wasmtime::Result<()> {
    let mut types = linker.instance(&name("filesystem/types", version))?;
    resource::<IoError>(&mut types, "error")?;
    resource::<InputStream>(&mut types, "input-stream")?;
    resource::<OutputStream>(&mut types, "output-stream")?;
    resource::<Directory>(&mut types, "directory-entry-stream")?;
    resource::<Descriptor>(&mut types, "descriptor")?;
    let mut preopens = linker.instance(&name("filesystem/preopens", version))?;
    resource::<Descriptor>(&mut preopens, "descriptor")?;
    preopens.func_wrap("get-directories", |_: Store<'_>, (): ()| Ok((Vec::<(Resource<Descriptor>, String)>::new(),)))
}
