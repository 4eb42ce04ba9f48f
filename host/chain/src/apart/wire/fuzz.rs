//! Answers that no process of good will sends: each is one, or none, whatever its lengths say.

use super::{Ready, Wire, read};
use crate::host::{LogLevel, Said, Word};
use crate::instance::{Answer, CallFailure, CreateError, Made, Reply};
use crate::view::Column;
use crate::wit::sawlog::plugin::types::{Added, Edit, Edits, Emitted, Failure, LogRecord, Registration, Update, Value};

fn record() -> LogRecord {
    let fields = [Value::Null, Value::Boolean(true), Value::Integer(-1), Value::Number(0.5), Value::Bytes(vec![255])];
    let fields = fields.into_iter().chain([Value::Text("é".into()), Value::Json("{}".into())]);
    LogRecord { timestamp: 1, fields: fields.map(|value| ("name".into(), value)).collect() }
}

fn edits() -> Edits {
    let values = Column { offsets: vec![0, 3], data: b"abc".to_vec(), present: vec![1], json: vec![] };
    Edits {
        keep: vec![3],
        edits: vec![
            Edit::SetAll(("a".into(), "b".into())),
            Edit::Rename(("a".into(), "b".into())),
            Edit::Remove("a".into()),
            Edit::Update(Update { field: "a".into(), rows: vec![1], values }),
            Edit::Timestamps((vec![0], vec![i64::MIN])),
        ],
        routes: vec![0, 1],
        added: vec![Added { parent: 1, inherit: true, route: 0, row: record() }],
        dropped: vec![(0, 1)],
        absorbed: vec![2],
        dead: vec![(1, "so".into())],
        wake_at: Some(7),
    }
}

fn said() -> Said {
    let words =
        vec![Word::Log(LogLevel::Warn, "line".into()), Word::Count("c".into(), 1), Word::Gauge("g".into(), 0.5)];
    Said::told(words, 3)
}

fn registration() -> Registration {
    Registration {
        name: "fuzz".into(),
        version: "1".into(),
        columns: vec!["a".into(), "b".into()],
        timestamps: true,
        routes: vec!["one".into()],
        drop_reasons: vec!["why".into()],
        state_version: 2,
        lateness: 5,
    }
}

fn answers() -> Vec<Vec<u8>> {
    let emitted = vec![Emitted { route: 1, row: record() }];
    let replies = [
        Ok(Reply::Edits(Ok(edits()))),
        Ok(Reply::Edits(Err(Failure::Rejected("so".into())))),
        Ok(Reply::Emitted(Ok(emitted))),
        Ok(Reply::Snapshot(vec![1; 40])),
        Ok(Reply::Taken(Err("no".into()))),
        Err(CallFailure::Trap("so".into())),
        Err(CallFailure::Fuel),
    ];
    let answer = |reply| Answer { reply, fuel_used: 9, memory_bytes: 65_536, said: said() };
    replies.into_iter().map(|reply| written(&answer(reply))).collect()
}

fn written(value: &impl Wire) -> Vec<u8> {
    let mut message = Vec::new();
    value.put(&mut message);
    message
}

#[test]
fn an_answer_is_read_as_it_was_written() {
    for message in answers() {
        assert_eq!(read::<Answer>(&message).map(|answer| written(&answer)).as_ref(), Ok(&message));
    }
    let made = Ok::<_, CreateError>(Made { registration: registration(), memory_bytes: 1, said: said() });
    let message = written(&made);
    assert_eq!(read::<Result<Made, CreateError>>(&message).map(|made| written(&made)), Ok(message));
}

#[test]
fn fuzz_process_answers() {
    let answers = answers();
    let mut examples: Vec<&[u8]> = answers.iter().map(Vec::as_slice).collect();
    let made = written(&Ok::<_, CreateError>(Made { registration: registration(), memory_bytes: 1, said: said() }));
    let ready = written(&Ok::<_, String>(Ready { without_namespaces: Some("so".into()) }));
    examples.extend([made.as_slice(), ready.as_slice()]);
    let mut read_some = 0;
    let drawn = sawlog_fuzz::hammer("process_answers", &examples, |message| {
        read_some += u32::from(read::<Answer>(message).is_ok());
        read_some += u32::from(read::<Result<Made, CreateError>>(message).is_ok());
        read_some += u32::from(read::<Result<Ready, String>>(message).is_ok());
    });
    assert!(!drawn || read_some > 20, "only {read_some} of the changed answers were answers");
}
