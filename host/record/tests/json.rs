//! The JSON reader against serde_json: the same texts are taken, with the same members.
#![allow(clippy::unwrap_used, missing_docs)]

use proptest::prelude::*;
use sawlog_record::batch::{Field, Span, Spill, ValueKind};
use sawlog_record::json::{JsonReason, Parsed, Reader, Shape, check_object, check_value, name_hash};
use sawlog_record::value::Value;
use serde_json::{Map, Value as Json};

fn read(text: &[u8], tail: &[u8]) -> Result<Map<String, Json>, (usize, JsonReason)> {
    let mut arena = [b"\"}", text, tail].concat();
    let mut spill = Spill::behind(arena.len());
    let mut fields: Vec<Field> = Vec::new();
    let span = Span { start: 2, len: text.len() as u32 };
    let parsed = Reader::new(&arena, span).object(&mut fields, &mut spill);
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            assert!(fields.is_empty() && error.offset <= text.len(), "{error:?}");
            return Err((error.offset, error.reason));
        }
    };
    arena.extend_from_slice(spill.as_bytes());
    if parsed.literal {
        assert!(!text[parsed.start as usize..parsed.end as usize].contains(&b'\n'));
        assert!(fields.iter().all(|f| span.holds(f.key)));
    }
    let member = |f: &Field| {
        let value = Value::of(&arena, f);
        let json = match f.kind {
            ValueKind::Json => serde_json::from_slice(value.bytes).unwrap(),
            _ => Json::String(String::from_utf8(value.text().unwrap().into_owned()).unwrap()),
        };
        (String::from_utf8(f.key.of(&arena).to_vec()).unwrap(), json)
    };
    let members: Vec<_> = fields.iter().map(member).collect();
    let map: Map<_, _> = members.iter().cloned().collect();
    assert_eq!(map.len(), members.len(), "a name came twice");
    Ok(map)
}

fn same_as_serde(text: &[u8]) {
    let expected = serde_json::from_slice::<Map<String, Json>>(text);
    // The one difference that is meant: a number beyond f64 is kept as it is written.
    if expected.as_ref().is_err_and(|error| error.to_string().contains("out of range")) {
        return;
    }
    for tail in [&b""[..], b"\",\"x\":1}", b"\n0123456789abcdef\"", b"0000e1"] {
        match (read(text, tail), &expected) {
            (Ok(ours), Ok(theirs)) => assert_eq!(&ours, theirs, "{}", String::from_utf8_lossy(text)),
            (Err(_), Err(_)) => {}
            (ours, theirs) => panic!("{}: ours {ours:?}, theirs {theirs:?}", String::from_utf8_lossy(text)),
        }
    }
    assert_eq!(check_object(text).is_ok(), expected.is_ok(), "{}", String::from_utf8_lossy(text));
}

