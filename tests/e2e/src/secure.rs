//! The Elasticsearch node behind TLS and a password, as a reader that shares no code with the agent sees it.

use crate::shown::Shown;
use crate::{search, service};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::io::Write as _;
use std::process::{Command, Stdio};

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

    /// The indexes whose names begin with `name-`.
    pub fn index<'a>(&'a self, name: &str) -> SecureIndex<'a> {
        SecureIndex { server: self, name: format!("{name}-*") }
    }

    fn ask(&self, method: &str, path: &str, body: String) -> Result<Value> {
        let program = format!(
            "import json, ssl, sys, base64, urllib.request\n\
             context = ssl.create_default_context(cafile='{ca}')\n\
             request = urllib.request.Request('{url}/{path}', data=sys.stdin.buffer.read(), method='{method}')\n\
             request.add_header('Content-Type', 'application/json')\n\
             request.add_header('Authorization', 'Basic ' + base64.b64encode(b'elastic:{password}').decode())\n\
             print(urllib.request.urlopen(request, context=context).read().decode())",
            ca = self.ca,
            url = self.url,
            password = self.password
        );
        let mut python = Command::new("python3");
        let piped = python.args(["-c", &program]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn()?;
        // It reads all before it answers anything.
        child.stdin.take().context("its input is piped")?.write_all(body.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// Its documents, as `search` reads them.
pub struct SecureIndex<'a> {
    server: &'a Secure,
    name: String,
}

impl Shown for SecureIndex<'_> {
    fn rows(&self) -> Result<Vec<u64>> {
        search::rows(&|method, path, body| self.server.ask(method, path, body), &self.name)
    }

    fn spoiled(&self, removed: u64, repeated: u64) -> Result<Vec<u64>> {
        search::spoiled(&|method, path, body| self.server.ask(method, path, body), &self.name, removed, repeated)
    }
}
