//! The points of metrics: how each value is read off a sample. Knows no names of metrics.

use std::sync::Arc;

use sawlog_queue::Queue;
use sawlog_sources::http::HttpIntake;

use super::metric::Point;
use super::sample::{CanarySample, Sample, SinkSample, SourceSample};
use crate::run::figures::Figures;

pub(super) fn point<const N: usize>(value: f64, labels: [(&'static str, &str); N]) -> Point {
    Point { value, labels: labels.into_iter().map(|(key, text)| (key, text.to_owned())).collect() }
}

pub(super) fn one(value: f64) -> Vec<Point> {
    vec![point(value, [])]
}

pub(super) fn sources(sample: &Sample, value: impl Fn(&SourceSample) -> Option<f64>) -> Vec<Point> {
    sample.sources.iter().filter_map(|one| Some(point(value(one)?, [("source", &one.name)]))).collect()
}

pub(super) fn sinks(sample: &Sample, value: impl Fn(&SinkSample) -> f64) -> Vec<Point> {
    sample.sinks.iter().map(|one| point(value(one), [("sink", &one.name)])).collect()
}

pub(super) fn plugins(sample: &Sample, value: impl Fn(&sawlog_chain::PluginFigures) -> f64) -> Vec<Point> {
    sample.plugins.iter().map(|(name, _, figures)| point(value(figures), [("plugin", name)])).collect()
}

pub(super) fn ledger(sample: &Sample, value: impl Fn(&crate::control::loss::Line) -> f64) -> Vec<Point> {
    let lines = sample.ledger.lines.iter();
    lines.map(|line| point(value(line), [("sink", &line.sink), ("source", &line.source)])).collect()
}

pub(super) fn source_point(source: &SourceSample, value: f64) -> Point {
    point(value, [("component_id", &source.name), ("component_type", source.r#type), ("component_kind", "source")])
}

pub(super) fn sink_point(sink: &SinkSample, value: f64) -> Point {
    point(value, [("component_id", &sink.name), ("component_type", sink.r#type), ("component_kind", "sink")])
}

pub(super) fn received_records(sample: &Sample) -> Vec<Point> {
    let taken = |sink: &SinkSample| sink.flows.values().map(|flow| flow.records).sum::<u64>() as f64;
    let of_sources = sample.sources.iter().map(|source| source_point(source, source.received.0 as f64));
    of_sources.chain(sample.sinks.iter().map(|sink| sink_point(sink, taken(sink)))).collect()
}

pub(super) fn received_bytes(sample: &Sample) -> Vec<Point> {
    let taken = |sink: &SinkSample| sink.flows.values().map(|flow| flow.bytes).sum::<u64>() as f64;
    let of_sources = sample.sources.iter().map(|source| source_point(source, source.received.1 as f64));
    of_sources.chain(sample.sinks.iter().map(|sink| sink_point(sink, taken(sink)))).collect()
}

pub(super) fn sent_records(sample: &Sample) -> Vec<Point> {
    let rows = |sink: &SinkSample| {
        sample.ledger.lines.iter().filter(|line| line.sink == sink.name).map(|line| line.rows).sum::<u64>() as f64
    };
    sample.sinks.iter().map(|sink| sink_point(sink, rows(sink))).collect()
}

pub(super) fn with(mut point: Point, key: &'static str, value: &str) -> Point {
    point.labels.push((key, value.to_owned()));
    point
}

pub(super) fn errors(sample: &Sample) -> Vec<Point> {
    let of_sinks = sample.sinks.iter().flat_map(|sink| {
        sink.status.failures.iter().map(|(kind, n)| with(sink_point(sink, *n as f64), "error_type", kind))
    });
    let of_plugins = sample.plugins.iter().flat_map(|(name, _, figures)| {
        let labels = [("component_id", name.as_str()), ("component_type", "wasm"), ("component_kind", "plugin")];
        figures.failures.iter().map(move |(reason, n)| with(point(*n as f64, labels), "error_type", reason))
    });
    let of_sources = sample.sources.iter().flat_map(|source| match &source.figures {
        Some(Figures::Http(http, _)) => {
            let refused = http.upgrade().map(|http| http.counts().refused).unwrap_or_default().into_iter();
            refused.map(|(status, n)| with(source_point(source, n as f64), "error_type", &status.to_string())).collect()
        }
        _ => Vec::new(),
    });
    of_sinks.chain(of_plugins).chain(of_sources).collect()
}

pub(super) fn ledger_records(sample: &Sample) -> Vec<Point> {
    let mut points = Vec::new();
    for line in &sample.ledger.lines {
        let of = |outcome, reason: &str, n: u64| {
            point(n as f64, [("sink", &line.sink), ("source", &line.source), ("outcome", outcome), ("reason", reason)])
        };
        points.push(of("delivered", "", line.delivered));
        points.push(of("absorbed", "", line.absorbed));
        points.push(of("dead_lettered", "", line.dead_lettered));
        points.extend(line.dropped.iter().map(|(reason, n)| of("dropped", reason, *n)));
        points.extend(line.lost.iter().map(|(reason, n)| of("lost", reason, *n)));
    }
    points
}

pub(super) fn lost_bytes(sample: &Sample) -> Vec<Point> {
    let of_line = |line: &crate::control::loss::Line| {
        let labels = |reason| [("sink", line.sink.as_str()), ("source", line.source.as_str()), ("reason", reason)];
        line.lost_bytes.iter().map(|(reason, n)| point(*n as f64, labels(reason.as_str()))).collect::<Vec<_>>()
    };
    sample.ledger.lines.iter().flat_map(of_line).collect()
}

pub(super) fn file(source: &SourceSample) -> Option<sawlog_sources::file::source::Status> {
    match &source.figures {
        Some(Figures::File(file)) => Some(file.upgrade()?.status()),
        _ => None,
    }
}

pub(super) fn files(sample: &Sample) -> Vec<Point> {
    let of_source = |source: &SourceSample| {
        let Some(status) = file(source) else { return Vec::new() };
        let states = [("known", status.files), ("open", status.open_files), ("refused", status.refused.len())];
        states.map(|(state, n)| point(n as f64, [("source", &source.name), ("state", state)])).to_vec()
    };
    sample.sources.iter().flat_map(of_source).collect()
}

pub(super) fn kafka_lag(sample: &Sample) -> Vec<Point> {
    sources(sample, |source| match &source.figures {
        Some(figures @ Figures::Kafka(_)) => {
            Some(figures.kafka_lag().iter().map(|lag| lag.unfetched).sum::<u64>() as f64)
        }
        _ => None,
    })
}

pub(super) fn http_requests(sample: &Sample) -> Vec<Point> {
    let of_source = |source: &SourceSample| match &source.figures {
        Some(Figures::Http(http, _)) => {
            let Some(counts) = http.upgrade().map(|http| http.counts()) else { return Vec::new() };
            let outcomes = [("taken", counts.requests), ("repeated", counts.repeated)];
            outcomes.map(|(outcome, n)| point(n as f64, [("source", &source.name), ("outcome", outcome)])).to_vec()
        }
        _ => Vec::new(),
    };
    sample.sources.iter().flat_map(of_source).collect()
}

pub(super) fn queue(source: &SourceSample) -> Option<Arc<Queue>> {
    match &source.figures {
        Some(Figures::Http(_, queue)) => queue.upgrade(),
        _ => None,
    }
}

pub(super) fn http(source: &SourceSample) -> Option<Arc<HttpIntake>> {
    match &source.figures {
        Some(Figures::Http(http, _)) => http.upgrade(),
        _ => None,
    }
}

pub(super) fn lanes(sample: &Sample) -> Vec<Point> {
    let of_source = |source: &SourceSample| {
        let states = [("frontier", source.lanes.at_frontier), ("behind", source.lanes.behind)];
        states.map(|(state, n)| point(n as f64, [("source", &source.name), ("state", state)]))
    };
    sample.sources.iter().flat_map(of_source).collect()
}

pub(super) fn memory(sample: &Sample) -> Vec<Point> {
    let sinks: usize = sample.sinks.iter().map(|sink| sink.memory_bytes).sum();
    let held = sample.memory;
    let parts = [
        ("process", sample.resident_bytes),
        ("lanes", held.lanes),
        ("sinks", sinks as u64),
        ("requests", held.requests),
    ];
    parts.into_iter().map(|(name, bytes)| point(bytes as f64, [("subsystem", name)])).collect()
}

pub(super) fn backpressure(sample: &Sample) -> Vec<Point> {
    let of_source = |source: &SourceSample| {
        let waited = source.waited.iter();
        let waited = waited.map(|(sink, time)| point(*time, [("component_id", &source.name), ("cause", sink)]));
        let held_up = source.held_up.iter();
        let held_up = held_up.map(|(by, time)| point(*time, [("component_id", source.name.as_str()), ("cause", by)]));
        waited.chain(held_up).collect::<Vec<_>>()
    };
    let of_sink = |sink: &SinkSample| {
        let letters = sink.dead_letter.as_ref().filter(|_| !sink.status.waited_for_letters.is_zero())?;
        let waited = sink.status.waited_for_letters.as_secs_f64();
        Some(point(waited, [("component_id", &sink.name), ("cause", letters)]))
    };
    sample.sources.iter().flat_map(of_source).chain(sample.sinks.iter().filter_map(of_sink)).collect()
}

pub(super) fn retries(sample: &Sample) -> Vec<Point> {
    let of_sink = |sink: &SinkSample| {
        let failures = sink.status.failures.iter();
        failures.map(|(kind, n)| point(*n as f64, [("sink", &sink.name), ("status", kind)])).collect::<Vec<_>>()
    };
    sample.sinks.iter().flat_map(of_sink).collect()
}

pub(super) fn hidden(sample: &Sample) -> Vec<Point> {
    let age = |sink: &SinkSample| sink.status.hidden.as_ref().map_or(0.0, |hidden| hidden.age.as_secs_f64());
    let kafka = sample.sinks.iter().filter(|sink| sink.r#type == "kafka");
    kafka.map(|sink| point(age(sink), [("sink", &sink.name)])).collect()
}

pub(super) fn plugin_traps(sample: &Sample) -> Vec<Point> {
    let of_plugin = |(name, _, figures): &(String, String, sawlog_chain::PluginFigures)| {
        let failures = figures.failures.iter();
        failures.map(|(reason, n)| point(*n as f64, [("plugin", name), ("reason", reason)])).collect::<Vec<_>>()
    };
    sample.plugins.iter().flat_map(of_plugin).collect()
}

pub(super) fn plugin_processes(
    sample: &Sample,
    value: impl Fn(&sawlog_chain::apart::ProcessFigures) -> u64,
) -> Vec<Point> {
    let apart = sample.plugins.iter().filter_map(|(name, _, figures)| Some((name, figures.processes.as_ref()?)));
    apart.map(|(name, processes)| point(value(processes) as f64, [("plugin", name)])).collect()
}

fn of_shadows<const N: usize>(
    sample: &Sample,
    outcomes: impl Fn(&sawlog_chain::ShadowFigures) -> [(&'static str, u64); N],
) -> Vec<Point> {
    let shadows = sample.plugins.iter().filter_map(|(name, _, figures)| Some((name, figures.shadow.as_ref()?)));
    let points = shadows.flat_map(|(name, shadow)| {
        outcomes(shadow).map(|(outcome, n)| point(n as f64, [("plugin", name), ("outcome", outcome)]))
    });
    points.collect()
}

pub(super) fn shadow_batches(sample: &Sample) -> Vec<Point> {
    of_shadows(sample, |shadow| {
        let passed = shadow.batches.saturating_sub(shadow.failing_batches);
        [("passed", passed), ("failing", shadow.failing_batches), ("skipped", shadow.skipped_batches)]
    })
}

pub(super) fn shadow_records(sample: &Sample) -> Vec<Point> {
    of_shadows(sample, |shadow| {
        let same = shadow.records.saturating_sub(shadow.differing + shadow.failing);
        [("same", same), ("differing", shadow.differing), ("failing", shadow.failing)]
    })
}

pub(super) fn shadow_ended(sample: &Sample) -> Vec<Point> {
    let ended =
        |figures: &sawlog_chain::PluginFigures| Some(f64::from(u8::from(figures.shadow.as_ref()?.ended.is_some())));
    let shadows = sample.plugins.iter().filter_map(|(name, _, figures)| Some((name, ended(figures)?)));
    shadows.map(|(name, ended)| point(ended, [("plugin", name)])).collect()
}

pub(super) fn canary_records(sample: &Sample) -> Vec<Point> {
    let points = sample.canaries.iter().flat_map(|(name, CanarySample { figures, .. })| {
        let passed = figures.candidate.saturating_sub(figures.failing);
        let outcomes = [("own", figures.own), ("passed", passed), ("failing", figures.failing)];
        outcomes.map(|(outcome, n)| point(n as f64, [("plugin", name), ("outcome", outcome)]))
    });
    points.collect()
}

pub(super) fn canaries(sample: &Sample, value: impl Fn(&CanarySample) -> f64) -> Vec<Point> {
    sample.canaries.iter().map(|(name, one)| point(value(one), [("plugin", name)])).collect()
}

pub(super) fn plugin_metrics(
    sample: &Sample,
    own: impl Fn(&sawlog_chain::PluginFigures) -> Vec<(&str, f64)>,
) -> Vec<Point> {
    let of_plugin = |(plugin, _, figures): &(String, String, sawlog_chain::PluginFigures)| {
        let own = own(figures).into_iter();
        own.map(|(metric, value)| point(value, [("plugin", plugin.as_str()), ("metric", metric)])).collect::<Vec<_>>()
    };
    sample.plugins.iter().flat_map(of_plugin).collect()
}

pub(super) fn plugin_info(sample: &Sample) -> Vec<Point> {
    sample.plugins.iter().map(|(name, digest, _)| point(1.0, [("plugin", name), ("digest", digest)])).collect()
}

pub(super) fn reloads(sample: &Sample) -> Vec<Point> {
    let (taken, refused, _) = sample.reloads;
    vec![point(taken as f64, [("result", "taken")]), point(refused as f64, [("result", "refused")])]
}
