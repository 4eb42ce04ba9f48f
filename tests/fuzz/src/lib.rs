//! Bad input by the million: examples of what a reader gets, changed at random. Each target is a test of the room that it belongs to, by
//! the name `fuzz_…`; the usual run gives it a taste, `cargo xtask fuzz` hours. There is no guidance by coverage: examples have to lead
//! into every corner.
#![forbid(unsafe_code)]

mod component;

pub use component::trapping;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Inputs of a usual run.
const EXECUTIONS: u64 = 20_000;
/// A usual run ends after this, whatever it came to.
const TASTE: Duration = Duration::from_secs(2);
/// Most changes of one input.
const CHANGES_MAX: usize = 12;
/// Longest input, bytes.
const BYTES_MAX: usize = 64 << 10;
/// Bytes that mean something to some reader.
const TELLING: &[u8] = b"{}[]()\"'\\,:;=<>|&!%$#@~`*+-/.? \t\n\r0019abefnrtuxEF\0\x01\x7f\x80\xc0\xc3\xe2\xed\xf0\xff";
/// Numbers at whose edges readers stumble.
const EDGES: [u64; 12] =
    [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 53, i64::MAX as u64, 1 << 63, u64::MAX];

/// Gives `target` the examples as they are, then changed ones: 20,000 or two seconds of them, or for `SAWLOG_FUZZ_SECONDS`. An input on
/// which it panics is written to a file, whose name is printed; with `SAWLOG_FUZZ_INPUT` only such a file is tried.
/// Tells whether inputs were drawn.
pub fn hammer(name: &str, examples: &[&[u8]], mut target: impl FnMut(&[u8])) -> bool {
    if let Some(path) = std::env::var_os("SAWLOG_FUZZ_INPUT") {
        let input = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        target(&input);
        return false;
    }
    let asked = number("SAWLOG_FUZZ_SECONDS").map(Duration::from_secs);
    let mut changes = Changes::new(number("SAWLOG_FUZZ_SEED").unwrap_or(1), examples);
    let began = Instant::now();
    let mut executions = 0;
    for example in examples {
        Watched { name, input: example }.give(&mut target);
    }
    loop {
        let is_over = match asked {
            Some(asked) => began.elapsed() >= asked,
            None => executions >= EXECUTIONS || began.elapsed() >= TASTE,
        };
        if is_over {
            break;
        }
        for _ in 0..100 {
            let input = changes.next_input();
            Watched { name, input: &input }.give(&mut target);
            executions += 1;
        }
    }
    println!("fuzz {name}: {executions} changed inputs in {} ms", began.elapsed().as_millis());
    true
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, which is no number")))
}

/// Writes its input to a file where the target panics.
struct Watched<'a> {
    name: &'a str,
    input: &'a [u8],
}

impl Watched<'_> {
    fn give(self, target: &mut impl FnMut(&[u8])) {
        target(self.input);
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let path: PathBuf = std::env::temp_dir().join(format!("sawlog-fuzz-{}-{}", self.name, std::process::id()));
        match std::fs::write(&path, self.input) {
            Ok(()) => println!("it fails on {}: SAWLOG_FUZZ_INPUT={0} cargo test fuzz_{}", path.display(), self.name),
            Err(error) => println!("it fails on {:?}, which could not be written: {error}", self.input),
        }
    }
}

/// Inputs made of examples, the same for the same seed.
pub struct Changes<'a> {
    draw: fastrand::Rng,
    examples: &'a [&'a [u8]],
}

impl<'a> Changes<'a> {
    /// Inputs of `seed`.
    pub fn new(seed: u64, examples: &'a [&'a [u8]]) -> Self {
        Self { draw: fastrand::Rng::with_seed(seed), examples }
    }

    /// One example with a few changes.
    pub fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.example().to_vec();
        for _ in 0..=self.draw.usize(..CHANGES_MAX) {
            self.change(&mut input);
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn example(&mut self) -> &'a [u8] {
        match self.examples.len() {
            0 => &[],
            many => self.examples[self.draw.usize(..many)],
        }
    }

    /// A range of `input`, mostly a short one.
    fn range(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let start = self.draw.usize(..=input.len());
        let longest = if self.draw.u8(..4) == 0 { input.len() } else { 16 };
        let end = (start + self.draw.usize(..=longest)).min(input.len());
        start..end
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let range = self.range(input);
        match self.draw.u8(..10) {
            0 => input.iter_mut().skip(range.start).take(1).for_each(|byte| *byte ^= 1 << self.draw.u8(..8)),
            1 => _ = input.drain(range),
            2 => {
                let again = input[range.clone()].repeat(1 + self.draw.usize(..4));
                input.splice(range.start..range.start, again);
            }
            3 => _ = input.splice(range, [TELLING[self.draw.usize(..TELLING.len())]]),
            4 => input.insert(range.start, TELLING[self.draw.usize(..TELLING.len())]),
            5 => {
                let other = self.example();
                let part = self.range(other);
                input.splice(range, other[part].iter().copied());
            }
            6 => input.truncate(range.start),
            7 => {
                let edge = EDGES[self.draw.usize(..EDGES.len())];
                input.splice(range, edge.to_string().into_bytes());
            }
            8 => {
                let edge = EDGES[self.draw.usize(..EDGES.len())].to_le_bytes();
                let width = [1, 2, 4, 8][self.draw.usize(..4)];
                input.iter_mut().skip(range.start).zip(&edge[..width]).for_each(|(byte, new)| *byte = *new);
            }
            _ => input[range].fill_with(|| self.draw.u8(..)),
        }
    }
}

/// Draws values out of an input, so that a change of the input is a change of what is made of it; zeros behind its end.
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((0, self.0), |(first, rest)| (*first, rest));
        self.0 = rest;
        first
    }

    /// A number below `bound`, which is small; 0 where that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) % bound.max(1)
    }

    /// A whole number, often at an edge.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            choice @ 0..128 => EDGES[usize::from(choice) % EDGES.len()],
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    /// Up to `longest` bytes.
    pub fn bytes(&mut self, longest: usize) -> Vec<u8> {
        let length = self.below(longest + 1).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken.to_vec()
    }

    /// A text of up to `longest` bytes.
    pub fn text(&mut self, longest: usize) -> String {
        String::from_utf8_lossy(&self.bytes(longest)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_its_inputs_and_they_reach_everywhere() {
        let examples: [&[u8]; 2] = [b"{\"a\":1}", b"level=info"];
        let inputs = |seed| {
            let mut changes = Changes::new(seed, &examples);
            (0..2_000).map(|_| changes.next_input()).collect::<Vec<_>>()
        };
        assert_eq!(inputs(3), inputs(3));
        assert_ne!(inputs(3), inputs(4));
        let made = inputs(5);
        assert!(made.iter().any(Vec::is_empty) && made.iter().any(|input| input.len() > 40));
        assert!(made.iter().any(|input| input.starts_with(b"{\"a\":1") && input.len() > 8));
    }
}
