//! The source on a real file system: every style of rotation, with the agent up and down, and everything that only looks
//! like a log.

#![allow(clippy::unwrap_used)]

use super::follower::{Follower, append, copytruncate, fixture, gzip, line, numbered, options};
use sawlog_record::batch::flag;
use sawlog_record::id::PartitionId;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

#[test]
fn a_rename_keeps_the_generation_and_the_new_file_is_another() {
    let (_keep, app, mut follower) = fixture();
    append(&app, 0..10);
    follower.start();
    follower.until_lines(10);
    std::fs::rename(&app, numbered(&app, 1)).unwrap();
    append(&numbered(&app, 1), 10..12);
    append(&app, 12..20);
    follower.until_lines(20);
    follower.rest(Duration::from_millis(400));
    follower.expect((0..20).map(line));
    assert_eq!((follower.journal.len(), follower.ended.len()), (2, 1));
    let partitions: std::collections::BTreeSet<PartitionId> = follower.journal.values().map(|j| j.partition).collect();
    assert_eq!(partitions.len(), 1);
}

#[test]
fn several_rotations_while_the_agent_is_down_are_read_once() {
    let (_keep, app, mut follower) = fixture();
    append(&app, 0..10);
    follower.start();
    follower.until_lines(10);
    follower.rest(Duration::from_millis(1200)); // the journal hears of what was consumed
    follower.stop();
    append(&app, 10..20);
    std::fs::rename(&app, numbered(&app, 1)).unwrap();
    append(&app, 20..30);
    std::fs::rename(numbered(&app, 1), numbered(&app, 2)).unwrap();
    std::fs::rename(&app, numbered(&app, 1)).unwrap();
    append(&app, 30..40);
    gzip(&numbered(&app, 2));
    follower.start();
    follower.until_lines(40);
    follower.rest(Duration::from_millis(400));
    follower.expect_sorted(0..40);
}

#[test]
fn copy_and_truncate_is_followed_up_and_down() {
    for down in [false, true] {
        let (_keep, app, mut follower) = fixture();
        append(&app, 0..200);
        follower.start();
        follower.until_lines(200);
        follower.rest(Duration::from_millis(1200));
        if down {
            follower.stop();
        }
        append(&app, 200..230);
        copytruncate(&app, &numbered(&app, 1));
        append(&app, 230..240);
        if down {
            follower.start();
        }
        follower.until_lines(240);
        follower.rest(Duration::from_millis(400));
        follower.expect_sorted(0..240);
    }
}

#[test]
fn a_file_that_was_truncated_and_grew_beyond_is_another() {
    let (_keep, app, mut follower) = fixture();
    append(&app, 0..10);
    follower.start();
    follower.until_lines(10);
    follower.rest(Duration::from_millis(1200));
    follower.stop();
    std::fs::File::options().write(true).open(&app).unwrap().set_len(0).unwrap();
    append(&app, 10..40);
    follower.start();
    follower.until_lines(40);
    follower.expect_sorted(0..40);
}

#[test]
fn a_deleted_file_is_read_to_its_end_and_offered_for_rescue() {
    let (_keep, app, mut follower) = fixture();
    append(&app, 0..10);
    follower.start();
    follower.until_lines(10);
    let mut held = std::fs::OpenOptions::new().append(true).open(&app).unwrap();
    std::fs::remove_file(&app).unwrap();
    held.write_all((line(10) + "\n").as_bytes()).unwrap();
    follower.until("rescue", |f| f.journal.values().any(|j| j.gone));
    follower.expect((0..11).map(line));
    append(&app, 11..12);
    follower.until_lines(12);
    assert_eq!(follower.journal.len(), 2);
}

#[test]
fn a_used_inode_is_no_proof() {
    let (folder, app, mut follower) = fixture();
    append(&app, 0..10);
    let inode = std::fs::metadata(&app).unwrap().ino();
    follower.start();
    follower.until_lines(10);
    follower.rest(Duration::from_millis(1200));
    follower.stop();
    std::fs::remove_file(&app).unwrap();
    let again = (0..200).any(|i| {
        let path = folder.path().join(format!("try{i}"));
        std::fs::write(&path, "").unwrap();
        let same = std::fs::metadata(&path).unwrap().ino() == inode;
        if same {
            std::fs::rename(&path, &app).unwrap();
        }
        same
    });
    if !again {
        eprintln!("NOT RUN: this file system does not use inode numbers again");
        return;
    }
    append(&app, 10..40);
    follower.start();
    follower.until_lines(40);
    follower.expect_sorted(0..40);
}

