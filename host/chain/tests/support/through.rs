//! A plugin between JSON records and sinks.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use sawlog_chain::Plugin;
use sawlog_chain::apply::Columns;
use sawlog_chain::pipeline::{From, Node, Parts, Pipeline, PipelineChain, Stage, Tap};
use sawlog_core::{SinkId, SourceId};
use sawlog_record::batch::{Input, InputRecord, Span};
use sawlog_record::decode::{DecodeSpec, Decoder, Format, Source, TimestampSpec};
use sawlog_record::id::Generation;

const SOURCE: From = From { node: None, output: 0 };

/// Number of the plugin among the components.
pub const COMPONENT: u8 = 1;

/// JSON records, through the plugin, to a sink.
pub fn chain(plugin: &Plugin) -> Arc<PipelineChain> {
    between(plugin, None, &["out"])
}

/// JSON records whose event time is the field `at`, seconds, through the plugin to a sink for each of its outputs.
pub fn chain_to(plugin: &Plugin, sinks: &[&str]) -> Arc<PipelineChain> {
    between(plugin, Some(TimestampSpec { field: "at".into(), format: "unix".into() }), sinks)
}

fn between(plugin: &Plugin, timestamp: Option<TimestampSpec>, sinks: &[&str]) -> Arc<PipelineChain> {
    let decoder = Decoder::new(&DecodeSpec { attempts: vec![Format::Json], timestamp, ..DecodeSpec::default() });
    let stage = Stage::Plugin { plugin: plugin.clone(), columns: Arc::new(Columns::of(plugin)), drops_rejected: false };
    let tap =
        |(output, sink): (u8, &&str)| Tap { sink: SinkId::new(sink), inputs: vec![From { node: Some(0), output }] };
    Pipeline::chain(Parts {
        source: SourceId::new("app"),
        decoder: Arc::new(decoder.unwrap()),
        fields: Arc::new(|_| Source::default()),
        entrances: None,
        nodes: vec![Node {
            component: COMPONENT,
            name: "plugin".into(),
            place: "it.0".into(),
            inputs: vec![SOURCE],
            stage,
        }],
        taps: (0..).zip(sinks).map(tap).collect(),
        dead_letter: SinkId::new("dead"),
    })
}

/// These lines as input whose positions begin at `from`.
pub fn input(from: u64, lines: &[String]) -> Input {
    let (mut arena, mut records) = (Vec::new(), Vec::new());
    for (pos, line) in (from..).zip(lines) {
        let text = Span { start: arena.len() as u32, len: line.len() as u32 };
        arena.extend_from_slice(line.as_bytes());
        records.push(InputRecord { pos, end: pos + 1, text, received: 1, flags: 0 });
    }
    Input { generation: Generation([1; 16]), arena, records, open: Vec::new() }
}

/// What a future that never waits for others comes to.
pub fn finished<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}
