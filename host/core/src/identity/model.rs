//! A seeded model of a log directory and of a reader that comes by now and then, with an oracle: every line that a look
//! could see is delivered exactly once. It takes whole reads as instant; the real file system is tested with the source.
#![allow(clippy::disallowed_methods)] // Seeds may come from the environment: it is a test.

use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Small sizes, so that short files have heads, middles and tails.
const GRAIN: Grain =
    Grain { block_bytes: 64, edge_blocks: 3, middle_blocks: 4, middle_max: 8, anchor_bytes: 48, marks_max: 32 };

/// A small generator of its own: the model must not change with a crate's version.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone)]
struct Inode {
    btime: i64,
    data: Vec<u8>,
    names: u32,
    handles: u32,
}

/// Names, inodes (the lowest free number is used again), handles.
#[derive(Default)]
struct Disk {
    names: BTreeMap<String, u64>,
    inodes: BTreeMap<u64, Inode>,
    now: i64,
}

impl Disk {
    fn create(&mut self, name: &str, data: Vec<u8>) -> u64 {
        self.unlink(name);
        let ino = (1..).find(|i| !self.inodes.contains_key(i)).expect("u64 inodes don't run out");
        self.now += 1;
        self.inodes.insert(ino, Inode { btime: self.now, data, names: 1, handles: 0 });
        self.names.insert(name.to_owned(), ino);
        ino
    }

