//! What the claim logs below one root say about hours, read as a foreigner reads them: nothing is probed, swept or written.

use super::keys::{LOGS, claim_number};
use super::{Blobs, decode_claim};
use sawlog_core::claims::Claim;
use sawlog_core::ports::SinkError;

/// Folders between `_sawlog` and the claims: agent and sink, with one more for partitions that move between agents.
const DEPTH_MAX: usize = 3;

/// What one claim log says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogHours {
    /// Its folder below `_sawlog`: `<agent>/<sink>`, for a partition that moves `<group>/<sink>/<topic>-<partition>`.
    pub name: String,
    /// No later row has a received-time path below this, unix nanoseconds; `i64::MIN` where nothing is known.
    pub closed: i64,
    /// When its newest claim was written by the writer's clock, unix nanoseconds; `None` without a claim.
    pub written: Option<i64>,
}

/// All claim logs below the root of `blobs`, by name.
pub async fn closed_hours(blobs: &dyn Blobs) -> Result<Vec<LogHours>, SinkError> {
    let mut logs = Vec::new();
    let mut open = vec![(String::new(), 0)];
    while let Some((name, depth)) = open.pop() {
        let folder = format!("{LOGS}{name}");
        let numbers = blobs.list(&folder).await?.iter().filter_map(|n| claim_number(n)).max();
        if numbers.is_some() {
            logs.push(hours(blobs, name.trim_end_matches('/'), numbers).await?);
        }
        if depth < DEPTH_MAX {
            let below = blobs.folders(&folder).await?;
            open.extend(below.into_iter().map(|below| (format!("{name}{below}/"), depth + 1)));
        }
    }
    logs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(logs)
}

async fn hours(blobs: &dyn Blobs, name: &str, newest: Option<u64>) -> Result<LogHours, SinkError> {
    let folder = format!("{LOGS}{name}/");
    let published = blobs.get(&format!("{folder}complete")).await?;
    let published = published.and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok());
    let claim = match newest {
        Some(number) => blobs.get(&format!("{folder}{number:020}")).await?,
        None => None,
    };
    let claim = claim.map(|bytes| decode_claim(&bytes)).transpose().map_err(|e| {
        SinkError::Refused(format!("the newest claim in {folder} can't be read: {e}; ask with a newer sawlog"))
    })?;
    let said = claim.as_ref().zip(newest).map(|(claim, number)| of_claim(claim, number));
    Ok(LogHours {
        name: name.to_owned(),
        closed: published.unwrap_or(i64::MIN).max(said.unwrap_or(i64::MIN)),
        written: claim.map(|claim| claim.written),
    })
}

/// What the newest claim alone proves: its own time where it has no keys, else that of its predecessor; both only where all keys
/// of the claims before it are there.
fn of_claim(claim: &Claim, number: u64) -> i64 {
    match (claim.passed >= number, claim.keys.is_empty()) {
        (false, _) => i64::MIN,
        (true, true) => claim.closed,
        (true, false) => claim.floor,
    }
}
