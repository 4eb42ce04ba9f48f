//! The Elasticsearch node behind TLS and a password, as a reader that shares no code with the agent sees it.

use crate::service;
use anyhow::{Result, ensure};
use std::process::Command;

/// Where it is, and how it is entered.
pub struct Secure {
    /// Its address.
    pub url: String,
    /// The file of the authority that signs for it.
    pub ca: String,
    /// Of the user `elastic`.
    pub password: String,
}

impl Secure {
    /// The node that the test command names; `None` prints that `test` is not run.
    pub fn find(test: &str) -> Option<Self> {
        let get = |name: &str| service(test, name);
        Some(Self {
            url: get("SAWLOG_TEST_ELASTICSEARCH_TLS")?,
            ca: get("SAWLOG_TEST_ELASTICSEARCH_TLS_CA")?,
            password: get("SAWLOG_TEST_ELASTICSEARCH_TLS_PASSWORD")?,
        })
    }

    /// Numbers of the documents; nothing while the index is not there.
    pub fn rows(&self, index: &str) -> Result<Vec<u64>> {
        let program = format!(
            "import json, ssl, base64, urllib.request, urllib.error\n\
             context = ssl.create_default_context(cafile='{ca}')\n\
             def ask(path, body):\n    \
             request = urllib.request.Request('{url}/' + path, data=body.encode(), method='POST')\n    \
             request.add_header('Content-Type', 'application/json')\n    \
             request.add_header('Authorization', 'Basic ' + base64.b64encode(b'elastic:{password}').decode())\n    \
             return json.load(urllib.request.urlopen(request, context=context))\n\
             ask('{index}-*/_refresh?ignore_unavailable=true', '')\n\
             after = [-1, '']\n\
             while after:\n    \
             query = {{'size': 5000, 'sort': [{{'seq': 'asc'}}, {{'_index': 'asc'}}], 'search_after': after}}\n    \
             hits = ask('{index}-*/_search?ignore_unavailable=true', json.dumps(query))['hits']['hits']\n    \
             after = hits[-1]['sort'] if hits else None\n    \
             for hit in hits: print(hit['_source']['seq'])",
            ca = self.ca,
            url = self.url,
            password = self.password
        );
        let output = Command::new("python3").args(["-c", &program]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout)?;
        text.lines().filter(|line| !line.is_empty()).map(|line| Ok(line.parse()?)).collect()
    }
}
