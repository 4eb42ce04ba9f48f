//! Every outcome of the world of typed records, on request: the member `do` of a record says which. For the tests of the
//! host, and to show what that world looks like without an SDK.

#[cfg(target_arch = "wasm32")]
mod component {
    wit_bindgen::generate!({ path: "../../wit/0.1.0", world: "record-transformer", generate_all });

    use exports::sawlog::plugin::lifecycle::{Guest as Lifecycle, Registration};
    use exports::sawlog::plugin::transform_records::{Failure, Guest, LogRecord, Outcome};
    use sawlog::plugin::types::Value;

    struct Typed;

    impl Lifecycle for Typed {
        fn configure(_: String, _: Vec<(String, Vec<u8>)>) -> Result<Registration, String> {
            Ok(Registration {
                name: "typed".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                columns: Vec::new(),
                timestamps: false,
                routes: vec!["side".into()],
                drop_reasons: vec!["unwanted".into()],
                state_version: 0,
                lateness: 0,
            })
        }
    }

    impl Guest for Typed {
        fn process(_: String, _: i64, records: Vec<LogRecord>) -> Result<Vec<Outcome>, Failure> {
            records.into_iter().map(outcome).collect()
        }
    }

    fn outcome(mut record: LogRecord) -> Result<Outcome, Failure> {
        let word = match record.fields.iter().find(|(name, _)| name == "do") {
            Some((_, Value::Text(word))) => word.clone(),
            _ => String::new(),
        };
        record.fields.retain(|(name, _)| name != "do");
        Ok(match word.as_str() {
            "drop" => Outcome::Drop(1),
            "dead" => Outcome::Dead("as asked".into()),
            "route" => Outcome::Route((1, record)),
            "split" => Outcome::Split(vec![record.clone(), record]),
            "vanish" => Outcome::Split(Vec::new()),
            "later" => Outcome::Keep(LogRecord { timestamp: record.timestamp + 1, ..record }),
            "add" => {
                record.fields.push(("added.by".into(), Value::Integer(7)));
                Outcome::Keep(record)
            }
            "reject" => return Err(Failure::Rejected("as asked".into())),
            _ => Outcome::Keep(record),
        })
    }

    export!(Typed);
}
