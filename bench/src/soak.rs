//! Soak: input from a file that is rotated and from posts, through a plugin to two files and a document store, while the agent is
//! killed, frozen and told to reload, and the store refuses or hangs, all at random. Memory, descriptors, threads and the data
//! directory must stay what they are, and at the end every record must have come out exactly once.
//!
//! In the first half of the time the agent is killed too. From then on it lives to the end, under all other faults: what it leaks
//! shows in that life alone. A figure is taken when everything that was written is delivered, so that no backlog passes for a leak.

mod input;
mod samples;
mod tally;

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::agent::{Agent, Running};
use crate::data::Numbers;
use crate::store::{Health, Store};
use crate::{isolation, rows};
use input::{POSTS_FROM, Posts, Writer};
use samples::{Sample, Samples};
use tally::Tally;

/// Longest time until everything is delivered after a fault.
const CATCH_UP_MAX: Duration = Duration::from_secs(180);
/// Kills at a time when the agent may be killed: one fault of so many.
const ONE_KILL_OF: u64 = 4;

/// What a run may be asked for.
#[derive(Clone, clap::Args)]
pub struct Options {
    /// The agent's binary
    #[arg(long)]
    agent: PathBuf,
    /// Folder with the built plugins
    #[arg(long)]
    plugins: PathBuf,
    /// Folder for data; emptied
    #[arg(long)]
    folder: PathBuf,
    /// How long it lasts
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// What faults and their times are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What happens to the agent or to its store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Kill,
    Freeze,
    Reload,
    Refuse,
    Hang,
}

const MILD: [Fault; 4] = [Fault::Freeze, Fault::Reload, Fault::Refuse, Fault::Hang];

/// Runs, prints, and fails where something grew or a record is not there once.
pub fn run(options: &Options) -> Result<()> {
    ensure!(options.minutes > 0, "--minutes must be above 0");
    // Paths in a configuration are absolute.
    let absolute = std::path::absolute::<&PathBuf>;
    let (folder, plugins) = (absolute(&options.folder)?, absolute(&options.plugins)?);
    let options = &Options { folder, plugins, ..options.clone() };
    fs::create_dir_all(&options.folder)?;
    let length = Duration::from_secs(60 * options.minutes);
    println!("{} minutes, seed {}", options.minutes, options.seed);
    let mut soak = Soak::begin(options)?;
    let input = (Writer::start(&soak.logs())?, Posts::start(soak.web));
    let (begun, mut samples, mut faults) = (Instant::now(), Samples::default(), Vec::new());
    soak.catch_up(&input)?;
    while begun.elapsed() < length {
        let may_kill = begun.elapsed() < length / 2;
        let fault = soak.strike(may_kill)?;
        faults.push(fault);
        soak.catch_up(&input)?;
        samples.add(soak.sample(begun.elapsed())?);
        thread::sleep(Duration::from_millis(soak.below(1_000)));
    }
    let written = (input.0.end()?, input.1.end()?);
    soak.wait(written)?;
    soak.end(written)?;
    let times = |fault| faults.iter().filter(|f| **f == fault).count();
    let census = [Fault::Kill, Fault::Freeze, Fault::Reload, Fault::Refuse, Fault::Hang];
    let census = census.iter().fold(String::new(), |mut said, fault| {
        _ = write!(said, " {fault:?} {},", times(*fault));
        said
    });
    println!("faults:{census} in {} s", begun.elapsed().as_secs());
    println!(
        "{} lines and {} posted records, each in its file and in the store: lost 0, duplicated 0",
        written.0, written.1
    );
    println!("{}", samples.table());
    samples.judge()?;
    Ok(fs::remove_dir_all(&options.folder)?)
}

/// The agent and what is around it.
struct Soak {
    folder: PathBuf,
    binary: PathBuf,
    config: String,
    running: Option<Running>,
    life: u32,
    store: Store,
    /// Numbers of the documents that the store has.
    documents: Arc<Mutex<[Tally; 2]>>,
    api: SocketAddr,
    web: SocketAddr,
    draw: Numbers,
    reloads: u64,
}

