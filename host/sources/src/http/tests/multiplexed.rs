//! HTTP/2 by hand: clients that open, reset and lengthen without end. Each costs its own connection, and nobody else's.

use super::*;

/// Frame types and flags of RFC 9113.
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// Error codes.
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What a connection begins with.
fn preface() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[]), &frame(SETTINGS, ACK, 0, &[])].concat()
}

/// The head of a post whose body is still to come: method and scheme from the static table, path and authority spelt out.
fn post_head(stream: u32) -> Vec<u8> {
    let fields = [&[0x83, 0x86, 0x04, 5][..], b"/logs", &[0x01, 1], b"x"].concat();
    frame(HEADERS, END_HEADERS, stream, &fields)
}

/// Frames of an answer: kind, stream and payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        frames.push((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload.to_vec()));
        bytes = rest;
    }
    frames
}

/// The error code that stands in a payload from byte `at` on.
fn code(payload: &[u8], at: usize) -> u32 {
    payload.get(at..at + 4).map_or(0, |code| u32::from_be_bytes(code.try_into().unwrap()))
}

/// Sends bytes; what comes back until the source closes or says nothing for so long, and whether it closed.
async fn answered(source: &HttpIntake, bytes: &[u8], silence: Duration) -> (Vec<(u8, u32, Vec<u8>)>, bool) {
    let mut stream = TcpStream::connect(source.local_addr()).await.unwrap();
    // A source that has closed already takes no more; what it said is there all the same.
    let _sent = stream.write_all(bytes).await.is_ok();
    let (mut answer, mut piece, mut is_closed) = (Vec::new(), vec![0; 64 << 10], false);
    while let Ok(read) = tokio::time::timeout(silence, stream.read(&mut piece)).await {
        match read {
            Ok(n) if n > 0 => answer.extend_from_slice(&piece[..n]),
            _ => {
                is_closed = true;
                break;
            }
        }
    }
    (frames(&answer), is_closed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_streams_than_are_allowed_are_refused_one_by_one() {
    let queue = StandIn::empty(1, QUOTA_BYTES);
    let mut options = options();
    options.limits.streams = 3;
    let source = begun(&options, &queue).await;
    let heads: Vec<u8> = [1, 3, 5, 7, 9].into_iter().flat_map(post_head).collect();
    let (frames, is_closed) = answered(&source, &[preface(), heads].concat(), Duration::from_secs(1)).await;
    let refused = frames.iter().filter(|(kind, _, payload)| *kind == RST_STREAM && code(payload, 0) == REFUSED_STREAM);
    assert_eq!(refused.map(|(_, stream, _)| *stream).collect::<Vec<_>>(), [7, 9], "{frames:?}");
    assert!(!is_closed, "those that are allowed go on");
    assert_eq!(post(&source, &[NDJSON], "{}").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_opens_and_resets_without_end_loses_its_connection() {
    let queue = StandIn::empty(1, QUOTA_BYTES);
    let source = begun(&options(), &queue).await;
    let mut bytes = preface();
    for stream in (1..20_000).step_by(2) {
        bytes.extend(post_head(stream));
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    let (frames, is_closed) = answered(&source, &bytes, PATIENCE).await;
    // What it says of that may be lost: whoever is still sending when the other side closes loses what was not read yet.
    let mut told = frames.iter().filter(|(kind, ..)| *kind == GOAWAY).map(|(_, _, payload)| code(payload, 4));
    assert!(is_closed && told.all(|code| code == ENHANCE_YOUR_CALM), "{frames:?}");
    assert_eq!((queue.requests(), queue.reserved_bytes()), (0, 0), "nothing of it is held");
    assert_eq!(post(&source, &[NDJSON], "{}").await.status, 200, "others are served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_goes_on_without_end_is_cut_off() {
    let queue = StandIn::empty(1, QUOTA_BYTES);
    let source = begun(&options(), &queue).await;
    let mut bytes = [preface(), frame(HEADERS, 0, 1, &[0x83, 0x86, 0x84])].concat();
    // A field of 4 KiB, again and again, and never the flag that ends the head.
    let field = [&[0x00, 1, b'x', 0x7f, 0x81, 0x1f][..], &[b'v'; 4_096]].concat();
    for _ in 0..4_000 {
        bytes.extend(frame(CONTINUATION, 0, 1, &field));
    }
    let (frames, is_closed) = answered(&source, &bytes, PATIENCE).await;
    assert!(is_closed, "{frames:?}");
    assert_eq!(post(&source, &[NDJSON], "{}").await.status, 200, "others are served");
}
