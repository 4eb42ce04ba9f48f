//! JSON objects: members of the top level become fields, the text is kept as the row's JSON text.

use super::Decode;
use super::draft::{Draft, Outcome, Refusal};
use crate::json::Reader;

/// The decoder `json`.
#[derive(Debug)]
pub(super) struct Json;

impl Decode for Json {
    fn decode(&self, draft: &mut Draft<'_>) -> Result<Outcome, Refusal> {
        let parsed = Reader::new(draft.arena, draft.span).object_like(draft.shape, draft.fields, draft.spill)?;
        draft.names = parsed.names;
        draft.object = parsed.literal.then(|| draft.place(parsed.start as usize, parsed.end as usize));
        Ok(Outcome::Complete)
    }
}