    fn unlink(&mut self, name: &str) {
        if let Some(ino) = self.names.remove(name) {
            self.inode(ino).names -= 1;
            self.reap(ino);
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        if let Some(ino) = self.names.remove(from) {
            self.unlink(to);
            self.names.insert(to.to_owned(), ino);
        }
    }

    fn inode(&mut self, ino: u64) -> &mut Inode {
        self.inodes.get_mut(&ino).expect("a name or handle keeps its inode")
    }

    fn hold(&mut self, ino: u64) {
        self.inode(ino).handles += 1;
    }

    fn close(&mut self, ino: u64) {
        self.inode(ino).handles -= 1;
        self.reap(ino);
    }

    fn reap(&mut self, ino: u64) {
        let inode = &self.inodes[&ino];
        if inode.names == 0 && inode.handles == 0 {
            self.inodes.remove(&ino);
        }
    }
}

/// What a slow rotation still has to do.
enum Task {
    /// Copy of the primary under way: bytes so far.
    Copy { to: String, from: String, done: usize, then: After },
}

#[derive(Clone, Copy)]
enum After {
    Truncate,
    Remove,
    Keep,
}

/// How this seed's application and its rotation behave.
struct Style {
    header: Option<String>,
    keep: u32,
    copytruncate: bool,
    gzip: bool,
    late_writes: bool,
    power_cuts: bool,
    backups: bool,
    /// Most lines are alike and of one length, so tails look alike.
    ticks: bool,
}

struct World {
    dice: Dice,
    disk: Disk,
    style: Style,
    /// The application's handle.
    writer: Option<u64>,
    tasks: Vec<Task>,
    lines: u64,
    rebooted: bool,
    /// The application has written part of a line and will finish it.
    mid_line: bool,
}

const PRIMARY: &str = "app.log";

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x0123_4567_89ab_cdef) ^ 0x5eed);
        let (copytruncate, gzip, backups) = (dice.chance(50), dice.chance(50), dice.chance(15));
        let style = Style {
            header: dice.chance(50).then(|| "#fields: time level tex\n".to_owned()),
            keep: 2 + dice.below(4) as u32,
            copytruncate,
            gzip,
            late_writes: dice.chance(30),
            // A backup of a file that then loses its tail is another file with lines of its own: sent again.
            power_cuts: !backups && dice.chance(30),
            backups,
            // Not with copies: ticks alone are no evidence, so these files would be sent again.
            ticks: !copytruncate && !gzip && !backups && dice.chance(80),
        };
        let (tasks, disk) = Default::default();
        Self { dice, disk, style, writer: None, tasks, lines: 0, rebooted: false, mid_line: false }
    }

    fn line(&mut self, first: bool) -> Vec<u8> {
        // One telling line in every first block: a copy that only ticks are known of is not told from another.
        if self.style.ticks && !first && self.dice.chance(80) {
            return b"tick tick .".to_vec();
        }
        self.lines += 1;
        let mut line = format!("L{}.", self.lines).into_bytes();
        if self.style.ticks {
            line.resize(11, b'x');
            return line;
        }
        line.extend((0..self.dice.below(40)).map(|_| b'x'));
        line
    }

    fn open_writer(&mut self) -> u64 {
        if let Some(ino) = self.writer {
            return ino;
        }
        let ino = match self.disk.names.get(PRIMARY) {
            Some(ino) => *ino,
            None => self.disk.create(PRIMARY, Vec::new()),
        };
        self.disk.hold(ino);
        self.writer = Some(ino);
        ino
    }

    fn reopen(&mut self) {
        if let Some(ino) = self.writer.take() {
            // A line under way is finished before the application turns to its new file.
            self.finish_line(ino);
            self.disk.close(ino);
        }
    }

    fn finish_line(&mut self, ino: u64) {
        let data = &mut self.disk.inode(ino).data;
        if std::mem::take(&mut self.mid_line) && data.last().is_some_and(|b| *b != b'\n') {
            data.push(b'\n');
        }
    }

    fn append(&mut self) {
        let ino = self.open_writer();
        let mut first = self.disk.inode(ino).data.is_empty();
        if let (true, Some(header)) = (self.disk.inode(ino).data.is_empty(), self.style.header.clone()) {
            self.disk.inode(ino).data.extend(header.into_bytes());
        }
        for _ in 0..1 + self.dice.below(12) {
            let line = self.line(std::mem::take(&mut first));
            self.finish_line(ino);
            self.disk.inode(ino).data.extend(line);
            self.mid_line = true;
            if self.dice.chance(90) {
                self.finish_line(ino);
            }
        }
    }

    fn rotate(&mut self) {
        let Some(primary) = self.disk.names.get(PRIMARY).copied() else { return };
        // A file that a power cut ate, that grew again and was then copied away, all unseen, is sent again: not modelled.
        if !self.tasks.is_empty() || self.rebooted || self.disk.inode(primary).data.is_empty() {
            return;
        }
        for n in (1..=self.style.keep).rev() {
            for packed in ["", ".gz"] {
                let (from, to) = (format!("{PRIMARY}.{n}{packed}"), format!("{PRIMARY}.{}{packed}", n + 1));
                match n == self.style.keep {
                    true => self.disk.unlink(&from),
                    false => self.disk.rename(&from, &to),
                }
            }
        }
        let to = format!("{PRIMARY}.1");
        if self.style.copytruncate {
            self.tasks.push(Task::Copy { to, from: PRIMARY.into(), done: 0, then: After::Truncate });
        } else {
            self.disk.rename(PRIMARY, &to);
            if !self.style.late_writes {
                self.reopen();
            }
        }
    }

    fn begin_copy(&mut self) {
        if !self.tasks.is_empty() {
            return;
        }
        if self.style.gzip && self.disk.names.contains_key("app.log.1") && self.dice.chance(70) {
            let (from, to) = ("app.log.1".into(), "app.log.1.gz".into());
            self.tasks.push(Task::Copy { to, from, done: 0, then: After::Remove });
        } else if self.style.backups && self.disk.names.contains_key(PRIMARY) {
            let (from, to) = (PRIMARY.into(), "app.log.bak".into());
            self.tasks.push(Task::Copy { to, from, done: 0, then: After::Keep });
        }
    }

    /// One step of a slow rotation: some bytes more, then what ends it. Nobody writes a file that is being packed.
    fn step_task(&mut self) {
        let Some(Task::Copy { to, from, done, then }) = self.tasks.pop() else { return };
        let Some(ino) = self.disk.names.get(&from).copied() else { return };
        let data = self.disk.inode(ino).data.clone();
        if matches!(then, After::Remove) && self.writer == Some(ino) {
            self.reopen();
        }
        if done == 0 {
            self.disk.create(&to, Vec::new());
        }
        let more = if self.dice.chance(50) { data.len() } else { done + self.dice.below(400) as usize };
        let done = more.max(done).min(data.len());
        let Some(copy) = self.disk.names.get(&to).copied() else { return };
        self.disk.inode(copy).data = data[..done].to_vec();
        if done < data.len() || self.dice.chance(30) {
            self.tasks.push(Task::Copy { to, from, done: done.max(1).min(data.len()), then });
            return;
        }
        match then {
            After::Truncate => self.disk.inode(ino).data.clear(),
            After::Remove => self.disk.unlink(&from),
            After::Keep => {}
        }
    }

    fn remove_something(&mut self) {
        let names: Vec<String> = self.disk.names.keys().cloned().collect();
        if let Some(name) = names.get(self.dice.below(8) as usize) {
            self.disk.unlink(&name.clone());
            if name == PRIMARY && self.dice.chance(70) {
                self.reopen();
            }
        }
    }

    /// A file that was written lately loses its end; nobody has it open afterwards.
    fn cut_power(&mut self) {
        self.writer.take().into_iter().for_each(|ino| self.disk.close(ino));
        // A half-made copy of a file that the power cut then ate holds lines that exist nowhere else beside lines that were
        // delivered: it is sent again whole. Not modelled: the copy goes with the power.
        while let Some(Task::Copy { to, .. }) = self.tasks.pop() {
            self.disk.unlink(&to);
        }
        self.rebooted = true;
        self.mid_line = false;
        if let Some(ino) = self.disk.names.get(PRIMARY).copied() {
            let len = self.disk.inode(ino).data.len();
            let lost = self.dice.below(60).min(len as u64) as usize;
            self.disk.inode(ino).data.truncate(len - lost);
        }
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..55 => self.append(),
            55..65 => self.rotate(),
            65..68 => self.reopen(),
            68..75 => self.begin_copy(),
            75..97 => self.step_task(),
            97..98 => self.remove_something(),
            _ => {}
        }
    }
}

