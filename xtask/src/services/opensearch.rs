//! One OpenSearch node: the second dialect of the Elasticsearch sink, for `--full`.
//!
//! The node is plain jars and a small launcher that Java compiles on the way; it runs as any user. It has data streams,
//! ingest and scripts; it has no index state management and no security.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;

use super::java::{FLAGS, Java};
use super::state::{CommandLine, Ready, ServiceProcess};
use super::{Layout, Place, ports, provision};

/// Fetches the jars.
pub fn provision() -> Result<()> {
    provision::jars("opensearch").map(|_| ())
}

/// Lays out one node.
pub fn lay_out(place: &Place) -> Result<Layout> {
    for folder in ["config", "data", "logs"] {
        fs::create_dir_all(place.folder.join(folder))?;
    }
    let (http, transport) = (ports::free()?.to_string(), ports::free()?.to_string());
    let launcher = provision::inputs("opensearch").join("TestNode.java").display().to_string();
    let class_path = provision::class_path(&provision::jars("opensearch")?)?;
    let mut arguments: Vec<String> = FLAGS.iter().map(ToString::to_string).collect();
    arguments.extend(["-Xms256m", "-Xmx512m", "-cp", &class_path, &launcher].map(String::from));
    arguments.extend([place.folder.display().to_string(), http.clone(), transport]);
    let process = ServiceProcess {
        name: "opensearch".into(),
        service: "opensearch".into(),
        command: CommandLine {
            program: Java::find()?.program("java"),
            arguments,
            environment: BTreeMap::new(),
            directory: place.folder.clone(),
            user_id: None,
            pid_file: None,
        },
        ready: vec![Ready::HttpHas {
            url: format!("http://127.0.0.1:{http}/_cluster/health?wait_for_status=yellow&timeout=1s"),
            texts: vec!["\"timed_out\":false".into()],
        }],
        log: place.log("opensearch"),
        identity: None,
    };
    Ok(Layout {
        processes: vec![process],
        endpoints: vec![("SAWLOG_TEST_OPENSEARCH", format!("http://127.0.0.1:{http}"))],
    })
}
