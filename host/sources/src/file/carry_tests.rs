//! Wherever a rotation cuts a stream of lines, its records are those of the stream that was never cut.

#![allow(clippy::unwrap_used)]

use super::carry::{Passing, pass};
use super::content::Content;
use super::frame::{Framing, Multiline};
use super::reader::{Records, Wanted, read, waiting};
use std::collections::BTreeSet;
use std::io::Write;

/// One file of a rotation, behind what was carried into it.
struct Part {
    content: Content,
    size: u64,
    lead: Vec<u8>,
}

/// How a reader goes through a file.
#[derive(Clone, Copy, Debug)]
struct Manner {
    records_max: usize,
    bytes_max: usize,
    /// Whether it knows what was open where it goes on, or has to look for it.
    remembers: bool,
}

const MANNERS: [Manner; 3] = [
    Manner { records_max: usize::MAX, bytes_max: 1 << 24, remembers: true },
    Manner { records_max: 1, bytes_max: 1, remembers: true },
    Manner { records_max: 1, bytes_max: 1 << 24, remembers: false },
];

impl Part {
    fn new(bytes: &[u8], lead: Vec<u8>) -> Self {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Self { content: Content::plain(file), size: bytes.len() as u64, lead }
    }

    fn wanted<'a>(&'a self, framing: &'a Framing, splits: &'a BTreeSet<u64>, from: u64, to: u64) -> Wanted<'a> {
        let (records_max, bytes_max) = (usize::MAX, 1 << 24);
        Wanted { framing, splits, from, to, bytes_max, records_max, open: None, lead: &self.lead, low: 0 }
    }

    /// Texts of the records that end at `to` or before, and where the last one ends.
    fn records(&self, framing: &Framing, to: u64, manner: Manner) -> (Vec<String>, u64) {
        let (splits, mut from, mut open, mut texts) = (BTreeSet::new(), 0, Some(Vec::new()), Vec::new());
        while from < to {
            let Manner { records_max, bytes_max, remembers } = manner;
            let open_at = open.filter(|_| remembers);
            let wanted = self.wanted(framing, &splits, from, to);
            let wanted = Wanted { records_max, bytes_max, open: open_at, ..wanted };
            let Some(Records { arena, framed, .. }) = read(&self.content, &wanted).unwrap() else { break };
            let end = framed.records.last().unwrap().end;
            assert!(end > from, "a record that moves nothing");
            texts.extend(framed.records.iter().map(|r| String::from_utf8_lossy(r.text.of(&arena)).into_owned()));
            (from, open) = (end, Some(framed.open));
        }
        (texts, from)
    }
}

/// Records of `text` cut into files at `cuts`, and how many times lines were carried; `None` where a file is too short to show
/// whether it goes on.
fn rotated(framing: &Framing, text: &[u8], cuts: &[usize], manner: Manner) -> Option<(Vec<String>, usize)> {
    let bounds: Vec<usize> = [0].iter().chain(cuts).chain(&[text.len()]).copied().collect();
    let files: Vec<&[u8]> = bounds.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
    let (mut lead, mut texts, mut carried, splits) = (Vec::new(), Vec::new(), 0, BTreeSet::new());
    for (i, bytes) in files.iter().enumerate() {
        let part = Part::new(bytes, std::mem::take(&mut lead));
        let Some(younger) = files.get(i + 1) else {
            texts.extend(part.records(framing, u64::MAX, manner).0);
            break;
        };
        let end = part.records(framing, u64::MAX, manner).1;
        let waits = waiting(&part.content, &part.wanted(framing, &splits, end, part.size)).unwrap().unwrap();
        let to = match pass(framing, &waits, end, younger) {
            Passing::Unknown => return None,
            Passing::Stays => part.size,
            Passing::Carried { end, lines } => {
                (lead, carried) = (lines, carried + 1);
                end
            }
        };
        texts.extend(part.records(framing, to, manner).0);
    }
    Some((texts, carried))
}

/// Cuts a text behind every line, and at every pair of lines; how many times that carried something.
fn cut_everywhere(framing: &Framing, text: &[u8], line_ends: &[usize]) -> usize {
    let whole = Part::new(text, Vec::new()).records(framing, u64::MAX, MANNERS[0]).0;
    assert!(whole.len() > 5, "{whole:?}");
    let mut carried = 0;
    for (i, first) in line_ends.iter().enumerate() {
        for second in &line_ends[i..] {
            let cuts = if first == second { vec![*first] } else { vec![*first, *second] };
            for manner in MANNERS {
                let Some((texts, times)) = rotated(framing, text, &cuts, manner) else { continue };
                assert_eq!(texts, whole, "cut at {cuts:?}, read by {manner:?}");
                carried += times;
            }
        }
    }
    carried
}

fn ends_of(text: &[u8], unit: &[u8]) -> Vec<usize> {
    let ends = (unit.len()..text.len()).step_by(unit.len());
    ends.filter(|end| text[..*end].ends_with(unit)).collect()
}

fn framing(cri: bool, pattern: Option<&str>) -> Framing {
    let pattern = pattern.map(|pattern| regex::bytes::Regex::new(pattern).unwrap());
    let multiline = pattern.map(|pattern| Multiline { pattern, starts: true, lines_max: 4 });
    Framing { cri, encoding: None, line_bytes_max: 1 << 10, multiline }
}

