//! Framing against small texts and against itself: however a stream is cut into reads, its records are the same.

#![allow(clippy::unwrap_used)]

use super::frame::{Block, Framed, Framing, Multiline, frame, open_chains};
use sawlog_record::batch::flag;
use std::collections::BTreeSet;

fn plain() -> Framing {
    Framing { cri: false, encoding: None, line_bytes_max: 64, multiline: None }
}

fn starts(pattern: &str) -> Option<Multiline> {
    Some(Multiline { pattern: regex::bytes::Regex::new(pattern).unwrap(), starts: true, lines_max: 4 })
}

fn run(
    framing: &Framing,
    splits: &BTreeSet<u64>,
    bytes: &[u8],
    from: u64,
    to: u64,
    max: usize,
) -> (Framed, Vec<String>) {
    let at = open_chains(&bytes[..from as usize], 0, 0, splits).first().map_or(from, |chain| chain.start);
    let at = if framing.cri { at } else { from };
    let mut arena = bytes[at as usize..to as usize].to_vec();
    let to = if to == bytes.len() as u64 { u64::MAX } else { to };
    let framed = frame(&Block { framing, splits, at, first: 0, from, to, records_max: max, long: None }, &mut arena);
    let texts = framed.records.iter().map(|r| String::from_utf8_lossy(r.text.of(&arena)).into_owned()).collect();
    (framed, texts)
}

fn all(framing: &Framing, bytes: &[u8]) -> Vec<String> {
    run(framing, &BTreeSet::new(), bytes, 0, bytes.len() as u64, usize::MAX).1
}

/// Reads record by record, each from where the one before ended.
fn one_by_one(framing: &Framing, bytes: &[u8]) -> Vec<String> {
    let (mut from, mut texts) = (0, Vec::new());
    loop {
        let (framed, text) = run(framing, &BTreeSet::new(), bytes, from, bytes.len() as u64, 1);
        let Some(record) = framed.records.first() else { return texts };
        assert!(record.end > from, "a record that moves nothing");
        from = record.end;
        texts.extend(text);
    }
}

#[test]
fn lines_lose_their_ends_and_nothing_else() {
    let bytes = b"one\r\n\ntw\0o\xff\nrest";
    let (framed, _) = run(&plain(), &BTreeSet::new(), bytes, 0, bytes.len() as u64, 9);
    let spans: Vec<(u64, u64, u32)> = framed.records.iter().map(|r| (r.pos, r.end, r.text.len)).collect();
    assert_eq!(spans, [(0, 5, 3), (5, 6, 0), (6, 12, 5)]);
    assert_eq!(framed.rest, 12);
}

#[test]
fn a_long_line_is_one_record_with_its_true_end() {
    let bytes = [vec![b'a'; 100], b"\nb\n".to_vec()].concat();
    let (framed, texts) = run(&plain(), &BTreeSet::new(), &bytes, 0, 103, 9);
    assert_eq!(texts, ["a".repeat(64), "b".to_owned()]);
    assert_eq!((framed.records[0].end, framed.records[0].flags), (101, flag::TRUNCATED));
}

#[test]
fn a_split_ends_a_line_that_was_never_ended() {
    let (framed, texts) = run(&plain(), &BTreeSet::from([5]), b"a\nbcdefg\n", 0, 9, 9);
    assert_eq!(texts, ["a", "bcd", "efg"]);
    assert_eq!(framed.records[1].end, 5);
}

const CRI: &str =
    "T1 stdout P ab\nT2 stderr F x\nT3 stdout P cd\nT4 stderr P y\nT5 stdout F ef\nT6 stderr F z\nT7 stdout F -\n";

#[test]
fn fragments_of_two_streams_are_joined_where_their_last_one_lies() {
    let framing = Framing { cri: true, ..plain() };
    let expected = ["T2 stderr F x", "T1 stdout F abcdef", "T4 stderr F yz", "T7 stdout F -"];
    assert_eq!(all(&framing, CRI.as_bytes()), expected);
    assert_eq!(one_by_one(&framing, CRI.as_bytes()), expected);
    let (framed, _) = run(&framing, &BTreeSet::new(), CRI.as_bytes(), 0, CRI.len() as u64, 2);
    assert_eq!(framed.open, [CRI.find("T4").unwrap() as u64]);
    assert_eq!(framed.records[0].flags, flag::STDERR);
    assert_eq!(framed.records[1].pos, CRI.find("T5").unwrap() as u64);
}

