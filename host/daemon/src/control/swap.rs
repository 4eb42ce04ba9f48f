//! `sawlog plugin swap`: another component in the place of a plugin's, in a running agent, until it is discarded. Over the network it
//! takes what every change takes; it reads no file of the agent's machine, the component is the body of the request.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::put;
use axum::{Json, Router};
use clap::Args;
use sawlog_chain::{EngineLimits, ShadowLimits, Share};
use sawlog_core::ports::Clock as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::place::{ControlError, Place};
use crate::api::Refusal;
use crate::complete::when;
use crate::digest::ContentDigest;
use crate::run::canary::Terms;
use crate::run::swap::SwapError;
use crate::run::{Handle, SystemClock};
use crate::signature;
use crate::verbs::print;

/// The header with the component's signature, 64 bytes in base64.
pub const SIGNATURE: &str = "sawlog-signature";
/// Per cent of the records on which a component beside another may fail before it ends, where nobody says otherwise.
const FAILING_MAX: f64 = 1.0;
/// The same of records of which it makes something else.
const DIFFERING_MAX: f64 = 10.0;
/// How long the component may be on its way.
const UPLOAD_TIME: Duration = Duration::from_secs(60);

/// Options of `plugin swap`.
#[derive(Debug, Args)]
pub struct Options {
    /// Which agent.
    #[command(flatten)]
    place: Place,
    /// The plugin, by its name in the config.
    name: String,
    /// The component. Where a signature lies beside it, with `.sig` behind its name, it goes along.
    component: PathBuf,
    /// Run it beside the present one instead: compare what it makes of the records, and deliver nothing of it.
    #[arg(long, group = "trial")]
    shadow: bool,
    /// Give it so many per cent of the records instead, in earnest; of a plugin with state, of the partitions. A record that it fails on
    /// the present one takes, where the plugin keeps no state.
    #[arg(long, group = "trial", value_name = "PERCENT", value_parser = percent)]
    canary: Option<f64>,
    /// End that by itself once it has failed on more than so many per cent of its records [usually 1].
    #[arg(long, value_name = "PERCENT", requires = "trial", value_parser = percent)]
    failing_max: Option<f64>,
    /// End it beside the present one once it has made something else of more than so many per cent of the records [usually 10].
    #[arg(long, value_name = "PERCENT", requires = "shadow", value_parser = percent)]
    differing_max: Option<f64>,
}

/// `5` and `5%`.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    number.parse().map_err(|_| format!("`{text}` is no number of per cent"))
}

/// What the running agent answers.
pub fn routes() -> Router<Arc<Handle>> {
    Router::new().route("/v1/plugins/{name}", put(swap))
}

#[derive(Debug, Deserialize)]
struct Asked {
    /// What the component must have, against one that came damaged.
    digest: Option<String>,
    /// Whether it is to run beside the present one.
    #[serde(default)]
    shadow: bool,
    /// Per cent of the records that it is to take.
    canary: Option<f64>,
    /// Per cent of its records on which it may fail then.
    failing_max: Option<f64>,
    /// Per cent of the records of which it may make something else then.
    differing_max: Option<f64>,
}

impl Asked {
    /// What is to become of the component.
    fn order(&self) -> Result<Order, Refusal> {
        let failing_max = share(self.failing_max.unwrap_or(FAILING_MAX), "failing_max")?;
        let differing_max = share(self.differing_max.unwrap_or(DIFFERING_MAX), "differing_max")?;
        match self.canary {
            Some(_) if self.shadow => Err(unfit("either `shadow` or `canary`: it can't be both".to_owned())),
            Some(percent) => match share(percent, "canary")? {
                share if share.is_nothing() => {
                    Err(unfit(format!("`canary` is to be more than {percent} per cent of the records")))
                }
                share => Ok(Order::Canary(Terms { share, failing_max })),
            },
            None if self.shadow => {
                let [failing_max, differing_max] = [failing_max, differing_max].map(|share| share.percent() / 100.0);
                Ok(Order::Shadow(ShadowLimits { failing_max, differing_max }))
            }
            None => Ok(Order::Swap),
        }
    }
}

/// What is to become of a component.
enum Order {
    /// It takes the place of the present one.
    Swap,
    /// It runs beside it, to be compared.
    Shadow(ShadowLimits),
    /// It takes a share of the records.
    Canary(Terms),
}

fn share(percent: f64, name: &str) -> Result<Share, Refusal> {
    Share::of_percent(percent)
        .ok_or_else(|| unfit(format!("`{name}` is per cent of the records, from 0 to 100, and not {percent}")))
}

fn unfit(reason: String) -> Refusal {
    Refusal(StatusCode::UNPROCESSABLE_ENTITY, reason)
}

async fn swap(
    State(handle): State<Arc<Handle>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    // A component is large: one at a time.
    let Ok(_alone) = handle.swapping.try_lock() else {
        let busy = "another component is being taken; ask again when that is done";
        return Err(Refusal(StatusCode::CONFLICT, busy.to_owned()));
    };
    let component = received(body, EngineLimits::default().component_bytes_max).await?;
    let order = asked.order()?;
    if let Some(wanted) = asked.digest {
        let found = ContentDigest::of(&component);
        if ContentDigest::parse(&wanted).as_ref() != Some(&found) {
            let other = format!(
                "the component that came is {found}, not {wanted}; send the right one whole, or correct `digest`"
            );
            return Err(unfit(other));
        }
    }
    let signature = headers.get(SIGNATURE).map(|text| String::from_utf8_lossy(text.as_bytes()).trim().to_owned());
    obey(&handle, name, order, (component, signature)).await
}