/// What one ablation takes away from the rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Without {
    Nothing,
    /// Inode and offset alone decide.
    Content,
    /// All births look equal.
    Btime,
    /// Rule 4 calls nothing a copy.
    CopyRule,
    /// Rule 2 never adopts.
    Adoption,
    /// Rule 5 never applies.
    PowerRule,
    /// What was consumed is remembered by its first line only.
    Anchors,
}

struct Generation {
    known: Known,
    tracker: Option<Tracker>,
    finished: bool,
}

/// The reader: what it knows durably, and what it holds open.
struct Reader {
    without: Without,
    generations: Vec<Generation>,
    disambs: Disambs,
    held: BTreeMap<u64, usize>,
    delivered: Vec<u64>,
    visible: BTreeSet<u64>,
}

struct Bytes<'a> {
    files: Vec<&'a [u8]>,
}

impl Contents for Bytes<'_> {
    fn hash(&mut self, file: usize, range: Range<u64>) -> Option<u64> {
        self.files[file].get(range.start as usize..range.end as usize).map(hash_of)
    }

    fn block_bytes(&self) -> u64 {
        u64::from(GRAIN.block_bytes)
    }
}

fn complete(data: &[u8]) -> usize {
    data.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1)
}

/// Numbers of the writer's lines: after a power cut a new line may be glued to the stump of a lost one.
fn lines_of(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.split(|b| *b == b'\n').filter_map(|line| {
        let start = memchr::memrchr(b'L', line)? + 1;
        let dot = start + memchr::memchr(b'.', &line[start..])?;
        let digits = line[dot + 1..].iter().all(|b| *b == b'x').then_some(&line[start..dot])?;
        digits.iter().try_fold(0, |n, d| d.is_ascii_digit().then(|| n * 10 + u64::from(d - b'0')))
    })
}