/// Traces of stdout and lines of stderr, both in fragments, the ones between the others, and a line of nobody.
const PODS: &str = "T stdout F 1 a\nT stdout F  at b\nT stderr P 9 x\nT stdout P  at \nT stderr P y\nT stdout F c\n\
    T stderr F z\nT stdout F 2 d\nT stdout P  at e\nof no stream\nT stdout F f\nT stderr F 8\nT stderr F  at g\n\
    T stdout P 3\nT stderr P  at \nT stdout F  h\nT stderr F i\nT stdout P 4\nT stdout P  j\nT stdout F  k\nT stdout F  at l\n\
    T stdout F  at m\nT stdout F  at n\nT stdout F  at o\nT stdout F  at p\nT stdout F 5\nT stdout F 6\nT stderr F 7\n\
    T stdout F 0\n";

#[test]
fn lines_of_containers_that_a_pattern_joins_are_the_same_records_wherever_a_rotation_cuts_them() {
    let carried = cut_everywhere(&framing(true, Some("^[0-9]")), PODS.as_bytes(), &ends_of(PODS.as_bytes(), b"\n"));
    assert!(carried > 1_000, "{carried}");
}

#[test]
fn fragments_are_the_same_records_wherever_a_rotation_cuts_them() {
    let carried = cut_everywhere(&framing(true, None), PODS.as_bytes(), &ends_of(PODS.as_bytes(), b"\n"));
    assert!(carried > 500, "{carried}");
}

#[test]
fn lines_that_a_pattern_joins_are_the_same_records_wherever_a_rotation_cuts_them() {
    let text =
        "\u{feff}1 a\n at b\r\n at c\n2\n3\n at d\n4 e\n at f\n at g\n at h\n at i\n at j\n5\n6 k\n\n at l\n7\n8\n";
    let joined = framing(false, Some("^[0-9]"));
    assert!(cut_everywhere(&joined, text.as_bytes(), &ends_of(text.as_bytes(), b"\n")) > 200);
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let decoded = Framing { encoding: Some(encoding_rs::UTF_16LE), ..joined };
    assert!(cut_everywhere(&decoded, &wide, &ends_of(&wide, b"\n\0")) > 200);
}

#[test]
fn a_line_that_is_longer_than_a_read_ends_or_goes_on_with_what_is_open_before_it() {
    let joined = framing(false, Some("^[0-9]"));
    let long = |first: &str| format!("1 a\n{first}{}\n2 b\n3 c\n", "x".repeat(300_000));
    for (first, expected) in [("9", ["1 a", "9x", "2 b"]), (" at ", ["1 a\n at x", "2 b", ""])] {
        let text = long(first);
        let mut expected: Vec<&str> = expected.to_vec();
        expected.retain(|text| !text.is_empty());
        for manner in MANNERS {
            let texts = Part::new(text.as_bytes(), Vec::new()).records(&joined, u64::MAX, manner).0;
            let short: Vec<String> = texts.iter().map(|text| text.trim_end_matches('x').to_owned()).collect();
            let wanted: Vec<&str> = expected.iter().map(|text| text.trim_end_matches('x')).collect();
            assert_eq!(short, wanted, "{manner:?}");
            assert!(texts.iter().all(|text| text.len() <= (1 << 10) + 4));
            assert_eq!(rotated(&joined, text.as_bytes(), &[4], manner).unwrap().0, texts, "{manner:?}");
        }
    }
}

/// Another pattern, or none, is in force when what was carried is read: nothing of it is lost, and no record lies before the file.
#[test]
fn what_was_carried_belongs_to_the_first_record_whatever_the_pattern_says_now() {
    for (pattern, expected) in [(Some("^[0-9]"), vec!["1 a\n2 b\n3 c", "4"]), (None, vec!["1 a\n2 b\n3 c", "4", "5"])] {
        for manner in MANNERS {
            let part = Part::new(b"3 c\n4\n5\n", b"1 a\n2 b\n".to_vec());
            assert_eq!(part.records(&framing(false, pattern), u64::MAX, manner).0, expected, "{manner:?}");
        }
    }
}

#[test]
fn a_file_that_shows_no_whole_line_yet_is_not_known_to_go_on() {
    let joined = framing(true, Some("^[0-9]"));
    let part = Part::new(b"T stdout F 1 a\nT stdout F  at b\nT stderr P x\n", Vec::new());
    let splits = BTreeSet::new();
    let waits = waiting(&part.content, &part.wanted(&joined, &splits, 0, part.size)).unwrap().unwrap();
    let after = |younger: &[u8]| pass(&joined, &waits, 0, younger);
    assert_eq!(after(b"T stdout P  at "), Passing::Unknown);
    assert_eq!(after(b"T stdout P  at \nT stderr P y\n"), Passing::Unknown);
    let all = b"T stdout F 1 a\nT stdout F  at b\nT stderr P x\n".to_vec();
    assert_eq!(after(b"T stdout P  at \nT stdout F c\n"), Passing::Carried { end: 0, lines: all });
    // The other stream ends the record; its fragments go on.
    let fragments = Passing::Carried { end: 32, lines: b"T stderr P x\n".to_vec() };
    assert_eq!(after(b"T stdout P  at \nT stderr F z\n"), fragments);
    assert_eq!(after(b"T stdout F 2\n"), fragments);
}
