//! Every format read back by a reader that is not ours: serde_json, gzip, zstd, and the row reader of the crate `parquet`.
#![allow(clippy::unwrap_used)]

use super::*;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::{Field, Row as ParquetRow};
use base64::Engine as _;
use sawlog_record::batch::{Batch, Input, InputRecord, Span, ValueKind};
use sawlog_record::decode::{DecodeSpec, Decoder, Format, KeepOriginal, Source, TimestampSpec};
use sawlog_record::id::{Generation, record_id};
use sawlog_settings::component;
use sawlog_settings::format::{ColumnType, FIXED_COLUMNS};
use serde_json::{Value, json};
use std::io::Read as _;
use std::sync::Arc;

const PROVENANCE: Provenance<'static> = Provenance { agent: "node \"1\"", source: "app" };
/// 2026-11-24T13:55:36.000000001Z.
const RECEIVED: i64 = 1_795_528_536_000_000_001;

fn batch(lines: &[&[u8]], source: &Source) -> Arc<Batch> {
    let mut input = Input { generation: Generation([7; 16]), arena: vec![], records: vec![], open: vec![] };
    for line in lines {
        let (start, len) = (input.arena.len() as u32, line.len() as u32);
        input.arena.extend_from_slice(line);
        let pos = u64::from(start);
        let text = Span { start, len };
        input.records.push(InputRecord { pos, end: pos + u64::from(len), text, received: RECEIVED, flags: 0 });
    }
    let spec = DecodeSpec {
        attempts: vec![Format::Json, Format::Text],
        keep_original: KeepOriginal::OnFailure,
        timestamp: Some(TimestampSpec { field: "t".into(), format: "rfc3339".into() }),
    };
    Arc::new(Decoder::new(&spec).unwrap().decode(input, source, 0, 1).batch)
}

fn output(lines: &[&[u8]]) -> Output {
    let batch = batch(lines, &Source::default());
    Output { rows: (0..batch.rows.len() as u32).collect(), batch }
}

