//! What a plugin costs beside the same logic natively, in one run: the best of many calls over 1,000 records, in nanoseconds
//! per record. Build with `CARGO_PROFILE_DEV_OPT_LEVEL=3` or in release mode, else the native side is not what it seems.
#![allow(clippy::unwrap_used)]

use sawlog_chain::apply::{BatchOrigin, Columns, apply};
use sawlog_chain::{Allow, BatchView, Engine, EngineLimits, Leniency, Plugin, PluginConfig, Runner, trial};
use sawlog_record::batch::Batch;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

#[allow(dead_code)]
#[path = "../../../plugins/redact/src/scan.rs"]
mod scan;

const COMPONENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/target/components");
const ROWS: usize = 1_000;
const CALLS: usize = 400;

/// Best time of one run of `work` over `ROWS` records, nanoseconds per record.
fn best(mut work: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_nanos() as f64 / ROWS as f64
    };
    (0..CALLS).map(time).fold(f64::INFINITY, f64::min)
}

/// About 400 bytes a record; three in ten are warnings or worse, one in eight holds an address.
fn records() -> Batch {
    let levels = ["info", "debug", "info", "warn", "info", "debug", "error", "info", "debug", "warn"];
    let line = |i: usize| {
        let who = if i.is_multiple_of(8) { "ann@example.com" } else { "somebody" };
        let path = "/srv/shop/cart/items?ref=mail&campaign=autumn&page=".repeat(4);
        format!(
            r#"{{"level":"{}","body":"{i} GET {path}{i} by {who} took {}ms","service":"checkout","region":"eu-1","status":{}}}"#,
            levels[i % 10],
            i % 977,
            200 + i % 3
        )
    };
    trial::read(&(0..ROWS).map(line).collect::<Vec<_>>().join("\n")).unwrap()
}

fn load(engine: &Engine, name: &str, config_json: &str, allow: Allow) -> Plugin {
    let path = Path::new(COMPONENTS).join(format!("{name}.wasm"));
    let bytes = std::fs::read(path).expect("cargo run -p sawlog-componentize");
    engine.load(name, &bytes, PluginConfig { config_json: config_json.into(), allow, ..Default::default() }).unwrap()
}

fn measure(name: &str, plugin: Plugin, batch: &Batch, native: f64) {
    let columns = Columns::of(&plugin);
    let origin = BatchOrigin { input: "in", source: "s", time: 0, watermark: plugin.stateful().then_some(0) };
    let view = Arc::new(columns.view(batch, origin).unwrap());
    let extract = best(|| drop(black_box(columns.view(batch, origin))));
    let mut instance = plugin.instance().unwrap();
    let call = best(|| drop(black_box(instance.process(&view).unwrap())));
    let mut runner = Runner::new(plugin, Leniency::Usual);
    let outcome = runner.process_isolating(Arc::clone(&view), &[]).unwrap();
    let copy = best(|| drop(black_box(batch.clone())));
    let applied = best(|| drop(black_box(apply(batch.clone(), &outcome, 1)))) - copy;
    println!("{name:<16} native {native:>7.1}  call {call:>7.1}  columns {extract:>6.1}  apply {applied:>6.1}");
}

fn column(view: &BatchView) -> impl Iterator<Item = &[u8]> {
    let column = &view.columns()[0];
    column.offsets.windows(2).map(|w| &column.data[w[0] as usize..w[1] as usize])
}

fn view(plugin: &Plugin, batch: &Batch) -> BatchView {
    let origin = BatchOrigin { input: "in", source: "s", time: 0, watermark: None };
    Columns::of(plugin).view(batch, origin).unwrap()
}

fn main() {
    let engine = Engine::new(EngineLimits { instances_max: 16, ..Default::default() }, None).unwrap();
    let batch = records();
    println!("ns per record, best of {CALLS} calls of {ROWS} records, {} bytes a record", batch.arena.len() / ROWS);

    let filter = load(&engine, "level-filter", r#"{"at_least":"warn"}"#, Allow::default());
    let levels = view(&filter, &batch);
    let native = best(|| {
        let mut keep = vec![0u64; ROWS.div_ceil(64)];
        for (row, level) in column(&levels).enumerate() {
            let kept = level.eq_ignore_ascii_case(b"warn") || level.eq_ignore_ascii_case(b"error");
            keep[row / 64] |= u64::from(kept) << (row % 64);
        }
        black_box(keep);
    });
    measure("level-filter", filter, &batch, native);

    let redact = load(&engine, "redact", "{}", Allow::default());
    let bodies = view(&redact, &batch);
    let words = scan::Words { email: Some("[email]".into()), card: Some("[card]".into()) };
    let native = best(|| {
        let mut changed = Vec::new();
        for body in column(&bodies) {
            if let Some(first) = words.find(body, 0) {
                words.replace(body, first, &mut changed);
            }
        }
        black_box(changed);
    });
    measure("redact", redact, &batch, native);

    let kernels = Allow { kernels: true, ..Allow::default() };
    let rules = r#"{"rules":[{"pattern":"[\\w.%+-]+@[\\w.-]+\\.[a-zA-Z]{2,}","with":"[email]"}]}"#;
    let pattern = load(&engine, "redact-pattern", rules, kernels);
    let regex = regex::bytes::Regex::new(r"[\w.%+-]+@[\w.-]+\.[a-zA-Z]{2,}").unwrap();
    let native = best(|| {
        for body in column(&bodies) {
            black_box(regex.replace_all(body, &b"[email]"[..]));
        }
    });
    measure("redact-pattern", pattern, &batch, native);

    let state = Allow { state: true, timers: true, ..Allow::default() };
    let window = load(&engine, "count-window", r#"{"key":"level","window_seconds":10}"#, state);
    measure("count-window", window, &batch, f64::NAN);

    // The same plugin in every language of an SDK; those that were not built are left out.
    let config = r#"{"at_least":"warn","fields":["body"],"add":{"name":"cluster","text":"eu-1"}}"#;
    for language in ["rust", "c", "cpp", "go", "javascript", "python"] {
        let name = format!("tidy/{language}");
        if Path::new(COMPONENTS).join(format!("{name}.wasm")).exists() {
            measure(&name, load(&engine, &name, config, Allow::default()), &batch, f64::NAN);
        }
    }
}
