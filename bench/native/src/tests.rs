//! Native steps and both forms of the plugins make the same of a corpus with hard cases as a reference that shares no code with them: a
//! regular expression for addresses, and JSON values for records.
#![allow(clippy::unwrap_used)]

use crate::Steps;
use regex::Regex;
use sawlog_chain::apply::{BatchOrigin, Columns, apply, write_record};
use sawlog_chain::{Allow, Engine, EngineLimits, Leniency, Plugin, PluginConfig, Runner, trial};
use sawlog_record::batch::{Batch, Output};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// What an address is. The bench gives it to `redact-pattern` too.
const ADDRESS: &str = r"[A-Za-z0-9._%+-]*[A-Za-z0-9][A-Za-z0-9._%+-]*@[A-Za-z0-9-][A-Za-z0-9.-]*\.[A-Za-z]{2,}";

/// Messages, and what is left of them.
const MESSAGES: &[(&str, &str)] = &[
    ("request of customer4711@example.org for order 7", "request of [email] for order 7"),
    ("ann@example.com", "[email]"),
    ("ann@example.com is first", "[email] is first"),
    ("last is ann@example.com", "last is [email]"),
    ("", ""),
    ("@", "@"),
    ("nobody", "nobody"),
    // Points.
    ("ask ann@example.com.", "ask [email]."),
    ("ann@example.com...", "[email]..."),
    ("first.last@sub.dep.example.co.uk!", "[email]!"),
    (".ann.@example.com", "[email]"),
    ("ann@.example.com", "ann@.example.com"),
    ("ann@example..com", "[email]"),
    ("ann@example", "ann@example"),
    ("ann@example.c", "ann@example.c"),
    ("ann@.com", "ann@.com"),
    // Several signs in a word.
    ("a@b@c.de", "a@[email]"),
    ("a@b.co@c.de", "[email]@c.de"),
    ("@@a@b.co@@", "@@[email]@@"),
    ("a@b.co,c@d.org;e@f.net", "[email],[email];[email]"),
    ("a@b.co_c@d.org", "[email][email]"),
    ("a@b.co.c@d.org", "[email][email]"),
    // Tags, and local parts of signs.
    ("ann+tag@example.com", "[email]"),
    ("ann+a+b%c_d-e@example.com", "[email]"),
    ("+@example.com", "+@example.com"),
    ("_%+-.@example.com", "_%+-.@example.com"),
    ("+1@example.com", "[email]"),
    // What stands right beside them.
    ("<ann@example.com>", "<[email]>"),
    ("(ann@example.com)", "([email])"),
    ("mailto:ann@example.com?subject=x", "mailto:[email]?subject=x"),
    ("user=ann@example.com&x=1", "user=[email]&x=1"),
    ("\"ann@example.com\"", "\"[email]\""),
    ("'ann@example.com',", "'[email]',"),
    ("https://ann:word@example.com:8080/", "https://ann:[email]:8080/"),
    ("ann@example.com/bob@example.com", "[email]/[email]"),
    // What goes on behind the last letters: the address goes, the rest stays.
    ("ann@example.com2", "[email]2"),
    ("ann@example.com.2026-11-28", "[email].2026-11-28"),
    ("ann@example.com-prod", "[email]-prod"),
    ("ann@example.com_x", "[email]_x"),
    ("ann@example.x.y", "ann@example.x.y"),
    ("ann@example.org.x", "[email].x"),
    ("ann@10.0.0.1", "ann@10.0.0.1"),
    ("ann@[10.0.0.1]", "ann@[10.0.0.1]"),
    ("ann@-example-.com", "[email]"),
    // Other scripts: letters are those of ASCII, also within a name of a host; its ASCII form is one.
    ("ann@münchen.de", "ann@münchen.de"),
    ("ann@m.example.de和", "[email]和"),
    ("jürgen@example.de", "jü[email]"),
    ("пётр@пример.рф", "пётр@пример.рф"),
    ("ann@xn--mnchen-3ya.de", "[email]"),
    ("ann@xn--e1afmkfd.xn--p1ai", "[email]--p1ai"),
    ("日本ann@example.jp日本", "日本[email]日本"),
    ("ann＠example.com", "ann＠example.com"),
    ("😀ann@example.com😀", "😀[email]😀"),
    // A quoted local part is none.
    ("\"ann smith\"@example.com", "\"ann smith\"@example.com"),
    ("\"ann\"@example.com", "\"ann\"@example.com"),
    // What JSON has to escape.
    ("tab\tann@example.com\tline\nbob@example.com\r\n", "tab\t[email]\tline\n[email]\r\n"),
    ("C:\\new\\ann@example.com", "C:\\new\\[email]"),
    ("\\nann@example.com", "\\[email]"),
    ("a\0ann@example.com\u{7f}", "a\0[email]\u{7f}"),
];

