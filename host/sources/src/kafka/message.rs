//! A message as the bytes of a record: key, headers and the mark of a tombstone as attached fields, then the value. Pure.

use sawlog_kafka::Fetched;
use sawlog_record::attached;
use sawlog_record::batch::ValueKind;
use std::collections::BTreeMap;

/// The field with the message's key.
pub const KEY: &str = "messaging.kafka.message.key";
/// The field that is `true` where the message has no value.
pub const TOMBSTONE: &str = "messaging.kafka.message.tombstone";
/// What a header's name stands behind.
pub const HEADER: &str = "messaging.kafka.message.header.";

/// The record of `message`. A header that comes again is `<name>.2`, `<name>.3`, …: none is lost.
pub fn record(message: &Fetched) -> Vec<u8> {
    let value = message.value.as_deref().unwrap_or_default();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut names = Vec::with_capacity(message.headers.len());
    for (name, _) in &message.headers {
        let times = seen.entry(name).or_default();
        *times += 1;
        names.push(if *times == 1 { format!("{HEADER}{name}") } else { format!("{HEADER}{name}.{times}") });
    }
    let key = message.key.iter().map(|key| (KEY.as_bytes(), key.as_slice(), ValueKind::Text));
    let tombstone = message.value.is_none().then_some((TOMBSTONE.as_bytes(), &b"true"[..], ValueKind::Json));
    let values = message.headers.iter().map(|(_, value)| value.as_slice());
    let headers = names.iter().zip(values).map(|(name, value)| (name.as_bytes(), value, ValueKind::Text));
    let mut out = Vec::with_capacity(value.len() + 16);
    attached::write(key.chain(tombstone).chain(headers), &mut out);
    out.extend_from_slice(value);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use sawlog_record::batch::Span;

    #[test]
    fn nothing_of_a_message_is_lost() {
        let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let headers = vec![header("trace", "a"), header("trace", "b"), header("x", "")];
        let record = record(&Fetched { key: Some(b"k".to_vec()), value: None, headers });
        let mut found = Vec::new();
        let text = attached::split(&record, Span { start: 0, len: record.len() as u32 }, |name, value, _| {
            let text = |span: Span| String::from_utf8_lossy(span.of(&record)).into_owned();
            found.push(format!("{}={}", text(name).replace("messaging.kafka.message.", ""), text(value)));
        });
        assert_eq!(text.len, 0);
        assert_eq!(found, ["key=k", "tombstone=true", "header.trace=a", "header.trace.2=b", "header.x="]);
    }
}