#[test]
fn takes_and_refuses_what_the_rfc_says() {
    let texts = [
        r#"{}"#,
        r#" { } "#,
        r#"{"a":1}"#,
        r#"{"a":"b"}"#,
        r#"{"a":-0.5e+10,"b":true,"c":null,"d":false}"#,
        r#"{"a":[1,[2,{"x":[]}],{}],"b":{"c":{"d":[]}}}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"\u0061":2,"a":3}"#,
        r#"{"a":"\u00e9\n\"\\\/\b\f\r\t\ud83d\ude00"}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\udc00\ud800"}"#,
        r#"{"a":"\ud800\u0041"}"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\u12g4"}"#,
        r#"{"a":"\u12"}"#,
        r#"{"a":"\"}"#,
        r#"{"a":01}"#,
        r#"{"a":1.}"#,
        r#"{"a":.5}"#,
        r#"{"a":-}"#,
        r#"{"a":1e}"#,
        r#"{"a":1e+}"#,
        r#"{"a":+1}"#,
        r#"{"a":0}"#,
        r#"{"a":-0}"#,
        r#"{"a":0.0}"#,
        r#"{"a":00}"#,
        r#"{"a":0e0}"#,
        r#"{"a":NaN}"#,
        r#"{"a":tru}"#,
        r#"{"a":truee}"#,
        r#"{"a":nul"#,
        r#"{"a" 1}"#,
        r#"{"a":1,}"#,
        r#"{,}"#,
        r#"{"a":1 "b":2}"#,
        r#"{"a":[1,]}"#,
        r#"{"a":[,1]}"#,
        r#"{"a":[1}"#,
        r#"{"a":{"b":1]}"#,
        r#"{"a":{"b"}}"#,
        r#"{a:1}"#,
        r#"{'a':1}"#,
        r#"{"a":1}}"#,
        r#"{"a":1} x"#,
        r#"[1]"#,
        r#""a""#,
        r#"1"#,
        "",
        " ",
        "{",
        "{\"a",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":\"",
        "{\"a\":\"\n\"}",
        "{\"a\t\":1}",
        "{\"a\":\"\u{7f}\"}",
        "{\n\t\"a\"\r:\n[ 1 , 2 ]\n}",
        "{\"a\":\"\u{0}\"}",
        "{\"é\":\"日本語\"}",
        "{\"\":\"\"}",
        "\u{feff}{}",
        "{\"a\":{\"b\":1,\"b\":2}}",
    ];
    texts.iter().for_each(|text| same_as_serde(text.as_bytes()));
    for invalid in [&b"{\"a\":\"\xff\"}"[..], b"{\"\xc3\":1}", b"{\"a\":\"\xed\xa0\x80\"}", b"\xff", b"{}\xc3"] {
        same_as_serde(invalid);
    }
}