/// Pieces of drawn messages, between blanks.
const PIECES: &str = "a Z 7 @ @ @ . . .. - _ % + co org x.y ann@ @example.org .com , \" \\ \n é 日本 \u{0} < > [email]";
const DRAWN: u64 = 4_000;
/// In how many forms records come: a case comes in each of them.
const FORMS: usize = 8;

/// Numbers that look random and are the same everywhere.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

fn messages() -> Vec<String> {
    let long =
        ["a".repeat(70) + "@" + &"b".repeat(300) + ".museum", "a@".repeat(200) + "b.co", "a.".repeat(200) + "@b.co"];
    let cases = MESSAGES.iter().map(|(text, _)| (*text).to_owned()).chain(long);
    let mut messages: Vec<String> = cases.flat_map(|text| std::iter::repeat_n(text, FORMS)).collect();
    let (pieces, mut draw): (Vec<&str>, _) = (PIECES.split(' ').chain([" "]).collect(), Draw(7));
    messages.extend((0..DRAWN).map(|_| (0..1 + draw.below(12)).map(|_| pieces[draw.below(pieces.len())]).collect()));
    messages
}

/// The text as JSON, every character that is no letter, digit or blank by its number.
fn escaped(text: &str) -> String {
    let one = |unit: u16| match u8::try_from(unit) {
        Ok(byte) if byte.is_ascii_alphanumeric() || byte == b' ' => char::from(byte).to_string(),
        _ => format!("\\u{unit:04x}"),
    };
    format!("\"{}\"", text.encode_utf16().map(one).collect::<String>())
}

/// Records around a message: members in any order and number, levels in any spelling, and members that only look like those meant.
fn records(messages: &[String]) -> Vec<String> {
    let levels = ["\"info\"", "\"DEBUG\"", "\"warn\"", "\"trace\"", "\"deb\\u0075g\"", "null", "\"debugging\"", "3"];
    let record = |(i, message): (usize, &String)| {
        let plain = Value::from(message.as_str()).to_string();
        let level = levels[(i + i / FORMS) % levels.len()];
        match i % FORMS {
            0 => format!("{{\"level\":{level},\"message\":{plain}}}"),
            1 => format!("{{\"message\":{plain},\"level\":{level},\"n\":{i}}}"),
            2 => format!(
                "{{\"n\":{i},\"level\":{level},\"message\":{},\"http\":{{\"user\":\"x@y.zz\"}}}}",
                escaped(message)
            ),
            3 => format!("{{\"message\":{plain},\"user\":\"x@y.zz\",\"empty\":\"\",\"list\":[1,2]}}"),
            4 => format!("{{\"level\":{level},\"cluster\":\"us-1\",\"message\":{plain},\"messages\":{plain}}}"),
            5 => format!("{{\"level\":{level},\"message\":{{\"text\":{plain}}},\"cluster\":null}}"),
            6 => format!(
                "{{\"level\":{level},\"message\":{plain},\"nested\":{{\"message\":{plain},\"level\":\"debug\"}}}}"
            ),
            _ => format!("{{\"a\":\"{i}\",\"b\":true,\"message\":{plain},\"level\":{level},\"z\":\"\\u00e9\"}}"),
        }
    };
    messages.iter().enumerate().map(record).collect()
}

/// What has to come of a record; `None` where it is dropped.
fn reference(address: &Regex, record: &str) -> Option<Value> {
    let mut record: Value = serde_json::from_str(record).unwrap();
    let low = |word: &str| ["debug", "trace"].contains(&word.to_lowercase().as_str());
    if record["level"].as_str().is_some_and(low) {
        return None;
    }
    if let Some(message) = record["message"].as_str() {
        record["message"] = address.replace_all(message, "[email]").into_owned().into();
    }
    record["cluster"] = json!("eu-1");
    Some(record)
}

fn lines(batch: &Batch) -> Vec<String> {
    let line = |row| {
        let mut text = Vec::new();
        write_record(batch, row, &mut text);
        String::from_utf8(text).unwrap()
    };
    batch.rows.iter().map(line).collect()
}

fn natively(batch: Batch) -> Batch {
    let ids: Vec<Vec<u8>> = batch.rows.iter().map(|row| batch.input_of(row).to_vec()).collect();
    let (before, rows) = (batch.rows.len(), (0..batch.rows.len() as u32).collect());
    let mut output = Output { batch: Arc::new(batch), rows };
    let dropped = Steps::default().take(&mut output);
    assert_eq!((output.rows.len(), output.batch.rows.len()), (before - dropped as usize, before - dropped as usize));
    for row in output.iter() {
        assert_eq!(output.batch.input_of(row), ids[row.parent as usize], "ids are made of the input");
    }
    Arc::try_unwrap(output.batch).unwrap()
}

