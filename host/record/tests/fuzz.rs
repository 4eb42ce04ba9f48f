//! Readers of text from outside, on input that was changed at random.
#![allow(clippy::unwrap_used, missing_docs)]

use sawlog_fuzz::hammer;
use sawlog_record::batch::{Input, InputRecord, Span, flag};
use sawlog_record::decode::{DecodeSpec, Decoder, Format, Source, TimestampSpec};
use sawlog_record::id::Generation;
use sawlog_record::path::Path;
use sawlog_record::template::{Template, Values};
use sawlog_record::value::Value;

/// Lines as a source gives them.
fn input(text: &[u8]) -> Input {
    let mut input = Input { generation: Generation([1; 16]), arena: text.to_vec(), records: vec![], open: vec![] };
    let mut start = 0;
    for line in text.split(|byte| *byte == b'\n') {
        let (pos, end) = (u64::from(start), u64::from(start) + line.len() as u64 + 1);
        let text = Span { start, len: line.len() as u32 };
        input.records.push(InputRecord { pos, end, text, received: 0, flags: 0 });
        start += line.len() as u32 + 1;
    }
    input
}

/// Every line becomes a row, what no decoder takes is kept to the byte, and whatever a row holds can be written as JSON.
fn decoded(decoder: &Decoder, is_whole: bool, source: &Source, text: &[u8]) {
    let body = Path::parse("body").unwrap();
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let decoded = decoder.decode(input(text), source, 1_000, 3);
    assert_eq!(decoded.batch.rows.len(), lines.len());
    let mut undecoded = 0;
    for (row, line) in decoded.batch.rows.iter().zip(lines) {
        if row.flags & flag::UNDECODED != 0 {
            undecoded += 1;
            // Of a container's line the message is kept; the rest of it was read.
            let kept = body.find(&decoded.batch, row).unwrap().bytes;
            assert!(kept == line || (!is_whole && line.ends_with(kept)), "{kept:?} of {line:?}");
        }
        for field in decoded.batch.fields_of(row) {
            let mut token = Vec::new();
            Value::of(&decoded.batch.arena, field).write_json(&mut token);
            let is_number_beyond = |error: &serde_json::Error| error.to_string().contains("out of range");
            let read = serde_json::from_slice::<serde_json::Value>(&token);
            assert!(
                read.as_ref().map_or_else(is_number_beyond, |_| true),
                "{read:?}: {}",
                String::from_utf8_lossy(&token)
            );
        }
    }
    assert_eq!(undecoded, decoded.undecoded);
}

#[test]
fn fuzz_decoders() {
    let pattern = r"^(?P<at>\S+) \[(?P<level>\w+)\] (?P<rest>.*)$".to_owned();
    let lists = [
        vec![Format::Json],
        vec![Format::Logfmt],
        vec![Format::Regex(pattern)],
        vec![Format::Combined],
        vec![Format::Cri, Format::Json],
        vec![Format::Json, Format::Logfmt, Format::Combined, Format::Text],
    ];
    let stamps = ["rfc3339", "unix_ms", "%d/%b/%Y:%H:%M:%S %z"];
    let decoders: Vec<(bool, Decoder)> = lists
        .into_iter()
        .enumerate()
        .map(|(n, attempts)| {
            let is_whole = !attempts.contains(&Format::Cri);
            let timestamp = TimestampSpec { field: "time".into(), format: stamps[n % stamps.len()].into() };
            let spec = DecodeSpec { attempts, timestamp: Some(timestamp), ..DecodeSpec::default() };
            (is_whole, Decoder::new(&spec).unwrap())
        })
        .collect();
    let source = Source { fields: vec![("log.file.path".into(), "/a".into())], streams: true };
    let examples: [&[u8]; 6] = [
        b"{\"time\":\"2026-01-01T00:00:00Z\",\"body\":\"b\",\"a.b\":[1]}\n{\"time\":1767225600000}",
        b"time=2026-01-01T00:00:00+01:00 level=info msg=\"a \\\"b\\\" c\" n=1 flag=",
        b"2026-01-01T00:00:00Z [warn] something happened",
        b"10.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] \"GET /a?b=c HTTP/1.0\" 200 2326 \"http://r/\" \"agent/1.0\"",
        b"2026-01-01T00:00:00.123456789Z stderr P {\"a\":\n2026-01-01T00:00:00.2Z stdout F 1}",
        b"\xff\xfe plain \0 text\r\n\n",
    ];
    hammer("decoders", &examples, |text| {
        decoders.iter().for_each(|(is_whole, decoder)| decoded(decoder, *is_whole, &source, text));
    });
}

#[test]
fn fuzz_paths_and_templates() {
    let examples: [&[u8]; 4] = [
        b"a.b[0].\"c d\"",
        b"lake/dt={received_time:%Y-%m-%d}/app={k8s.app|none}",
        b"{event_time:%s}{",
        b"\"\\u0061\".x",
    ];
    hammer("paths_and_templates", &examples, |text| {
        let Ok(text) = std::str::from_utf8(text) else { return };
        // Each refuses or takes it; either is said, none panics.
        let _: (bool, bool) = (Path::parse(text).is_ok(), Template::parse(text, Values::Names).is_ok());
    });
}