#[test]
fn says_where_and_why() {
    let at = |text: &str| read(text.as_bytes(), b"").unwrap_err();
    assert_eq!(at(r#"{"a":1,"b":x}"#), (11, JsonReason::Value));
    assert_eq!(at(r#"{"a":1 "b":2}"#), (7, JsonReason::Comma));
    assert_eq!(at(r#"{"a":"x"#), (7, JsonReason::Ends));
    assert_eq!(at(r#"{"a":"\q"}"#), (6, JsonReason::Escape));
    assert_eq!(at(r#"{"a":01}"#), (6, JsonReason::Comma));
    assert_eq!(at("[1]"), (0, JsonReason::NotAnObject));
    assert_eq!(at(r#"{"a":1}}"#), (7, JsonReason::Trailing));
    assert_eq!(read(b"{\"a\":\"\xff\"}", b"").unwrap_err(), (6, JsonReason::Utf8));
}

#[test]
fn depth_is_bounded_without_recursion() {
    let deep = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
    assert!(read(deep(127).as_bytes(), b"").is_ok());
    assert_eq!(read(deep(128).as_bytes(), b"").unwrap_err().1, JsonReason::Depth);
    assert_eq!(read(deep(1_000_000).as_bytes(), b"").unwrap_err().1, JsonReason::Depth);
    assert!(check_value(b" [1, {\"a\": null}] ").is_ok() && check_value(b"1 2").is_err());
}

#[test]
fn of_many_members_the_last_of_a_name_counts() {
    for count in [60, 64, 65, 66, 130, 300] {
        let members: Vec<String> = (0..count).map(|i| format!("\"k{}\":{i}", i % 61)).collect();
        same_as_serde(format!("{{{}}}", members.join(",")).as_bytes());
        let members: Vec<String> = (0..count).map(|i| format!("\"\\u006b{}\":{i}", i % (count - 1))).collect();
        same_as_serde(format!("{{{}}}", members.join(",")).as_bytes());
    }
}

fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,40}".prop_map(Json::from),
        "[ -~]{0,60}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::hash_map("[a-c\"\\\\é]{0,3}", inner, 0..6)
                .prop_map(|m| Json::Object(m.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = String> {
    let members = prop::collection::vec(("[a-e\"\\\\日]{0,12}", json()), 0..9);
    (members, any::<bool>()).prop_map(|(members, pretty)| {
        let member = |(k, v): &(String, Json)| {
            let value = if pretty { serde_json::to_string_pretty(v) } else { serde_json::to_string(v) };
            format!("{}:{}", Json::from(k.as_str()), value.unwrap())
        };
        format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(if pretty { " ,\n " } else { "," }))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reads_every_object_as_serde_does(text in object()) {
        same_as_serde(text.as_bytes());
    }

    #[test]
    fn judges_damaged_objects_as_serde_does(text in object(), at in any::<prop::sample::Index>(), with in prop::sample::select(&b"{}[]\",:\\ud0e-.tn \n\x00\xff\xc3\xa9"[..]), how in 0..3) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = with,
            1 => bytes.insert(at, with),
            _ => { bytes.remove(at); }
        }
        same_as_serde(&bytes);
    }

    #[test]
    fn judges_any_bytes_as_serde_does(bytes in prop::collection::vec(prop::sample::select(&b"{{}}[]\"\"\",,::\\ua1e-.tn 0"[..]), 0..24)) {
        same_as_serde(&bytes);
    }
}

/// Reads the objects one after the other, each with the shape of the one before.
fn read_all(texts: &[String]) -> Vec<Option<Map<String, Json>>> {
    let mut arena = texts.join("\n").into_bytes();
    let mut spill = Spill::behind(arena.len());
    let (mut fields, mut shape, mut start) = (Vec::new(), Shape::default(), 0);
    let mut rows = Vec::new();
    for text in texts {
        let (first, span) = (fields.len(), Span { start, len: text.len() as u32 });
        let parsed = Reader::new(&arena, span).object_like(&mut shape, &mut fields, &mut spill);
        rows.push(parsed.ok().map(|parsed| (parsed, span, first..fields.len())));
        start += span.len + 1;
    }
    arena.extend_from_slice(spill.as_bytes());
    let map = |(parsed, span, range): (Parsed, Span, std::ops::Range<usize>)| {
        let own = &fields[range];
        let names = own.iter().map(|f| String::from_utf8(f.key.of(&arena).to_vec()).unwrap());
        assert!(
            own.iter().all(|f| parsed.names.may_hold(name_hash(f.key.of(&arena)))),
            "a name is missing in the filter"
        );
        assert!(!parsed.literal || own.iter().all(|f| span.holds(f.key)));
        let values = own.iter().map(|f| {
            let mut token = Vec::new();
            Value::of(&arena, f).write_json(&mut token);
            serde_json::from_slice(&token).unwrap()
        });
        let map: Map<_, _> = names.zip(values).collect();
        assert_eq!(map.len(), own.len(), "a name came twice");
        map
    };
    rows.into_iter().map(|row| row.map(map)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_object_before_changes_nothing(rows in prop::collection::vec(prop::collection::vec((0usize..6, 0usize..4), 0..5), 1..6)) {
        let names = ["\"a\"", "\"b\"", "\"\\u0061\"", "\"a longer name than sixteen\"", "\"a\" ", "\"\""];
        let values = [":1", ":\"x\"", " : [{}]", ":\"\\n\" "];
        let text = |row: &Vec<(usize, usize)>| {
            let members: Vec<String> = row.iter().map(|(n, v)| format!("{}{}", names[*n], values[*v])).collect();
            format!("{{{}}}", members.join(","))
        };
        let texts: Vec<String> = rows.iter().map(text).collect();
        let expected: Vec<_> = texts.iter().map(|text| serde_json::from_str(text).ok()).collect();
        prop_assert_eq!(read_all(&texts), expected, "{:?}", texts);
    }
}

#[test]
fn fuzz_json() {
    let examples: [&[u8]; 6] = [
        br#"{"time":"2026-01-01T00:00:00Z","level":"info","n":-1.5e3,"ok":true,"none":null}"#,
        br#"{"a":{"b":[1,{"c":"d"},[]]},"e":"\u00e9\n\"\\\ud83d\ude00"}"#,
        br#" { "a" : 1 , "a" : 2 } "#,
        br#"{"a":"\ud800","b":1e400,"c":123456789012345678901234567890}"#,
        b"{\"\":\"\xc3\xa9\",\"\xff\":0}",
        b"[1,2]",
    ];
    sawlog_fuzz::hammer("json", &examples, same_as_serde);
}