/// The chain of row B in one of its forms.
fn plugins(engine: &Engine, redact: (&str, Value)) -> Vec<Plugin> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/target/components");
    let load = |(name, config): (&str, Value)| {
        let path = folder.join(format!("{name}.wasm"));
        let bytes = std::fs::read(&path).unwrap_or_else(|error| {
            panic!("{}: {error}; build the plugins first: cargo run -p sawlog-componentize", path.display())
        });
        let allow = Allow { kernels: name == "redact-pattern", ..Allow::default() };
        let config = PluginConfig { config_json: config.to_string(), allow, ..PluginConfig::default() };
        engine.load(name, &bytes, config).unwrap()
    };
    let level = ("level-filter", json!({"at_least": "info"}));
    [level, redact, ("fields", json!({"add": {"cluster": "eu-1"}}))].map(load).to_vec()
}

fn through(plugins: &[Plugin], batch: Batch) -> Batch {
    plugins.iter().fold(batch, |batch, plugin| {
        let origin = BatchOrigin { input: "in", source: "app", time: 0, watermark: None };
        let view = Arc::new(Columns::of(plugin).view(&batch, origin).unwrap());
        let outcome = Runner::new(plugin.clone(), Leniency::Usual).process_isolating(view, &[]).unwrap();
        let applied = apply(batch, &outcome, 1);
        assert!(applied.dead.is_empty(), "{:?}", applied.dead);
        applied.batch
    })
}

#[test]
fn the_reference_is_what_the_cases_say() {
    let address = Regex::new(ADDRESS).unwrap();
    for (text, left) in MESSAGES {
        assert_eq!(address.replace_all(text, "[email]"), *left, "{text}");
    }
}

#[test]
fn native_steps_and_both_forms_of_plugins_make_what_the_reference_makes() {
    let address = Regex::new(ADDRESS).unwrap();
    let engine = Engine::new(EngineLimits { instances_max: 16, ..EngineLimits::default() }, None).unwrap();
    let within = plugins(&engine, ("redact", json!({"fields": ["message"], "cards": false})));
    let rules = json!([{"pattern": ADDRESS, "with": "[email]"}]);
    let kernels = plugins(&engine, ("redact-pattern", json!({"fields": ["message"], "rules": rules})));
    let mut kept = 0;
    for records in records(&messages()).chunks(1_000) {
        let expected: Vec<(&String, Value)> =
            records.iter().filter_map(|record| Some((record, reference(&address, record)?))).collect();
        kept += expected.len();
        let batch = trial::read(&records.join("\n")).unwrap();
        let rows = natively(batch.clone());
        let texts = rows.rows.iter().map(|row| row.text.map(|text| text.of(&rows.arena)));
        let native = lines(&rows);
        assert_eq!(native.len(), expected.len());
        for (((record, expected), line), text) in expected.iter().zip(&native).zip(texts) {
            assert_eq!(serde_json::from_str::<Value>(line).unwrap(), *expected, "{record}");
            // Writers copy what a row has as its own text, and append the rest.
            if let Some(text) = text {
                let mut written: Value = serde_json::from_slice(text).unwrap();
                written["cluster"] = json!("eu-1");
                assert_eq!(written, *expected, "{record}");
            }
        }
        for (form, plugins) in [("within", &within), ("kernels", &kernels)] {
            let lines = lines(&through(plugins, batch.clone()));
            assert_eq!(lines.len(), expected.len(), "{form}");
            for (native, line) in native.iter().zip(&lines) {
                assert_eq!(line, native, "{form}");
            }
        }
    }
    assert!(kept > 2_500, "{kept} records were kept");
}

/// Blanks between members stay where a record's own text is written anew; whoever reads it gets the same.
#[test]
fn records_that_have_blanks_between_their_members_say_the_same() {
    let address = Regex::new(ADDRESS).unwrap();
    let record = r#"{ "level" : "info" , "message" : "of ann@example.com and bob@example.com" , "n" : [ 1 ] }"#;
    let lines = lines(&natively(trial::read(record).unwrap()));
    assert_eq!(serde_json::from_str::<Value>(&lines[0]).unwrap(), reference(&address, record).unwrap());
}

/// The bench measures what is held to the reference here.
#[test]
fn the_bench_has_the_same_pattern() {
    assert!(include_str!("../../src/plugins.rs").contains(ADDRESS));
}
