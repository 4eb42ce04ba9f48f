//! Expressions: what they decide, what they refuse, and the same decisions by the reference implementation of CEL.
#![allow(clippy::unwrap_used, missing_docs)]

use proptest::prelude::*;
use sawlog_record::batch::{Batch, Input, InputRecord, Span};
use sawlog_record::decode::{DecodeSpec, Decoder, Format, Source};
use sawlog_record::expr::Expr;
use sawlog_record::id::Generation;

fn batch(record: &str) -> Batch {
    let text = Span { start: 0, len: record.len() as u32 };
    let records = vec![InputRecord { text, ..InputRecord::default() }];
    let input = Input { generation: Generation([0; 16]), arena: record.as_bytes().to_vec(), records, open: vec![] };
    let spec = DecodeSpec { attempts: vec![Format::Json], ..DecodeSpec::default() };
    let decoded = Decoder::new(&spec).unwrap().decode(input, &Source::default(), 1, 0);
    assert_eq!(decoded.undecoded, 0, "{record}");
    decoded.batch
}

fn decides(expression: &str, record: &str) -> bool {
    let batch = batch(record);
    Expr::parse(expression).unwrap_or_else(|e| panic!("{expression}: {e}")).matches(&batch, &batch.rows[0])
}

const RECORD: &str = r#"{"s":"text","e":"a\tb","n":5,"f":2.5,"t":true,"z":null,"o":{"k8s.pod":"web","list":[1],"deep":{"x":1}},"a.b":"dotted","severity":"warning","level":17,"big":9007199254740993}"#;

#[test]
fn decides_on_fields_of_a_row() {
    for yes in [
        r#"s == "text""#,
        r#"'text' == s"#,
        r#"s != "other""#,
        r#"e == "a\tb""#,
        "n == 5",
        "n == 5.0",
        "n > 4 && n < 6",
        "n >= 5 && n <= 5",
        "4 < n",
        "f > 2",
        "f == 2.5",
        "-1 < n",
        "t",
        "!(!t)",
        "t == true",
        "z == null",
        "n != null",
        r#"o["k8s.pod"] == "web""#,
        "o.deep.x == 1",
        r#"a.b == "dotted""#,
        r#"s in ["x", "text"]"#,
        "n in [1, 5]",
        r#"s.startsWith("te")"#,
        r#"s.endsWith("xt")"#,
        r#"s.contains("ex")"#,
        r#"s.matches("^t.*t$")"#,
        "has(s)",
        "!has(q)",
        r#"e.contains("\t")"#,
        "severity >= WARN",
        "level == ERROR",
        "severity < ERROR",
        "WARN <= severity",
        "s == s",
        "n > f",
        r#"q == "x" || n == 5"#,
        r#"n == 5 || q == "x""#,
        r#"n == "5" || true"#,
        r#"n != "5""#,
        "s != 5",
        "o != 1",
        "big == 9007199254740993",
        "big != 9007199254740992.0",
        "big > 9007199254740992.0",
        "has(o.deep)",
        "z != 0",
    ] {
        assert!(decides(yes, RECORD), "{yes}");
    }
    for no in [
        r#"s == "Text""#,
        r#"q == "x""#,
        r#"q != "x""#,
        r#"!(q == "x")"#,
        r#"q == "x" || n == 6"#,
        r#"n < "6""#,
        "s",
        "n",
        "!t",
        "q",
        "n in [\"5\"]",
        "s in []",
        r#"q.startsWith("")"#,
        r#"n.contains("5")"#,
        "has(o.nothing)",
        "severity >= ERROR",
        "s >= WARN",
        "o == o",
        "z > 0",
        "z >= null",
        "n > 5 && q == 1",
        "t > 1",
        "false",
        "has(s.x)",
    ] {
        assert!(!decides(no, RECORD), "{no}");
    }
}

