//! The outside world of a run: what is durable, what is under way, which faults strike. It survives the crashes of the
//! process; whatever a process knew dies with it.

use crate::plugin::SimRow;
use crate::ports::documents::Named;
use crate::rng::Rng;
use event_listener::Event;
use sawlog_core::SinkId;
use sawlog_core::budget::Budget;
use sawlog_core::claims::Claim;
use sawlog_core::journal::{Mark, Record};
use sawlog_record::id::{Generation, PartitionId};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// One input record of the simulated files.
#[derive(Clone, Copy, Debug)]
pub struct SimRecord {
    /// Its content.
    pub value: u64,
    /// The plugin fails on it.
    pub poison: bool,
    /// The document sink refuses its first row.
    pub refused: bool,
    /// The queue could not make it durable, in the life of this number: its place is void, and its client sends again.
    pub void: Option<u64>,
    /// It was written to a file behind which its partition had another already.
    pub is_late: bool,
}

/// Bytes of every simulated record.
pub const RECORD_BYTES: u64 = 10;

/// One simulated file. All files of a partition begin with the same line.
#[derive(Clone)]
pub struct SimFile {
    /// Which file: its inode and birth, as it were.
    pub number: u64,
    /// Its generation, as it was opened last.
    pub generation: Generation,
    /// It was opened when not all sinks had said what they hold.
    pub unsure: bool,
    /// What it belongs to.
    pub partition: PartitionId,
    /// The source that reads it.
    pub source: &'static str,
    /// Its content.
    pub records: Vec<SimRecord>,
    /// It has a name.
    pub exists: bool,
    /// Lives that hold it open, by number.
    pub held_by: Option<u64>,
    /// Since when nobody can read or save it any more, as a number of the journal's records: what was written off before could have
    /// been had.
    pub unreadable_since: Option<usize>,
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "file {} ({:?} of {})", self.number, self.generation, self.source)
    }
}

impl SimFile {
    /// Hash of the bytes before `pos`, as an anchor has it; `None` where the file ends before.
    pub fn hash_before(&self, pos: u64) -> Option<u64> {
        let before = self.records.get(..(pos / RECORD_BYTES) as usize)?;
        Some(before.last().map_or(0, |record| record.value))
    }

    /// Nobody has opened it.
    pub fn forget_generation(&mut self) {
        self.generation = Generation::derive("sim", &[&self.number.to_le_bytes()]);
    }

    /// Nobody can read it any more, from now on.
    pub fn lose(&mut self, journal: &SimJournal) {
        self.unreadable_since.get_or_insert(journal.archive.len());
    }

    /// Whether nobody could read it any more when the journal's record of this number was written.
    pub fn is_unreadable_at(&self, record: usize) -> bool {
        self.unreadable_since.is_some_and(|since| since <= record)
    }

    /// Position after the last record that is durable.
    pub fn end(&self) -> u64 {
        self.records.iter().rposition(|r| r.void.is_none()).map_or(0, |last| (last as u64 + 1) * RECORD_BYTES)
    }
}

/// An effect that lands later, perhaps after the crash of who sent it.
#[derive(Clone, Debug)]
pub enum Late {
    /// A transaction's commit, by producer and its epoch.
    Commit(Producer, u64, Vec<SimRow>, Vec<(Generation, Mark)>),
    /// Documents at a place.
    Documents(usize, Vec<Named>),
    /// A claim of a log.
    Claim(String, u64, Box<Claim>),
    /// A data object.
    Data(String, Vec<SimRow>),
    /// A transaction of a journal in a topic, by partition and producer epoch.
    Journal(PartitionId, u64, Vec<(u64, Vec<u8>)>),
}

/// Who writes transactions, and under which name its cursors lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Producer {
    /// The transactional id.
    pub id: String,
    /// The name of its cursors.
    pub cursors: String,
    /// Who that is: a data directory.
    pub writer: String,
}

/// The journal of a partition that moves between agents, in its topic.
#[derive(Default)]
pub struct SimTopic {
    /// Epoch of the producer that may write.
    pub epoch: u64,
    /// The newest snapshot.
    pub snapshot: Option<Vec<u8>>,
    /// Committed records that it does not replace, with their numbers.
    pub records: Vec<(u64, Vec<u8>)>,
    /// Number of the next record.
    pub next: u64,
    /// Content-addressed blobs.
    pub blobs: BTreeMap<[u8; 32], Vec<u8>>,
    /// Every committed record ever, for the oracle.
    pub archive: Vec<Record>,
}

/// Contents by their digests.
type Blobs = BTreeMap<[u8; 32], Vec<u8>>;

