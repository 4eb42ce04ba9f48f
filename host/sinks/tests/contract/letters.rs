//! What a dead-letter file says of a row that a sink refused.

use crate::rows::{NEW_YEAR, encoders, offer};
use sawlog_core::SinkId;
use sawlog_core::ports::AppendFile;
use sawlog_core::sink::Letter;
use sawlog_record::id::record_id;
use sawlog_settings::format::ObjectFormat;
use sawlog_sinks::file::{AppendOptions, AppendTarget, AppendedFile};
use std::time::Duration;
use tempfile::TempDir;

#[tokio::test]
async fn a_letter_names_who_refused_what_and_why() {
    let at = TempDir::new().unwrap();
    let path = at.path().join("dead.jsonl");
    let file = AppendedFile::new(AppendOptions {
        target: AppendTarget::Plain(path.clone()),
        agent: "node-1".into(),
        sink: "dead".into(),
        extension: "jsonl".into(),
        new_encoder: encoders(ObjectFormat::JsonLines),
        roll_bytes: 1 << 20,
        roll_age: Duration::from_secs(300),
        total_bytes_max: None,
        place: "here".into(),
    });
    file.recover(None).await.unwrap();
    let offer = offer(40, &[("fine", NEW_YEAR), ("a \"bad\" one", NEW_YEAR)]);
    let letter =
        Letter { feeder: SinkId::new("es"), offer: offer.clone(), row: 1, reason: "400 mapper_parsing\n".into() };
    file.append(std::slice::from_ref(&offer), &[letter]).await.unwrap();

    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "two rows of a lane and one letter: {text}");
    let id = record_id("app", offer.generation, offer.output.batch.rows[1].id, b"a \"bad\" one");
    let expected = serde_json::json!({
        "time": "2026-01-01T00:00:00.000000000Z", "sink": "es", "reason": "400 mapper_parsing\n", "record_id": id, "source": "app",
        "generation": offer.generation.to_string(), "position": 41, "event_time": "2026-01-01T00:00:00.000000000Z", "received": "2026-01-01T00:00:00.000000000Z", "record": "a \"bad\" one", "row": {"body": "a \"bad\" one"},
    });
    let mut letter = lines[2].clone();
    for member in ["time", "event_time", "received"] {
        let time = letter[member].as_str().unwrap().to_owned();
        assert!(time.starts_with("2026-01-01T00:00:00"), "{time}");
        letter[member] = expected[member].clone();
    }
    assert_eq!(letter, expected);
}
