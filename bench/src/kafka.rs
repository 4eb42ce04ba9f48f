//! Kafka: the agent's transactions beside a plain loop over librdkafka's producer that sends the same bytes, and a reader that
//! takes committed messages only.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures_executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use crate::agent::Agent;
use crate::check::{self, Number};
use crate::data::{self, Form};
use crate::measure;
use crate::probe::{Probes, Seen};
use crate::table::Figures;

/// The variable that names the broker.
const BROKER: &str = "SAWLOG_TEST_KAFKA";
const PARTITIONS: i32 = 3;
/// Longest time for anything.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// The plain loop: every line of `rows` is a message.
pub fn produce(brokers: &str, topic: &str, rows: &Path) -> Result<()> {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", brokers).set("compression.type", "zstd").set("partitioner", "murmur2_random");
    settings.set("linger.ms", "5").set("batch.size", "1000000").set("queue.buffering.max.kbytes", "65536");
    let producer: ThreadedProducer<DefaultProducerContext> = settings.create()?;
    let rows = fs::read(rows)?;
    for row in rows.split(|byte| *byte == b'\n').filter(|row| !row.is_empty()) {
        let mut record: BaseRecord<'_, (), [u8]> = BaseRecord::to(topic).payload(row);
        while let Err((error, unsent)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                bail!("a message was refused: {error}");
            }
            std::thread::sleep(Duration::from_millis(1));
            record = unsent;
        }
    }
    Ok(producer.flush(WAIT_MAX)?)
}

/// A topic that the agent writes to, and a reader that looks for probes in it.
pub struct Watched {
    /// The broker.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// The sink's cursors.
    pub cursors: String,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Probes>>,
}

impl Watched {
    /// Begins, where the environment names a broker.
    pub fn begin() -> Result<Option<Self>> {
        static TOPICS: AtomicU64 = AtomicU64::new(0);
        let Ok(brokers) = std::env::var(BROKER) else { return Ok(None) };
        let name = format!("watched-{}-{}", std::process::id(), TOPICS.fetch_add(1, Ordering::Relaxed));
        let (topic, cursors) = (name.clone(), format!("{name}-cursors"));
        create(&brokers, &[&topic])?;
        let consumer = committed(&brokers, &topic)?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || {
                let mut seen = Seen::default();
                while !stop.load(Ordering::Relaxed) {
                    match consumer.poll(Duration::from_millis(20)) {
                        Some(Ok(message)) => seen.look(message.payload().unwrap_or_default()),
                        Some(Err(KafkaError::PartitionEOF(_))) | None => {}
                        Some(Err(error)) => return Err(error.into()),
                    }
                }
                Ok(seen.probes())
            }
        });
        Ok(Some(Self { brokers, topic, cursors, stop, thread }))
    }

    /// Ends it, and gives the probes that it saw.
    pub fn end(self) -> Result<Probes> {
        self.stop.store(true, Ordering::Relaxed);
        let probes = self.thread.join().expect("a reader does not panic")?;
        remove(&self.brokers, &[&self.topic, &self.cursors])?;
        Ok(probes)
    }
}

/// The row.
pub fn row(agent: &Agent<'_>, folder: &Path, megabytes: u64, runs: usize) -> Result<Figures> {
    let brokers = std::env::var(BROKER)
        .with_context(|| format!("row kafka needs {BROKER}; start it with `cargo xtask services up kafka`"))?;
    let input = folder.join("input.log");
    let (records, bytes) = data::write(Form::Json, &input, megabytes * 1_000_000)?;
    let sources = format!(
        "sources:\n  app: {{ type: file, include: [\"{}\"], read_from: beginning }}\n\
         transforms:\n  parsed: {{ type: parse, inputs: [app], try: [json, text] }}\n",
        input.display()
    );
    // What the plain loop sends: the rows as the agent makes them.
    agent.prepare_with(&sources, "  out: { type: file, inputs: [parsed], path: ./rows.jsonl }\n")?;
    agent.until_eof()?;
    let rows = folder.join("rows.jsonl");
    fs::rename(agent.folder.join("rows.jsonl"), &rows)?;
    let (mut floors, mut agents) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let name = format!("bench-{}-{run}", std::process::id());
        let (plain, ours, cursors) = (format!("{name}-plain"), format!("{name}-ours"), format!("{name}-cursors"));
        create(&brokers, &[&plain, &ours])?;
        let mut floor = Command::new(std::env::current_exe()?);
        floor.args(["produce", &brokers, &plain]).arg(&rows);
        floors.push(measure::run(&mut floor, WAIT_MAX)?);
        agent.prepare_with(
            &sources,
            &format!(
                "  out: {{ type: kafka, inputs: [parsed], brokers: [\"{brokers}\"], topic: {ours}, cursor_topic: {cursors}, \
                 provenance: none, batch: {{ bytes: 16MiB }} }}\n"
            ),
        )?;
        agent.set_up()?;
        agents.push(agent.until_eof()?);
        read(&brokers, &ours, &folder.join("read"), records)?;
        remove(&brokers, &[&plain, &ours, &cursors])?;
    }
    let mut figures =
        Figures::beside("tail → JSON → Kafka, transactions; floor: plain librdkafka loop", bytes, &floors, &agents);
    figures.note = "one broker on this machine, zstd; the reader is read_committed".to_owned();
    Ok(figures)
}

fn admin(brokers: &str) -> Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", brokers).create()?)
}

fn create(brokers: &str, topics: &[&str]) -> Result<()> {
    let admin = admin(brokers)?;
    let topics: Vec<_> = topics.iter().map(|t| NewTopic::new(t, PARTITIONS, TopicReplication::Fixed(1))).collect();
    for result in block_on(admin.create_topics(&topics, &AdminOptions::new()))? {
        result.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
    }
    Ok(())
}

fn remove(brokers: &str, topics: &[&str]) -> Result<()> {
    let admin = admin(brokers)?;
    for result in block_on(admin.delete_topics(topics, &AdminOptions::new()))? {
        result.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
    }
    Ok(())
}

/// A reader of committed messages from the topic's beginning.
fn committed(brokers: &str, topic: &str) -> Result<BaseConsumer> {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", brokers).set("group.id", "bench").set("isolation.level", "read_committed");
    settings.set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = settings.create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    Ok(consumer)
}

/// Reads all committed messages of a topic into a folder, and counts.
fn read(brokers: &str, topic: &str, folder: &PathBuf, records: u64) -> Result<()> {
    let consumer = committed(brokers, topic)?;
    fs::create_dir_all(folder)?;
    let mut out = BufWriter::new(File::create(folder.join("rows"))?);
    let (until, mut ended) = (Instant::now() + WAIT_MAX, 0);
    while ended < PARTITIONS {
        ensure!(Instant::now() < until, "the topic could not be read to its end");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                out.write_all(message.payload().unwrap_or_default())?;
                out.write_all(b"\n")?;
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
    }
    out.flush()?;
    check::exactly_once(folder, records, Number::Seq, |_| true)
}