/// The journal's disk.
#[derive(Default)]
pub struct SimJournal {
    /// The newest snapshot.
    pub snapshot: Option<Vec<u8>>,
    /// Durable records with their numbers.
    pub durable: Vec<(u64, Vec<u8>)>,
    /// Written, not yet durable.
    pub pending: Vec<(u64, Vec<u8>)>,
    /// Number of the next record.
    pub next: u64,
    /// All records below this are durable.
    pub durable_below: u64,
    /// A sync failed in this life: nothing is taken any more.
    pub spent: bool,
    /// Who waits for that to rise.
    pub wakers: Vec<Waker>,
    /// Content-addressed blobs.
    pub blobs: BTreeMap<[u8; 32], Vec<u8>>,
    /// Every durable record ever, for the oracle.
    pub archive: Vec<Record>,
}

/// Places before and after effects in which a life that is to crash in its recovery does: opening the journal and the sinks, meeting
/// files, and making what was under way.
const RECOVERY_EFFECTS: usize = 150;

/// Everything outside.
pub struct Outside {
    /// The seed's stream.
    pub rng: Rng,
    /// Faults strike.
    pub faults: bool,
    /// Of a thousand effects, so many crash.
    pub crash_per_mille: usize,
    /// Effects until this life crashes, where it is to crash in the middle of its recovery.
    crashes_in: Option<usize>,
    /// The life that runs, by number.
    pub life: u64,
    crashed: bool,
    /// Virtual time since the world began.
    pub elapsed: Duration,
    /// What the wall clock adds to it, nanoseconds; jumps.
    pub wall_offset: i64,
    timers: BTreeMap<(Duration, u64), Waker>,
    timer_count: u64,
    /// The journal's disk.
    pub journal: SimJournal,
    /// The data directory's own name.
    pub directory: u64,
    /// A copy of a checkpoint: its state, and the blobs.
    pub backup: Option<(Vec<u8>, Blobs)>,
    /// Counted losses of journals that were lost.
    pub old_losses: Vec<Record>,
    /// Files.
    pub files: Vec<SimFile>,
    /// Sources of the newest configuration.
    pub sources: BTreeSet<&'static str>,
    /// How many sources began that may have others of their name before them in their process.
    pub sources_begun: u64,
    /// The newest of each name in this life.
    pub newest_source: BTreeMap<&'static str, u64>,
    /// Those that were told to end, and have nobody in their place.
    pub ending: BTreeSet<&'static str>,
    /// Waits for files to change.
    pub file_wakers: Vec<Waker>,
    /// Up to where the second source let go of its input, which then is gone, as a queue's is.
    pub trimmed: BTreeMap<Generation, u64>,
    /// It lets go of nothing: a queue is lost with its directory, and files stay.
    pub keeps_all: bool,
    /// Checkpoints come one after the other.
    pub checks_often: bool,
    /// The second source has no room for more input.
    pub crowded: bool,
    /// The rescue queue has no room for more.
    pub rescue_is_full: bool,
    /// It has room again.
    pub rescue_freed: Event,
    /// Syncs of the journal's and the queues' files fail now and then.
    pub syncs_fail: bool,
    /// Memory, workers and the journal's room are short, so that lanes wait for them too.
    pub narrow: bool,
    /// What sinks give up when they fall behind; the others wait.
    pub budgets: BTreeMap<&'static str, Budget>,
    /// A sink that is added says `from: oldest`.
    pub adds_from_oldest: bool,
    /// What of histories could be read when they became durable.
    pub readable: crate::histories::Readable,
    /// Rescued ranges: (generation, lo, hi).
    pub rescued: Vec<(Generation, u64, u64)>,
    /// Journals of partitions that move.
    pub topics: BTreeMap<PartitionId, SimTopic>,
    /// Transactional log: epochs of producers, by transactional id.
    pub producers: BTreeMap<String, u64>,
    /// Transactional log: by the name of the cursors, how often each writer committed.
    pub commits: BTreeMap<String, BTreeMap<String, u64>>,
    /// Transactional log: committed rows, in order.
    pub log: Vec<SimRow>,
    /// Transactional log: committed cursors, by the name that they lie under.
    pub log_cursors: BTreeMap<(String, Generation), Mark>,
    /// The cursors before the newest commit, which a reader without a barrier may see.
    pub stale_cursors: BTreeMap<(String, Generation), Mark>,
    /// Document store, by place and identity.
    pub documents: BTreeMap<(usize, i64, Generation, u64, u16, u32), SimRow>,
    /// Object stores: claims by log.
    pub claims: BTreeMap<(String, u64), Claim>,
    /// Object stores: the highest time below which a log said that hours are closed.
    pub complete: BTreeMap<String, i64>,
    /// Object stores: data by key.
    pub objects: BTreeMap<String, Vec<SimRow>>,
    /// Appended files, by store and number: rows, of which so many are durable.
    pub appended: BTreeMap<(String, u64), (Vec<SimRow>, usize)>,
    /// Present number of each appended file.
    pub append_number: BTreeMap<String, u64>,
    /// What is struck by a tenth of the faults only: a process whose journal fails at every turn meets nobody.
    pub calm: Option<&'static str>,
    /// Sinks that refuse connections.
    pub down: BTreeSet<&'static str>,
    /// The sink whose every call takes long.
    pub slow: Option<&'static str>,
    /// Under way.
    pub late: Vec<Late>,
    /// How often each kind of fault or event happened.
    pub census: BTreeMap<&'static str, u64>,
    /// What the oracle found.
    pub failures: BTreeSet<String>,
    /// Print effects.
    pub trace: bool,
    /// The planted mistake.
    pub planted: Option<&'static str>,
}

