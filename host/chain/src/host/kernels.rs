//! `kernels`: native work over a whole column of the batch in process. Fuel is charged before the work, by bytes, and what
//! results is bounded by what was charged. Knows columns; knows nothing of records.

mod json;

use super::{Guest, Refusal, charge};
use crate::view::{BatchView, Column, bit, bit_or_all, set_bit, value};
use crate::wit::sawlog::plugin::types::Update;
use regex::bytes::{Regex, RegexBuilder};
use std::sync::Arc;
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

/// Patterns of one instance.
const PATTERNS_MAX: usize = 64;
/// Longest pattern, bytes.
const PATTERN_BYTES_MAX: usize = 4_096;
/// Size of one compiled pattern, bytes.
const PATTERN_SIZE_MAX: usize = 1 << 20;
/// Names in one `json` call.
const NAMES_MAX: usize = 255;
/// Fuel for a byte that a pattern looks at: a unit is about one instruction.
const FUEL_PER_PATTERN_BYTE: u64 = 4;
/// Fuel for a byte of JSON that is parsed.
const FUEL_PER_JSON_BYTE: u64 = 4;
/// Fuel for a byte that is hashed.
const FUEL_PER_HASH_BYTE: u64 = 4;
/// Fuel for a value, however short.
const FUEL_PER_VALUE: u64 = 64;
/// Fuel for a byte of a pattern that is compiled: it may become a large automaton.
const FUEL_PER_PATTERN_SOURCE_BYTE: u64 = 20_000;
/// What a replace may grow a column to: this many times its bytes, and a row's slack.
const REPLACE_FACTOR: usize = 4;

/// Compiled patterns of an instance, by their number.
#[derive(Debug, Default)]
pub struct Patterns(Vec<Arc<Regex>>);

fn trap<T>(text: impl std::fmt::Display) -> wasmtime::Result<T> {
    Err(wasmtime::Error::msg(text.to_string()))
}

pub(super) fn define(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut kernels = linker.instance("sawlog:plugin/kernels@0.1.0")?;
    kernels.func_wrap("pattern", |store, (regex,): (String,)| Ok((pattern(store, &regex)?,)))?;
    kernels.func_wrap("matches", |store, (pattern, column)| Ok((matches(store, pattern, column)?,)))?;
    kernels.func_wrap("replace", |store, (rules, column)| Ok((replace(store, rules, column)?,)))?;
    kernels.func_wrap("json", |store, (column, names)| Ok((members(store, column, names)?,)))?;
    kernels.func_wrap("hash", |store, (column, key): (u32, Vec<u8>)| Ok((hash(store, column, &key)?,)))
}

fn pattern(mut store: StoreContextMut<'_, Guest>, regex: &str) -> wasmtime::Result<Result<u32, String>> {
    charge(&mut store, FUEL_PER_PATTERN_SOURCE_BYTE * regex.len() as u64)?;
    let guest = store.data_mut();
    if !guest.configuring {
        return trap("patterns are compiled during configure only");
    }
    if guest.kernels.0.len() >= PATTERNS_MAX || regex.len() > PATTERN_BYTES_MAX {
        return Ok(Err(format!("at most {PATTERNS_MAX} patterns of {PATTERN_BYTES_MAX} bytes each")));
    }
    match RegexBuilder::new(regex).size_limit(PATTERN_SIZE_MAX).dfa_size_limit(PATTERN_SIZE_MAX).build() {
        Ok(compiled) => {
            guest.kernels.0.push(Arc::new(compiled));
            Ok(Ok(guest.kernels.0.len() as u32 - 1))
        }
        Err(e) => Ok(Err(e.to_string())),
    }
}

/// The batch in process, whose column `column` exists.
fn batch(store: &StoreContextMut<'_, Guest>, column: u32) -> wasmtime::Result<Arc<BatchView>> {
    let Some(batch) = &store.data().batch else { return trap("kernels work during process only") };
    match batch.columns().get(column as usize) {
        Some(_) => Ok(Arc::clone(batch)),
        None => trap(format!("column {column} was never registered, there are {}", batch.columns().len())),
    }
}

/// Shared, not cloned: a clone would begin with cold caches.
fn regex_of(store: &StoreContextMut<'_, Guest>, pattern: u32) -> wasmtime::Result<Arc<Regex>> {
    match store.data().kernels.0.get(pattern as usize) {
        Some(regex) => Ok(Arc::clone(regex)),
        None => trap(format!("pattern {pattern} was never compiled")),
    }
}