#[test]
fn the_last_half_line_of_a_rotated_file_is_a_record() {
    let (_keep, app, mut follower) = fixture();
    append(&app, 0..2);
    follower.start();
    follower.until_lines(2);
    let mut writer = std::fs::OpenOptions::new().append(true).open(&app).unwrap();
    writer.write_all(b"half").unwrap();
    follower.rest(Duration::from_millis(400));
    assert_eq!(follower.lines.len(), 2, "a half line of a live file waits");
    std::fs::rename(&app, numbered(&app, 1)).unwrap();
    follower.until_lines(3);
    writer.write_all(b" and the rest\n").unwrap();
    follower.until_lines(4);
    follower.stop();
    follower.start();
    follower.rest(Duration::from_millis(400));
    assert_eq!(follower.lines[2..], ["half".to_owned(), " and the rest".to_owned()]);
}

#[test]
fn what_is_no_log_is_refused_with_a_reason_and_disturbs_nothing() {
    let (folder, app, mut follower) = fixture();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret\n").unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), folder.path().join("link.log")).unwrap();
    std::fs::create_dir(folder.path().join("dir.log")).unwrap();
    let fifo = folder.path().join("fifo.log");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    append(&app, 0..3);
    follower.start();
    follower.until_lines(3);
    let mut told: Vec<String> = follower.source().status().refused.iter().map(ToString::to_string).collect();
    told.sort();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told[0].contains("is a directory")
            && told[1].contains("is a FIFO")
            && told[2].contains("list its folder in `roots`")
    );
    follower.expect((0..3).map(line));
}

#[test]
fn a_line_of_100_mb_is_one_cut_record() {
    let (_keep, app, mut follower) = fixture();
    let mut file = std::fs::File::create(&app).unwrap();
    writeln!(file, "{}", line(0)).unwrap();
    (0..100).for_each(|_| file.write_all(&vec![b'x'; 1 << 20]).unwrap());
    write!(file, "\n{}\n", line(1)).unwrap();
    follower.start();
    follower.until_lines(3);
    assert_eq!((follower.lines[1].len(), follower.flags[1]), (1 << 20, flag::TRUNCATED));
    assert_eq!((&follower.lines[0], &follower.lines[2]), (&line(0), &line(1)));
}

#[test]
fn binary_garbage_keeps_its_bytes() {
    let (_keep, app, mut follower) = fixture();
    let garbage: Vec<u8> = (0..50_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(&app, [garbage.as_slice(), b"\n"].concat()).unwrap();
    follower.start();
    let expected: Vec<String> = garbage
        .split(|b| *b == b'\n')
        .map(|l| String::from_utf8_lossy(l.strip_suffix(b"\r").unwrap_or(l)).into_owned())
        .collect();
    follower.until_lines(expected.len());
    follower.expect(expected);
}

#[test]
fn a_containers_lines_are_joined_and_named_through_a_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let container = folder.path().join("pods/shop_cart-1_uid-9/app");
    std::fs::create_dir_all(&container).unwrap();
    let mut follower = Follower::new(options(folder.path(), "pods/*/*/*.log*"));
    let live = container.join("0.log");
    std::fs::write(&live, "T1 stdout P a\nT2 stderr F e\nT3 stdout P b\n").unwrap();
    follower.options.idle_timeout = Duration::from_secs(20);
    follower.start();
    follower.rest(Duration::from_millis(300));
    let mut file = std::fs::OpenOptions::new().append(true).open(&live).unwrap();
    file.write_all(b"T4 stdout F c\n").unwrap();
    follower.until_lines(2);
    std::fs::rename(&live, container.join("0.log.20261124-120000")).unwrap();
    std::fs::write(&live, "T5 stdout F d\n").unwrap();
    std::fs::write(container.join("1.log"), "T6 stderr F f\n").unwrap();
    follower.until_lines(4);
    follower.expect(["T2 stderr F e", "T1 stdout F abc", "T5 stdout F d", "T6 stderr F f"]);
    let partitions: std::collections::BTreeSet<PartitionId> = follower.journal.values().map(|j| j.partition).collect();
    assert_eq!(partitions.len(), 1);
    let fields = follower.source().fields(*partitions.first().unwrap());
    let values: Vec<&str> = fields.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["shop", "cart-1", "uid-9", "app"]);
}

