//! Every metric that is read on demand. `docs/metrics.md` is made from this table by a test. A new metric is a row.

use sawlog_core::sink::Circuit;
use sawlog_settings::component::Layer;

use super::metric::{Kind, Row};
use super::points::{
    backpressure, canaries, canary_records, errors, file, files, hidden, http, http_requests, kafka_lag, lanes, ledger,
    ledger_records, lost_bytes, memory, one, plugin_info, plugin_metrics, plugin_processes, plugin_traps, plugins,
    point, queue, received_bytes, received_records, reloads, retries, sent_records, shadow_batches, shadow_ended,
    shadow_records, sinks, sources,
};
use super::sample::SinkSample;

/// A row of the table.
macro_rules! row {
    ($name:literal, $unit:literal, $kind:ident, $labels:literal, $about:literal, $points:expr) => {
        Row { name: $name, unit: $unit, kind: Kind::$kind, labels: $labels, about: $about, points: $points }
    };
}

/// All metrics but the latency histogram.
pub const ROWS: &[Row] = &[
    row!(
        "sawlog.component.received.records",
        "{record}",
        Counter,
        "component_id, component_type, component_kind",
        "Records that a source has given to delivery for the first time, and input records that a sink has taken.",
        received_records
    ),
    row!(
        "sawlog.component.received",
        "By",
        Counter,
        "component_id, component_type, component_kind",
        "Bytes of input that a source has given to delivery for the first time, and of the batches that a sink has taken.",
        received_bytes
    ),
    row!(
        "sawlog.component.sent.records",
        "{record}",
        Counter,
        "component_id, component_type, component_kind",
        "Rows that are durable in a sink since it began, over restarts; one input record may make several. A partition of a consumer group takes its share along to another agent.",
        sent_records
    ),
    row!(
        "sawlog.component.errors",
        "{error}",
        Counter,
        "component_id, component_type, component_kind, error_type",
        "Failures of a sink's calls by kind (`unavailable`, `refused`, `unknown`, `fenced`), of a plugin's by reason, and requests that an HTTP source refused by status.",
        errors
    ),
    row!(
        "sawlog.ledger.records",
        "{record}",
        Counter,
        "sink, source, outcome, reason",
        "Input records with an outcome (`delivered`, `absorbed`, `dropped`, `dead_lettered`, `lost`), over restarts; `reason` is empty where the outcome says all. A partition of a consumer group takes its share along to another agent.",
        ledger_records
    ),
    row!(
        "sawlog.ledger.in_flight",
        "{record}",
        Gauge,
        "sink, source",
        "Input records that a sink has taken and not committed.",
        |s| ledger(s, |line| line.in_flight as f64)
    ),
    row!(
        "sawlog.ledger.imbalance",
        "{record}",
        Gauge,
        "sink, source",
        "Input records that were taken and committed, less their outcomes. Not 0 is a page.",
        |s| ledger(s, |line| line.imbalance as f64)
    ),
    row!(
        "sawlog.ledger.repeated",
        "{record}",
        Counter,
        "sink, source",
        "Input records with an outcome that came again because an operator said `source seek --accept-duplicates`, over restarts.",
        |s| ledger(s, |line| line.repeated as f64)
    ),
    row!(
        "sawlog.lost",
        "By",
        Counter,
        "sink, source, reason",
        "Bytes that vanished unread, or offsets of a Kafka partition: nobody can count the records in them.",
        lost_bytes
    ),
    row!(
        "sawlog.sink.behind",
        "{position}",
        Gauge,
        "sink, source",
        "Bytes (offsets of a Kafka partition) that are planned and that the sink has not finished.",
        |s| ledger(s, |line| line.behind as f64)
    ),
    row!(
        "sawlog.source.unplanned",
        "{position}",
        Gauge,
        "source",
        "Bytes (offsets of a Kafka partition) that can be read and are not planned yet.",
        |s| sources(s, |source| Some(source.progress.unplanned as f64))
    ),
    row!("sawlog.source.partitions", "{partition}", Gauge, "source", "Partitions of a source that are known.", |s| {
        sources(s, |source| Some(source.progress.partitions as f64))
    }),
    row!(
        "sawlog.source.generations",
        "{generation}",
        Gauge,
        "source",
        "Files, queue shards or Kafka partitions of a source that delivery still knows.",
        |s| sources(s, |source| Some(source.progress.generations as f64))
    ),
    row!(
        "sawlog.lanes",
        "{lane}",
        Gauge,
        "source, state",
        "Lanes by state: `frontier`, where what comes is planned, and `behind`, each of which reads again for sinks that were full or down; a partition without input has none.",
        lanes
    ),
    row!("sawlog.partitions.stopped", "{partition}", Gauge, "", "Partitions that stopped; `/readyz` says why.", |s| {
        one(s.stopped_partitions as f64)
    }),
    row!(
        "sawlog.file.lag",
        "By",
        Gauge,
        "source",
        "Bytes of files that have been found and that some sink may still read.",
        |s| sources(s, |source| file(source).map(|status| status.unread_bytes as f64))
    ),
    row!(
        "sawlog.file.pinned",
        "By",
        Gauge,
        "source",
        "Bytes of deleted files that an open descriptor keeps on the disk until they are delivered.",
        |s| sources(s, |source| file(source).map(|status| status.pinned_bytes as f64))
    ),
    row!(
        "sawlog.files",
        "{file}",
        Gauge,
        "source, state",
        "Files by state: `known`, of these `open`, and `refused`, which match a pattern and can't be read.",
        files
    ),
    row!(
        "sawlog.kafka.lag",
        "{message}",
        Gauge,
        "source",
        "Messages between what was fetched and the end of the partitions that are read here.",
        kafka_lag
    ),
    row!(
        "sawlog.kafka.fetch.latency",
        "s",
        Gauge,
        "source",
        "Seconds that the slowest broker took to answer lately, on average: mostly fetches, for which a broker without messages waits up to 0.1 s.",
        |s| sources(s, |source| Some(source.figures.as_ref()?.kafka_latency()?.as_secs_f64()))
    ),
    row!(
        "sawlog.http.requests",
        "{request}",
        Counter,
        "source, outcome",
        "Requests since the start: `taken` (durable and answered 2xx) and `repeated` (stored before under the same key).",
        http_requests
    ),
    row!(
        "sawlog.queue.disk",
        "By",
        Gauge,
        "source",
        "Bytes that a source's write-ahead queue takes on the disk.",
        |s| sources(s, |source| queue(source).map(|queue| queue.disk_bytes() as f64))
    ),
    row!(
        "sawlog.queue",
        "By",
        Gauge,
        "source",
        "Bytes of pushed requests that some sink may still read.",
        |s| sources(s, |source| queue(source).map(|queue| queue.kept_bytes() as f64))
    ),
    row!(
        "sawlog.queue.age",
        "s",
        Gauge,
        "source",
        "Seconds since the oldest pushed request was taken that some sink has not finished; 0 where there is none.",
        |s| sources(s, |source| http(source).map(|http| http.oldest_age().as_secs_f64()))
    ),
    row!(
        "sawlog.queue.fsyncs",
        "{fsync}",
        Counter,
        "source",
        "Group commits of a write-ahead queue, each with one fsync, over its shards.",
        |s| sources(s, |source| queue(source).map(|queue| queue.commits().groups as f64))
    ),
    row!(
        "sawlog.queue.fsync.duration",
        "s",
        Counter,
        "source",
        "Seconds that group commits of a write-ahead queue took to write and sync; shards add up.",
        |s| sources(s, |source| queue(source).map(|queue| queue.commits().time.as_secs_f64()))
    ),
    row!(
        "sawlog.backpressure",
        "s",
        Counter,
        "component_id, cause",
        "Seconds that lanes of a source have waited, by the sink that was full or by what else held them up (`memory`: their part of `limits.memory` is used up; `journal`: it is short of room, or a sink that is down keeps much of it; `catch_up`: lanes behind the frontier had their part of the workers), and that a sink has waited for the one that takes its dead letters; waits of several partitions add up.",
        backpressure
    ),
    row!(
        "sawlog.sink.backlog",
        "By",
        Gauge,
        "sink",
        "Bytes of batches that a sink has taken and not yet sent or staged.",
        |s| sinks(s, |sink| sink.backlog.1 as f64)
    ),
    row!(
        "sawlog.sink.backlog.batches",
        "{batch}",
        Gauge,
        "sink",
        "Batches that a sink has taken and not yet sent or staged.",
        |s| sinks(s, |sink| sink.backlog.0 as f64)
    ),
    row!(
        "sawlog.sink.retries",
        "{attempt}",
        Counter,
        "sink, status",
        "Failed attempts of a sink by kind; each is tried again.",
        retries
    ),
    row!(
        "sawlog.sink.circuit_state",
        "",
        Gauge,
        "sink",
        "0 closed: it takes what it is sent, or has not failed `retry.open_circuit_after` times in a row; 1 half open: it has, and one try is under way; 2 open: it has, and the pause before the next try runs.",
        |s| sinks(s, |sink| match sink.circuit {
            Circuit::Closed => 0.0,
            Circuit::HalfOpen => 1.0,
            Circuit::Open => 2.0,
        })
    ),
    row!(
        "sawlog.sink.info",
        "",
        Gauge,
        "sink, type, layer",
        "1 for each sink; `layer` is what its options say, or nothing.",
        |s| {
            let of = |one: &SinkSample| {
                let layer = one.layer.map_or("", Layer::word);
                point(1.0, [("sink", one.name.as_str()), ("type", one.r#type), ("layer", layer)])
            };
            s.sinks.iter().map(of).collect()
        }
    ),
    row!(
        "sawlog.sink.stopped",
        "",
        Gauge,
        "sink",
        "1 where a sink stopped for good and a person is needed; `/readyz` says why.",
        |s| sinks(s, |sink| f64::from(u8::from(sink.stopped)))
    ),
    row!(
        "sawlog.sink.hidden",
        "s",
        Gauge,
        "sink",
        "For how many seconds a `kafka` sink's oldest rows have been committed that readers of committed messages don't see, where that is longer than twice `transaction_timeout` and 10 s more; else 0. An open transaction, whoever's it is, hides what lies behind it; `/readyz` says where.",
        hidden
    ),
    row!(
        "sawlog.plugin.calls",
        "{call}",
        Counter,
        "plugin",
        "Calls of a plugin with a batch since it was loaded.",
        |s| plugins(s, |figures| figures.calls as f64)
    ),
    row!("sawlog.plugin.call.duration", "s", Counter, "plugin", "Seconds that calls of a plugin took.", |s| plugins(
        s,
        |figures| figures.time.as_secs_f64()
    )),
    row!(
        "sawlog.plugin.calls.long",
        "{call}",
        Counter,
        "plugin",
        "Calls of a plugin of any kind that took 250 ms or longer by the clock: their partition waited, and where it was a batch, whatever shares its worker. The log warns of them.",
        |s| plugins(s, |figures| figures.long_calls as f64)
    ),
    row!("sawlog.plugin.fuel", "{fuel}", Counter, "plugin", "Fuel that calls of a plugin used.", |s| plugins(
        s,
        |figures| figures.fuel as f64
    )),
    row!(
        "sawlog.plugin.traps",
        "{call}",
        Counter,
        "plugin, reason",
        "Failed calls of a plugin: `memory`, `fuel`, `trap`, `bad_output`, `rejected`, `process` (the one that it runs in ended). Its batch is cut until the poisonous records are alone.",
        plugin_traps
    ),
    row!(
        "sawlog.plugin.processes",
        "{process}",
        Gauge,
        "plugin",
        "Processes that a plugin with `isolation: process` runs in.",
        |s| plugin_processes(s, |processes| processes.running)
    ),
    row!(
        "sawlog.plugin.process.restarts",
        "{process}",
        Counter,
        "plugin",
        "Processes of a plugin with `isolation: process` that ended before their time: another took the place of each. The log says how they ended.",
        |s| plugin_processes(s, |processes| processes.ended)
    ),
    row!(
        "sawlog.plugin.rechecks",
        "",
        Counter,
        "plugin",
        "Batches of a plugin that were run again on a fresh instance with the same state, one of a thousand: is it deterministic?",
        |s| plugins(s, |figures| figures.rechecked as f64)
    ),
    row!(
        "sawlog.plugin.disagreements",
        "",
        Counter,
        "plugin",
        "Of these, those that gave something else: a repeat of its rows may differ from what was delivered. `sawlog plugin test` shows where.",
        |s| plugins(s, |figures| figures.disagreed as f64)
    ),
    row!(
        "sawlog.plugin.shadow.batches",
        "",
        Counter,
        "plugin, outcome",
        "Batches that the component beside a plugin's ran to be compared: `passed`, `failing` (a call failed), `skipped` (no time, or no saved state to begin at).",
        shadow_batches
    ),
    row!(
        "sawlog.plugin.shadow.records",
        "{record}",
        Counter,
        "plugin, outcome",
        "Records of those batches: `same`, `differing`, `failing` (the component beside failed where the plugin's did not).",
        shadow_records
    ),
    row!(
        "sawlog.plugin.shadow.ended",
        "",
        Gauge,
        "plugin",
        "1 where the component beside a plugin's has ended by what it showed, 0 where it goes on.",
        shadow_ended
    ),
    row!(
        "sawlog.plugin.canary.records",
        "{record}",
        Counter,
        "plugin, outcome",
        "Records of a plugin of which another component takes a share: `own`, the plugin's own component ran them; `passed`, the other one did; `failing`, the other one failed on them (then the own one ran them, or where the plugin keeps state they are dead letters). All other metrics of the other one have `@canary` behind the plugin's name.",
        canary_records
    ),
    row!(
        "sawlog.plugin.canary.share",
        "",
        Gauge,
        "plugin",
        "Which part of a plugin's records another component takes, from 0 to 1; 0 once it was returned from.",
        |s| canaries(s, |one| one.share)
    ),
    row!(
        "sawlog.plugin.canary.returned",
        "",
        Gauge,
        "plugin",
        "1 where a component that took a share of a plugin's records was returned from because it failed too often, until another takes one; 0 where one takes a share.",
        |s| canaries(s, |one| f64::from(u8::from(one.is_returned)))
    ),
    row!(
        "sawlog.plugin.memory",
        "By",
        Gauge,
        "plugin",
        "The largest memory that an instance of a plugin has held.",
        |s| plugins(s, |figures| figures.memory_bytes_max as f64)
    ),
    row!(
        "sawlog.plugin.count",
        "",
        Counter,
        "plugin, metric",
        "Counters of a plugin's own since it was loaded, at most 100 metrics with its gauges.",
        |s| plugin_metrics(s, |figures| figures
            .counters
            .iter()
            .map(|(name, sum)| (name.as_str(), *sum as f64))
            .collect())
    ),
    row!(
        "sawlog.plugin.gauge",
        "",
        Gauge,
        "plugin, metric",
        "Gauges of a plugin's own: the last value that an instance gave.",
        |s| plugin_metrics(s, |figures| figures.gauges.iter().map(|(name, value)| (name.as_str(), *value)).collect())
    ),
    row!(
        "sawlog.plugin.suppressed",
        "",
        Counter,
        "plugin",
        "Log lines and metrics of a plugin's own that were beyond the limits.",
        |s| plugins(s, |figures| figures.suppressed as f64)
    ),
    row!("sawlog.plugin.info", "", Gauge, "plugin, digest", "1 for each plugin that runs.", plugin_info),
    row!(
        "sawlog.checkpoint.age",
        "s",
        Gauge,
        "",
        "Seconds since the newest checkpoint was durable, or was found to hold everything.",
        |s| s.checkpoints.1.map(one).unwrap_or_default()
    ),
    row!("sawlog.checkpoint.duration", "s", Gauge, "", "Seconds that the newest checkpoint took.", |s| one(s
        .checkpoints
        .0
        .took
        .as_secs_f64())),
    row!(
        "sawlog.checkpoint.kept",
        "{checkpoint}",
        Counter,
        "",
        "Checkpoints written since the start; while nothing happens none is.",
        |s| one(s.checkpoints.0.kept as f64)
    ),
    row!("sawlog.checkpoint.failures", "{checkpoint}", Counter, "", "Checkpoints that failed since the start.", |s| {
        one(s.checkpoints.0.failures as f64)
    }),
    row!("sawlog.journal.disk", "By", Gauge, "", "Bytes that the journal's log takes on the disk.", |s| one(s
        .journal_bytes
        as f64)),
    row!(
        "sawlog.journal.fsyncs",
        "{fsync}",
        Counter,
        "",
        "Group commits of the journal on the disk, each with one fsync.",
        |s| one(s.journal_commits.groups as f64)
    ),
    row!(
        "sawlog.journal.fsync.duration",
        "s",
        Counter,
        "",
        "Seconds that group commits of the journal on the disk took to write and sync.",
        |s| one(s.journal_commits.time.as_secs_f64())
    ),
    row!("sawlog.config.reload", "{reload}", Counter, "result", "Reloads by result: `taken`, `refused`.", reloads),
    row!(
        "sawlog.config.last_success_timestamp",
        "s",
        Gauge,
        "",
        "When the running configuration was taken, unix time.",
        |s| one(s.reloads.2)
    ),
    row!("sawlog.ready", "", Gauge, "", "1 where `/readyz` answers 200.", |s| one(f64::from(u8::from(s.ready)))),
    row!(
        "sawlog.memory",
        "By",
        Gauge,
        "subsystem",
        "Memory: resident of the whole `process`, and what is held of `limits.memory` by `lanes` (read and not handed over), `sinks` (batches that wait; one that several sinks wait for counts for each) and `requests` (pushed, not yet stored).",
        memory
    ),
    row!("sawlog.memory.limit", "By", Gauge, "", "`limits.memory`.", |s| one(s.memory.limit as f64)),
    row!("sawlog.uptime", "s", Gauge, "", "Seconds since the agent started.", |s| one(s.uptime)),
    row!("sawlog.build_info", "", Gauge, "version", "1, with the version that runs.", |_| vec![point(
        1.0,
        [("version", env!("CARGO_PKG_VERSION"))]
    )]),
];