impl Outside {
    /// Sinks that have ever lost anything.
    pub fn losers(&self) -> BTreeSet<SinkId> {
        let moved = self.topics.values().flat_map(|topic| &topic.archive);
        let all = self.journal.archive.iter().chain(&self.old_losses).chain(moved);
        let losers = all.flat_map(crate::oracle::parts).filter_map(|record| match record {
            Record::Lost { sink, .. } => Some(sink.clone()),
            _ => None,
        });
        losers.collect()
    }
}

/// A handle on the world.
#[derive(Clone)]
pub struct World(Arc<Mutex<Outside>>);

impl World {
    /// A world drawn from `seed`.
    pub fn new(seed: u64, planted: Option<&'static str>, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let crash_per_mille = 2 + rng.below(8);
        Self(Arc::new(Mutex::new(Outside {
            rng,
            faults: true,
            crash_per_mille,
            life: 0,
            crashes_in: None,
            crashed: false,
            elapsed: Duration::ZERO,
            wall_offset: 1_000_000_000_000_000,
            timers: BTreeMap::new(),
            timer_count: 0,
            journal: SimJournal::default(),
            directory: 0,
            backup: None,
            old_losses: Vec::new(),
            files: Vec::new(),
            sources: BTreeSet::new(),
            sources_begun: 0,
            newest_source: BTreeMap::new(),
            ending: BTreeSet::new(),
            file_wakers: Vec::new(),
            trimmed: BTreeMap::new(),
            adds_from_oldest: false,
            readable: BTreeMap::new(),
            keeps_all: false,
            checks_often: false,
            crowded: false,
            rescue_is_full: false,
            rescue_freed: Event::new(),
            syncs_fail: crate::syncs::fail(seed),
            narrow: crate::narrow::is_narrow(seed),
            budgets: BTreeMap::new(),
            rescued: Vec::new(),
            topics: BTreeMap::new(),
            producers: BTreeMap::new(),
            commits: BTreeMap::new(),
            log: Vec::new(),
            log_cursors: BTreeMap::new(),
            stale_cursors: BTreeMap::new(),
            documents: BTreeMap::new(),
            claims: BTreeMap::new(),
            complete: BTreeMap::new(),
            objects: BTreeMap::new(),
            appended: BTreeMap::new(),
            append_number: BTreeMap::new(),
            calm: None,
            down: BTreeSet::new(),
            slow: None,
            late: Vec::new(),
            census: BTreeMap::new(),
            failures: BTreeSet::new(),
            trace,
            planted,
        })))
    }

