//! What the newest epoch of a journal says was put to plugins while the agent ran: a start goes on with it, and verbs show it where no
//! agent runs.

use sawlog_core::journal::Journal;

use super::Manifest;
use crate::run::RunError;
use crate::run::canary::{Canaries, Canary, Candidate};
use crate::run::overrides::{Override, Overrides, Put, Puts, WAY_BACK};

/// The manifest of the present epoch; `None` where there is none, or it can't be read, which is told.
async fn present(journal: &Journal) -> Option<Manifest> {
    let first = *journal.state().epoch()?.blobs.first()?;
    let manifest = match journal.store().get_blob(first).await {
        Ok(Some(manifest)) => serde_json::from_slice(&manifest).map_err(|error| error.to_string()),
        Ok(None) => Err("it is missing".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let told = |reason: &String| {
        tracing::error!(reason, "what was kept of the last configuration can't be read; its overrides are not known");
    };
    manifest.inspect_err(told).ok()
}

/// What stands in the place of configured components under the present epoch, and what takes a share of records.
pub async fn present_overrides(journal: &Journal) -> (Overrides, Canaries) {
    let Some(manifest) = present(journal).await else { return Default::default() };
    let canaries = manifest.canaries.into_iter().map(|(name, (_, known))| (name, known));
    (manifest.overrides, canaries.collect())
}

/// The same with its bytes.
pub async fn present_puts(journal: &Journal) -> Result<Puts, RunError> {
    let mut puts = Puts::default();
    let Some(manifest) = present(journal).await else { return Ok(puts) };
    for (name, known) in manifest.overrides {
        let blob = manifest.plugins.get(&name).copied();
        let put = put_of(journal, (&name, "its override"), blob, known).await?;
        puts.in_place.insert(name, put);
    }
    for (name, (blob, Canary { known, terms })) in manifest.canaries {
        let put = put_of(journal, (&name, "its canary"), Some(blob), known).await?;
        puts.canaries.insert(name, Candidate { put, terms });
    }
    Ok(puts)
}

async fn put_of(
    journal: &Journal,
    (name, what): (&str, &str),
    blob: Option<[u8; 32]>,
    known: Override,
) -> Result<Put, RunError> {
    let component = match blob {
        Some(digest) => journal.store().get_blob(digest).await?,
        None => None,
    };
    let missing = || RunError::Component {
        name: name.to_owned(),
        reason: format!(
            "{}, {what}, is not in `blobs` of the data directory any more; restore it{WAY_BACK}",
            known.digest
        ),
    };
    Ok(Put { component: component.ok_or_else(missing)?, known })
}