/// Fuel for one pass over `column`.
fn price(column: &Column, per_byte: u64) -> u64 {
    per_byte * column.data.len() as u64 + FUEL_PER_VALUE * column.offsets.len() as u64
}

fn matches(mut store: StoreContextMut<'_, Guest>, pattern: u32, column: u32) -> wasmtime::Result<Vec<u64>> {
    let batch = batch(&store, column)?;
    let regex = regex_of(&store, pattern)?;
    let column = &batch.columns()[column as usize];
    charge(&mut store, price(column, FUEL_PER_PATTERN_BYTE))?;
    let n = batch.count() as usize;
    let mut mask = vec![0; n.div_ceil(64)];
    for row in (0..n).filter(|row| bit_or_all(&column.present, *row)) {
        set_bit(&mut mask, row, regex.is_match(value(column, row)));
    }
    Ok(mask)
}

fn replace(
    mut store: StoreContextMut<'_, Guest>,
    rules: Vec<(u32, String)>,
    column: u32,
) -> wasmtime::Result<Option<Update>> {
    let batch = batch(&store, column)?;
    let index = column;
    let column = &batch.columns()[index as usize];
    charge(&mut store, price(column, FUEL_PER_PATTERN_BYTE).saturating_mul(rules.len().max(1) as u64))?;
    let rules: Vec<(Arc<Regex>, String)> =
        rules.into_iter().map(|(p, text)| Ok((regex_of(&store, p)?, text))).collect::<wasmtime::Result<_>>()?;
    let mut values = Column { offsets: vec![0], data: Vec::new(), present: Vec::new(), json: Vec::new() };
    let mut rows = Vec::new();
    for row in 0..batch.count() as usize {
        if !bit_or_all(&column.present, row) || bit(&column.json, row) {
            continue;
        }
        let Some(text) = replaced(value(column, row), &rules) else { continue };
        if values.data.len() + text.len() > REPLACE_FACTOR * column.data.len() + (64 << 10) {
            store.data_mut().refusal = Some(Refusal::Fuel);
            return trap("a replacement grows its column more than four times");
        }
        // Text from the host may hold invalid UTF-8, returned text may not: the rest of the value stays readable.
        values.data.extend_from_slice(String::from_utf8_lossy(&text).as_bytes());
        values.offsets.push(values.data.len() as u32);
        rows.push(row as u32);
    }
    let Some(field) = store.data().columns.get(index as usize).cloned() else { return trap("no such column") };
    Ok((!rows.is_empty()).then_some(Update { field, rows, values }))
}

/// `text` after every rule; `None` if none applied.
fn replaced(text: &[u8], rules: &[(Arc<Regex>, String)]) -> Option<Vec<u8>> {
    let mut now: Option<Vec<u8>> = None;
    for (regex, with) in rules {
        let before = now.as_deref().unwrap_or(text);
        if let std::borrow::Cow::Owned(after) = regex.replace_all(before, with.as_bytes()) {
            now = Some(after);
        }
    }
    now.filter(|after| after != text)
}

fn members(mut store: StoreContextMut<'_, Guest>, column: u32, names: Vec<String>) -> wasmtime::Result<Vec<Column>> {
    let batch = batch(&store, column)?;
    if names.len() > NAMES_MAX {
        return trap(format!("at most {NAMES_MAX} names in one call"));
    }
    let column = &batch.columns()[column as usize];
    let by_name = FUEL_PER_VALUE * (names.len() * column.offsets.len()) as u64;
    charge(&mut store, price(column, FUEL_PER_JSON_BYTE).saturating_add(by_name))?;
    Ok(json::members(column, batch.count() as usize, &names))
}

fn hash(mut store: StoreContextMut<'_, Guest>, column: u32, key: &[u8]) -> wasmtime::Result<Column> {
    let batch = batch(&store, column)?;
    let column = &batch.columns()[column as usize];
    charge(&mut store, price(column, FUEL_PER_HASH_BYTE))?;
    // Any length of key becomes the 32 bytes that the hash takes.
    let key = blake3::derive_key("sawlog plugin hash 2026-11", key);
    let mut hashed = Column { offsets: vec![0], data: Vec::new(), present: column.present.clone(), json: Vec::new() };
    for row in 0..batch.count() as usize {
        if bit_or_all(&column.present, row) {
            hashed.data.extend_from_slice(blake3::keyed_hash(&key, value(column, row)).to_hex().as_bytes());
        }
        hashed.offsets.push(hashed.data.len() as u32);
    }
    Ok(hashed)
}
