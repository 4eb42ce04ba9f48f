//! Answers to bulk requests: one outcome per document, or the reason why nobody knows. Pure.

use super::client::Answer;
use super::documents::Item;
use super::index::remedy;
use sawlog_core::ports::{DocumentOutcome, SinkError};
use serde::Deserialize;
use std::borrow::Cow;

/// Most bytes of a server's words that are kept.
const WORDS_BYTES_MAX: usize = 512;

/// What an answer means for the documents of a request.
pub enum Verdict {
    /// One outcome per document.
    Items(Vec<DocumentOutcome>),
    /// The request as a whole was refused: its halves are to be tried.
    Split,
}

/// What became of one document.
#[derive(Debug)]
pub struct Judged {
    /// The outcome.
    pub outcome: DocumentOutcome,
    /// It was there already.
    pub repeat: bool,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    items: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, alias = "index")]
    create: Outcome<'a>,
}

#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow, rename = "_index")]
    index: Cow<'a, str>,
    #[serde(borrow, rename = "_id", default)]
    id: Option<Cow<'a, str>>,
    status: u16,
    #[serde(borrow, default)]
    error: Option<ServerError<'a>>,
}

#[derive(Deserialize)]
struct ServerError<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    caused_by: Option<Box<ServerError<'a>>>,
}

impl ServerError<'_> {
    fn words(&self, status: u16) -> String {
        let mut words = format!("{status} {}", self.kind);
        let mut error = Some(self);
        while let Some(here) = error {
            if let Some(reason) = &here.reason {
                words.push_str(": ");
                words.push_str(reason);
            }
            error = here.caused_by.as_deref();
        }
        shortened(words)
    }
}

fn shortened(mut words: String) -> String {
    if words.len() > WORDS_BYTES_MAX {
        words.truncate(words.floor_char_boundary(WORDS_BYTES_MAX));
        words.push('…');
    }
    words
}

/// Outcomes of `sent`, in order. With `exactly_once` a document that went elsewhere is an error: its id is not unique there.
///
/// # Errors
/// [`SinkError::Unknown`] where the answer is cut, is no JSON, or is not about these documents; [`SinkError::Refused`] where the
/// name in `index` turns out to be no index.
pub fn read_answer(body: &[u8], sent: &[Item], exactly_once: bool) -> Result<Vec<Judged>, SinkError> {
    let answer: Body<'_> = serde_json::from_slice(body)
        .map_err(|error| SinkError::Unknown(format!("the answer to a bulk request can't be read: {error}")))?;
    if answer.items.len() != sent.len() {
        let (answered, sent) = (answer.items.len(), sent.len());
        return Err(SinkError::Unknown(format!("a bulk request of {sent} documents got an answer about {answered}")));
    }
    answer.items.iter().zip(sent).map(|(entry, item)| judge(&entry.create, item, exactly_once)).collect()
}

fn judge(outcome: &Outcome<'_>, item: &Item, exactly_once: bool) -> Result<Judged, SinkError> {
    if item.id.as_deref().is_some_and(|id| outcome.id.as_deref().is_some_and(|answered| answered != id)) {
        return Err(SinkError::Unknown("a bulk answer is about other documents than those that were sent".to_owned()));
    }
    let taken = matches!(outcome.status, 200 | 201 | 409);
    if taken && exactly_once && *outcome.index != *item.index {
        let (asked, got) = (&item.index, &outcome.index);
        return Err(SinkError::Refused(format!("{asked} led to {got}, {}", remedy())));
    }
    let kind = outcome.error.as_ref().map_or("", |error| error.kind.as_ref());
    let words = || match &outcome.error {
        Some(error) => error.words(outcome.status),
        None => format!("{} without a reason", outcome.status),
    };
    let repeat = outcome.status == 409 && kind == "version_conflict_engine_exception";
    let outcome = match outcome.status {
        200 | 201 => DocumentOutcome::Done,
        409 if repeat => DocumentOutcome::Done,
        400 if !of_the_index(kind) => DocumentOutcome::Refused(words()),
        413 => DocumentOutcome::Refused(words()),
        _ => DocumentOutcome::Again(words()),
    };
    Ok(Judged { outcome, repeat })
}

/// Refusals that say nothing about the document: too many shards, a closed index, a name that is none.
fn of_the_index(kind: &str) -> bool {
    matches!(
        kind,
        "validation_exception"
            | "invalid_index_name_exception"
            | "index_closed_exception"
            | "invalid_alias_name_exception"
    )
}

