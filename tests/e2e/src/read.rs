//! Readers: the numbers of the rows that a service shows. None of them shares code with the agent.

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The number of a row of JSON.
pub fn number(row: &str) -> Result<u64> {
    let row: serde_json::Value = serde_json::from_str(row).with_context(|| format!("no JSON: {row}"))?;
    // What came from a message carries the message's key and header.
    if let Some(key) = row.get("messaging.kafka.message.key") {
        let seq = &row["seq"];
        ensure!(*key == format!("key-{seq}"), "the key of another message: {row}");
        ensure!(row["messaging.kafka.message.header.trace"] == format!("trace-{seq}"), "another header: {row}");
    }
    row.get("seq").and_then(serde_json::Value::as_u64).with_context(|| format!("no seq in {row}"))
}

/// Rows of JSON lines below a folder, without the agent's own files. A file may become another name while the folder is read,
/// and its last line may be half written: the next look finds the rest.
pub fn folder(path: &Path) -> Result<Vec<u64>> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if name.starts_with('_') || name.ends_with(".part") || !path.exists() {
        return Ok(Vec::new());
    }
    if path.is_dir() {
        let mut rows = Vec::new();
        for entry in std::fs::read_dir(path)? {
            rows.extend(folder(&entry?.path())?);
        }
        return Ok(rows);
    }
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        text => whole_lines(&text?).map(number).collect(),
    }
}

fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    text[..text.rfind('\n').map_or(0, |at| at + 1)].lines()
}

/// Rows that DuckDB finds in a table of files; `prepare` are statements before the query.
pub fn duckdb(prepare: &str, glob: &str) -> Result<Vec<u64>> {
    let program = format!(
        "import duckdb\nc = duckdb.connect()\n{prepare}\ntry:\n    r = c.execute(\"select seq, dt from read_json('{glob}', hive_partitioning=true, format='newline_delimited')\").fetchall()\nexcept duckdb.IOException as e:\n    assert 'No files found' in str(e), e\n    r = []\nassert all(x[1] for x in r)\nprint('\\n'.join(str(x[0]) for x in r))"
    );
    python(&program)?.lines().filter(|l| !l.is_empty()).map(|l| Ok(l.parse()?)).collect()
}

/// What a program prints that the Python with DuckDB runs.
pub fn python(program: &str) -> Result<String> {
    let python = std::env::var("SAWLOG_TEST_PYTHON").context("SAWLOG_TEST_PYTHON is not set")?;
    let output = Command::new(python).args(["-c", program]).output()?;
    ensure!(output.status.success(), "python: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Makes topics, as an operator would: (name, partitions, compacted).
pub fn make_topics(brokers: &str, topics: &[(&str, i32, bool)]) -> Result<()> {
    let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let new: Vec<NewTopic<'_>> = topics
        .iter()
        .map(|(name, partitions, compacted)| {
            let topic = NewTopic::new(name, *partitions, TopicReplication::Fixed(1));
            if *compacted { topic.set("cleanup.policy", "compact") } else { topic }
        })
        .collect();
    for made in runtime.block_on(admin.create_topics(&new, &AdminOptions::new()))? {
        if let Err((name, error)) = made {
            ensure!(error == rdkafka::types::RDKafkaErrorCode::TopicAlreadyExists, "{name}: {error}");
        }
    }
    Ok(())
}

/// Committed rows of a Kafka topic, up to its end.
pub fn kafka(brokers: &str, topic: &str) -> Result<Vec<u64>> {
    messages(brokers, topic)?.iter().map(|(_, text)| number(text)).collect()
}

/// Committed messages of a Kafka topic with their partitions, up to its end.
pub fn messages(brokers: &str, topic: &str) -> Result<Vec<(i32, String)>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", format!("reader-{}", std::process::id()))
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(20))?;
    let partitions = metadata.topics().first().map_or(0, |t| t.partitions().len());
    let mut list = rdkafka::TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, i32::try_from(partition)?, rdkafka::Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let (mut read, mut ended) = (Vec::new(), 0);
    let deadline = Instant::now() + Duration::from_secs(30);
    while ended < partitions {
        ensure!(Instant::now() < deadline, "{topic}: {ended} of {partitions} partitions read to their end in 30 s");
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                let text = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
                read.push((message.partition(), text));
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
    }
    Ok(read)
}