#[test]
fn refuses_by_place_and_reason() {
    for (text, offset, reason) in [
        ("", 0, "expected a field"),
        ("a ==", 4, "expected a field"),
        ("a = 1", 2, "`=` is not part of an expression"),
        ("a == 1 b", 7, "expected `&&`"),
        ("a + 1 == 2", 2, "`+` is not supported"),
        ("a ? 1 : 2", 6, "`:` is not part"),
        ("size(a) > 1", 0, "`size` is not supported"),
        ("a.b.exists(x)", 4, "`exists` is not supported"),
        ("1 == 2", 0, "two literals"),
        ("\"a\"", 0, "a literal alone"),
        ("a in b", 5, "expected a list"),
        ("a in [b]", 6, "a list holds literals only"),
        ("a in [1 2]", 8, "expected `,` or `]`"),
        ("(a == 1", 7, "expected `)`"),
        ("a == \"x", 5, "no closing quote"),
        ("a == \"\\q\"", 6, "unknown escape"),
        ("a.matches(\"(\")", 10, "invalid regular expression"),
        ("a.contains(b)", 11, "expected a string"),
        ("a[b] == 1", 2, "expected a name in quotes"),
        ("a. == 1", 3, "expected the name of a field"),
        ("a == - b", 7, "expected a number"),
    ] {
        let error = Expr::parse(text).unwrap_err();
        assert_eq!(error.offset, offset, "{text}: {error}");
        assert!(error.reason.contains(reason), "{text}: {error}");
    }
    assert!(Expr::parse(&"(".repeat(100_000)).is_err() && Expr::parse(&"!".repeat(1_000)).is_err());
    assert!(Expr::parse(&format!("{}a == 1{}", "(".repeat(60), ")".repeat(60))).is_ok());
}

#[test]
fn names_what_it_reads() {
    let expr = Expr::parse(r#"a.b == c["d.e"] && has(f) || !(g in [1])"#).unwrap();
    let paths: Vec<String> = expr.paths().iter().map(ToString::to_string).collect();
    assert_eq!(paths, ["a.b", "c.\"d.e\"", "f", "g"]);
}

/// The same expression and record by the reference implementation.
fn by_cel(expression: &str, record: &str) -> bool {
    let program = cel::Program::compile(expression).unwrap_or_else(|e| panic!("{expression}: {e}"));
    let mut context = cel::Context::default();
    let members: serde_json::Map<String, serde_json::Value> = serde_json::from_str(record).unwrap();
    members.iter().for_each(|(name, value)| context.add_variable(name.as_str(), value).unwrap());
    matches!(program.execute(&context), Ok(cel::Value::Bool(true)))
}

fn predicate() -> impl Strategy<Value = String> {
    let field = prop::sample::select(&["s", "n", "f", "t", "z", "o.x", "o.s", "q", "o.q"][..]);
    let literal = prop::sample::select(&["\"text\"", "\"\"", "5", "-1", "2.5", "true", "null", "\"5\""][..]);
    let order = prop::sample::select(&["==", "!=", "<", "<=", ">", ">="][..]);
    let method = prop::sample::select(&["startsWith", "endsWith", "contains"][..]);
    let text = prop::sample::select(&["\"te\"", "\"xt\"", "\"\""][..]);
    prop_oneof![
        (field.clone(), order.clone(), literal.clone()).prop_map(|(f, o, l)| format!("{f} {o} {l}")),
        (literal.clone(), order, field.clone()).prop_map(|(l, o, f)| format!("{l} {o} {f}")),
        (field.clone(), literal.clone(), literal).prop_map(|(f, a, b)| format!("{f} in [{a}, {b}]")),
        (field.clone(), method, text).prop_map(|(f, m, t)| format!("{f}.{m}({t})")),
        field.prop_map(str::to_owned),
        Just("has(o.x)".to_owned()),
        Just("has(o.q)".to_owned()),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    predicate().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} || {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) && ({b})")),
            inner.prop_map(|a| format!("!({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decides_as_cel_does(expression in expression()) {
        let record = r#"{"s":"text","n":5,"f":2.5,"t":true,"z":null,"o":{"x":5,"s":"text"}}"#;
        prop_assert_eq!(decides(&expression, record), by_cel(&expression, record), "{}", expression);
    }
}
