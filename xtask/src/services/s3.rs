//! S3 in two dialects: versitygw, a gateway over a local folder, and MinIO.
//!
//! Never start the gateway with `--nometa` (conditions would be ignored) nor `--sidecar` (a killed write tears).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::state::{CommandLine, Ready, ServiceProcess};
use super::{Layout, Place, ports, provision};

const BUCKET: &str = "sawlog";
const ACCESS_KEY: &str = "sawlog-test";
const SECRET_KEY: &str = "sawlog-test-secret-0123456789abcdef";

/// Which server.
#[derive(Clone, Copy)]
pub enum Dialect {
    /// The default.
    Versitygw,
    /// The one of many platforms.
    Minio,
}

impl Dialect {
    fn service(self) -> &'static str {
        match self {
            Self::Versitygw => "s3",
            Self::Minio => "minio",
        }
    }

    fn program(self) -> Result<PathBuf> {
        match self {
            Self::Versitygw => provision::go_program("versitygw", "github.com/versity/versitygw/cmd/versitygw"),
            Self::Minio => provision::go_program("minio", "github.com/minio/minio"),
        }
    }

    fn arguments(self, address: &str, data: &Path) -> Vec<String> {
        let data = data.display().to_string();
        match self {
            Self::Versitygw => ["-q", "--keep-alive", "--port", address, "posix", &data].map(String::from).to_vec(),
            Self::Minio => ["server", "--quiet", "--address", address, &data].map(String::from).to_vec(),
        }
    }

    fn environment(self) -> BTreeMap<String, String> {
        let rows: &[(&str, &str)] = match self {
            Self::Versitygw => &[("ROOT_ACCESS_KEY", ACCESS_KEY), ("ROOT_SECRET_KEY", SECRET_KEY)],
            Self::Minio => &[
                ("MINIO_ROOT_USER", ACCESS_KEY),
                ("MINIO_ROOT_PASSWORD", SECRET_KEY),
                ("MINIO_BROWSER", "off"),
                ("MINIO_UPDATE", "off"),
                ("MINIO_CI_CD", "on"),
                ("GOMEMLIMIT", "256MiB"),
            ],
        };
        rows.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn ready(self, address: &str) -> Ready {
        match self {
            Self::Versitygw => Ready::Accepts(address.to_string()),
            Self::Minio => Ready::HttpHas { url: format!("http://{address}/minio/health/ready"), texts: Vec::new() },
        }
    }

    fn endpoints(self, address: &str) -> Vec<(&'static str, String)> {
        let names = match self {
            Self::Versitygw => [
                "SAWLOG_TEST_S3_ENDPOINT",
                "SAWLOG_TEST_S3_ACCESS_KEY",
                "SAWLOG_TEST_S3_SECRET_KEY",
                "SAWLOG_TEST_S3_BUCKET",
                "SAWLOG_TEST_S3_REGION",
            ],
            Self::Minio => [
                "SAWLOG_TEST_MINIO_ENDPOINT",
                "SAWLOG_TEST_MINIO_ACCESS_KEY",
                "SAWLOG_TEST_MINIO_SECRET_KEY",
                "SAWLOG_TEST_MINIO_BUCKET",
                "SAWLOG_TEST_MINIO_REGION",
            ],
        };
        let endpoint = format!("http://{address}");
        let values = [&endpoint, ACCESS_KEY, SECRET_KEY, BUCKET, "us-east-1"].map(String::from);
        names.into_iter().zip(values).collect()
    }
}

/// Builds the server.
pub fn provision(dialect: Dialect) -> Result<()> {
    dialect.program().map(|_| ())
}

/// Lays out the server with one empty bucket, which is a folder in its data.
pub fn lay_out(dialect: Dialect, place: &Place) -> Result<Layout> {
    let data = place.folder.join("data");
    fs::create_dir_all(data.join(BUCKET))?;
    let address = format!("127.0.0.1:{}", ports::free()?);
    let command = CommandLine {
        program: dialect.program()?,
        arguments: dialect.arguments(&address, &data),
        environment: dialect.environment(),
        directory: place.folder.clone(),
        user_id: None,
        pid_file: None,
    };
    let process = ServiceProcess {
        name: dialect.service().into(),
        service: dialect.service().into(),
        command,
        ready: vec![dialect.ready(&address)],
        log: place.log(dialect.service()),
        identity: None,
    };
    Ok(Layout { processes: vec![process], endpoints: dialect.endpoints(&address) })
}
