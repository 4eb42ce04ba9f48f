//! Field paths: how they are written and what they find.
#![allow(clippy::unwrap_used, missing_docs)]

use sawlog_record::batch::{Batch, Field, Row, Span, Spill};
use sawlog_record::id::Generation;
use sawlog_record::json::Reader;
use sawlog_record::path::Path;

fn batch(record: &str) -> Batch {
    let mut batch = Batch::new(Generation([0; 16]));
    let text = batch.push_bytes(record.as_bytes());
    let mut spill = Spill::behind(batch.arena.len());
    let mut fields: Vec<Field> = Vec::new();
    Reader::new(&batch.arena, text).object(&mut fields, &mut spill).unwrap();
    batch.push_bytes(spill.as_bytes());
    let (fields_len, input) = (fields.len() as u32, Span::default());
    batch.fields = fields;
    let id = Default::default();
    batch.rows.push(Row {
        id,
        parent: 0,
        time: 0,
        received: 0,
        input,
        text: None,
        fields_start: 0,
        fields_len,
        flags: 0,
    });
    batch
}

fn found(path: &str, record: &str) -> Option<String> {
    let batch = batch(record);
    let value = Path::parse(path).unwrap().find(&batch, &batch.rows[0]);
    value.map(|value| String::from_utf8(value.shown().into_owned()).unwrap())
}

#[test]
fn the_longest_name_wins_at_every_level() {
    let record =
        r#"{"a":{"b":{"c":1},"b.c":2,"k8s.pod":"p"},"x.y":3,"x":{"y":4,"z":5},"\u0065":{"\u0066":"g\n"},"n":null}"#;
    for (path, value) in [
        ("a.b.c", Some("2")),
        ("a.\"k8s.pod\"", Some("p")),
        ("a.k8s.pod", Some("p")),
        ("x.y", Some("3")),
        ("\"x.y\"", Some("3")),
        ("x.z", Some("5")),
        ("e.f", Some("g\n")),
        ("n", Some("null")),
        ("a.b", Some("{\"c\":1}")),
        ("a.b.d", None),
        ("n.a", None),
        ("x.y.z", None),
        ("q", None),
    ] {
        assert_eq!(found(path, record).as_deref(), value, "{path}");
    }
    assert_eq!(found("a.b", r#"{"a":{"b":1,"b":2}}"#).as_deref(), Some("2"));
}

#[test]
fn a_path_shows_as_it_is_written() {
    for text in ["a", "a.b", "resource.\"k8s.pod.name\"", "log-x.y_z"] {
        assert_eq!(Path::parse(text).unwrap().to_string(), text);
    }
    assert_eq!(Path::parse("resource.\"k8s.pod.name\"").unwrap().dotted(), "resource.k8s.pod.name");
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, offset) in
        [("", 0), ("a.", 2), (".a", 0), ("a..b", 2), ("\"a", 0), ("\"\"", 0), ("a\"b\"", 1), ("\"a\"b", 3)]
    {
        assert_eq!(Path::parse(text).unwrap_err().offset, offset, "{text}");
    }
    assert!(Path::parse(&["a"; 33].join(".")).is_err() && Path::parse(&["a"; 32].join(".")).is_ok());
}
