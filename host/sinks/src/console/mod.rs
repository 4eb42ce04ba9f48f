//! The `console` sink: rows printed for a person. What was printed can't be asked for again, so a commit that failed half way is
//! printed whole once more. It knows no other sink.

pub mod config;

use crate::format::{Provenance, RowWriter, Shared};
use crate::object::Owner;
use async_trait::async_trait;
use config::{ConsoleFormat, ConsoleSink, Stream};
use sawlog_core::ports::{AppendFile, Offer, SinkError, SinkPort};
use sawlog_core::sink::Letter;
use sawlog_record::batch::Output;
use sawlog_record::path::Path;
use sawlog_settings::component::SinkCommon;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Where rows are printed.
pub type Printer = Box<dyn Write + Send>;

/// Prints rows as lines.
pub struct Console {
    printer: Arc<Mutex<Printer>>,
    /// `None` prints the `body`.
    writer: Option<RowWriter>,
    agent: String,
}

/// The sink that `options` describe.
pub fn open(options: &ConsoleSink, common: &SinkCommon, owner: &Owner) -> SinkPort {
    let printer: Printer = match options.stream {
        Stream::Stdout => Box::new(io::stdout()),
        Stream::Stderr => Box::new(io::stderr()),
    };
    let provenance = common.provenance.unwrap_or_default();
    let writer = RowWriter { provenance, time_member: None };
    let writer = (options.format == ConsoleFormat::Json).then_some(writer);
    SinkPort::Append(Arc::new(Console::new(printer, writer, owner.agent.clone())))
}

impl Console {
    /// Prints rows as `writer` writes them, or their `body` where there is none.
    pub fn new(printer: Printer, writer: Option<RowWriter>, agent: String) -> Self {
        Self { printer: Arc::new(Mutex::new(printer)), writer, agent }
    }

    fn print(&self, output: &Output, source: &str, out: &mut Vec<u8>) {
        let shared = Shared::of(&output.batch, &Provenance { agent: &self.agent, source });
        let body = Path::of(vec!["body".to_owned()]);
        for row in output.iter() {
            match &self.writer {
                Some(writer) => writer.write(&output.batch, row, &shared, out),
                None => {
                    let text = body.find(&output.batch, row).map(|value| value.shown().into_owned());
                    escape(&String::from_utf8_lossy(&text.unwrap_or_default()), out);
                }
            }
            out.push(b'\n');
        }
    }
}

/// Control characters must not reach a terminal as they are: a log line could steer it.
fn escape(text: &str, out: &mut Vec<u8>) {
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            out.extend(c.escape_default().map(|c| c as u8));
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

#[async_trait]
impl AppendFile for Console {
    async fn place(&self) -> Result<String, SinkError> {
        Ok("the console".to_owned())
    }

    async fn recover(&self, _: Option<(u64, u64)>) -> Result<(u64, u64), SinkError> {
        Ok((0, 0))
    }

    async fn append(&self, offers: &[Offer], letters: &[Letter]) -> Result<(u64, u64), SinkError> {
        let mut lines = Vec::new();
        for offer in offers {
            self.print(&offer.output, offer.source.as_str(), &mut lines);
        }
        for letter in letters {
            let output = Output { batch: letter.offer.output.batch.clone(), rows: vec![letter.row] };
            self.print(&output, letter.offer.source.as_str(), &mut lines);
        }
        let printer = self.printer.clone();
        let printed = tokio::task::spawn_blocking(move || {
            let mut printer = printer.lock().unwrap_or_else(PoisonError::into_inner);
            printer.write_all(&lines).and_then(|()| printer.flush())
        });
        let printed = printed.await.map_err(io::Error::other).and_then(|printed| printed);
        printed.map_err(|e| SinkError::Unavailable(format!("can't print: {e}; is somebody reading the stream?")))?;
        Ok((0, 0))
    }

    fn due(&self) -> bool {
        false
    }

    async fn roll(&self) -> Result<(u64, u64), SinkError> {
        Ok((0, 0))
    }
}