impl Reader {
    fn new(without: Without) -> Self {
        let (generations, disambs, held, delivered, visible) = Default::default();
        Self { without, generations, disambs, held, delivered, visible }
    }

    fn look(&mut self, world: &mut World) {
        let (inodes, seen) = self.see(&world.disk);
        inodes.iter().for_each(|ino| world.disk.hold(*ino)); // a look keeps what it saw until it ends
        let files: Vec<&[u8]> = inodes.iter().map(|i| world.disk.inodes[i].data.as_slice()).collect();
        files.iter().for_each(|data| self.visible.extend(lines_of(&data[..complete(data)])));
        let boot_changed = std::mem::take(&mut world.rebooted) && self.without != Without::PowerRule;
        let known: Vec<Known> = self.generations.iter().map(|g| g.known.clone()).collect();
        let decisions = match self.without {
            Without::Content => by_inode(&known, &seen),
            _ => judge(&known, &seen, boot_changed, &mut Bytes { files }),
        };
        check_complete(&known, &seen, &decisions);
        for decision in decisions {
            self.execute(decision, &inodes, &seen, &mut world.disk);
        }
        inodes.iter().for_each(|ino| world.disk.close(*ino));
        self.forget();
    }

    fn see(&self, disk: &Disk) -> (Vec<u64>, Vec<Seen>) {
        let mut files: BTreeMap<u64, Name> = self.held.keys().map(|ino| (*ino, Name::Unlinked)).collect();
        for (name, ino) in &disk.names {
            let kind = if name == PRIMARY { Name::Primary } else { Name::Rotated };
            let entry = files.entry(*ino).or_insert(kind);
            if *entry != Name::Primary {
                *entry = kind;
            }
        }
        let seen = files.iter().map(|(ino, name)| {
            let inode = &disk.inodes[ino];
            let btime = if self.without == Without::Btime { 0 } else { inode.btime };
            Seen {
                file: FileId { dev: 1, ino: *ino, btime: Some(btime) },
                name: *name,
                held: self.held.get(ino).map(|g| self.generations[*g].known.generation),
                unchanged: false,
                size: inode.data.len() as u64,
                complete: complete(&inode.data) as u64,
                first_line: FirstLine::find(&inode.data),
            }
        });
        let seen = seen.collect();
        (files.into_keys().collect(), seen)
    }

    fn execute(&mut self, decision: Decision, inodes: &[u64], seen: &[Seen], disk: &mut Disk) {
        let decision = match decision {
            Decision::Alias { seen, .. } | Decision::Wait { seen, reason: WaitReason::CopyInProgress(_) }
                if self.without == Without::CopyRule =>
            {
                Decision::New { seen }
            }
            Decision::Adopt { known, seen } if self.without == Without::Adoption => {
                self.lose(known, disk);
                Decision::New { seen }
            }
            other => other,
        };
        match decision {
            Decision::Same { known, seen: s } | Decision::Adopt { known, seen: s } => {
                self.read(known, seen[s].file, inodes[s], disk);
            }
            Decision::Cut { known, seen: s, pos } => {
                let data = &disk.inodes[&inodes[s]].data;
                let pos = if pos < data.len() as u64 { complete(&data[..pos as usize]) } else { pos as usize };
                let spared = data[..pos].to_vec();
                self.lose(known, disk);
                let rest = self.open(&seen[s], &spared);
                self.read(rest, seen[s].file, inodes[s], disk);
            }
            Decision::New { seen: s } => {
                let known = self.open(&seen[s], &[]);
                self.read(known, seen[s].file, inodes[s], disk);
            }
            Decision::Gone { known } => self.lose(known, disk),
            Decision::Alias { .. } | Decision::Wait { .. } => {}
        }
    }