#[test]
fn a_source_that_is_to_end_ends_with_every_byte_announced() {
    let (_keep, app, mut follower) = fixture();
    append(&app, 0..1000);
    std::fs::OpenOptions::new().append(true).open(&app).unwrap().write_all(b"half").unwrap();
    follower.options.until_eof = true;
    follower.start();
    follower.until("the end", |f| f.finished);
    follower.expect((0..1000).map(line).chain(["half".to_owned()]));
}

#[test]
fn what_a_source_knew_is_looked_for_before_it_says_so() {
    let (_keep, app, mut follower) = fixture();
    append(&app, 0..10);
    follower.start();
    follower.until_lines(10);
    follower.stop();
    std::fs::rename(&app, numbered(&app, 1)).unwrap();
    append(&numbered(&app, 1), 10..12);
    follower.start();
    follower.until("what it has", |f| f.met_behind.is_some());
    assert_eq!(follower.met_behind, Some(12));
}

#[test]
fn without_its_journal_a_source_finds_its_files_by_the_cursors_of_sinks() {
    let (_keep, app, mut follower) = fixture();
    append(&app, 0..10);
    follower.start();
    follower.until_lines(10);
    std::fs::rename(&app, numbered(&app, 1)).unwrap();
    // The writer greets in the same words; of the two generations the older one will be gone.
    append(&app, 0..1);
    append(&app, 20..25);
    follower.until_lines(16);
    follower.lose_journal();
    std::fs::remove_file(numbered(&app, 1)).unwrap();
    append(&app, 25..30);
    follower.start();
    follower.until_lines(21);
    follower.rest(Duration::from_millis(300));
    let again = (0..10).chain(0..1).chain(20..30);
    follower.expect(again.map(line));
}

#[test]
fn without_its_journal_a_source_takes_no_file_for_one_that_is_gone() {
    let (_keep, app, mut follower) = fixture();
    append(&app, 0..10);
    follower.start();
    follower.until_lines(10);
    follower.lose_journal();
    std::fs::rename(&app, app.with_extension("old")).unwrap();
    append(&app, 0..1);
    append(&app, 40..60);
    follower.start();
    follower.until_lines(31);
    follower.expect((0..10).chain(0..1).chain(40..60).map(line));
}

#[test]
fn a_small_rotated_file_that_repeats_another_is_a_copy_unless_it_is_told_to_be_delivered() {
    for (deliver, lines) in [(false, 6), (true, 9)] {
        let (_keep, app, mut follower) = fixture();
        follower.options.deliver_identical_small = deliver;
        append(&app, 0..3);
        follower.start();
        follower.until_lines(3);
        std::fs::copy(&app, numbered(&app, 1)).unwrap();
        append(&app.with_file_name("other.log"), 3..6);
        follower.until_lines(lines);
        follower.rest(Duration::from_millis(300));
        assert_eq!(follower.lines.len(), lines, "deliver {deliver}");
    }
}

#[test]
fn no_more_files_are_held_open_than_asked_for() {
    let (_keep, app, mut follower) = fixture();
    follower.options.open_files_max = 2;
    for i in 0..8 {
        append(&app.with_file_name(format!("{i}.log")), i..i + 1);
    }
    follower.start();
    follower.until_lines(8);
    // What was read to its end is closed at the next look at everything.
    std::fs::create_dir(app.with_file_name("folder")).unwrap();
    follower.until("closing", |f| f.source().status().open_files <= 2);
    for i in 0..8 {
        append(&app.with_file_name(format!("{i}.log")), i + 8..i + 9);
    }
    follower.until_lines(16);
    follower.expect_sorted(0..16);
}

#[test]
fn numbers_of_forgotten_generations_are_not_given_again() {
    let (_keep, app, mut follower) = fixture();
    for round in 0..3 {
        append(&app, 0..5);
        follower.start();
        follower.until_lines(5 * (round + 1));
        follower.stop();
        std::fs::remove_file(&app).unwrap();
        follower.start();
        follower.until("the end", |f| f.journal.values().all(|j| j.gone));
        follower.stop();
    }
    assert_eq!(follower.journal.len(), 3);
}

