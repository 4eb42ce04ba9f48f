//! The log directory of the identity model: a disk whose inode numbers are used again, an application, and its rotation in
//! every style, step by step. It knows nothing of readers.

use std::collections::BTreeMap;

/// A small generator of its own: the model must not change with a crate's version.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone)]
pub(super) struct Inode {
    pub(super) btime: i64,
    pub(super) data: Vec<u8>,
    pub(super) names: u32,
    handles: u32,
}

/// Names, inodes (the lowest free number is used again), handles.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) names: BTreeMap<String, u64>,
    pub(super) inodes: BTreeMap<u64, Inode>,
    now: i64,
}

impl Disk {
    pub(super) fn create(&mut self, name: &str, data: Vec<u8>) -> u64 {
        self.unlink(name);
        let ino = (1..).find(|i| !self.inodes.contains_key(i)).expect("u64 inodes don't run out");
        self.now += 1;
        self.inodes.insert(ino, Inode { btime: self.now, data, names: 1, handles: 0 });
        self.names.insert(name.to_owned(), ino);
        ino
    }

    pub(super) fn unlink(&mut self, name: &str) {
        if let Some(ino) = self.names.remove(name) {
            self.inode(ino).names -= 1;
            self.reap(ino);
        }
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        if let Some(ino) = self.names.remove(from) {
            self.unlink(to);
            self.names.insert(to.to_owned(), ino);
        }
    }

    pub(super) fn inode(&mut self, ino: u64) -> &mut Inode {
        self.inodes.get_mut(&ino).expect("a name or handle keeps its inode")
    }

    pub(super) fn hold(&mut self, ino: u64) {
        self.inode(ino).handles += 1;
    }

    pub(super) fn close(&mut self, ino: u64) {
        self.inode(ino).handles -= 1;
        self.reap(ino);
    }

    pub(super) fn reap(&mut self, ino: u64) {
        let inode = &self.inodes[&ino];
        if inode.names == 0 && inode.handles == 0 {
            self.inodes.remove(&ino);
        }
    }
}

/// What a slow rotation still has to do.
pub(super) enum Task {
    /// Copy of the primary under way: bytes so far.
    Copy { to: String, from: String, done: usize, then: After },
}

#[derive(Clone, Copy)]
pub(super) enum After {
    Truncate,
    Remove,
    Keep,
}

/// How this seed's application and its rotation behave.
pub(super) struct Style {
    header: Option<String>,
    keep: u32,
    copytruncate: bool,
    gzip: bool,
    late_writes: bool,
    pub(super) power_cuts: bool,
    backups: bool,
    /// Most lines are alike and of one length, so tails look alike.
    pub(super) ticks: bool,
}

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) disk: Disk,
    pub(super) style: Style,
    /// The application's handle.
    writer: Option<u64>,
    pub(super) tasks: Vec<Task>,
    lines: u64,
    pub(super) rebooted: bool,
    /// The application has written part of a line and will finish it.
    mid_line: bool,
}

pub(super) const PRIMARY: &str = "app.log";

impl World {
    pub(super) fn new(seed: u64) -> Self {
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

    pub(super) fn line(&mut self, first: bool) -> Vec<u8> {
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

    pub(super) fn open_writer(&mut self) -> u64 {
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

    pub(super) fn reopen(&mut self) {
        if let Some(ino) = self.writer.take() {
            // A line under way is finished before the application turns to its new file.
            self.finish_line(ino);
            self.disk.close(ino);
        }
    }

    pub(super) fn finish_line(&mut self, ino: u64) {
        let data = &mut self.disk.inode(ino).data;
        if std::mem::take(&mut self.mid_line) && data.last().is_some_and(|b| *b != b'\n') {
            data.push(b'\n');
        }
    }

    pub(super) fn append(&mut self) {
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

    pub(super) fn rotate(&mut self) {
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

    pub(super) fn begin_copy(&mut self) {
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
    pub(super) fn step_task(&mut self) {
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

    pub(super) fn remove_something(&mut self) {
        let names: Vec<String> = self.disk.names.keys().cloned().collect();
        if let Some(name) = names.get(self.dice.below(8) as usize) {
            self.disk.unlink(&name.clone());
            if name == PRIMARY && self.dice.chance(70) {
                self.reopen();
            }
        }
    }

    /// A file that was written lately loses its end; nobody has it open afterwards.
    pub(super) fn cut_power(&mut self) {
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

    pub(super) fn step(&mut self) {
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
