//! Every decoder on whole inputs: fields, times, what is kept of a text that nothing takes.
#![allow(clippy::unwrap_used, missing_docs)]

use sawlog_record::batch::{Batch, Input, InputRecord, Span, flag};
use sawlog_record::decode::{DecodeSpec, Decoded, Decoder, Format, KeepOriginal, Source, SpecError, TimestampSpec};
use sawlog_record::id::Generation;
use sawlog_record::path::Path;

const PLAN_TIME: i64 = 1_000;

fn input(lines: &[&[u8]]) -> Input {
    let mut input = Input { generation: Generation([1; 16]), arena: vec![], records: vec![], open: vec![] };
    for line in lines {
        let start = input.arena.len() as u32;
        input.arena.extend_from_slice(line);
        input.arena.push(b'\n');
        let text = Span { start, len: line.len() as u32 };
        let (pos, end) = (u64::from(start), input.arena.len() as u64);
        input.records.push(InputRecord { pos, end, text, received: 0, flags: 0 });
    }
    input
}

fn spec(attempts: &[Format]) -> DecodeSpec {
    DecodeSpec { attempts: attempts.to_vec(), ..DecodeSpec::default() }
}

fn decode(spec: &DecodeSpec, source: &Source, lines: &[&[u8]]) -> Decoded {
    Decoder::new(spec).unwrap().decode(input(lines), source, PLAN_TIME, 3)
}

