//! A regular expression with named groups. The expression decides what matches: anchor it if the whole line must.

use super::draft::{Dictionary, Draft, Outcome, Refusal, Word};
use super::{Decode, SpecError};
use crate::batch::ValueKind;
use ::regex::bytes::{Regex, RegexBuilder};

/// Bytes that a compiled expression may take.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// The decoder `regex`.
#[derive(Debug)]
pub(super) struct Named {
    expression: Regex,
    /// Number and name of each named group.
    groups: Vec<(usize, Word)>,
}

impl Named {
    pub(super) fn new(pattern: &str, dictionary: &mut Dictionary) -> Result<Self, SpecError> {
        let compiled = RegexBuilder::new(pattern).size_limit(COMPILED_BYTES_MAX).build();
        let expression = compiled.map_err(|error| SpecError::Regex(error.to_string()))?;
        let named = expression.capture_names().enumerate();
        let groups: Vec<_> = named.filter_map(|(i, name)| Some((i, dictionary.add(name?)))).collect();
        if groups.is_empty() {
            return Err(SpecError::NoGroup(pattern.to_owned()));
        }
        Ok(Self { expression, groups })
    }
}

impl Decode for Named {
    fn decode(&self, draft: &mut Draft<'_>) -> Result<Outcome, Refusal> {
        let mut slots = match draft.slots.take() {
            Some(slots) if slots.len() == self.expression.captures_len() => slots,
            _ => self.expression.capture_locations(),
        };
        let matched = self.expression.captures_read(&mut slots, draft.text()).is_some();
        if matched {
            for (group, word) in &self.groups {
                if let Some((start, end)) = slots.get(*group) {
                    draft.put(*word, draft.place(start, end), ValueKind::Text);
                }
            }
        }
        *draft.slots = Some(slots);
        let refusal = Refusal::Shape { format: "regex", offset: 0, expected: "a match of the expression" };
        if matched { Ok(Outcome::Complete) } else { Err(refusal) }
    }
}
