//! Messages on a stream: a length of eight bytes, then so many bytes.

use std::io::{self, ErrorKind, Read, Write};

/// Bytes of a message's length.
const HEAD_BYTES: usize = 8;
/// Room that is made at once for a message that says it is longer, bytes.
const ROOM_MAX: usize = 4 << 20;

/// Begins a message in `out`; what is to be said goes behind it.
pub fn begin(out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[0; HEAD_BYTES]);
}

/// Sends the message that was begun in `out`. `waited` is asked each time that the other side has taken nothing for a while.
pub fn send(to: &mut impl Write, out: &mut [u8], mut waited: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let len = (out.len() - HEAD_BYTES) as u64;
    out[..HEAD_BYTES].copy_from_slice(&len.to_le_bytes());
    let mut rest = &out[..];
    while !rest.is_empty() {
        match to.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => rest = &rest[written..],
            Err(error) => after(error, &mut waited)?,
        }
    }
    Ok(())
}

/// Receives the next message into `message`, which then holds nothing else; false where the stream has ended before it.
pub fn receive(
    from: &mut impl Read,
    message: &mut Vec<u8>,
    bytes_max: u64,
    mut waited: impl FnMut() -> io::Result<()>,
) -> io::Result<bool> {
    fill(from, message, HEAD_BYTES as u64, &mut waited)?;
    if message.is_empty() {
        return Ok(false);
    }
    let head = message.first_chunk().ok_or(ErrorKind::UnexpectedEof)?;
    let len = u64::from_le_bytes(*head);
    if len > bytes_max {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("a message of {len} bytes")));
    }
    fill(from, message, len, &mut waited)?;
    if message.len() as u64 == len { Ok(true) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

/// Reads up to `len` bytes into `message`, fewer only where the stream ends.
fn fill(
    from: &mut impl Read,
    message: &mut Vec<u8>,
    len: u64,
    waited: &mut impl FnMut() -> io::Result<()>,
) -> io::Result<()> {
    message.clear();
    message.reserve(usize::try_from(len).unwrap_or(ROOM_MAX).min(ROOM_MAX));
    loop {
        let missing = len - message.len() as u64;
        // What was read before a failure stays in the message.
        match from.by_ref().take(missing).read_to_end(message) {
            Ok(_) => return Ok(()),
            Err(error) => after(error, waited)?,
        }
    }
}

/// Goes on after an interruption, and after a while without a byte as long as `waited` has nothing against it.
fn after(error: io::Error, waited: &mut impl FnMut() -> io::Result<()>) -> io::Result<()> {
    match error.kind() {
        ErrorKind::Interrupted => Ok(()),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => waited(),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn never() -> io::Result<()> {
        Err(ErrorKind::TimedOut.into())
    }

    #[test]
    fn messages_come_whole_one_after_the_other_and_the_end_is_no_message() {
        let (mut stream, mut out) = (Vec::new(), Vec::new());
        for text in ["one", "", "three"] {
            begin(&mut out);
            out.extend_from_slice(text.as_bytes());
            send(&mut stream, &mut out, never).unwrap();
        }
        let (mut from, mut message) = (&stream[..], Vec::new());
        for text in ["one", "", "three"] {
            assert!(receive(&mut from, &mut message, 5, never).unwrap());
            assert_eq!(message, text.as_bytes());
        }
        assert!(!receive(&mut from, &mut message, 5, never).unwrap());
    }

    #[test]
    fn a_message_that_is_cut_or_too_long_is_an_error() {
        let mut out = Vec::new();
        begin(&mut out);
        out.extend_from_slice(b"text");
        let mut stream = Vec::new();
        send(&mut stream, &mut out, never).unwrap();
        let mut message = Vec::new();
        for len in 1..stream.len() {
            assert!(receive(&mut &stream[..len], &mut message, 4, never).is_err(), "{len}");
        }
        assert!(receive(&mut &stream[..], &mut message, 3, never).is_err());
        let endless = u64::MAX.to_le_bytes();
        assert!(receive(&mut &endless[..], &mut message, u64::MAX, never).is_err(), "nothing follows");
    }

    #[test]
    fn what_came_before_a_pause_is_kept() {
        struct Slow<'a>(&'a [u8], bool);
        impl Read for Slow<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 {
                    return Err(ErrorKind::WouldBlock.into());
                }
                self.0.read(&mut into[..1])
            }
        }
        let (mut stream, mut out, mut message) = (Vec::new(), Vec::new(), Vec::new());
        begin(&mut out);
        out.extend_from_slice(b"slowly");
        send(&mut stream, &mut out, never).unwrap();
        let mut pauses = 0;
        let count = || {
            pauses += 1;
            Ok(())
        };
        assert!(receive(&mut Slow(&stream, false), &mut message, 100, count).unwrap());
        assert_eq!((message.as_slice(), pauses >= stream.len()), (&b"slowly"[..], true));
    }
}
