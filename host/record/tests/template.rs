//! Templates: what they print, what they replace, what they refuse.
#![allow(clippy::unwrap_used, missing_docs)]

use sawlog_record::batch::{Batch, Input, InputRecord, Span};
use sawlog_record::decode::{DecodeSpec, Decoder, Format, Source};
use sawlog_record::id::Generation;
use sawlog_record::template::{Rendering, Template, Values};

/// 2026-11-24T13:55:36Z.
const RECEIVED: i64 = 1_795_528_536_000_000_000;

fn batch(record: &str) -> Batch {
    let text = Span { start: 0, len: record.len() as u32 };
    let records = vec![InputRecord { text, ..InputRecord::default() }];
    let input = Input { generation: Generation([0; 16]), arena: record.as_bytes().to_vec(), records, open: vec![] };
    let spec = DecodeSpec { attempts: vec![Format::Json], ..DecodeSpec::default() };
    Decoder::new(&spec).unwrap().decode(input, &Source::default(), RECEIVED, 0).batch
}

fn rendered(template: &str, values: Values, record: &str) -> (String, u64) {
    let batch = batch(record);
    let mut rendering = Rendering::default();
    Template::parse(template, values).unwrap().render(&batch, &batch.rows[0], RECEIVED, &mut rendering);
    (rendering.text, rendering.fallbacks)
}

#[test]
fn prints_fields_and_times() {
    let record = r#"{"k8s.namespace.name":"Shop","n":7,"a":{"b":"x-1"}}"#;
    for (template, expected) in [
        ("logs", "logs"),
        ("logs.{k8s.namespace.name}", "logs.shop"),
        ("{\"k8s.namespace.name\"}/{a.b}/{n}", "shop/x-1/7"),
        ("dt={received_time:%Y-%m-%d}/hour={received_time:%H}", "dt=2026-11-24/hour=13"),
        ("{event_time:%H:%M:%S}", "13:55:36"),
        ("{{x}} {{{n}}}", "{x} {7}"),
        ("", ""),
    ] {
        assert_eq!(rendered(template, Values::Names, record), (expected.into(), 0), "{template}");
    }
}

#[test]
fn a_value_cannot_leave_its_place() {
    for bad in ["../x", "a/b", "a.b", "%2e", "_x", "-x", "+x", "", "a b", "é", "a\\u0000", "a\\nb"] {
        let record = format!("{{\"v\":\"{bad}\"}}");
        assert_eq!(rendered("p/{v}", Values::Names, &record), ("p/other".into(), 1), "{bad}");
    }
    let long = |n: usize| format!("{{\"v\":\"{}\"}}", "a".repeat(n));
    assert_eq!(rendered("{v}", Values::Names, &long(64)).1, 0);
    assert_eq!(rendered("{v}", Values::Names, &long(65)), ("other".into(), 1));
    assert_eq!(rendered("{gone}", Values::Names, "{}"), ("other".into(), 1));
    assert_eq!(rendered("{v}", Values::Names, r#"{"v":{"a":1}}"#), ("other".into(), 1));
    assert_eq!(rendered("{v}-{gone}", Values::Raw, r#"{"v":"A/b \n"}"#), ("A/b \n-".into(), 0));
}

#[test]
fn printed_times_are_kept_no_longer_than_they_hold() {
    let template =
        Template::parse("{received_time:%Y-%m-%d %H}|{received_time:%M}|{event_time:%S}", Values::Names).unwrap();
    let mut batch = batch("{}");
    let mut rendering = Rendering::default();
    for step in [0, 1, 59, 60, 3_599, 3_600, 86_399, 86_400, 31_536_000, -1, 5] {
        let time = RECEIVED + step * 1_000_000_000;
        batch.rows[0].time = time;
        template.render(&batch, &batch.rows[0], time, &mut rendering);
        let zoned = jiff::Timestamp::from_nanosecond(time.into()).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
        assert_eq!(rendering.text, zoned.strftime("%Y-%m-%d %H|%M|%S").to_string());
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, offset, reason) in [
        ("a{time}", 1, "`time` is ambiguous"),
        ("{time:%Y}", 0, "`time` is ambiguous"),
        ("{event_time}", 0, "needs a pattern"),
        ("{received_time:}", 0, "needs a pattern"),
        ("ab{x:%Y}", 2, "only event_time and received_time take a pattern"),
        ("{x", 0, "`{` has no partner"),
        ("x}", 1, "`}` has no partner"),
        ("{}", 0, "a name is empty"),
        ("{a..b}", 0, "a name is empty"),
        ("{event_time:%*}", 0, "invalid time pattern"),
    ] {
        let error = Template::parse(text, Values::Names).unwrap_err();
        assert_eq!(error.offset, offset, "{text}: {error}");
        assert!(error.to_string().contains(reason), "{text}: {error}");
    }
    let template = Template::parse("{a}{event_time:%Y}", Values::Names).unwrap();
    assert!(template.reads_event_time() && template.constant().is_none() && template.paths().count() == 1);
}
