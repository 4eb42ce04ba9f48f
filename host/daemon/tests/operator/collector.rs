//! A server that takes what is pushed by OTLP over HTTP, and reads as much of its protobuf as a test needs.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

type Pushes = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// The server; it ends with the test.
pub struct Collector {
    pub address: String,
    pushes: Pushes,
}

impl Collector {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, pushes) = (listener.local_addr().unwrap().to_string(), Pushes::default());
        let taken = pushes.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let taken = taken.clone();
                std::thread::spawn(move || while take(&connection, &taken).is_some() {});
            }
        });
        Self { address, pushes }
    }

    /// Bodies that were posted to `target`, oldest first.
    pub fn received(&self, target: &str) -> Vec<Vec<u8>> {
        let pushes = self.pushes.lock().unwrap();
        pushes.iter().filter(|(to, _)| to == target).map(|(_, body)| body.clone()).collect()
    }
}

/// Takes one request; `None` once the client has gone.
fn take(mut connection: &TcpStream, pushes: &Pushes) -> Option<()> {
    let mut reader = BufReader::new(connection);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    pushes.lock().unwrap().push((first.split(' ').nth(1)?.to_owned(), body));
    connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()
}

/// One field of a message.
pub enum Field<'a> {
    Varint(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

impl Field<'_> {
    /// The first fixed field of this number, as a double.
    pub fn double(message: &[u8], number: u64) -> Option<f64> {
        fields(message).find_map(|(n, field)| match field {
            Field::Fixed(bits) if n == number => Some(f64::from_bits(bits)),
            _ => None,
        })
    }

    /// The first varint field of this number.
    pub fn varint(message: &[u8], number: u64) -> Option<u64> {
        fields(message).find_map(|(n, field)| match field {
            Field::Varint(value) if n == number => Some(value),
            _ => None,
        })
    }
}

/// The fields of this number that hold bytes.
pub fn field(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).filter_map(move |(n, field)| match field {
        Field::Bytes(bytes) if n == number => Some(bytes),
        _ => None,
    })
}

/// The text in this field, empty where there is none.
pub fn text(message: &[u8], number: u64) -> String {
    field(message, number).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect()
}

fn fields(mut rest: &[u8]) -> impl Iterator<Item = (u64, Field<'_>)> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let tag = varint(&mut rest);
        let field = match tag & 7 {
            0 => Field::Varint(varint(&mut rest)),
            1 => Field::Fixed(u64::from_le_bytes(take_bytes(&mut rest, 8).try_into().unwrap())),
            2 => {
                let length = varint(&mut rest) as usize;
                Field::Bytes(take_bytes(&mut rest, length))
            }
            5 => Field::Fixed(u64::from(u32::from_le_bytes(take_bytes(&mut rest, 4).try_into().unwrap()))),
            kind => panic!("no protobuf: wire type {kind}"),
        };
        Some((tag >> 3, field))
    })
}

fn varint(rest: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = take_bytes(rest, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

fn take_bytes<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(length);
    *rest = left;
    taken
}