impl Soak {
    fn begin(options: &Options) -> Result<Self> {
        let folder = options.folder.join("soak");
        let documents = Arc::new(Mutex::new([Tally::from(0), Tally::from(POSTS_FROM)]));
        let store = Store::start_with({
            let documents = documents.clone();
            move |document| {
                let [lines, posts] = &mut *documents.lock().unwrap_or_else(PoisonError::into_inner);
                match Tally::number(document) {
                    Some(number) if number >= POSTS_FROM => posts.note(number),
                    Some(number) => lines.note(number),
                    None => lines.note_unknown(),
                }
            }
        })?;
        let (api, web) = (rows::free_address()?, rows::free_address()?);
        let agent = Agent { binary: &options.agent, folder: folder.clone() };
        let file = "roll: { size: 1TiB, age: 24h }, batch: { age: 100ms }";
        agent.prepare_with(
            &format!(
                "limits: {{ memory: 256MiB }}\nplugins:\n  redact: {{ source: \"file:{plugins}/redact.wasm\", config: {{ fields: [message], cards: false }} }}\n\
                 sources:\n  app: {{ type: file, include: [\"{here}/logs/app.log\"] }}\n  web: {{ type: http, listen: \"{web}\", path: /logs }}\n\
                 transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n  clean: {{ type: wasm, inputs: [parsed], chain: [redact] }}\n",
                plugins = options.plugins.display(),
                here = folder.display(),
            ),
            &format!(
                "  out: {{ type: file, inputs: [clean], path: ./out.jsonl, {file} }}\n  pushed: {{ type: file, inputs: [web], path: ./pushed.jsonl, {file} }}\n  \
                 documents: {{ type: elasticsearch, inputs: [clean, web], endpoints: [\"http://{}\"], index: logs, all: true, gzip: false, \
                 retry: {{ max: 1s }}, batch: {{ age: 100ms }} }}\n",
                store.address()
            ),
        )?;
        agent.listen(api)?;
        fs::create_dir_all(folder.join("logs"))?;
        let config = fs::read_to_string(folder.join("sawlog.yaml"))?;
        let draw = Numbers::new(options.seed);
        let running = Some(agent.start()?);
        let binary = options.agent.clone();
        Ok(Self { folder, binary, config, running, life: 1, store, documents, api, web, draw, reloads: 0 })
    }

    fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.draw.next() % bound
    }

    fn running(&self) -> Result<&Running> {
        self.running.as_ref().context("the agent is dead")
    }

    /// One fault, from its beginning to its end.
    fn strike(&mut self, may_kill: bool) -> Result<Fault> {
        let kills = self.below(ONE_KILL_OF) == 0;
        let fault = if may_kill && kills { Fault::Kill } else { MILD[self.below(4) as usize] };
        let pause = Duration::from_millis(200 + self.below(4_000));
        match fault {
            Fault::Kill => {
                self.running.take().context("the agent is dead")?.kill()?;
                thread::sleep(pause / 4);
                self.running = Some(Agent { binary: &self.binary, folder: self.folder.clone() }.start()?);
                self.life += 1;
            }
            Fault::Freeze => {
                self.running()?.signal(Signal::SIGSTOP)?;
                thread::sleep(pause);
                self.running()?.signal(Signal::SIGCONT)?;
            }
            Fault::Reload => {
                // The store's sink begins anew each time.
                self.reloads += 1;
                let config = self
                    .config
                    .replace("retry: { max: 1s }", &format!("retry: {{ max: {}ms }}", 900 + self.reloads % 2));
                fs::write(self.folder.join("sawlog.yaml"), config)?;
                self.running()?.signal(Signal::SIGHUP)?;
            }
            Fault::Refuse | Fault::Hang => {
                self.store.set(if fault == Fault::Hang { Health::Hangs } else { Health::Refuses });
                thread::sleep(pause);
                self.store.set(Health::Well);
            }
        }
        Ok(fault)
    }

    /// Waits until what was written up to now is delivered.
    fn catch_up(&self, (lines, posts): &(Writer, Posts)) -> Result<()> {
        self.wait((lines.written(), posts.acknowledged()))
    }

    fn wait(&self, (lines, posts): (u64, u64)) -> Result<()> {
        let until = Instant::now() + CATCH_UP_MAX;
        let delivered = |sink| isolation::delivered(self.api, sink).unwrap_or(0);
        loop {
            let have = [delivered("out"), delivered("pushed"), self.store.documents()];
            if have[0] >= lines && have[1] >= posts && have[2] >= lines + posts {
                return Ok(());
            }
            ensure!(
                self.running()?.is_alive(),
                "the agent ended by itself: see {}",
                self.folder.join("agent.log").display()
            );
            ensure!(Instant::now() < until, "of {lines} lines and {posts} posted records came out {have:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn sample(&self, at: Duration) -> Result<Sample> {
        let running = self.running()?;
        Sample::of(running.pid(), at, self.life, &self.folder.join("data"))
    }

    /// An orderly end, and the count of what came out.
    fn end(&mut self, (lines, posts): (u64, u64)) -> Result<()> {
        self.running.take().context("the agent is dead")?.end()?;
        let read = |name: &str, from| Tally::of_file(&self.folder.join(name), from);
        let documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        for (what, tally, records) in [
            ("out.jsonl", &read("out.jsonl", 0)?, lines),
            ("pushed.jsonl", &read("pushed.jsonl", POSTS_FROM)?, posts),
            ("lines in the store", &documents[0], lines),
            ("posted records in the store", &documents[1], posts),
        ] {
            tally.judge(records).with_context(|| format!("{what}; the agent's log is {}", log(&self.folder)))?;
        }
        Ok(())
    }
}

fn log(folder: &Path) -> String {
    folder.join("agent.log").display().to_string()
}
