//! The line that a container runtime wraps around each line of a container: `TIME STREAM FLAG MESSAGE`. An envelope: the
//! decoders behind it read the message. Fragments are joined by the source, not here; a `P` that is still there is told.

use super::Decode;
use super::draft::{Dictionary, Draft, Outcome, Refusal, Word};
use super::timestamp::rfc3339;
use crate::batch::ValueKind;

/// The decoder `cri`.
#[derive(Debug)]
pub(super) struct Cri {
    stream: Word,
    partial: Word,
    yes: Word,
}

impl Cri {
    pub(super) fn new(dictionary: &mut Dictionary) -> Self {
        let [stream, partial, yes] = ["log.iostream", "log.partial", "true"].map(|word| dictionary.add(word));
        Self { stream, partial, yes }
    }
}

impl Decode for Cri {
    fn decode(&self, draft: &mut Draft<'_>) -> Result<Outcome, Refusal> {
        let text = draft.text();
        let shape = |offset, expected| Refusal::Shape { format: "cri", offset, expected };
        let time_end = memchr::memchr(b' ', text).ok_or(shape(0, "a timestamp and a space"))?;
        let time = rfc3339(&text[..time_end]).ok_or(shape(0, "an rfc3339 timestamp"))?;
        let stream = time_end + 1;
        if !matches!(text.get(stream..stream + 7), Some(b"stdout " | b"stderr ")) {
            return Err(shape(stream, "stdout or stderr"));
        }
        let flag = stream + 7;
        // Behind the flag may stand further tags, divided by colons.
        let flag_end = memchr::memchr(b' ', &text[flag..]).map_or(text.len(), |len| flag + len);
        if !matches!(text.get(flag), Some(b'P' | b'F')) || !matches!(text.get(flag + 1), Some(b' ' | b':') | None) {
            return Err(shape(flag, "the flag P or F"));
        }
        draft.set_time(time);
        draft.put(self.stream, draft.place(stream, stream + 6), ValueKind::Text);
        if text[flag] == b'P' {
            draft.put(self.partial, draft.word(self.yes), ValueKind::Json);
        }
        Ok(Outcome::Inner(draft.place((flag_end + 1).min(text.len()), text.len())))
    }
}
