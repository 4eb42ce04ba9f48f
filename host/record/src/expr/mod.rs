//! Expressions of routes and filters: the part of CEL that can be decided on the fields of one row without allocating,
//! compiled to a tree of predicates. Knows nothing of routes.
//!
//! What is taken: `&&` `||` `!` `( )`; `==` `!=` `<` `<=` `>` `>=` between a field, a literal or another field;
//! `field in [literals]`; `field.startsWith("x")`, `.endsWith`, `.contains`, `.matches("regex")`; `has(field)`; a field alone
//! where it is a boolean. Fields are paths, `a.b` or `a["k8s.pod.name"]`. Literals are strings, numbers, `true`, `false`,
//! `null`. Anything else of CEL (arithmetic, macros over lists, functions) is refused by name.
//!
//! Of our own: `TRACE DEBUG INFO WARN ERROR FATAL` are severities, and what is compared with one is read as a severity
//! (`"warning"`, `"W"`, 13, …), because `severity >= WARN` is what people mean.
//!
//! As in CEL a missing field, or an order between values of different types, is an error that `||` and `&&` absorb where the
//! other side decides; an error that is left means that the row does not match.

mod eval;
mod lexer;
mod parser;
mod severity;

pub use eval::Expr;

/// Deepest nesting of parentheses and negations.
pub const DEPTH_MAX: usize = 64;
/// Longest expression, bytes.
pub const EXPRESSION_BYTES_MAX: usize = 16 * 1024;

/// Why a text is no expression that can be compiled.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid expression at byte {offset}: {reason}")]
pub struct ExprError {
    /// Bytes before the mistake.
    pub offset: usize,
    /// What is wrong there and how to mend it.
    pub reason: String,
}