/// Sends messages to partitions of a topic, and waits until the broker has them.
pub fn send(brokers: &str, topic: &str, messages: &[(i32, String)]) -> Result<()> {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", brokers).set("enable.idempotence", "true");
    let producer: ThreadedProducer<DefaultProducerContext> = settings.create()?;
    for (partition, text) in messages {
        let record = BaseRecord::<(), str>::to(topic).partition(*partition).payload(text);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    Ok(producer.flush(Duration::from_secs(60))?)
}

/// A file of HDFS.
pub struct HdfsFile {
    /// Its absolute path.
    pub path: String,
    /// Whose it is.
    pub owner: String,
}

/// Rows of JSON lines below a folder of HDFS, through WebHDFS; `url` ends with `/webhdfs/v1`.
pub fn webhdfs(url: &str, path: &str) -> Result<Vec<u64>> {
    let mut rows = Vec::new();
    for file in files_of_hdfs(url, path)? {
        rows.extend(lines_of_hdfs(url, &file.path)?.iter().map(|line| number(line)).collect::<Result<Vec<_>>>()?);
    }
    Ok(rows)
}

/// The files with rows below a folder of HDFS.
pub fn files_of_hdfs(url: &str, path: &str) -> Result<Vec<HdfsFile>> {
    let listed = minreq::get(format!("{url}{}?op=LISTSTATUS", encoded(path))).with_timeout(20).send()?;
    if listed.status_code == 404 {
        return Ok(Vec::new());
    }
    let listed: serde_json::Value = serde_json::from_str(listed.as_str()?)?;
    let mut files = Vec::new();
    let entries = listed["FileStatuses"]["FileStatus"].as_array().with_context(|| format!("no list: {listed}"))?;
    for entry in entries {
        let name = entry["pathSuffix"].as_str().unwrap_or_default();
        if name.starts_with('_') {
            continue;
        }
        let below = format!("{path}/{name}");
        match entry["type"] == "DIRECTORY" {
            true => files.extend(files_of_hdfs(url, &below)?),
            false => files.push(HdfsFile { path: below, owner: entry["owner"].as_str().unwrap_or_default().into() }),
        }
    }
    Ok(files)
}

/// The lines of a file of HDFS.
pub fn lines_of_hdfs(url: &str, path: &str) -> Result<Vec<String>> {
    let opened = minreq::get(format!("{url}{}?op=OPEN", encoded(path))).with_timeout(30).send()?;
    ensure!(opened.status_code == 200, "{path}: {} {}", opened.status_code, opened.as_str()?);
    Ok(opened.as_str()?.lines().map(str::to_owned).collect())
}

/// Writes a file of HDFS.
pub fn put_to_hdfs(url: &str, path: &str, owner: &str, text: String) -> Result<()> {
    let create = format!("{url}{}?op=CREATE&noredirect=true&user.name={owner}", encoded(path));
    let told = minreq::put(create).with_timeout(20).send()?;
    let told: serde_json::Value = serde_json::from_str(told.as_str()?)?;
    let location = told["Location"].as_str().with_context(|| format!("{path}: {told}"))?;
    let request = minreq::put(location).with_header("Content-Type", "application/octet-stream");
    let created = request.with_body(text).with_timeout(30).send()?;
    // A datanode says 100 first, and the client takes that for the answer, with the real one behind it.
    let (status, rest) = (created.status_code, created.as_str()?);
    ensure!(status == 201 || status == 100 && rest.starts_with("HTTP/1.1 201"), "{path}: {status} {rest}");
    Ok(())
}

fn encoded(path: &str) -> String {
    path.replace('=', "%3D")
}