/// Has the running whole do it.
async fn obey(
    handle: &Arc<Handle>,
    name: String,
    order: Order,
    component: (Vec<u8>, Option<String>),
) -> Result<Json<Value>, Refusal> {
    let (noting, plugin) = (handle.clone(), name.clone());
    let outcome = handle.ask(move |running| {
        Box::pin(async move {
            let now = SystemClock.now();
            let outcome = match order {
                Order::Swap => running.swap(&plugin, component, now).await.map(
                    |swapped| json!({ "plugin": plugin, "changed": !swapped.is_same, "override": swapped.known.view() }),
                ),
                Order::Shadow(limits) => running.shadow(&plugin, component, limits, now).await.map(|begun| {
                    json!({ "plugin": plugin, "shadow": { "digest": begun.digest.as_str(), "since": when(Some(begun.since)) } })
                }),
                Order::Canary(terms) => running.begin_canary(&plugin, component, terms, now).await.map(|begun| {
                    let mut canary = begun.canary.known.view();
                    canary["share"] = begun.canary.terms.share.percent().into();
                    json!({ "plugin": plugin, "changed": !begun.is_same, "canary": canary })
                }),
            };
            noting.show(running);
            outcome
        })
    });
    Ok(Json(outcome.await?.map_err(refusal)?))
}

pub(super) fn refusal(error: SwapError) -> Refusal {
    let status = match error {
        SwapError::Unknown { .. } => StatusCode::NOT_FOUND,
        SwapError::Refused(..) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Refusal(status, error.to_string())
}

/// All of a component, which has at most `bytes_max` bytes.
async fn received(body: Body, bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    let late = |_| Refusal(StatusCode::REQUEST_TIMEOUT, format!("the component was not here within {UPLOAD_TIME:?}"));
    let bytes = tokio::time::timeout(UPLOAD_TIME, axum::body::to_bytes(body, bytes_max)).await.map_err(late)?;
    let unread = |error: axum::Error| {
        let reason = format!("the component can't be taken: {error}; one has at most {bytes_max} bytes");
        Refusal(StatusCode::PAYLOAD_TOO_LARGE, reason)
    };
    Ok(bytes.map_err(unread)?.into())
}

/// Whether a plugin can be called so, and a path of the interface name it.
pub(super) fn check_name(name: &str) -> Result<(), ControlError> {
    match name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')) {
        true => Ok(()),
        false => Err(ControlError::Refused(format!("`{name}` is no name of a plugin"))),
    }
}

/// `sawlog plugin swap`: waits for the outcome.
pub fn run(options: &Options) -> Result<ExitCode, ControlError> {
    let unread = |path: &std::path::Path, error: std::io::Error| {
        ControlError::Refused(format!("{}: {error}; correct the path, or let this user read it", path.display()))
    };
    let path = &options.component;
    let component = std::fs::read(path).map_err(|error| unread(path, error))?;
    let beside = signature::path_of(path);
    let signature = match std::fs::read_to_string(&beside) {
        Ok(text) => Some(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(unread(&beside, error)),
    };
    let client = options.place.running("; it takes the component that its config names then")?;
    let name = &options.name;
    check_name(name)?;
    let mut at = format!("/v1/plugins/{name}?digest={}", ContentDigest::of(&component));
    if options.shadow {
        at.push_str("&shadow=true");
    }
    let numbers =
        [("canary", options.canary), ("failing_max", options.failing_max), ("differing_max", options.differing_max)];
    at.extend(numbers.into_iter().filter_map(|(key, percent)| Some(format!("&{key}={}", percent?))));
    let headers: Vec<(&str, &str)> = signature.iter().map(|text| (SIGNATURE, text.as_str())).collect();
    let answer = client.put(&at, &headers, component)?;
    if let Some(digest) = answer["shadow"]["digest"].as_str() {
        print(&format!("{digest} runs beside {name} now; `sawlog status` shows what comes of it"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(digest) = answer["canary"]["digest"].as_str() {
        let share = answer["canary"]["share"].as_f64().unwrap_or_default();
        print(&match answer["changed"] == true {
            true => {
                format!("{digest} takes {share} % of the records of {name} now; `sawlog status` shows what comes of it")
            }
            false => format!("{digest} takes {share} % of the records of {name} already; nothing was changed"),
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let digest = answer["override"]["digest"].as_str().unwrap_or_default();
    match answer["changed"] == true {
        true => print(&format!("{name} is {digest} now, until `sawlog reload --discard-overrides`"))?,
        false => print(&format!("{name} is {digest} already; nothing was changed"))?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn percent_are_written_with_and_without_their_sign() {
        assert_eq!((percent("5%"), percent("0.5"), percent("7 %")), (Ok(5.0), Ok(0.5), Ok(7.0)));
        assert!(percent("five").is_err() && percent("%").is_err());
    }

    #[tokio::test]
    async fn a_component_that_is_too_large_is_not_taken_in() {
        assert_eq!(received(Body::from("1234"), 4).await.unwrap(), b"1234");
        let Refusal(status, reason) = received(Body::from("12345"), 4).await.unwrap_err();
        assert!(status == StatusCode::PAYLOAD_TOO_LARGE && reason.contains("at most 4 bytes"), "{reason}");
    }
}