    /// A new generation, of which `spared` was consumed as part of an older one.
    fn open(&mut self, seen: &Seen, spared: &[u8]) -> usize {
        let first_line = seen.first_line.expect("only files with a first line are opened");
        let number = self.disambs.take(first_line.hash);
        let mut tracker = Tracker::new(GRAIN, first_line);
        tracker.consume(spared);
        let generation = generation("agent", "source", first_line.hash, number);
        assert!(self.generations.iter().all(|g| g.known.generation != generation), "an id was given twice");
        let known = Known { generation, file: Some(seen.file), evidence: tracker.evidence() };
        self.generations.push(Generation { known, tracker: Some(tracker), finished: false });
        self.generations.len() - 1
    }

    /// Reads every complete line from where the generation stands.
    fn read(&mut self, g: usize, file: FileId, ino: u64, disk: &mut Disk) {
        self.hold(g, ino, disk);
        let data = &disk.inodes[&ino].data;
        let generation = &mut self.generations[g];
        generation.known.file = Some(file);
        let evidence = generation.known.evidence.clone();
        let (from, to) = (evidence.pos() as usize, complete(data));
        if from >= to {
            return;
        }
        let tracker = generation.tracker.get_or_insert_with(|| {
            let needs = Tracker::needs(&evidence);
            let bytes = &data[needs.start as usize..needs.end as usize];
            Tracker::resume(evidence, bytes).unwrap_or_else(|| {
                assert_ne!(self.without, Without::Nothing, "the judgement vouched for other bytes");
                skipped(from as u64, data)
            })
        });
        tracker.consume(&data[from..to]);
        self.delivered.extend(lines_of(&data[from..to]));
        generation.known.evidence = match self.without {
            Without::Anchors => Tracker::new(GRAIN, generation.known.evidence.first_line()).evidence(),
            _ => tracker.evidence(),
        };
    }

    fn hold(&mut self, g: usize, ino: u64, disk: &mut Disk) {
        let before: Vec<u64> =
            self.held.iter().filter(|(i, held)| **held == g && **i != ino).map(|(i, _)| *i).collect();
        before.into_iter().for_each(|old| self.close(old, disk));
        if self.held.insert(ino, g).is_none() {
            disk.hold(ino);
        }
    }

    fn close(&mut self, ino: u64, disk: &mut Disk) {
        if self.held.remove(&ino).is_some() {
            disk.close(ino);
        }
    }

    fn lose(&mut self, g: usize, disk: &mut Disk) {
        let held: Vec<u64> = self.held.iter().filter(|(_, held)| **held == g).map(|(ino, _)| *ino).collect();
        held.into_iter().for_each(|ino| self.close(ino, disk));
        self.generations[g].known.file = None;
        self.generations[g].finished = true;
    }

    /// Evidence of what is gone is kept for the last few.
    fn forget(&mut self) {
        let gone: Vec<usize> = (0..self.generations.len()).filter(|g| self.generations[*g].finished).collect();
        for g in gone.iter().rev().skip(8) {
            self.generations.remove(*g);
            self.held.values_mut().for_each(|held| *held -= usize::from(*held > *g));
        }
    }

    /// Closes what has no name and is read to its end, and now and then a rotated file.
    fn close_finished(&mut self, world: &mut World) {
        for ino in self.held.keys().copied().collect::<Vec<_>>() {
            let named = world.disk.inodes[&ino].names > 0;
            let primary = world.disk.names.get(PRIMARY) == Some(&ino);
            if !named || (!primary && world.dice.chance(50)) {
                self.close(ino, &mut world.disk);
            }
        }
    }

    /// The process ends; what is durable stays.
    fn stop(&mut self, disk: &mut Disk) {
        self.held.keys().copied().collect::<Vec<_>>().into_iter().for_each(|ino| self.close(ino, disk));
        self.generations.iter_mut().for_each(|g| g.tracker = None);
    }
}

/// For broken rules: a tracker that believes the file.
fn skipped(pos: u64, data: &[u8]) -> Tracker {
    let mut tracker = Tracker::new(GRAIN, FirstLine::find(data).expect("it has lines"));
    tracker.consume(&data[..pos as usize]);
    tracker
}