    /// The world itself; never across an await.
    pub fn get(&self) -> MutexGuard<'_, Outside> {
        self.0.lock().expect("one thread")
    }

    /// Draws from the seed.
    pub fn rng<R>(&self, draw: impl FnOnce(&mut Rng) -> R) -> R {
        draw(&mut self.get().rng)
    }

    /// Counts a fault or event.
    pub fn count(&self, what: &'static str) {
        *self.get().census.entry(what).or_default() += 1;
    }

    /// Notes what must not be.
    pub fn fail(&self, what: String) {
        let mut outside = self.get();
        if outside.trace {
            println!("FAILED {what}");
        }
        outside.failures.insert(what);
    }

    /// Prints an effect.
    pub fn trace(&self, what: impl FnOnce() -> String) {
        let outside = self.get();
        if outside.trace {
            println!("[{:>9.3}s life {}] {}", outside.elapsed.as_secs_f64(), outside.life, what());
        }
    }

    /// Whether a crash was drawn.
    pub fn has_crashed(&self) -> bool {
        self.get().crashed
    }

    /// The crash that was drawn has been dealt with.
    pub fn crash_over(&self) {
        self.get().crashed = false;
    }

    /// A new process begins; timers and wakers of the old one are gone.
    pub fn begin_life(&self) {
        let mut outside = self.get();
        outside.life += 1;
        outside.crashed = false;
        outside.crashes_in = None;
        outside.timers.clear();
        outside.file_wakers.clear();
        outside.newest_source.clear();
        outside.ending.clear();
        outside.journal.wakers.clear();
    }

    /// Lets the life that has just begun crash before or after one of its first effects: in the middle of what it does to go on from
    /// where the last one ended.
    pub fn crash_in_recovery(&self) {
        let at = self.rng(|r| r.below(RECOVERY_EFFECTS));
        self.get().crashes_in = Some(at);
    }

    /// Lets time pass to the next timer; `false` where there is none.
    pub fn pass_time(&self) -> bool {
        let mut outside = self.get();
        let Some(((at, _), waker)) = outside.timers.pop_first() else { return false };
        outside.elapsed = outside.elapsed.max(at);
        drop(outside);
        waker.wake();
        true
    }

    /// Waits in virtual time.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        let at = self.get().elapsed + duration;
        Sleep { world: self.clone(), at, armed: false }
    }

    /// An effect is about to happen, or has just happened: other tasks may run, and the process may crash.
    pub async fn gate(&self) {
        let yields = self.rng(|r| r.below(3));
        for _ in 0..yields {
            Yield(false).await;
        }
        let crash = {
            let mut outside = self.get();
            let per_mille = outside.crash_per_mille;
            let (left, is_due) = match outside.crashes_in {
                Some(0) => (None, true),
                left => (left.map(|effects| effects - 1), false),
            };
            outside.crashes_in = left;
            if is_due {
                *outside.census.entry("crash_in_recovery").or_default() += 1;
            }
            is_due || (outside.faults && outside.rng.hits(per_mille))
        };
        if crash {
            self.get().crashed = true;
            self.count("crash");
            self.trace(|| "CRASH".into());
            std::future::pending::<()>().await;
        }
    }

    /// Which fault strikes a call on `sink`.
    pub fn draw_fault(&self, sink: &'static str) -> Fault {
        let mut outside = self.get();
        if outside.down.contains(sink) {
            *outside.census.entry("sink_down").or_default() += 1;
            return Fault::Down;
        }
        if !outside.faults || (outside.calm == Some(sink) && outside.rng.hits(900)) {
            return Fault::None;
        }
        let (fault, name) = match outside.rng.below(1000) {
            0..40 => (Fault::LostReply, "lost_reply"),
            40..80 => (Fault::Late, "late"),
            80..100 => (Fault::Dropped, "dropped_request"),
            100..125 => (Fault::Duplicated, "duplicated_request"),
            125..145 => (Fault::Conflict, "conflict"),
            _ => return Fault::None,
        };
        *outside.census.entry(name).or_default() += 1;
        fault
    }

    /// A slow sink takes its time.
    pub async fn dawdle(&self, sink: &'static str) {
        let slow = self.get().slow == Some(sink);
        if slow {
            self.count("slow_call");
            self.sleep(Duration::from_millis(400)).await;
        }
    }

    /// One of the late effects lands.
    pub fn land_late(&self) {
        let late = {
            let mut outside = self.get();
            if outside.late.is_empty() {
                return;
            }
            let n = outside.late.len();
            let index = outside.rng.below(n);
            outside.late.swap_remove(index)
        };
        self.count("late_landed");
        self.trace(|| format!("late effect lands: {late:?}").chars().take(200).collect());
        crate::ports::sinks::land(self, late);
    }
}

/// What goes wrong with one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// It takes effect, the answer is lost.
    LostReply,
    /// It takes effect later, the answer is a time-out.
    Late,
    /// It never takes effect, the answer is a time-out.
    Dropped,
    /// It takes effect now and once more later.
    Duplicated,
    /// The store reports a conflict with a concurrent request.
    Conflict,
    /// Connection refused.
    Down,
}

/// Waits in virtual time.
pub struct Sleep {
    world: World,
    at: Duration,
    armed: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let world = self.world.clone();
        let mut outside = world.get();
        if outside.elapsed >= self.at {
            return Poll::Ready(());
        }
        let _again = std::mem::replace(&mut self.armed, true);
        outside.timer_count += 1;
        let key = (self.at, outside.timer_count);
        outside.timers.insert(key, context.waker().clone());
        Poll::Pending
    }
}

/// Lets other tasks run once.
struct Yield(bool);

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
