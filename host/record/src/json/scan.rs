//! Sixteen bytes at a time: where the plain part of a JSON string ends. Knows nothing of JSON's structure.

use wide::u8x16;

/// Bytes that one step looks at.
const LANES: usize = 16;

/// Index of the first byte at or after `from` that ends the plain part of a string: a quote, a backslash or a control
/// character. `bytes` may go on behind the text; the caller compares the result with the end of the text.
/// Returns `bytes.len()` where there is none.
#[inline(always)]
pub(super) fn plain_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(block) = bytes.get(at..).and_then(|rest| rest.first_chunk::<LANES>()) {
        let mask = stops(*block);
        if mask != 0 {
            return at + mask.trailing_zeros() as usize;
        }
        at += LANES;
    }
    plain_end_of_tail(bytes, at)
}

/// Bit i is set where byte i is a quote, a backslash or a control character.
#[inline(always)]
fn stops(block: [u8; LANES]) -> u32 {
    let v = u8x16::new(block);
    let control = v.min(u8x16::splat(0x1f)).simd_eq(v);
    let quote = v.simd_eq(u8x16::splat(b'"'));
    let backslash = v.simd_eq(u8x16::splat(b'\\'));
    (control | quote | backslash).to_bitmask()
}

/// Whether the `len` bytes at `a` and at `b` of `bytes` are the same.
#[inline(always)]
pub(super) fn same(bytes: &[u8], a: usize, b: usize, len: usize) -> bool {
    let block = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk::<LANES>());
    match (block(a), block(b)) {
        (Some(x), Some(y)) if len <= LANES => {
            let equal = u8x16::new(*x).simd_eq(u8x16::new(*y)).to_bitmask();
            equal.trailing_ones() as usize >= len
        }
        _ => matches!((bytes.get(a..a + len), bytes.get(b..b + len)), (Some(x), Some(y)) if x == y),
    }
}

/// Fewer bytes than one step looks at, behind which nothing may be looked at: with what stands before them, or with spaces.
#[inline]
fn plain_end_of_tail(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let (mut block, shift) = ([b' '; LANES], LANES.saturating_sub(rest.len()));
    let mask = match bytes.last_chunk::<LANES>() {
        Some(last) => stops(*last) >> shift,
        None => {
            block[..rest.len()].copy_from_slice(rest);
            stops(block)
        }
    };
    from + if mask == 0 { rest.len() } else { mask.trailing_zeros() as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_where_a_plain_search_finds_it() {
        for len in 0..50 {
            for stop in (0..len).map(Some).chain([None]) {
                for byte in [b'"', b'\\', 0, 0x1f] {
                    let mut text = vec![b'a'; len];
                    stop.into_iter().for_each(|at| text[at] = byte);
                    for from in 0..=len {
                        let found = text[from..].iter().position(|b| *b != b'a').map_or(len, |at| from + at);
                        assert_eq!(plain_end(&text, from), found, "{len} bytes, stop {stop:?}, from {from}");
                    }
                }
            }
        }
    }
}