#[test]
fn a_power_loss_that_ate_the_end_is_told_from_a_new_file() {
    let (_keep, app, mut follower) = fixture();
    append(&app, 0..100);
    follower.start();
    follower.until_lines(100);
    follower.rest(Duration::from_millis(1200));
    follower.stop();
    let kept = (line(0).len() as u64 + 1) * 90;
    std::fs::File::options().write(true).open(&app).unwrap().set_len(kept).unwrap();
    append(&app, 100..105);
    follower.options.boot_id = "another boot".into();
    follower.start();
    follower.until_lines(105);
    follower.rest(Duration::from_millis(300));
    follower.expect_sorted(0..105);
}

#[test]
fn records_that_span_lines_pass_a_wait() {
    let (_keep, app, mut follower) = fixture();
    follower.options.framing.multiline = Some(super::options::multiline("^[0-9]", true, 100).unwrap());
    std::fs::write(&app, "1 a\n at x\n2 b\n at y\n").unwrap();
    follower.start();
    follower.until_lines(2);
    follower.expect(["1 a\n at x", "2 b\n at y"]);
    let mut file = std::fs::OpenOptions::new().append(true).open(&app).unwrap();
    file.write_all(b" late\n3 c\n").unwrap();
    follower.until_lines(4);
    follower.expect(["1 a\n at x", "2 b\n at y", " late", "3 c"]);
}

#[test]
fn a_record_of_many_lines_passes_through_a_rotation() {
    for down in [false, true] {
        let (_keep, app, mut follower) = fixture();
        follower.options.framing.multiline = Some(super::options::multiline("^[0-9]", true, 100).unwrap());
        follower.options.rotate_wait = Duration::from_secs(20);
        follower.options.idle_timeout = Duration::from_secs(20);
        std::fs::write(&app, "1 a\n2 b\n at x\n").unwrap();
        follower.start();
        follower.until_lines(1);
        if down {
            follower.rest(Duration::from_millis(1200));
            follower.stop();
        }
        std::fs::rename(&app, numbered(&app, 1)).unwrap();
        std::fs::write(&app, " at y\n at z\n3 c\n").unwrap();
        if down {
            follower.start();
        }
        follower.until_lines(2);
        // The next file begins with a record of its own: what is open is not carried.
        std::fs::rename(numbered(&app, 1), numbered(&app, 2)).unwrap();
        std::fs::rename(&app, numbered(&app, 1)).unwrap();
        std::fs::write(&app, "4 d\n5 e\n").unwrap();
        follower.until_lines(3);
        follower.stop();
        follower.start();
        follower.rest(Duration::from_millis(300));
        follower.expect(["1 a", "2 b\n at x\n at y\n at z", "4 d"]);
        follower.stop();
        // Once nothing can go on with it any more, it is a record: the wait is over.
        follower.options.rotate_wait = Duration::from_millis(100);
        follower.start();
        follower.until_lines(4);
        follower.expect(["1 a", "2 b\n at x\n at y\n at z", "4 d", "3 c"]);
    }
}

#[test]
fn fragments_pass_through_a_rotation_and_a_restart() {
    for down in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let container = folder.path().join("pods/shop_cart-1_uid-9/app");
        std::fs::create_dir_all(&container).unwrap();
        let mut follower = Follower::new(options(folder.path(), "pods/*/*/*.log*"));
        follower.options.rotate_wait = Duration::from_secs(20);
        follower.options.idle_timeout = Duration::from_secs(20);
        let live = container.join("0.log");
        // A fragment of one stream, then a whole line of the other, which is held back meanwhile.
        std::fs::write(&live, "T1 stdout F z\nT1 stdout P a\nT2 stderr F e\n").unwrap();
        follower.start();
        follower.until_lines(1);
        if down {
            follower.rest(Duration::from_millis(1200));
            follower.stop();
        }
        std::fs::rename(&live, container.join("0.log.20261124-120000")).unwrap();
        std::fs::write(&live, "T3 stdout P b\nT4 stderr F f\n").unwrap();
        if down {
            follower.start();
        }
        follower.until_lines(2);
        follower.rest(Duration::from_millis(300));
        follower.expect(["T1 stdout F z", "T2 stderr F e"]);
        follower.stop();
        std::fs::rename(&live, container.join("0.log.20261124-130000")).unwrap();
        std::fs::write(&live, "T5 stdout F c\nT6 stdout F d\n").unwrap();
        follower.start();
        follower.until_lines(5);
        follower.stop();
        follower.start();
        follower.rest(Duration::from_millis(300));
        follower.expect(["T1 stdout F z", "T2 stderr F e", "T4 stderr F f", "T1 stdout F abc", "T6 stdout F d"]);
    }
}

