//! One frame: how a payload lies in a segment, and how to tell a frame from anything else. Drawn in the crate's page.
//! It knows nothing of files, and of payloads only their length.

/// A byte address in a log: the frame's first byte, counted over the whole life of the incarnation without the segments'
/// own headers. Never handed out twice.
pub type Lsn = u64;

/// Bytes in front of a payload.
pub const FRAME_HEADER_BYTES: usize = 24;
/// The top bit of the length field marks a frame of the log's own.
const CONTROL: u32 = 1 << 31;
const VOID: u8 = 1;
/// Bytes of a control frame's payload: its kind, `lo`, `hi`.
const CONTROL_BYTES: usize = 17;
/// Bytes of a whole control frame.
pub(crate) const CONTROL_FRAME_BYTES: usize = FRAME_HEADER_BYTES + CONTROL_BYTES;

/// What the log says about itself, as the first frame of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// Addresses `[lo, hi)` were written but never acknowledged: whatever is found there does not exist.
    Void { lo: Lsn, hi: Lsn },
}

impl Control {
    fn encode(self) -> [u8; CONTROL_BYTES] {
        let Self::Void { lo, hi } = self;
        let mut bytes = [VOID; CONTROL_BYTES];
        bytes[1..9].copy_from_slice(&lo.to_le_bytes());
        bytes[9..].copy_from_slice(&hi.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; CONTROL_BYTES] = bytes.try_into().ok()?;
        let (lo, hi) = (u64_at(bytes, 1), u64_at(bytes, 9));
        (bytes[0] == VOID).then_some(Self::Void { lo, hi })
    }
}

/// A frame that was found sound where it was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    pub payload: &'a [u8],
    pub control: Option<Control>,
    /// Everything below this address was durable when the frame was written.
    pub durable: Lsn,
    /// Bytes of the whole frame.
    pub bytes: usize,
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

/// The incarnation and the address are part of what is summed up, so a stale frame of a recycled segment never validates.
fn checksum(incarnation: &[u8; 16], frame: &[u8]) -> u32 {
    let seed = crc32c::crc32c_append(crc32c::crc32c(incarnation), &frame[..4]);
    crc32c::crc32c_append(seed, &frame[8..])
}

fn push(into: &mut Vec<u8>, incarnation: &[u8; 16], lsn: Lsn, durable: Lsn, length: u32, payload: &[u8]) {
    let start = into.len();
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&lsn.to_le_bytes());
    into.extend_from_slice(&durable.to_le_bytes());
    into.extend_from_slice(payload);
    let crc = checksum(incarnation, &into[start..]);
    into[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// Appends the frame of `payload` (shorter than 2^31 bytes: the log checks its limit) to `into`.
pub(crate) fn encode(into: &mut Vec<u8>, incarnation: &[u8; 16], lsn: Lsn, durable: Lsn, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("the log refuses payloads above its limit of at most 2^30 bytes");
    push(into, incarnation, lsn, durable, length, payload);
}

pub(crate) fn encode_control(into: &mut Vec<u8>, incarnation: &[u8; 16], lsn: Lsn, durable: Lsn, control: Control) {
    push(into, incarnation, lsn, durable, CONTROL_BYTES as u32 | CONTROL, &control.encode());
}

/// Reads the frame with address `lsn` at the head of `bytes`. `None` is anything but exactly that frame.
pub(crate) fn decode<'a>(bytes: &'a [u8], incarnation: &[u8; 16], lsn: Lsn) -> Option<Found<'a>> {
    // The address is compared first: a search for frames asks at every byte.
    if bytes.len() < FRAME_HEADER_BYTES || u64_at(bytes, 8) != lsn {
        return None;
    }
    let length = u32_at(bytes, 0);
    let end = FRAME_HEADER_BYTES + (length & !CONTROL) as usize;
    let frame = bytes.get(..end)?;
    if checksum(incarnation, frame) != u32_at(frame, 4) {
        return None;
    }
    let (payload, durable) = (&frame[FRAME_HEADER_BYTES..], u64_at(frame, 16));
    let control = match length & CONTROL {
        0 => None,
        _ => Some(Control::decode(payload)?),
    };
    Some(Found { payload, control, durable, bytes: end })
}

/// Bytes of the frame that begins at the head of `bytes`, by its length field alone.
pub(crate) fn announced_bytes(bytes: &[u8]) -> usize {
    FRAME_HEADER_BYTES + (u32_at(bytes, 0) & !CONTROL) as usize
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ID: [u8; 16] = [7; 16];

    #[test]
    fn a_frame_reads_back_only_at_its_own_address_and_in_its_own_incarnation() {
        let mut bytes = Vec::new();
        encode(&mut bytes, &ID, 100, 60, b"payload");
        let found = decode(&bytes, &ID, 100).unwrap();
        assert_eq!((found.payload, found.durable, found.bytes), (&b"payload"[..], 60, bytes.len()));
        assert_eq!(found.control, None);
        assert!(decode(&bytes, &ID, 101).is_none());
        assert!(decode(&bytes, &[8; 16], 100).is_none());
    }

    #[test]
    fn no_flipped_bit_and_no_cut_passes() {
        let mut bytes = Vec::new();
        encode(&mut bytes, &ID, 0, 0, b"some payload of a record");
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes, &ID, 0).is_none(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len], &ID, 0).is_none(), "length {len}");
        }
    }

    #[test]
    fn control_frames_read_back() {
        let (mut bytes, control) = (Vec::new(), Control::Void { lo: 3, hi: 9 });
        encode_control(&mut bytes, &ID, 9, 3, control);
        assert_eq!(bytes.len(), CONTROL_FRAME_BYTES);
        assert_eq!(decode(&bytes, &ID, 9).unwrap().control, Some(control));
    }
}