#[test]
fn records_that_span_lines_end_where_the_next_begins() {
    let framing = Framing { multiline: starts("^[0-9]"), ..plain() };
    let text = b"1 a\n  at b\n  at c\n2 d\n3 e\n";
    assert_eq!(all(&framing, text), ["1 a\n  at b\n  at c", "2 d"]);
    assert_eq!(one_by_one(&framing, text), all(&framing, text));
    let (_, closed) = run(&framing, &BTreeSet::from([26]), text, 0, 26, 9);
    assert_eq!(closed.last().map(String::as_str), Some("3 e"));
}

#[test]
fn a_record_of_lines_is_bounded() {
    let framing = Framing { multiline: starts("^[0-9]"), ..plain() };
    assert_eq!(all(&framing, b"1\n.\n.\n.\n.\n.\n2\n"), ["1\n.\n.\n.", ".\n."]);
}

#[test]
fn containers_lines_that_span_are_joined_by_message() {
    let framing = Framing { cri: true, multiline: starts("^[0-9]"), ..plain() };
    let text = b"T stdout F 1 a\nT stdout P  at\nT stdout F  b\nT stderr F 9\nT stdout F 2\nT stdout F 3\n";
    let expected = ["T stdout F 1 a\n at b", "T stderr F 9", "T stdout F 2"];
    assert_eq!(all(&framing, text), expected);
    assert_eq!(one_by_one(&framing, text), expected);
}

#[test]
fn lines_that_are_joined_lose_their_carriage_returns_too() {
    let text = b"1 a\r\n  at b\r\n  at c\r\n2 d\r\n";
    let plain = Framing { multiline: starts("^[0-9]"), ..plain() };
    assert_eq!(all(&plain, text), ["1 a\n  at b\n  at c"]);
    // A line that is too long is cut inside a joined record as well.
    let long = format!("1 a\n{}\n b\n2\n", " x".repeat(40));
    assert_eq!(all(&plain, long.as_bytes()), [format!("1 a\n{}", " x".repeat(32)), " b".to_owned()]);
}

#[test]
fn a_character_is_not_cut_in_two() {
    let short = Framing { line_bytes_max: 8, ..plain() };
    let expected = ["가가", "abcdefgh"];
    assert_eq!(all(&short, "가가가\nabcdefghi\n".as_bytes()), expected);
    let korean = Framing { encoding: Some(encoding_rs::EUC_KR), line_bytes_max: 5, ..plain() };
    assert_eq!(all(&korean, b"\xb0\xa1\xb0\xa1\xb0\xa1\nabcdef\n"), ["가가", "abcde"]);
    // What is no text keeps every byte up to the limit.
    let (framed, _) = run(&short, &BTreeSet::new(), &[[0x80; 20].as_slice(), b"\n"].concat(), 0, 21, 9);
    assert_eq!(framed.records[0].text.len, 8);
}

#[test]
fn the_mark_at_the_beginning_of_a_file_is_no_text() {
    let text = "\u{feff}{}\n\u{feff}{}\n".as_bytes();
    assert_eq!(all(&plain(), text), ["{}", "\u{feff}{}"]);
    assert_eq!(one_by_one(&plain(), text), ["{}", "\u{feff}{}"]);
    let joined = Framing { multiline: starts(r"^\{"), ..plain() };
    assert_eq!(all(&joined, "\u{feff}{}\n.\n{}\n".as_bytes()), ["{}\n."]);
}

#[test]
fn encodings_are_read() {
    let korean = Framing { encoding: Some(encoding_rs::EUC_KR), ..plain() };
    assert_eq!(all(&korean, b"\xb0\xa1\r\nb\n"), ["가", "b"]);
    let wide = Framing { encoding: Some(encoding_rs::UTF_16LE), ..plain() };
    let text: Vec<u8> = "\u{feff}\u{010a}x\n\u{0a0d}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(all(&wide, &text), ["\u{010a}x", "\u{0a0d}"]);
}
