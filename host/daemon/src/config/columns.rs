//! `columns: ./columns.yaml` in a sink becomes the list that stands in that file. It knows nothing of what a column is.

use std::path::Path;

use sawlog_settings::decode::Complaint;
use sawlog_settings::node::{Node, Value};

use super::files::{self, Files, SourceFile};

/// Reads every such file, in place. Complaints about its content name the file.
pub fn include(tree: &mut Node, files: &mut Files, complaints: &mut Vec<Complaint>) {
    let Value::Map(sections) = &mut tree.value else { return };
    let Some(sinks) = sections.iter_mut().find(|entry| entry.key == "sinks") else { return };
    let Value::Map(sinks) = &mut sinks.value.value else { return };
    for sink in sinks {
        let Value::Map(options) = &mut sink.value.value else { continue };
        let Some(columns) = options.iter_mut().find(|entry| entry.key == "columns") else { continue };
        let Some(path) = columns.value.text().map(|text| files.folder.join(text)) else { continue };
        match read(&path, files) {
            Ok(list) => columns.value = list,
            Err(complaint) => {
                complaints.push(Complaint { place: columns.value.place, ..complaint });
                columns.value.value = Value::List(Vec::new());
            }
        }
    }
}

fn read(path: &Path, files: &mut Files) -> Result<Node, Complaint> {
    // A config that was kept brings its files along: those of the disk may have changed since.
    let kept = files.files.iter().position(|file| file.is_included && file.path == path);
    let number = kept.unwrap_or(files.files.len());
    if kept.is_none() {
        let file = files::read_one(path.to_owned()).map_err(|error| {
            Complaint::error(Default::default(), error.to_string().split("; ").next().unwrap_or_default())
                .mend("create the file, or write the list in its place")
        })?;
        files.files.push(SourceFile { is_included: true, ..file });
    }
    let node = super::yaml::read(number as u32, &files.files[number].text);
    let node = node.map_err(|complaint| {
        Complaint::error(Default::default(), format!("`{}`: {}", path.display(), complaint.reason))
            .mend("mend that file")
    })?;
    Ok(node)
}
