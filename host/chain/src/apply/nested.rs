//! Fields inside JSON objects: the object's token is written anew with one member set or removed, every other byte of its
//! members as it stood.

use sawlog_record::batch::{Field, Span, ValueKind};
use sawlog_record::json::{Member, Members, quote, unescape};
use sawlog_record::path::Path;
use sawlog_record::value::Value;
use std::borrow::Cow;

/// The top-level field that is a JSON object and whose name is the longest beginning of `path`, and the names below it.
pub fn holder<'p>(arena: &[u8], fields: &[Field], path: &'p Path) -> Option<(usize, &'p [String])> {
    let names = path.names();
    (1..names.len()).rev().find_map(|taken| {
        let name = names[..taken].join(".");
        let is_object = |f: &Field| f.kind == ValueKind::Json && f.value.of(arena).first() == Some(&b'{');
        let i = fields.iter().position(|f| f.key.of(arena) == name.as_bytes() && is_object(f))?;
        Some((i, &names[taken..]))
    })
}

/// The object at `token` with the member that `names` leads to set to `value`, or without it.
pub fn with(arena: &[u8], token: Span, names: &[String], value: Option<(Span, ValueKind)>) -> Vec<u8> {
    let mut out = Vec::with_capacity(token.len as usize + 32);
    write_object(arena, token, names, value, &mut out);
    out
}

fn write_object(arena: &[u8], token: Span, names: &[String], value: Option<(Span, ValueKind)>, out: &mut Vec<u8>) {
    let members: Vec<Member> = Members::of(arena, token).collect();
    let place = place(arena, &members, names);
    out.push(b'{');
    let start = out.len();
    for (i, member) in members.iter().enumerate() {
        let below = place.filter(|(at, _)| *at == i).map(|(_, taken)| &names[taken..]);
        match below {
            Some([]) => value.into_iter().for_each(|new| write_member(arena, member, new, start, out)),
            Some(rest) => {
                write_key(arena, member, start, out);
                write_object(arena, member.value, rest, value, out);
            }
            None => write_member(arena, member, (member.value, member.kind), start, out),
        }
    }
    if let (None, Some((span, kind))) = (place, value) {
        separate(start, out);
        quote(names.join(".").as_bytes(), out);
        out.push(b':');
        Value { bytes: span.of(arena), kind }.write_json(out);
    }
    out.push(b'}');
}

/// The member that `names` leads to or through, longest joined name first, and how many names it takes. Only an object can
/// be led through.
fn place(arena: &[u8], members: &[Member], names: &[String]) -> Option<(usize, usize)> {
    (1..=names.len()).rev().find_map(|taken| {
        let name = names[..taken].join(".");
        let leads =
            |m: &Member| taken == names.len() || m.value.of(arena).first() == Some(&b'{') && m.kind == ValueKind::Json;
        let i = members.iter().rposition(|m| name_of(arena, m) == name.as_bytes() && leads(m))?;
        Some((i, taken))
    })
}

fn name_of<'a>(arena: &'a [u8], member: &Member) -> Cow<'a, [u8]> {
    let raw = member.key.of(arena);
    if !member.key_escaped {
        return Cow::Borrowed(raw);
    }
    let mut name = Vec::new();
    unescape(raw, &mut name);
    Cow::Owned(name)
}

fn separate(start: usize, out: &mut Vec<u8>) {
    if out.len() > start {
        out.push(b',');
    }
}

fn write_key(arena: &[u8], member: &Member, start: usize, out: &mut Vec<u8>) {
    separate(start, out);
    out.push(b'"');
    out.extend_from_slice(member.key.of(arena));
    out.extend_from_slice(b"\":");
}

fn write_member(arena: &[u8], member: &Member, value: (Span, ValueKind), start: usize, out: &mut Vec<u8>) {
    write_key(arena, member, start, out);
    Value { bytes: value.0.of(arena), kind: value.1 }.write_json(out);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn edited(object: &str, path: &str, value: Option<&str>) -> String {
        let mut arena = object.as_bytes().to_vec();
        let token = Span { start: 0, len: arena.len() as u32 };
        let value = value.map(|v| {
            arena.extend_from_slice(v.as_bytes());
            (Span { start: token.len, len: v.len() as u32 }, ValueKind::Json)
        });
        let names = Path::parse(path).unwrap();
        String::from_utf8(with(&arena, token, names.names(), value)).unwrap()
    }

    #[test]
    fn one_member_changes_and_the_rest_keeps_its_bytes() {
        let object = r#"{"a":1.0,"b":{"c":"x\n","d":[1, 2]},"e.f":null}"#;
        let cases = [
            ("a", Some("2"), r#"{"a":2,"b":{"c":"x\n","d":[1, 2]},"e.f":null}"#),
            ("b.c", Some("3"), r#"{"a":1.0,"b":{"c":3,"d":[1, 2]},"e.f":null}"#),
            ("b.new", Some("4"), r#"{"a":1.0,"b":{"c":"x\n","d":[1, 2],"new":4},"e.f":null}"#),
            ("b.c", None, r#"{"a":1.0,"b":{"d":[1, 2]},"e.f":null}"#),
            ("e.f", Some("5"), r#"{"a":1.0,"b":{"c":"x\n","d":[1, 2]},"e.f":5}"#),
            ("b", None, r#"{"a":1.0,"e.f":null}"#),
            ("missing", None, object),
            ("a.under", Some("6"), r#"{"a":1.0,"b":{"c":"x\n","d":[1, 2]},"e.f":null,"a.under":6}"#),
        ];
        for (path, value, expected) in cases {
            assert_eq!(edited(object, path, value), expected, "{path} {value:?}");
        }
    }
}
