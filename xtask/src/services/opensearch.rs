//! One OpenSearch node: the second dialect of the Elasticsearch sink, for `--full`.

use anyhow::{Result, bail};

use super::{Layout, Place};

/// Fetches the jars.
pub fn provision() -> Result<()> {
    bail!("not built yet")
}

/// Lays out one node.
pub fn lay_out(_: &Place) -> Result<Layout> {
    bail!("not built yet")
}
