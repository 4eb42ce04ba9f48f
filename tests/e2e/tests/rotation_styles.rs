//! Every style of rotation on a real file system, in half of them while the agent is dead: each line once, in the order of its file. A chaos run
//! makes a thousand rotations of each style.
#![allow(clippy::unwrap_used)]

use anyhow::{Result, ensure};
use sawlog_e2e::chaos;
use sawlog_e2e::draw::Draw;
use sawlog_e2e::followed::{Followed, sent};
use sawlog_e2e::rotating::{Log, Style, gives_inodes_again};
use sawlog_e2e::service;
use std::path::Path;
use std::time::{Duration, Instant};

/// Rotations of each style, in the usual run and in a chaos run. Half of them are made while the agent is dead.
const TURNS: u64 = 12;
const TURNS_IN_CHAOS: u64 = 1_000;
/// Latest kill behind the last line before it.
const KILL_WITHIN: Duration = Duration::from_millis(40);
/// Lines that are written at a time, at most.
const LINES_MAX: u64 = 30;

/// Where a style's files are, and how an agent is told of them.
fn options(folder: &Path, style: Style) -> String {
    let here = folder.join(style.name());
    let more = match style {
        // An inode is given again once nobody holds the file.
        Style::SameInode => ", rotate_wait: 100ms, poll_interval: 100ms",
        _ => "",
    };
    format!("include: [\"{}/app.log\"]{more}", here.display())
}

/// The styles that this file system has.
fn styles(folder: &Path) -> Result<Vec<Style>> {
    let reuses = gives_inodes_again(folder)?;
    if !reuses {
        println!("NOT RUN: rotation to the same inode: the file system of {} gives none again", folder.display());
    }
    Ok(Style::ALL.into_iter().filter(|style| reuses || *style != Style::SameInode).collect())
}

#[test]
fn every_style_of_rotation_with_the_agent_up_and_down() {
    if service("styles of rotation", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let seed = chaos::seed().unwrap();
    let turns = if seed.is_some() { TURNS_IN_CHAOS } else { TURNS };
    let mut draw = seed.map_or_else(|| Draw::fresh().unwrap(), Draw);
    run(&mut draw, turns).unwrap();
}

fn run(draw: &mut Draw, turns: u64) -> Result<()> {
    let (folder, begun) = (tempfile::tempdir()?, Instant::now());
    let path = folder.path();
    let logs: Result<Vec<Log>> = (0..).zip(styles(path)?).map(|(index, style)| Log::new(path, style, index)).collect();
    let mut logs = logs?;
    let sources: Vec<_> = logs.iter().map(|log| (log.style.name(), options(path, log.style))).collect();
    let mut followed = Followed::start(path, &sources)?;
    let half = turns / 2;
    let mut turned_down = vec![0; logs.len()];
    let enough = |logs: &[Log], down: &[u64]| {
        logs.iter().zip(down).all(|(log, down)| *down >= half && log.turns - down >= turns - half)
    };
    for log in &mut logs {
        log.write(1 + draw.below(LINES_MAX))?;
    }
    while !enough(&logs, &turned_down) {
        followed.settle(&logs)?;
        while_down(draw, &mut followed, &mut logs, &mut turned_down)?;
        followed.settle(&logs)?;
        while_up(draw, &mut logs)?;
    }
    let counts: Vec<String> = logs
        .iter()
        .zip(&turned_down)
        .map(|(log, down)| format!("{} {} ({down} while down)", log.style.name(), log.turns))
        .collect();
    let blows = followed.judge(&logs)?;
    println!("rotations: {}", counts.join(", "));
    println!("{} records, {blows}, {} s: lost 0, duplicated 0", sent(&logs), begun.elapsed().as_secs());
    ensure!(blows.owing > 0, "no kill found the agent owing rows: this run proves nothing");
    Ok(())
}

/// The agent dies, owing lines where these stay on the disk; everything is rotated once or twice, and it starts again.
fn while_down(draw: &mut Draw, followed: &mut Followed, logs: &mut [Log], turned: &mut [u64]) -> Result<()> {
    for log in logs.iter_mut().filter(|log| !log.style.deletes()) {
        log.write(1 + draw.below(LINES_MAX))?;
    }
    std::thread::sleep(draw.time(KILL_WITHIN));
    followed.kill(logs)?;
    for (log, turned) in logs.iter_mut().zip(turned) {
        let before = log.turns;
        // The second time what was written in between would be deleted unread.
        let times = if log.style.deletes() { 1 } else { 1 + draw.below(2) };
        for _ in 0..times {
            log.turn(draw.below(4))?;
            log.write(1 + draw.below(LINES_MAX))?;
        }
        *turned += log.turns - before;
    }
    followed.start_again()
}

/// Everything is rotated while the agent reads. It has all files open, so that one that is deleted is read to its end.
fn while_up(draw: &mut Draw, logs: &mut [Log]) -> Result<()> {
    for log in logs.iter_mut() {
        log.write(1 + draw.below(LINES_MAX))?;
        if draw.below(2) == 0 {
            std::thread::sleep(draw.time(Duration::from_millis(10)));
        }
        log.turn(draw.below(4))?;
        log.write(1 + draw.below(LINES_MAX))?;
    }
    // Once more, with what is not read yet.
    for log in logs.iter_mut().filter(|log| !log.style.deletes()) {
        if draw.below(2) == 0 {
            log.turn(draw.below(4))?;
            log.write(1 + draw.below(LINES_MAX))?;
        }
    }
    Ok(())
}