/// The rule that so many start with: the inode is the file; shorter means truncated.
fn by_inode(known: &[Known], seen: &[Seen]) -> Vec<Decision> {
    let of = |s: &Seen| known.iter().rposition(|k| k.file.is_some_and(|f| f.ino == s.file.ino));
    let decide = |(i, s): (usize, &Seen)| match of(s) {
        Some(known_as) if s.size >= known[known_as].evidence.pos() => Decision::Same { known: known_as, seen: i },
        _ if s.first_line.is_some() => Decision::New { seen: i },
        _ => Decision::Wait { seen: i, reason: WaitReason::NoLine },
    };
    seen.iter().enumerate().map(decide).collect()
}

/// Every file has one decision, no generation two files, no file two generations.
fn check_complete(known: &[Known], seen: &[Seen], decisions: &[Decision]) {
    let (mut files, mut generations) = (vec![0; seen.len()], vec![0; known.len()]);
    for decision in decisions {
        match *decision {
            Decision::Same { known, seen } | Decision::Adopt { known, seen } | Decision::Cut { known, seen, .. } => {
                files[seen] += 1;
                generations[known] += 1;
            }
            Decision::New { seen } | Decision::Alias { seen, .. } | Decision::Wait { seen, .. } => files[seen] += 1,
            Decision::Gone { known } => generations[known] += 1,
        }
    }
    assert!(files.iter().all(|n| *n == 1), "a file without its one decision: {files:?}");
    assert!(generations.iter().all(|n| *n <= 1), "a generation in two files: {generations:?}");
}

#[derive(Debug, Default)]
struct Outcome {
    lines: usize,
    lost: Vec<u64>,
    duplicated: Vec<u64>,
}

fn run(seed: u64, without: Without) -> Outcome {
    let (mut world, mut reader) = (World::new(seed), Reader::new(without));
    let mut up = true;
    for _ in 0..120 {
        world.step();
        match world.dice.below(100) {
            0..25 if up => reader.look(&mut world),
            25..30 if up => reader.close_finished(&mut world),
            30..33 => {
                reader.stop(&mut world.disk);
                up = !up;
                if world.style.power_cuts && world.dice.chance(50) {
                    reader.stop(&mut world.disk);
                    world.cut_power();
                    up = false;
                }
            }
            _ => {}
        }
    }
    while !world.tasks.is_empty() {
        world.step_task();
    }
    world.reopen();
    (0..3).for_each(|_| reader.look(&mut world));
    weigh(reader)
}

fn weigh(reader: Reader) -> Outcome {
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    reader.delivered.iter().for_each(|line| *times.entry(*line).or_default() += 1);
    Outcome {
        lines: reader.visible.len(),
        lost: reader.visible.iter().filter(|line| !times.contains_key(*line)).copied().collect(),
        duplicated: times.iter().filter(|(_, n)| **n > 1).map(|(line, _)| *line).collect(),
    }
}

#[test]
fn every_line_that_was_seen_is_delivered_exactly_once() {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let (from, seeds) = (number("IDENTITY_FROM").unwrap_or(0), number("IDENTITY_SEEDS").unwrap_or(1_000));
    let mut lines = 0;
    for seed in from..from + seeds {
        let outcome = run(seed, Without::Nothing);
        lines += outcome.lines;
        assert!(outcome.lost.is_empty() && outcome.duplicated.is_empty(), "seed {seed}: {outcome:?}");
    }
    assert!(lines as u64 > seeds * 50, "the model wrote too little to prove anything: {lines} lines");
}

#[test]
fn each_rule_left_out_is_noticed() {
    use Without::*;
    for without in [Content, Btime, CopyRule, Adoption, PowerRule, Anchors] {
        let bad = |seed: &u64| {
            let outcome = run(*seed, without);
            !outcome.lost.is_empty() || !outcome.duplicated.is_empty()
        };
        let first = (0..1_000).find(bad);
        println!("without {without:?}: first bad seed {first:?}");
        assert!(first.is_some(), "nothing noticed that {without:?} is missing");
    }
}
