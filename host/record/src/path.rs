//! Field paths: names joined by dots, a name with dots in double quotes (`resource."k8s.pod.name"`), compiled once and looked
//! up in rows. Knows nothing of what asks for a field.
//!
//! Top-level members may have dots in their own names, so at every level the longest name wins: `k8s.pod.name` finds a
//! member called `k8s.pod.name` before `pod.name` inside `k8s`.

use crate::batch::{Batch, Field, Row, Span, ValueKind};
use crate::json::{Member, Members, unescape};
use crate::value::Value;
use std::borrow::Cow;
use std::fmt;

/// Most names in one path.
pub const NAMES_MAX: usize = 32;

/// A compiled field path.
#[derive(Clone, PartialEq, Eq)]
pub struct Path {
    names: Vec<String>,
    /// The first i + 1 names joined by dots.
    joined: Vec<String>,
}

/// Why a text is not a field path.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid field path `{path}` at byte {offset}: {reason}")]
pub struct PathError {
    /// The text.
    pub path: String,
    /// Bytes before the mistake.
    pub offset: usize,
    /// What is wrong and how to mend it.
    pub reason: &'static str,
}

impl Path {
    /// Compiles `text`.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let fail = |offset, reason| Err(PathError { path: text.to_owned(), offset, reason });
        let mut names = Vec::new();
        let mut rest = text;
        loop {
            let offset = text.len() - rest.len();
            let name = if let Some(quoted) = rest.strip_prefix('"') {
                let Some((name, after)) = quoted.split_once('"') else {
                    return fail(offset, "a quoted name has no closing quote");
                };
                rest = after;
                name
            } else {
                let end = rest.find(['.', '"']).unwrap_or(rest.len());
                let (name, after) = rest.split_at(end);
                rest = after;
                name
            };
            if name.is_empty() {
                return fail(offset, "a name is empty, write names joined by single dots");
            }
            names.push(name.to_owned());
            if names.len() > NAMES_MAX {
                return fail(offset, "too many names, at most 32 are allowed");
            }
            match rest.strip_prefix('.') {
                Some(after) => rest = after,
                None if rest.is_empty() => return Ok(Self::of(names)),
                None => {
                    return fail(text.len() - rest.len(), "expected a dot, a name with quotes is quoted as a whole");
                }
            }
        }
    }

    /// The path of these names, which are taken as they are.
    pub fn of(names: Vec<String>) -> Self {
        let joined = (1..=names.len()).map(|n| names[..n].join(".")).collect();
        Self { names, joined }
    }

    /// The names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The names joined by dots: what a top-level member that the path creates is called.
    pub fn dotted(&self) -> &str {
        self.joined.last().map_or("", String::as_str)
    }

    /// The value at this path in `row`; `None` if it is missing, which is not the same as null.
    #[inline]
    pub fn find<'b>(&self, batch: &'b Batch, row: &Row) -> Option<Value<'b>> {
        let (span, kind) = self.locate(&batch.arena, batch.fields_of(row))?;
        Some(batch.value(span, kind))
    }

    /// The same as a place in the arena.
    #[inline]
    pub fn locate(&self, arena: &[u8], fields: &[Field]) -> Option<(Span, ValueKind)> {
        match top_level(arena, fields, self.dotted()) {
            Some(field) => Some((field.value, field.kind)),
            None if self.names.len() == 1 => None,
            None => self.locate_below(arena, fields),
        }
    }

    /// Index of the top-level member that this path names as a whole.
    pub fn top_level_index(&self, arena: &[u8], fields: &[Field]) -> Option<usize> {
        fields.iter().position(|f| f.key.of(arena) == self.dotted().as_bytes())
    }

    fn locate_below(&self, arena: &[u8], fields: &[Field]) -> Option<(Span, ValueKind)> {
        (1..self.names.len()).rev().find_map(|taken| {
            let field = top_level(arena, fields, &self.joined[taken - 1])?;
            nested(arena, (field.value, field.kind), &self.names[taken..])
        })
    }
}

#[inline(always)]
fn top_level<'f>(arena: &[u8], fields: &'f [Field], name: &str) -> Option<&'f Field> {
    fields.iter().find(|f| f.key.len as usize == name.len() && f.key.of(arena) == name.as_bytes())
}

/// Looks `names` up inside a JSON token, longest joined name first; of a repeated name the last counts.
fn nested(arena: &[u8], token: (Span, ValueKind), names: &[String]) -> Option<(Span, ValueKind)> {
    if names.is_empty() {
        return Some(token);
    }
    if token.1 != ValueKind::Json {
        return None;
    }
    (1..=names.len()).rev().find_map(|taken| {
        let name = if taken == 1 { Cow::Borrowed(names[0].as_str()) } else { Cow::Owned(names[..taken].join(".")) };
        let named = |member: &Member| *member_name(arena, member) == *name.as_bytes();
        let member = Members::of(arena, token.0).filter(named).last()?;
        nested(arena, (member.value, member.kind), &names[taken..])
    })
}

fn member_name<'a>(arena: &'a [u8], member: &Member) -> Cow<'a, [u8]> {
    let raw = member.key.of(arena);
    if !member.key_escaped {
        return Cow::Borrowed(raw);
    }
    let mut name = Vec::new();
    unescape(raw, &mut name);
    Cow::Owned(name)
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.names.iter().enumerate() {
            let dot = if i == 0 { "" } else { "." };
            if name.contains('.') { write!(f, "{dot}\"{name}\"")? } else { write!(f, "{dot}{name}")? }
        }
        Ok(())
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({self})")
    }
}

impl std::str::FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::parse(text)
    }
}
