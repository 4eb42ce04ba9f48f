//! Readers: the numbers of the rows that a service shows. None of them shares code with the agent.

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn number(row: &str) -> Result<u64> {
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
    let python = std::env::var("SAWLOG_TEST_PYTHON").context("SAWLOG_TEST_PYTHON is not set")?;
    let program = format!(
        "import duckdb\nc = duckdb.connect()\n{prepare}\ntry:\n    r = c.execute(\"select seq, dt from read_json('{glob}', hive_partitioning=true, format='newline_delimited')\").fetchall()\nexcept duckdb.IOException as e:\n    assert 'No files found' in str(e), e\n    r = []\nassert all(x[1] for x in r)\nprint('\\n'.join(str(x[0]) for x in r))"
    );
    let output = Command::new(python).args(["-c", &program]).output()?;
    ensure!(output.status.success(), "duckdb: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    text.lines().filter(|l| !l.is_empty()).map(|l| Ok(l.parse()?)).collect()
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
    let (mut rows, mut ended) = (Vec::new(), 0);
    let deadline = Instant::now() + Duration::from_secs(30);
    while ended < partitions && Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => rows.push(number(&String::from_utf8_lossy(message.payload().unwrap_or_default()))?),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
    }
    Ok(rows)
}

/// Documents of an index pattern, page by page in the order of their numbers.
pub fn elasticsearch(url: &str, index: &str) -> Result<Vec<u64>> {
    let refreshed = minreq::post(format!("{url}/{index}/_refresh?ignore_unavailable=true")).with_timeout(20).send()?;
    ensure!(refreshed.status_code < 300, "refresh: {}", refreshed.as_str()?);
    let (mut rows, mut after) = (Vec::new(), -1i64);
    loop {
        let body = format!(
            r#"{{"size":5000,"sort":[{{"seq":"asc"}},{{"_index":"asc"}}],"query":{{"range":{{"seq":{{"gt":{after}}}}}}}}}"#
        );
        let request = minreq::post(format!("{url}/{index}/_search?ignore_unavailable=true"));
        let answer = request.with_header("Content-Type", "application/json").with_body(body).with_timeout(30).send()?;
        let answer: serde_json::Value = serde_json::from_str(answer.as_str()?)?;
        let Some(hits) = answer["hits"]["hits"].as_array().filter(|hits| !hits.is_empty()) else { return Ok(rows) };
        for hit in hits {
            let seq = hit["_source"]["seq"].as_u64().with_context(|| format!("no seq in {hit}"))?;
            rows.push(seq);
            after = after.max(i64::try_from(seq)?);
        }
    }
}

/// Rows of JSON lines below a folder of HDFS, through WebHDFS; `url` ends with `/webhdfs/v1`.
pub fn webhdfs(url: &str, path: &str) -> Result<Vec<u64>> {
    let listed = minreq::get(format!("{url}{path}?op=LISTSTATUS")).with_timeout(20).send()?;
    if listed.status_code == 404 {
        return Ok(Vec::new());
    }
    let listed: serde_json::Value = serde_json::from_str(listed.as_str()?)?;
    let mut rows = Vec::new();
    for entry in listed["FileStatuses"]["FileStatus"].as_array().into_iter().flatten() {
        let name = entry["pathSuffix"].as_str().unwrap_or_default();
        if name.starts_with('_') {
            continue;
        }
        let below = format!("{path}/{name}");
        if entry["type"] == "DIRECTORY" {
            rows.extend(webhdfs(url, &below)?);
            continue;
        }
        let encoded = below.replace('=', "%3D");
        let opened = minreq::get(format!("{url}{encoded}?op=OPEN")).with_timeout(30).send()?;
        rows.extend(opened.as_str()?.lines().map(number).collect::<Result<Vec<_>>>()?);
    }
    Ok(rows)
}
