//! Plain text: everything is taken, byte for byte.

use super::Decode;
use super::draft::{Draft, Outcome, Refusal};

/// The decoder `text`.
#[derive(Debug)]
pub(super) struct Text;

impl Decode for Text {
    fn decode(&self, _: &mut Draft<'_>) -> Result<Outcome, Refusal> {
        Ok(Outcome::Body)
    }
}
