//! Members of JSON objects as columns. Parsing is the record room's.

use crate::view::{Column, bit_or_all, set_bit};
use sawlog_record::batch::{Field, Span, Spill, ValueKind};
use sawlog_record::json::{Reader, unescape};

/// One column per name over the `n` values of `column`; a value that is no JSON object has no members.
pub fn members(column: &Column, n: usize, names: &[String]) -> Vec<Column> {
    let empty =
        Column { offsets: vec![0], data: Vec::new(), present: vec![0; n.div_ceil(64)], json: vec![0; n.div_ceil(64)] };
    let mut out = vec![empty; names.len()];
    let mut fields: Vec<Field> = Vec::new();
    for row in 0..n {
        fields.clear();
        let mut spill = Spill::behind(column.data.len());
        if bit_or_all(&column.present, row) {
            let (start, end) = (column.offsets[row], column.offsets[row + 1]);
            // A value that is no object leaves `fields` empty: exactly "has no members".
            if Reader::new(&column.data, Span { start, len: end - start }).object(&mut fields, &mut spill).is_err() {
                fields.clear();
            }
        }
        for (name, out) in names.iter().zip(&mut out) {
            let arena = &column.data;
            let found = fields.iter().find(|f| text(arena, &spill, f.key) == name.as_bytes());
            push(out, row, found.map(|f| (text(arena, &spill, f.value), f.kind)));
        }
    }
    out
}

fn text<'a>(arena: &'a [u8], spill: &'a Spill, span: Span) -> &'a [u8] {
    if span.start as usize >= arena.len() { spill.text(&[], span) } else { span.of(arena) }
}

fn push(out: &mut Column, row: usize, value: Option<(&[u8], ValueKind)>) {
    if let Some((bytes, kind)) = value {
        set_bit(&mut out.present, row, true);
        match kind {
            ValueKind::Text => out.data.extend_from_slice(bytes),
            ValueKind::Escaped => unescape(bytes, &mut out.data),
            ValueKind::Json => {
                out.data.extend_from_slice(bytes);
                set_bit(&mut out.json, row, true);
            }
        }
    }
    out.offsets.push(out.data.len() as u32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{bit, value};

    #[test]
    fn members_keep_kind_spelling_and_absence() {
        let texts: [&[u8]; 4] =
            [br#"{"a":"x\ny","b":1.50,"c\u0061":null}"#, b"not json", br#"{"b":"2","a":{"n":[1]}}"#, b""];
        let mut column = Column { offsets: vec![0], data: vec![], present: vec![0b0111], json: vec![] };
        for text in texts {
            column.data.extend_from_slice(text);
            column.offsets.push(column.data.len() as u32);
        }
        let names = ["a", "b", "ca"].map(String::from);
        let out = members(&column, 4, &names);
        assert_eq!(
            (value(&out[0], 0), value(&out[1], 0), value(&out[2], 0)),
            (&b"x\ny"[..], &b"1.50"[..], &b"null"[..])
        );
        assert_eq!((bit(&out[0].json, 0), bit(&out[1].json, 0), bit(&out[2].json, 0)), (false, true, true));
        assert_eq!((value(&out[0], 2), bit(&out[0].json, 2)), (&br#"{"n":[1]}"#[..], true));
        assert_eq!(out.map_present(), [0b101, 0b101, 0b001]);
    }

    trait Present {
        fn map_present(&self) -> [u64; 3];
    }

    impl Present for Vec<Column> {
        fn map_present(&self) -> [u64; 3] {
            [0, 1, 2].map(|i| self[i].present[0])
        }
    }
}
