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

/// The last bytes of the arena, one by one.
#[cold]
#[inline(never)]
fn plain_end_of_tail(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + rest.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\').unwrap_or(rest.len())
}