/// `name=value` of all fields of a row, strings in quotes.
fn shown(batch: &Batch, row: usize) -> String {
    let fields = batch.fields_of(&batch.rows[row]);
    let shown = fields.iter().map(|f| {
        let mut out = f.key.of(&batch.arena).to_vec();
        out.push(b'=');
        sawlog_record::value::Value::of(&batch.arena, f).write_json(&mut out);
        String::from_utf8(out).unwrap()
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn one(format: Format, line: &str) -> String {
    let decoded = decode(&spec(&[format]), &Source::default(), &[line.as_bytes()]);
    assert_eq!(decoded.undecoded, u64::from(decoded.first_refusal.is_some()));
    match decoded.first_refusal {
        Some((0, refusal)) => {
            assert_eq!(decoded.batch.rows[0].flags, flag::UNDECODED);
            let body = Path::parse("body").unwrap().find(&decoded.batch, &decoded.batch.rows[0]).unwrap().bytes;
            assert_eq!(body, line.as_bytes());
            refusal.to_string()
        }
        _ => shown(&decoded.batch, 0),
    }
}

#[test]
fn rows_know_their_input_and_json_keeps_its_text() {
    let decoded = decode(&spec(&[Format::Json, Format::Text]), &Source::default(), &[b" {\"a\":1} ", b"plain", b"{}"]);
    let batch = &decoded.batch;
    let row = batch.rows[0];
    assert_eq!((row.id.pos, row.id.slot, row.id.k, row.parent, row.time, row.received), (0, 0, 3 << 16, 0, 1000, 1000));
    assert_eq!(row.text.unwrap().of(&batch.arena), b"{\"a\":1}");
    assert_eq!(row.input.of(&batch.arena), b" {\"a\":1} ");
    assert_eq!(
        (shown(batch, 0), shown(batch, 1), shown(batch, 2)),
        ("a=1".into(), "body=\"plain\"".into(), String::new())
    );
    assert_eq!((batch.rows[1].text, batch.rows[1].flags, batch.rows[2].parent, decoded.undecoded), (None, 0, 2, 0));
}

#[test]
fn names_that_come_twice_or_escaped_lose_the_text_not_the_record() {
    let lines: [&[u8]; 3] = [b"{\"a\":1,\"a\":2}", b"{\"\\u0061b\":\"x\\ty\"}", b"{\"a\":\n1}"];
    let batch = decode(&spec(&[Format::Json]), &Source::default(), &lines).batch;
    assert!(batch.rows.iter().all(|row| row.text.is_none()));
    assert_eq!([shown(&batch, 0), shown(&batch, 1), shown(&batch, 2)], ["a=2", "ab=\"x\\ty\"", "a=1"]);
}

#[test]
fn what_nothing_takes_is_kept_byte_for_byte() {
    let bad = b"{\"a\":\"\xff\xfe\"}";
    for (keep, body) in
        [(KeepOriginal::OnFailure, Some(&bad[..])), (KeepOriginal::Always, Some(bad)), (KeepOriginal::Never, None)]
    {
        let spec = DecodeSpec { keep_original: keep, ..spec(&[Format::Logfmt, Format::Json]) };
        let decoded = decode(&spec, &Source::default(), &[b"{\"a\":1}", bad]);
        assert_eq!((decoded.undecoded, decoded.batch.rows[1].flags), (1, flag::UNDECODED));
        assert_eq!(decoded.first_refusal.unwrap().1.to_string(), "invalid json at byte 6: invalid utf-8");
        let found = Path::parse("body").unwrap().find(&decoded.batch, &decoded.batch.rows[1]).map(|v| v.bytes);
        assert_eq!(found, body);
    }
}

#[test]
fn the_original_is_kept_beside_a_body_of_the_record() {
    let spec = DecodeSpec { keep_original: KeepOriginal::Always, ..spec(&[Format::Json, Format::Text]) };
    let batch = decode(&spec, &Source::default(), &[b"{\"a\":1}", b"{\"body\":2}", b"text"]).batch;
    assert_eq!(shown(&batch, 0), r#"a=1 body="{\"a\":1}""#);
    assert_eq!(shown(&batch, 1), r#"body=2 log.record.original="{\"body\":2}""#);
    assert_eq!(shown(&batch, 2), r#"body="text""#);
    // What was added lies outside of the text, so that writers append it.
    let row = &batch.rows[0];
    let outside = batch.fields_of(row).iter().filter(|f| !row.text.unwrap().holds(f.key)).count();
    assert_eq!(outside, 1);
}

#[test]
fn a_record_cannot_forge_what_its_source_says() {
    let fields = vec![("k8s.pod.name".to_owned(), "web-1".to_owned()), ("log.file.path".into(), "/x".into())];
    let source = Source { fields, streams: true };
    let line = br#"{"k8s.pod.name":"evil","k8s.pod.name_original":1,"log.iostream":"?"}"#;
    let batch = decode(&spec(&[Format::Json]), &source, &[line, b"{\"a\":1}"]).batch;
    assert_eq!(
        shown(&batch, 0),
        r#"k8s.pod.name_original_original="evil" k8s.pod.name_original=1 log.iostream_original="?" k8s.pod.name="web-1" log.file.path="/x" log.iostream="stdout""#
    );
    assert!(batch.rows[0].text.is_none() && batch.rows[1].text.is_some());
    assert_eq!(shown(&batch, 1), r#"a=1 k8s.pod.name="web-1" log.file.path="/x" log.iostream="stdout""#);
}

#[test]
fn a_cut_line_is_marked_and_the_mark_cannot_be_forged() {
    let mut input = input(&[b"{\"a\":1}", b"xxxx", br#"{"log.truncated":"no"}"#, br#"{"log.truncated":"no"}"#]);
    input.records.iter_mut().take(3).for_each(|record| record.flags = flag::TRUNCATED);
    let decoder = Decoder::new(&spec(&[Format::Json, Format::Text])).unwrap();
    let batch = decoder.decode(input, &Source::default(), PLAN_TIME, 0).batch;
    assert_eq!(shown(&batch, 0), "a=1 log.truncated=true");
    assert_eq!(shown(&batch, 1), r#"body="xxxx" log.truncated=true"#);
    assert_eq!(shown(&batch, 2), r#"log.truncated_original="no" log.truncated=true"#);
    assert_eq!(shown(&batch, 3), r#"log.truncated="no""#, "a whole line says what it likes");
}

#[test]
fn streams_come_from_the_flag_of_the_record() {
    let mut input = input(&[b"a"]);
    input.records[0].flags = flag::STDERR;
    input.records[0].received = 77;
    let source = Source { streams: true, ..Source::default() };
    let batch = Decoder::new(&spec(&[Format::Text])).unwrap().decode(input, &source, PLAN_TIME, 0).batch;
    assert_eq!(shown(&batch, 0), r#"body="a" log.iostream="stderr""#);
    assert_eq!((batch.rows[0].received, batch.rows[0].time), (77, 77));
}

#[test]
fn cri_is_an_envelope() {
    let list = [Format::Cri, Format::Json, Format::Text];
    let lines: [&[u8]; 5] = [
        b"2016-10-06T00:17:09.669794202Z stdout F {\"a\":1}",
        b"2016-10-06T00:17:10Z stderr P half a li",
        b"2016-10-06T00:17:10+02:00 stdout F",
        b"no envelope",
        b"2016-10-06T00:17:10Z stdout F {\"log.iostream\":1}",
    ];
    let decoded = decode(&spec(&list), &Source { streams: true, ..Source::default() }, &lines);
    let batch = &decoded.batch;
    assert_eq!(shown(batch, 0), r#"log.iostream="stdout" a=1"#);
    assert_eq!(batch.rows[0].time, 1_475_713_029_669_794_202);
    assert_eq!(batch.rows[0].text.unwrap().of(&batch.arena), b"{\"a\":1}");
    assert_eq!(shown(batch, 1), r#"log.iostream="stderr" log.partial=true body="half a li""#);
    assert_eq!(
        (shown(batch, 2), batch.rows[2].time),
        (r#"log.iostream="stdout" body="""#.into(), 1_475_705_830_000_000_000)
    );
    assert_eq!(shown(batch, 3), r#"body="no envelope" log.iostream="stdout""#);
    assert_eq!(shown(batch, 4), r#"log.iostream="stdout" log.iostream_original=1"#);
    assert_eq!(decoded.undecoded, 0);
    assert_eq!(one(Format::Cri, "2016-10-06T00:17:10Z stdin F x"), "not cri at byte 21: expected stdout or stderr");
    assert_eq!(one(Format::Cri, "2016-13-06T00:17:10Z stdout F x"), "not cri at byte 0: expected an rfc3339 timestamp");
}

#[test]
fn what_an_envelope_held_is_the_body_when_nothing_takes_it() {
    let decoded =
        decode(&spec(&[Format::Cri, Format::Json]), &Source::default(), &[b"2016-10-06T00:17:10Z stdout F oh"]);
    assert_eq!(shown(&decoded.batch, 0), r#"log.iostream="stdout" body="oh""#);
    assert_eq!((decoded.undecoded, decoded.batch.rows[0].flags), (1, flag::UNDECODED));
}

#[test]
fn logfmt_takes_pairs_only() {
    let logfmt = |line| one(Format::Logfmt, line);
    assert_eq!(
        logfmt(r#"level=info msg="two words" n=1 e= q="" u=/x?a=b"#),
        r#"level="info" msg="two words" n="1" e="" q="" u="/x?a=b""#
    );
    assert_eq!(logfmt(r#"msg="a \"b\" \n é" a=1 a=2"#), r#"msg="a \"b\" \n é" a="2""#);
    assert_eq!(logfmt("hello a=1"), "not logfmt at byte 0: expected key=");
    assert_eq!(logfmt("a=1 oops"), "not logfmt at byte 4: expected key=");
    assert_eq!(logfmt("a=\"x"), "not logfmt at byte 2: expected a closing quote");
    assert_eq!(logfmt("a=\"x\\"), "not logfmt at byte 2: expected a closing quote");
    assert_eq!(logfmt("a=\"x\"y"), "not logfmt at byte 5: expected a space");
    assert_eq!(logfmt(r#"a="\q""#), "not logfmt at byte 3: expected escapes as in json");
    assert_eq!(logfmt("  "), "not logfmt at byte 2: expected key=value");
    assert_eq!(logfmt(""), "not logfmt at byte 0: expected key=value");
}

#[test]
fn named_groups_become_fields() {
    let format = Format::Regex(r"^(?P<level>[A-Z]+) (?:\[(?P<thread>[^\]]*)\] )?(?P<msg>.*)$".into());
    assert_eq!(one(format.clone(), "WARN [main] hot"), r#"level="WARN" thread="main" msg="hot""#);
    assert_eq!(one(format.clone(), "WARN hot"), r#"level="WARN" msg="hot""#);
    assert_eq!(one(format, "warn"), "not regex at byte 0: expected a match of the expression");
}

#[test]
fn access_logs_become_fields() {
    let line = r#"203.0.113.9 - bob [24/Nov/2026:13:55:36 +0100] "GET /a b?x=\"1 HTTP/1.1" 200 2326 "-" "curl/8""#;
    let decoded = decode(&spec(&[Format::Combined]), &Source::default(), &[line.as_bytes()]);
    assert_eq!(
        shown(&decoded.batch, 0),
        r#"client.address="203.0.113.9" user.name="bob" http.request.method="GET" url.original="/a b?x=\\\"1" network.protocol.version="1.1" http.response.status_code=200 http.response.body.size=2326 user_agent.original="curl/8""#
    );
    assert_eq!(decoded.batch.rows[0].time, 1_795_524_936_000_000_000);
    let common = r#"::1 - - [24/Nov/2026:13:55:36 +0000] "\x16\x03" 400 -"#;
    assert_eq!(
        one(Format::Combined, common),
        r#"client.address="::1" http.request.line="\\x16\\x03" http.response.status_code=400"#
    );
    for (bad, why) in [
        (r#"::1 - - [24/Nov/2026:13:55:36 +0000] "GET / HTTP/1.1" 200 1 extra"#, "at byte 60: expected \""),
        (r#"::1 - - [24/Nov/2026:13:55:36 +0000] "GET / HTTP/1.1" 0200 1"#, "at byte 54: expected a number or a dash"),
        (
            r#"::1 - - [24/Foo/2026:13:55:36 +0000] "GET / HTTP/1.1" 200 1"#,
            "at byte 9: expected a time like 24/Nov/2026:13:55:36 +0100",
        ),
        (r#"::1 - - [24/Nov/2026:13:55:36 +0000] "GET / HTT"#, "at byte 38: expected a closing quote"),
        ("", "at byte 0: expected the client's address"),
    ] {
        assert_eq!(one(Format::Combined, bad), format!("not combined {why}"));
    }
}

#[test]
fn event_times_come_from_a_field() {
    let cases = [
        ("rfc3339", r#""2026-11-24T13:55:36.5Z""#, Some(1_795_528_536_500_000_000)),
        ("rfc3339", r#""2026-11-24 13:55:36,5""#, None),
        ("rfc3339", r#""2026-02-29T00:00:00Z""#, None),
        ("unix", "1795528536.25", Some(1_795_528_536_250_000_000)),
        ("unix", "-1.5", Some(-1_500_000_000)),
        ("unix_ms", r#""1795528536250""#, Some(1_795_528_536_250_000_000)),
        ("unix_ns", "1795528536250000001", Some(1_795_528_536_250_000_001)),
        ("unix", "99999999999999999999", None),
        ("%d.%m.%Y %H:%M:%S", r#""24.11.2026 13:55:36""#, Some(1_795_528_536_000_000_000)),
        ("%Y-%m-%dT%H:%M:%S%.f%z", r#""2026-11-24T14:55:36.5+0100""#, Some(1_795_528_536_500_000_000)),
        ("common_log", "null", None),
    ];
    for (format, value, time) in cases {
        let timestamp = Some(TimestampSpec { field: "a.t".into(), format: format.into() });
        let decoded = decode(
            &DecodeSpec { timestamp, ..spec(&[Format::Json]) },
            &Source::default(),
            &[format!("{{\"a\":{{\"t\":{value}}}}}").as_bytes()],
        );
        assert_eq!(
            (decoded.batch.rows[0].time, decoded.without_time),
            (time.unwrap_or(PLAN_TIME), u64::from(time.is_none())),
            "{format} {value}"
        );
    }
}

#[test]
fn a_mistake_in_the_spec_is_told() {
    let refused = |spec: DecodeSpec| Decoder::new(&spec).unwrap_err();
    assert!(matches!(refused(spec(&[Format::Regex("(".into())])), SpecError::Regex(_)));
    assert!(matches!(refused(spec(&[Format::Regex("a+".into())])), SpecError::NoGroup(_)));
    assert_eq!(refused(spec(&[Format::Text, Format::Json])), SpecError::Unreachable(2));
    for format in ["rfc", "%H:%M", "%Q"] {
        let timestamp = Some(TimestampSpec { field: "t".into(), format: format.into() });
        assert!(
            matches!(refused(DecodeSpec { timestamp, ..DecodeSpec::default() }), SpecError::TimeFormat(_)),
            "{format}"
        );
    }
}

#[test]
fn fields_that_a_source_attaches_come_first_and_cannot_be_forged() {
    let mut arena = Vec::new();
    let key = (&b"messaging.kafka.message.key"[..], &b"order-7"[..], sawlog_record::batch::ValueKind::Text);
    sawlog_record::attached::write([key], &mut arena);
    arena.extend_from_slice(br#"{"messaging.kafka.message.key":"forged","n":1}"#);
    let text = Span { start: 0, len: arena.len() as u32 };
    let records = vec![InputRecord { text, flags: flag::ATTACHED, ..InputRecord::default() }];
    let input = Input { generation: Generation([1; 16]), arena, records, open: vec![] };
    let decoder = Decoder::new(&spec(&[Format::Json, Format::Text])).unwrap();
    let decoded = decoder.decode(input.clone(), &Source::default(), PLAN_TIME, 3);
    assert_eq!(
        shown(&decoded.batch, 0),
        r#"messaging.kafka.message.key="order-7" messaging.kafka.message.key_original="forged" n=1"#
    );
    assert_eq!((decoded.undecoded, decoded.batch.rows[0].flags), (0, 0));
    let text = Decoder::new(&spec(&[Format::Text])).unwrap().decode(input, &Source::default(), PLAN_TIME, 3);
    assert!(shown(&text.batch, 0).contains(r#"body="{\"messaging"#), "{}", shown(&text.batch, 0));
}
