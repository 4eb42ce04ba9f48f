//! A seeded model of a log directory and of a reader that comes by now and then, with an oracle: every line that a look
//! could see is delivered exactly once. It takes whole reads as instant; the real file system is tested with the source.
#![allow(clippy::disallowed_methods)] // Seeds may come from the environment: it is a test.

use super::model_world::{Disk, PRIMARY, World};
use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Small sizes, so that short files have heads, middles and tails.
const GRAIN: Grain =
    Grain { block_bytes: 64, edge_blocks: 3, middle_blocks: 4, middle_max: 8, anchor_bytes: 48, marks_max: 32 };

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
                written: btime,
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
        let number = self.disambs.take(first_line.hash, 0);
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
