//! The claim logs of an agent that does not come back: what they show, and their end. What is to be done with each is the core's
//! decision; here it is looked for and written. Nothing is probed or swept: the agent may run all the same.

use super::keys::{LOGS, claim_number, safe};
use super::{Blobs, decode_claim, encode_claim};
use sawlog_core::claims::{Claim, FOR_EVER};
use sawlog_core::ports::{PutOutcome, SinkError};
use sawlog_core::retire::{Fate, Shown, judge};

/// One claim log of the agent.
#[derive(Clone, Debug)]
pub struct AgentLog {
    /// Its folder below `_sawlog`: `<agent>/<sink>`.
    pub name: String,
    /// What it shows.
    pub shown: Shown,
}

/// What became of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogEnd {
    /// It was ended before.
    HadEnded,
    /// It has ended now. The keys are named by its claims, were made by nobody, and are given up.
    Ended {
        /// Keys of objects.
        given_up: Vec<String>,
    },
    /// It goes on: something has changed since it was looked at.
    GoesOn,
}

/// All claim logs of `agent` below the root of `blobs`, by name; of which sinks does not matter.
pub async fn logs_of(blobs: &dyn Blobs, agent: &str) -> Result<Vec<AgentLog>, SinkError> {
    let folder = format!("{}/", safe(agent));
    let mut logs = Vec::new();
    for sink in blobs.folders(&format!("{LOGS}{folder}")).await? {
        let name = format!("{folder}{sink}");
        if let Some(shown) = look(blobs, &name).await? {
            logs.push(AgentLog { name, shown });
        }
    }
    logs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(logs)
}

/// Who has claim logs below the root of `blobs`: agents and groups, as they are written in keys.
pub async fn owners(blobs: &dyn Blobs) -> Result<Vec<String>, SinkError> {
    let mut owners = blobs.folders(LOGS).await?;
    owners.sort();
    Ok(owners)
}

async fn look(blobs: &dyn Blobs, name: &str) -> Result<Option<Shown>, SinkError> {
    let folder = format!("{LOGS}{name}/");
    let numbers = blobs.list(&folder).await?;
    let Some(number) = numbers.iter().filter_map(|n| claim_number(n)).max() else { return Ok(None) };
    let Some(newest) = claim(blobs, name, number).await? else { return Ok(None) };
    let mut unmade = Vec::new();
    for before in newest.passed..=number {
        let claim = if before == number { Some(newest.clone()) } else { claim(blobs, name, before).await? };
        for (_, key) in claim.map(|claim| claim.keys).unwrap_or_default() {
            if !blobs.exists(&key).await? {
                unmade.push(key);
            }
        }
    }
    Ok(Some(Shown { number, newest, unmade }))
}

async fn claim(blobs: &dyn Blobs, name: &str, number: u64) -> Result<Option<Claim>, SinkError> {
    let key = format!("{LOGS}{name}/{number:020}");
    let Some(bytes) = blobs.get(&key).await? else { return Ok(None) };
    let decoded = decode_claim(&bytes);
    decoded.map(Some).map_err(|e| SinkError::Refused(format!("claim {key} can't be read: {e}; use a newer sawlog")))
}

/// Ends `log`, as it shows itself now. Harmless to repeat; a failure in the middle is made good by the same again.
pub async fn end_log(blobs: &dyn Blobs, log: &AgentLog, now: i64, is_forced: bool) -> Result<LogEnd, SinkError> {
    let mut shown = log.shown.clone();
    let mut tried: Vec<(String, Vec<String>)> = Vec::new();
    for _ in 0..ATTEMPTS {
        // An attempt whose answer was lost may be what is there.
        if let Some((_, given_up)) = tried.iter().find(|(attempt, _)| *attempt == shown.newest.attempt) {
            publish(blobs, &log.name).await?;
            return Ok(LogEnd::Ended { given_up: given_up.clone() });
        }
        let attempt = format!("{:016x}", fastrand::u64(..));
        let end = match judge(&shown, now, attempt, is_forced) {
            Fate::HasEnded => {
                publish(blobs, &log.name).await?;
                return Ok(LogEnd::HadEnded);
            }
            Fate::Doubtful(_) => return Ok(LogEnd::GoesOn),
            Fate::End(end) => end,
        };
        let number = shown.number + 1;
        tried.push((end.attempt.clone(), shown.unmade.clone()));
        let bytes = encode_claim(&end)
            .map_err(|e| SinkError::Refused(format!("claim {number} can't be written: {e}; report this as a bug")))?;
        match blobs.put_if_absent(&format!("{LOGS}{}/{number:020}", log.name), bytes.into()).await? {
            PutOutcome::Created => {
                publish(blobs, &log.name).await?;
                return Ok(LogEnd::Ended { given_up: shown.unmade });
            }
            PutOutcome::Conflict => {}
            // Somebody else ended it, or the agent writes.
            PutOutcome::Exists => shown = look(blobs, &log.name).await?.unwrap_or(shown),
        }
    }
    Err(SinkError::Unavailable(format!(
        "{} was not ended in {ATTEMPTS} attempts: it gets new claims, so its agent runs, or the store says that others write; stop the \
         agent, or wait, and try again",
        log.name
    )))
}

/// How often somebody else may be first.
const ATTEMPTS: usize = 10;

async fn publish(blobs: &dyn Blobs, name: &str) -> Result<(), SinkError> {
    blobs.replace(&format!("{LOGS}{name}/complete"), format!("{FOR_EVER}\n").into_bytes()).await
}
