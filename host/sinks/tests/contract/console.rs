//! What the console prints.

use crate::rows::{NEW_YEAR, json_lines, offer};
use sawlog_core::SinkId;
use sawlog_core::ports::{AppendFile, SinkError};
use sawlog_core::sink::Letter;
use sawlog_sinks::console::Console;
use sawlog_sinks::format::RowWriter;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn rows_and_letters_are_lines() {
    let paper = Paper::default();
    let console = Console::new(Box::new(paper.clone()), Some(RowWriter::default()), "node-1".into());
    let rows = offer(0, &[("a", NEW_YEAR), ("b", NEW_YEAR)]);
    let letter = Letter { feeder: SinkId::new("es"), offer: rows.clone(), row: 1, reason: "no".into() };
    console.append(&[rows], &[letter]).await.unwrap();
    assert_eq!(String::from_utf8(paper.0.lock().unwrap().clone()).unwrap(), json_lines(["a", "b", "b"]));
}

#[tokio::test]
async fn a_line_cannot_steer_the_terminal() {
    let paper = Paper::default();
    let console = Console::new(Box::new(paper.clone()), None, "node-1".into());
    console.append(&[offer(0, &[("a\u{1b}[2J\nä\tb\u{9b}", NEW_YEAR)])], &[]).await.unwrap();
    assert_eq!(String::from_utf8(paper.0.lock().unwrap().clone()).unwrap(), "a\\u{1b}[2J\\nä\tb\\u{9b}\n");
}

#[tokio::test]
async fn a_closed_stream_is_said() {
    let console = Console::new(Box::new(Closed), None, "node-1".into());
    let error = console.append(&[offer(0, &[("a", NEW_YEAR)])], &[]).await.unwrap_err();
    assert!(matches!(&error, SinkError::Unavailable(text) if text.contains("reading the stream")), "{error}");
}