fn encoded(encoder: &mut dyn Encoder, output: &Output) -> Vec<u8> {
    encoder.append(output, &PROVENANCE).unwrap();
    assert!(!encoder.is_empty());
    let bytes = encoder.finish().unwrap();
    assert!(encoder.is_empty());
    bytes
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    assert_eq!(bytes.last(), Some(&b'\n'));
    bytes[..bytes.len() - 1].split(|b| *b == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn plain() -> JsonLines {
    JsonLines::new(RowWriter::default())
}

fn with_provenance() -> RowWriter {
    RowWriter { provenance: component::Provenance::Full, ..RowWriter::default() }
}

#[test]
fn json_that_nothing_changed_is_copied_byte_for_byte() {
    let line = br#" { "b" : 1.50, "a":"\u00e9\/", "n":{ "x":[ 1,2 ] } } "#;
    let bytes = encoded(&mut plain(), &output(&[line]));
    assert_eq!(bytes, b"{ \"b\" : 1.50, \"a\":\"\\u00e9\\/\", \"n\":{ \"x\":[ 1,2 ] } }\n");
    assert_eq!(encoded(&mut plain(), &output(&[b"{}", b"{ }", b"line"])), b"{}\n{}\n{\"body\":\"line\"}\n");
}

#[test]
fn what_is_added_stands_behind_the_copied_text() {
    let source = Source { fields: vec![("log.file.path".into(), "/a\"b".into())], streams: true };
    let batch = batch(&[b"{\"a\":1}", b"{}", b"{\"a\":1,\"a\":2}", b"{\"a\":\n1}"], &source);
    let output = Output { rows: vec![0, 1, 2, 3], batch };
    let text = String::from_utf8(encoded(&mut plain(), &output)).unwrap();
    let added = r#""log.file.path":"/a\"b","log.iostream":"stdout"}"#;
    assert_eq!(text, format!("{{\"a\":1,{added}\n{{{added}\n{{\"a\":2,{added}\n{{\"a\":1,{added}\n"));
}

/// Whoever reads lines, such as a server that takes bulk requests, would take the inside of such a record for lines of ours.
#[test]
fn json_over_several_lines_is_a_row_of_one_line() {
    let records: [&[u8]; 5] = [
        b"{\n\"a\": 1\n}",
        b"{\"x\":[\n{\"delete\":{\"_index\":\"a\",\"_id\":\"b\"}}\r\n,{\"n\":\r2}]}",
        b"{\"x\":{\n\"y\":[\n1]},\"x\":{\n\"y\":2},\"sawlog\":[\n]}",
        b"{\"text\":\"a\\nb\",\"n\":{\"m\":\"c\\nd\"\n}}",
        b"[\n1]",
    ];
    for writer in [RowWriter::default(), with_provenance()] {
        let bytes = encoded(&mut JsonLines::new(writer), &output(&records));
        let rows = lines(&bytes);
        assert_eq!(rows.len(), records.len(), "{}", String::from_utf8_lossy(&bytes));
        assert!(!bytes.contains(&b'\r'));
        assert_eq!(rows[1]["x"], serde_json::json!([{ "delete": { "_index": "a", "_id": "b" } }, { "n": 2 }]));
        assert_eq!((rows[3]["text"].as_str(), rows[3]["n"]["m"].as_str()), (Some("a\nb"), Some("c\nd")));
    }
}

#[test]
fn invalid_utf8_is_kept_exactly() {
    let bad = b"\xffab\xc3(\x00\"";
    let decoded = lines(&encoded(&mut plain(), &output(&[bad, "한글 \\ \u{7f}".as_bytes()])));
    assert_eq!(decoded[0]["body"], "\u{fffd}ab\u{fffd}(\0\"");
    let exact = base64::engine::general_purpose::STANDARD.decode(decoded[0]["body_base64"].as_str().unwrap()).unwrap();
    assert_eq!(exact, bad);
    assert_eq!(decoded[1], json!({"body": "한글 \\ \u{7f}"}));
}

#[test]
fn the_received_time_can_be_all_that_is_added() {
    let writer = RowWriter { provenance: component::Provenance::Received, time_member: None };
    let rows = lines(&encoded(&mut JsonLines::new(writer), &output(&[br#"{"a":1}"#, br#"{"sawlog":2}"#])));
    let added = json!({"received": "2026-11-24T13:55:36.000000001Z"});
    assert_eq!(rows, [json!({"a": 1, "sawlog": added}), json!({"sawlog_original": 2, "sawlog": added})]);
}

#[test]
fn provenance_says_where_a_row_comes_from() {
    let input: [&[u8]; 3] = [br#"{"t":"2026-11-24T13:00:00Z"}"#, b"{}", br#"{"sawlog":1,"sawlog_original":2,"ts":3}"#];
    let writer = RowWriter { provenance: component::Provenance::Full, time_member: Some("ts".into()) };
    let rows = lines(&encoded(&mut JsonLines::new(writer), &output(&input)));
    let id = |row: usize, pos| {
        let row_id = sawlog_record::id::RowId { pos, slot: 0, k: 1 << 16 };
        record_id("app", Generation([7; 16]), row_id, input[row])
    };
    assert_eq!(
        rows[0],
        json!({"t": "2026-11-24T13:00:00Z", "ts": "2026-11-24T13:00:00.000000000Z", "sawlog": {
            "id": id(0, 0), "agent": "node \"1\"", "source": "app", "generation": "07".repeat(16), "position": 0,
            "time": "2026-11-24T13:00:00.000000000Z", "received": "2026-11-24T13:55:36.000000001Z"}})
    );
    assert_eq!((&rows[1]["sawlog"]["id"], &rows[1]["sawlog"]["position"]), (&json!(id(1, 28)), &json!(28)));
    assert_eq!((&rows[2]["sawlog_original_original"], &rows[2]["sawlog_original"]), (&json!(1), &json!(2)));
    assert_eq!((&rows[2]["ts_original"], rows[2]["sawlog"]["agent"].as_str()), (&json!(3), Some("node \"1\"")));
}

#[test]
fn only_the_rows_of_the_sink_are_written() {
    let all = output(&[b"a", b"b", b"c"]);
    let some = Output { rows: vec![0, 2], ..all };
    assert_eq!(encoded(&mut plain(), &some), b"{\"body\":\"a\"}\n{\"body\":\"c\"}\n");
}

#[test]
fn compressed_frames_read_as_one_stream_and_each_alone() {
    let many: Vec<String> =
        (0..20_000).map(|i| format!("{{\"n\":{i},\"text\":\"some words that come again\"}}")).collect();
    let parts: Vec<Output> =
        many.chunks(7_000).map(|c| output(&c.iter().map(|s| s.as_bytes()).collect::<Vec<_>>())).collect();
    for compression in [Compression::Gzip, Compression::Zstd] {
        let mut encoder = JsonLines::compressed(RowWriter::default(), compression);
        let mut frames = Vec::new();
        for part in &parts {
            encoder.append(part, &PROVENANCE).unwrap();
            frames.push(encoder.drain().unwrap());
        }
        assert!(encoder.finish().unwrap().is_empty(), "nothing is left behind the last drain");
        let unpack = |bytes: &[u8]| {
            let mut text = String::new();
            match compression {
                Compression::Gzip => flate2::read::MultiGzDecoder::new(bytes).read_to_string(&mut text).unwrap(),
                _ => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_string(&mut text).unwrap(),
            };
            text
        };
        assert_eq!(unpack(&frames.concat()), many.join("\n") + "\n");
        assert!(frames.concat().len() < many.join("\n").len() / 5);
        let alone: Vec<String> = frames.iter().map(|frame| unpack(frame)).collect();
        assert_eq!(alone.concat(), many.join("\n") + "\n");
    }
}

fn declared() -> Vec<Column> {
    let column = |name: &str, path: Option<&str>, column_type| Column {
        name: name.into(),
        path: path.map(Into::into),
        column_type,
    };
    vec![
        column("level", None, ColumnType::Text),
        column("pod", Some("k8s.pod.name"), ColumnType::Text),
        column("n", None, ColumnType::Int64),
        column("f", None, ColumnType::Float64),
        column("ok", None, ColumnType::Bool),
        column("t", None, ColumnType::Timestamp),
        column("deep", Some("o.x"), ColumnType::Int64),
        column("any", None, ColumnType::Json),
    ]
}

fn rows_of(parquet: Vec<u8>) -> Vec<ParquetRow> {
    let reader = SerializedFileReader::new(bytes::Bytes::from(parquet)).unwrap();
    reader.get_row_iter(None).unwrap().map(Result::unwrap).collect()
}

fn cell<'r>(row: &'r ParquetRow, name: &str) -> &'r Field {
    row.get_column_iter().find(|(column, _)| *column == name).unwrap().1
}

#[test]
fn parquet_has_columns_for_what_fits_and_a_rest() {
    let input: [&[u8]; 4] = [
        br#"{"level":"info\n","k8s.pod.name":"p","n":-3,"f":0.1,"ok":true,"t":"2026-11-24T13:00:00.5Z","o":{"x":7},"any":[1]}"#,
        br#"{"level":5,"n":"3","f":9007199254740993,"ok":null,"t":"later","o":1,"any":"s"}"#,
        b"only text",
        b"bad \xff",
    ];
    let mut encoder = Parquet::new(&with_provenance(), &declared()).unwrap();
    let output = output(&input);
    let rows = rows_of(encoded(&mut encoder, &output));
    assert_eq!(rows.len(), 4);
    let text = |row: usize, name: &str| match cell(&rows[row], name) {
        Field::Str(text) => Some(text.clone()),
        Field::Null => None,
        other => panic!("{name}: {other:?}"),
    };
    let rest = |row: usize| text(row, "rest").map(|rest| serde_json::from_str::<Value>(&rest).unwrap());
    assert_eq!(
        (text(0, "level"), text(0, "pod"), text(0, "any")),
        (Some("info\n".into()), Some("p".into()), Some("[1]".into()))
    );
    assert_eq!(
        (cell(&rows[0], "n"), cell(&rows[0], "f"), cell(&rows[0], "ok")),
        (&Field::Long(-3), &Field::Double(0.1), &Field::Bool(true))
    );
    assert_eq!(cell(&rows[0], "t"), &Field::TimestampMicros(1_795_525_200_500_000));
    assert_eq!((cell(&rows[0], "deep"), rest(0)), (&Field::Long(7), Some(json!({"o": {"x": 7}}))));
    let late = json!({"level": 5, "n": "3", "f": 9_007_199_254_740_993_u64, "ok": null, "t": "later", "o": 1, "event_time_ns": RECEIVED});
    assert_eq!((rest(1), text(1, "any")), (Some(late), Some("\"s\"".into())));
    assert!(["level", "n", "f", "ok", "t", "deep"].iter().all(|name| *cell(&rows[1], name) == Field::Null));
    assert_eq!((text(2, "body"), rest(2)), (Some("only text".into()), Some(json!({"event_time_ns": RECEIVED}))));
    assert_eq!((text(3, "body"), &rest(3).unwrap()["body_base64"]), (None, &json!("YmFkIP8=")));
    assert_eq!(
        text(1, "record_id"),
        Some(record_id("app", output.batch.generation, output.batch.rows[1].id, input[1]))
    );
    assert_eq!((text(1, "agent"), text(1, "source")), (Some("node \"1\"".into()), Some("app".into())));
    assert_eq!(cell(&rows[1], "position"), &Field::Long(input[0].len() as i64));
    assert_eq!(cell(&rows[0], "event_time"), &Field::TimestampMicros(1_795_525_200_500_000));
    assert_eq!(cell(&rows[0], "received_time"), &Field::TimestampMicros(RECEIVED / 1_000));
    let names: Vec<&String> = rows[0].get_column_iter().map(|(name, _)| name).collect();
    assert!(FIXED_COLUMNS.iter().all(|fixed| names.iter().any(|name| name == fixed)));
}

#[test]
fn parquet_is_written_in_row_groups_of_bounded_size() {
    let lines: Vec<String> =
        (0..5_000).map(|i| format!("{{\"n\":{i},\"body\":\"{}\"}}", "x".repeat(i % 200))).collect();
    let output = output(&lines.iter().map(|line| line.as_bytes()).collect::<Vec<_>>());
    let mut encoder = Parquet::new(&RowWriter::default(), &declared()).unwrap().row_group_bytes_max(100_000);
    let mut file = Vec::new();
    for _ in 0..3 {
        encoder.append(&output, &PROVENANCE).unwrap();
        assert!(encoder.columns_bytes() < 100_000);
        file.extend(encoder.drain().unwrap());
        assert_eq!(encoder.len(), 0, "a drain leaves nothing in memory");
    }
    file.extend(encoder.finish().unwrap());
    let reader = SerializedFileReader::new(bytes::Bytes::from(file.clone())).unwrap();
    assert!(reader.num_row_groups() > 6);
    let numbers: Vec<Field> = rows_of(file).iter().map(|row| cell(row, "n").clone()).collect();
    assert_eq!(numbers, [0, 1, 2].iter().flat_map(|_| (0..5_000).map(Field::Long)).collect::<Vec<_>>());
}

#[test]
fn the_page_for_readers_shows_what_is_written() {
    let page = include_str!("../../../../docs/output-format.md");
    let source = Source { fields: vec![("log.file.path".into(), "/var/log/app.log".into())], streams: false };
    let json = batch(&[br#"{"level":"info","msg":"paid","n":1.50}"#], &source);
    let output = Output { rows: vec![0], batch: json };
    let provenance = Provenance { agent: "node-7", source: "app" };
    let received = RowWriter { provenance: component::Provenance::Received, ..RowWriter::default() };
    for writer in [with_provenance(), received, RowWriter::default()] {
        let mut encoder = JsonLines::new(writer);
        encoder.append(&output, &provenance).unwrap();
        let line = String::from_utf8(encoder.finish().unwrap()).unwrap();
        assert!(page.contains(&line), "{line}");
    }
    let bad = String::from_utf8(encoded(&mut plain(), &self::output(&[b"bad \xff"]))).unwrap();
    assert!(page.contains(&bad), "{bad}");
    let level = Column { name: "level".into(), path: None, column_type: ColumnType::Text };
    let rows = rows_of(encoded(&mut Parquet::new(&RowWriter::default(), &[level]).unwrap(), &output));
    let Field::Str(rest) = cell(&rows[0], "rest") else { panic!("rest is text") };
    assert!(page.contains(rest.as_str()), "{rest}");
}

#[test]
fn members_shared_by_rows_are_written_in_each() {
    let source = Source { fields: vec![("p".into(), "x".into())], streams: true };
    let mut shared = (*batch(&[b"{\"a\":1}", b"{\"a\":2}", b"{}", b"{\"p\":3}", b"{\"a\":4}"], &source)).clone();
    // One row in the middle has another value, as a plugin would set it.
    let other = shared.push_bytes(b"\xff");
    let changed = shared.rows[1];
    shared.fields[(changed.fields_start + 1) as usize].value = other;
    let output = Output { rows: vec![0, 1, 2, 3, 4], batch: Arc::new(shared) };
    let text = String::from_utf8(encoded(&mut plain(), &output)).unwrap();
    let tail = r#""p":"x","log.iostream":"stdout"}"#;
    let odd = r#"{"a":2,"p":"�","p_base64":"/w==","log.iostream":"stdout"}"#;
    assert_eq!(text, format!("{{\"a\":1,{tail}\n{odd}\n{{{tail}\n{{\"p_original\":3,{tail}\n{{\"a\":4,{tail}\n"));
}

#[test]
fn members_beside_a_changed_one_are_as_if_each_were_written_alone() {
    let input: [&[u8]; 6] = [
        br#"{"a":1,"b":"x","c":"\u00e9\/\n","n":{"x":[1, 2]},"e":"","f":null}"#,
        br#" { "a" :1,"b": "x" ,"c":"d", "d":"e"} "#,
        br#"{"a":"1","b":"2","a":"3","c":"4"}"#,
        b"{\"a\":\n{\"x\": 1},\"b\":\"\",\"\xc3\xa9\":\"\xc3\xa9\",\"q\\\"\":\"a\"}",
        br#"{"a":"b"}"#,
        br#"{"":"","b":[],"c":{}}"#,
    ];
    for line in input {
        let decoded = batch(&[line], &Source { fields: vec![("p".into(), "x".into())], streams: true });
        for changed in 0..decoded.rows[0].fields_len as usize {
            let mut batch = (*decoded).clone();
            let value = batch.push_bytes("n\u{e9}w\"".as_bytes());
            let first = batch.rows[0].fields_start as usize;
            (batch.fields[first + changed].value, batch.fields[first + changed].kind) = (value, ValueKind::Text);
            batch.rows[0].text = None;
            let mut expected = Vec::new();
            for field in batch.fields_of(&batch.rows[0]) {
                expected.push(if expected.is_empty() { b'{' } else { b',' });
                sawlog_record::json::quote(field.key.of(&batch.arena), &mut expected);
                expected.push(b':');
                assert!(batch.value(field.value, field.kind).write_json(&mut expected));
            }
            expected.extend_from_slice(b"}\n");
            let written = encoded(&mut plain(), &Output { rows: vec![0], batch: Arc::new(batch) });
            assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(&expected));
        }
    }
}