#[test]
fn traces_of_a_container_pass_through_rotations_and_restarts() {
    for down in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let container = folder.path().join("pods/shop_cart-1_uid-9/app");
        std::fs::create_dir_all(&container).unwrap();
        let mut follower = Follower::new(options(folder.path(), "pods/*/*/*.log"));
        follower.options.framing.multiline = Some(super::options::multiline("^[0-9]", true, 100).unwrap());
        follower.options.rotate_wait = Duration::from_secs(20);
        follower.options.idle_timeout = Duration::from_secs(20);
        let live = container.join("0.log");
        let append = |text: &str| {
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&live).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        let rotate = |follower: &mut Follower, number: u32, first: &str| {
            if down {
                follower.rest(Duration::from_millis(1200));
                follower.stop();
            }
            std::fs::rename(&live, container.join(format!("0.log.20261124-12000{number}"))).unwrap();
            append(first);
            if down {
                follower.start();
            }
        };
        append("T stdout F 1 a\nT stdout F 2 b\nT stdout F  at x\nT stderr P 9 \nT stdout P  at \n");
        follower.start();
        follower.until_lines(1);
        // What the next file begins with does not show yet that it goes on with the trace.
        rotate(&mut follower, 1, "T stdout P y\n");
        follower.rest(Duration::from_millis(300));
        assert_eq!(follower.journal.len(), 1, "the next file waits for a whole line");
        append("T stdout F z\n");
        follower.until("the next file", |f| f.journal.len() == 2);
        follower.stop();
        append("T stderr F e\nT stdout P 3 \n");
        follower.start();
        follower.until_lines(2);
        // The line of stderr ends where it stands, and the fragment behind it goes on.
        rotate(&mut follower, 2, "T stdout F c\nT stdout F 4\n");
        follower.until_lines(4);
        follower.stop();
        follower.start();
        follower.rest(Duration::from_millis(300));
        let trace = "T stdout F 2 b\n at x\n at yz";
        follower.expect(["T stdout F 1 a", trace, "T stderr F 9 e", "T stdout F 3 c"]);
    }
}

/// Every style at random, the agent down in half of the rounds.
#[test]
fn rotations_of_every_style_lose_and_repeat_nothing() {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let (rounds, seed) = (number("FILE_ROUNDS").unwrap_or(24), number("FILE_SEED").unwrap_or(1));
    let (_keep, app, mut follower) = fixture();
    let (mut n, mut dice, mut story) = (0, seed, Vec::new());
    let mut roll = |sides: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    follower.start();
    for _ in 0..rounds {
        let mut write = |count: u64| {
            append(&app, n..n + count as usize);
            n += count as usize;
        };
        write(1 + roll(300));
        story.clear();
        let down = roll(2) == 0;
        if down {
            follower.rest(Duration::from_millis(roll(1200)));
            follower.stop();
        }
        write(1 + roll(300));
        for _ in 0..=roll(2) {
            for i in (1..5).rev() {
                for end in ["", ".gz"] {
                    let name = |i: u32| PathBuf::from(format!("{}{end}", numbered(&app, i).display()));
                    if name(i).exists() {
                        std::fs::rename(name(i), name(i + 1)).unwrap();
                    }
                }
            }
            match roll(2) {
                0 => std::fs::rename(&app, numbered(&app, 1)).unwrap(),
                _ => copytruncate(&app, &numbered(&app, 1)),
            }
            story.push(format!("{} down {down}", std::fs::metadata(numbered(&app, 1)).unwrap().len()));
            if roll(3) == 0 {
                story.push("gz".into());
                gzip(&numbered(&app, 1));
            }
            write(1 + roll(50));
        }
        if down {
            follower.start();
        }
        follower.until(&format!("line {n} after {story:?}"), |f| f.lines.len() >= n);
    }
    follower.rest(Duration::from_millis(500));
    follower.expect_sorted(0..n);
}
