//! Misbehaves on request, for the tests of the host: the field `do` of a record says how. Every other record is counted in
//! its state, so that a test can see whether the state survived its neighbours.

use sawlog_plugin::bindings::types::{Column, Edit, Update};
use sawlog_plugin::{
    Batch, Config, Edits, Emitted, Fate, FieldValue, LogRecord, Registration, Row, Stateful, Transform, host,
};

/// The plugin.
pub struct Hostile {
    seen: u64,
    /// Refuses to be restored.
    stubborn: bool,
    /// Holds rows back for ever.
    sleepy: bool,
    /// Says how large the batch is, which no output may depend on.
    batchy: bool,
    /// Forgets in its snapshots what it has seen.
    forgetful: bool,
    /// Traps when it is asked for a snapshot.
    shy: bool,
    /// Gives snapshots of more memory than it may have.
    bloated: bool,
    /// Traps when it is restored.
    fragile: bool,
    hoard: Vec<Vec<u8>>,
    /// Calls of this instance, of which its state says nothing.
    calls: u64,
}

fn record(fields: &[(&str, FieldValue)]) -> LogRecord {
    LogRecord { timestamp: 0, fields: fields.iter().map(|(name, value)| ((*name).into(), value.clone())).collect() }
}

fn column(values: &[&str]) -> Column {
    let mut column = Column { offsets: vec![0], data: Vec::new(), present: Vec::new(), json: Vec::new() };
    for value in values {
        column.data.extend_from_slice(value.as_bytes());
        column.offsets.push(column.data.len() as u32);
    }
    column
}

fn update(row: u32, field: &str, change: impl FnOnce(&mut Column)) -> Edit {
    let mut values = column(&["value"]);
    change(&mut values);
    Edit::Update(Update { field: field.into(), rows: vec![row], values })
}

impl Hostile {
    fn act(&mut self, row: Row<'_>, edits: &mut Edits, garbage: &mut Vec<Edit>) -> Result<(), String> {
        let index = row.index() as u32;
        match row.text(0).unwrap_or_default() {
            "trap" => panic!("as asked"),
            "loop" => loop {
                std::hint::black_box(());
            },
            // As a runtime that collects now what earlier calls left behind.
            "collect" if self.calls > 1 => loop {
                std::hint::black_box(());
            },
            // What it answers depends on how long its instance has lived.
            "tally" => edits.add(row.index(), 0, record(&[("calls", FieldValue::Number(self.calls as f64))])),
            "overflow" => drop(std::hint::black_box(recurse(1))),
            "grow" => loop {
                self.hoard.push(std::hint::black_box(Vec::with_capacity(1 << 20)));
            },
            "chatter" => (0..2_000).for_each(|_| host::count("chatter", 1)),
            "wasi" => {
                // What a runtime may do of itself: clock, environment, random seeds, printing.
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 1);
                println!("printed to nowhere");
                let text =
                    format!("{now:?} {} {:?} {seed}", std::env::vars().count(), std::fs::read("/etc/passwd").is_ok());
                edits.add(row.index(), 0, record(&[("wasi", FieldValue::Text(text))]));
            }
            "reject" => return Err("as asked".into()),
            // Sixteen lines a call are kept, a hundred series; the rest is counted.
            "log-flood" => (0..900).for_each(|line| host::log(host::Level::Error, &format!("line {line}"))),
            "series" => (0..900).for_each(|series| host::count(&format!("series {series}"), 1)),
            "slow" => drop(std::hint::black_box((0..400_000u64).fold(1, |a: u64, b| std::hint::black_box(a ^ b)))),
            "bad-drop" => edits.decide(row.index(), Fate::Drop(9)),
            "bad-fate" => edits.decide(row.index(), Fate::Route(9)),
            "bad-times" => edits.set_times(vec![u32::MAX], vec![0]),
            "few-times" => edits.set_times(vec![index], Vec::new()),
            "rename-own" => edits.rename("do", "$rid"),
            "remove-own" => edits.remove("$rid"),
            "set-own" => edits.set_all("$source", "mine"),
            "long-reason" => edits.decide(row.index(), Fate::Dead("x".repeat(1 << 20))),
            "bad-json-number" => {
                edits.add(row.index(), 0, record(&[("n", FieldValue::Json("1e".into()))]));
            }
            "bad-parent" => edits.add(u32::MAX as usize, 0, record(&[])),
            "bad-route" => edits.add(row.index(), 9, record(&[])),
            "nan" => edits.add(row.index(), 0, record(&[("n", FieldValue::Number(f64::NAN))])),
            "huge" => edits.add(row.index(), 0, record(&[("x", FieldValue::Text("x".repeat(2 << 20)))])),
            "swell" => (0..100).for_each(|_| {
                edits.add(row.index(), 0, record(&[("x", FieldValue::Text("x".repeat(1_000)))]));
            }),
            word if garble(word, index, garbage) => {}
            _ => self.seen += 1,
        }
        Ok(())
    }
}

