//! From the trees of several files to one, and what is said of keys that stand there twice.

use sawlog_settings::decode::Complaint;
use sawlog_settings::node::{Entry, Node, Place, Value};

/// Sections whose entries may be spread over files.
pub const SPREAD: [&str; 5] = ["plugins", "sources", "transforms", "sinks", "remove"];

/// One tree out of all; repeated keys are complained about and the first one stays.
pub fn merge(roots: Vec<Node>, complaints: &mut Vec<Complaint>) -> Node {
    let mut merged: Vec<Entry> = Vec::new();
    let mut place = Place::default();
    for (i, root) in roots.into_iter().enumerate() {
        if i == 0 {
            place = Place { len: 0, ..root.place };
        }
        let at = root.place;
        match root.value {
            Value::Map(entries) => entries.into_iter().for_each(|entry| add(&mut merged, entry, complaints)),
            Value::Null => {}
            _ => complaints.push(Complaint::error(at, "a config is a mapping; begin with `version: 1`")),
        }
    }
    let mut tree = Node { place, value: Value::Map(merged) };
    drop_repeated(&mut tree, complaints);
    tree
}

fn add(merged: &mut Vec<Entry>, entry: Entry, complaints: &mut Vec<Complaint>) {
    let earlier =
        merged.iter_mut().find(|earlier| earlier.key == entry.key && earlier.key_place.file != entry.key_place.file);
    let Some(earlier) = earlier else { return merged.push(entry) };
    match (&mut earlier.value.value, entry.value.value) {
        (Value::Map(into), Value::Map(from)) if SPREAD.contains(&entry.key.as_str()) => into.extend(from),
        (Value::Map(_), Value::Null) if SPREAD.contains(&entry.key.as_str()) => {}
        // `version: 1` may head every file of a folder.
        (Value::Whole(first), Value::Whole(second)) if entry.key == "version" && *first == second => {}
        _ => complaints.push(
            Complaint::error(entry.key_place, format!("the section `{}` stands in two files", entry.key))
                .mend("keep it in one of them")
                .also(earlier.key_place, "first here"),
        ),
    }
}

fn drop_repeated(node: &mut Node, complaints: &mut Vec<Complaint>) {
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| drop_repeated(item, complaints)),
        Value::Map(entries) => {
            let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
            for mut entry in std::mem::take(entries) {
                if let Some(first) = kept.iter().find(|first| first.key == entry.key) {
                    complaints.push(
                        Complaint::error(entry.key_place, format!("`{}` is defined twice", entry.key))
                            .mend("rename one of them, or remove it")
                            .also(first.key_place, "first here"),
                    );
                    continue;
                }
                drop_repeated(&mut entry.value, complaints);
                kept.push(entry);
            }
            *entries = kept;
        }
        _ => {}
    }
}