/// An answer that refuses the request as a whole.
pub struct Refusal {
    /// The server's words.
    pub words: String,
    /// Elasticsearch or OpenSearch itself wrote it, and not a proxy on the way.
    pub of_the_server: bool,
}

/// Why a request was refused.
pub fn read_error(answer: &Answer) -> Refusal {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        error: ServerError<'a>,
    }
    match serde_json::from_slice::<Whole<'_>>(&answer.body) {
        Ok(whole) => Refusal { words: whole.error.words(answer.status), of_the_server: true },
        Err(_) => {
            let body = String::from_utf8_lossy(&answer.body);
            Refusal { words: shortened(format!("{}: {}", answer.status, body.trim())), of_the_server: false }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::documents::tests::item;
    use super::*;

    fn read(body: &str) -> Result<Vec<DocumentOutcome>, SinkError> {
        let items = read_answer(body.as_bytes(), &[item("i", "a"), item("i", "b")], true)?;
        Ok(items.into_iter().map(|item| item.outcome).collect())
    }

    fn pair(second: &str) -> String {
        format!(r#"{{"items":[{{"create":{{"_index":"i","_id":"a","status":201}}}},{{"create":{second}}}]}}"#)
    }

    #[test]
    fn each_document_gets_its_own_outcome() {
        let second = |status: u16, kind: &str| {
            let error = format!(
                r#"{{"_index":"i","_id":"b","status":{status},"error":{{"type":"{kind}","reason":"why","caused_by":{{"type":"x","reason":"deep"}}}}}}"#
            );
            read(&pair(&error)).unwrap().remove(1)
        };
        assert_eq!(second(409, "version_conflict_engine_exception"), DocumentOutcome::Done);
        let words = "400 document_parsing_exception: why: deep".to_owned();
        assert_eq!(second(400, "document_parsing_exception"), DocumentOutcome::Refused(words));
        for (status, kind) in [
            (429, "es_rejected_execution_exception"),
            (403, "cluster_block_exception"),
            (404, "index_not_found_exception"),
            (503, "unavailable_shards_exception"),
            (400, "validation_exception"),
            (409, "something_else"),
        ] {
            assert!(matches!(second(status, kind), DocumentOutcome::Again(_)), "{status} {kind}");
        }
    }

    #[test]
    fn an_answer_that_says_too_little_leaves_the_outcome_unknown() {
        let whole = pair(r#"{"_index":"i","_id":"b","status":201}"#);
        assert!(read(&whole).is_ok());
        for cut in 0..whole.len() {
            assert!(matches!(read(&whole[..cut]), Err(SinkError::Unknown(_))), "cut at {cut}");
        }
        assert!(matches!(read(r#"{"items":[]}"#), Err(SinkError::Unknown(_))));
        assert!(matches!(read(&pair(r#"{"_index":"i","_id":"c","status":201}"#)), Err(SinkError::Unknown(_))));
    }

    #[test]
    fn a_document_that_went_elsewhere_is_refused_by_name() {
        let error = read(&pair(r#"{"_index":".ds-i-000001","_id":"b","status":201}"#)).unwrap_err();
        assert!(matches!(&error, SinkError::Refused(words) if words.contains(".ds-i-000001")), "{error}");
    }

    #[test]
    fn fuzz_bulk_answers() {
        let error = r#"{"_index":"i","_id":"b","status":400,"error":{"type":"x","reason":"why","caused_by":{"type":"y","reason":"deep"}}}"#;
        let (done, failed) = (pair(r#"{"_index":"i","_id":"b","status":201}"#), pair(error));
        let examples: [&[u8]; 4] = [
            done.as_bytes(),
            failed.as_bytes(),
            br#"{"error":{"type":"x","reason":"r"},"status":403}"#,
            b"<html>no</html>",
        ];
        sawlog_fuzz::hammer("bulk_answers", &examples, |body| {
            let sent = [item("i", "a"), item("i", "b")];
            if let Ok(judged) = read_answer(body, &sent, true) {
                // A document is done only by a word of it: its id, and a status that says so.
                assert_eq!(judged.len(), sent.len());
                let told: serde_json::Value = serde_json::from_slice(body).unwrap();
                for (n, judged) in judged.iter().enumerate().filter(|(_, j)| j.outcome == DocumentOutcome::Done) {
                    let text = told["items"][n].to_string();
                    assert!(text.contains("20") || text.contains("409"), "{judged:?} of {text}");
                }
            }
            for status in [200, 400, 403, 413, 429, 503] {
                let refusal = read_error(&Answer { status, body: bytes::Bytes::copy_from_slice(body) });
                assert!(!refusal.words.is_empty());
            }
        });
    }
}