/// Updates that no host may take.
fn garble(word: &str, index: u32, garbage: &mut Vec<Edit>) -> bool {
    garbage.push(match word {
        "bad-offsets" => update(index, "x", |c| c.offsets = vec![0, 4]),
        "falling-offsets" => update(index, "x", |c| c.offsets = vec![5, 5]),
        "bad-utf8" => update(index, "x", |c| c.data[0] = 0xff),
        "bad-json" => update(index, "x", |c| c.json = vec![1]),
        "bad-record" => update(index, "$record", |c| *c = column(&["[1]"])),
        "read-only" => update(index, "$rid", |_| {}),
        "bad-row" => update(u32::MAX, "x", |_| {}),
        "twice" => update(index, "x", |c| *c = column(&["a", "b"])),
        "stray-rows" => {
            Edit::Update(Update { field: "x".into(), rows: vec![index, index], values: column(&["a", "b"]) })
        }
        "far-offsets" => update(index, "x", |c| c.offsets = vec![0, u32::MAX]),
        "no-offsets" => update(index, "x", |c| c.offsets.clear()),
        "long-mask" => update(index, "x", |c| c.present = vec![1, 1]),
        "line-break" => update(index, "x", |c| (*c, c.json) = (column(&["[1,\n2]"]), vec![1])),
        "deep-json" => update(index, "x", |c| {
            *c = column(&[&("[".repeat(50_000) + &"]".repeat(50_000))]);
            c.json = vec![1];
        }),
        "long-name" => update(index, &"x".repeat(1 << 20), |_| {}),
        "no-name" => update(index, "", |_| {}),
        "bad-path" => update(index, "a..b", |_| {}),
        _ => return false,
    });
    true
}

#[allow(unconditional_recursion)]
fn recurse(n: u64) -> [u64; 64] {
    let mut all = recurse(std::hint::black_box(n + 1));
    all[(n % 64) as usize] = n;
    all
}

impl Transform for Hostile {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let has = |word: &str| config.json.contains(word);
        if has("refuse") {
            return Err("as asked".into());
        }
        if has("explode") {
            panic!("as asked");
        }
        let registration = Registration {
            name: "hostile".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            columns: if has("odd-column") { vec!["$secret".into()] } else { vec!["do".into()] },
            routes: if has("twins") { vec!["a".into(), "a".into()] } else { Vec::new() },
            state_version: 1,
            ..Default::default()
        };
        let plugin = Self {
            seen: 0,
            stubborn: has("stubborn"),
            sleepy: has("sleepy"),
            batchy: has("batchy"),
            forgetful: has("forgetful"),
            shy: has("shy"),
            bloated: has("bloated"),
            fragile: has("fragile"),
            hoard: Vec::new(),
            calls: 0,
        };
        Ok((plugin, registration))
    }

    fn process(&mut self, batch: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        self.calls += 1;
        let mut garbage = Vec::new();
        for row in batch.rows() {
            self.act(row, edits, &mut garbage)?;
        }
        for edit in garbage {
            if let Edit::Update(update) = edit {
                edits.update_raw(update);
            }
        }
        if self.batchy {
            edits.set_all("batch", &batch.len().to_string());
        }
        if self.sleepy {
            edits.wake_at(Some(i64::MAX));
        }
        Ok(())
    }
}

impl Stateful for Hostile {
    fn snapshot(&self) -> Vec<u8> {
        assert!(!self.shy, "as asked");
        if self.bloated {
            return vec![1; 64 << 20];
        }
        let seen = if self.forgetful { 0 } else { self.seen };
        seen.to_le_bytes().to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        assert!(!self.fragile, "as asked");
        if self.stubborn {
            return Err("as asked".into());
        }
        self.seen = u64::from_le_bytes(snapshot.try_into().map_err(|_| "eight bytes".to_owned())?);
        Ok(())
    }

    fn flush(&mut self, now: i64) -> Result<Vec<Emitted>, String> {
        match now {
            1 => panic!("as asked"),
            2 => Err("as asked".into()),
            _ => {
                let row = record(&[("seen", FieldValue::Integer(self.seen as i64))]);
                Ok(vec![Emitted { route: 0, row }])
            }
        }
    }
}

sawlog_plugin::export_stateful!(Hostile);
