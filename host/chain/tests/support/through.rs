//! A plugin between JSON records and a sink.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use sawlog_chain::Plugin;
use sawlog_chain::apply::Columns;
use sawlog_chain::pipeline::{From, Node, Parts, Pipeline, PipelineChain, Stage, Tap};
use sawlog_core::{SinkId, SourceId};
use sawlog_record::decode::{DecodeSpec, Decoder, Format, Source};

const SOURCE: From = From { node: None, output: 0 };

/// JSON records, through the plugin, to a sink.
pub fn chain(plugin: &Plugin) -> Arc<PipelineChain> {
    let decoder = Decoder::new(&DecodeSpec { attempts: vec![Format::Json], ..DecodeSpec::default() }).unwrap();
    let stage = Stage::Plugin { plugin: plugin.clone(), columns: Arc::new(Columns::of(plugin)), drops_rejected: false };
    Pipeline::chain(Parts {
        source: SourceId::new("app"),
        decoder: Arc::new(decoder),
        fields: Arc::new(|_| Source::default()),
        entrances: None,
        nodes: vec![Node { component: 1, name: "plugin".into(), place: "it.0".into(), inputs: vec![SOURCE], stage }],
        taps: vec![Tap { sink: SinkId::new("out"), inputs: vec![From { node: Some(0), output: 0 }] }],
        dead_letter: SinkId::new("dead"),
    })
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
