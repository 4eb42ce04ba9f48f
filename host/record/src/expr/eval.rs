//! Predicates over rows. Knows nothing of how they were written.

use super::{ExprError, parser, severity};
use crate::batch::{Batch, Row, ValueKind};
use crate::path::Path;
use crate::value::Value;
use regex::bytes::Regex;
use std::borrow::Cow;
use std::cmp::Ordering;

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Expr {
    node: Node,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Any(Vec<Node>),
    All(Vec<Node>),
    Not(Box<Node>),
    Has(Path),
    Truth(Path),
    Constant(bool),
    Compare(Path, Order, Literal),
    CompareFields(Path, Order, Path),
    In(Path, Vec<Literal>),
    Call(Path, Method, Vec<u8>),
    Matches(Path, Regex),
}

pub(super) enum Operand {
    Field(Path),
    Literal(Literal),
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Vec<u8>),
    Severity(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Method {
    StartsWith,
    EndsWith,
    Contains,
    Matches,
}

/// A value as expressions see it.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, [u8]>),
    /// An object or array: equal to nothing.
    Nested,
}

impl Expr {
    /// Compiles `text`.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        Ok(Self { node: parser::parse(text)? })
    }

    /// Whether `row` matches. An error, such as a missing field that decides, is no match.
    pub fn matches(&self, batch: &Batch, row: &Row) -> bool {
        self.node.eval(batch, row) == Some(true)
    }

    /// Paths of the fields that the expression reads; some may come twice.
    pub fn paths(&self) -> Vec<&Path> {
        let mut paths = Vec::new();
        self.node.collect_paths(&mut paths);
        paths
    }
}

impl Node {
    /// `None` is CEL's error.
    fn eval(&self, batch: &Batch, row: &Row) -> Option<bool> {
        match self {
            Node::Any(nodes) => decide(nodes, true, batch, row),
            Node::All(nodes) => decide(nodes, false, batch, row),
            Node::Not(node) => node.eval(batch, row).map(|truth| !truth),
            Node::Has(path) => Some(path.find(batch, row).is_some()),
            Node::Constant(truth) => Some(*truth),
            Node::Truth(path) => match scalar(path.find(batch, row)?) {
                Scalar::Bool(truth) => Some(truth),
                _ => None,
            },
            Node::Compare(path, order, literal) => compare(&path.find(batch, row)?, *order, literal),
            Node::CompareFields(left, order, right) => {
                let (left, right) = (scalar(left.find(batch, row)?), scalar(right.find(batch, row)?));
                order.holds(&left, &right)
            }
            Node::In(path, literals) => {
                let value = path.find(batch, row)?;
                Some(literals.iter().any(|literal| compare(&value, Order::Equal, literal) == Some(true)))
            }
            Node::Call(path, method, text) => {
                let value = path.find(batch, row)?.text()?;
                Some(match method {
                    Method::StartsWith => value.starts_with(text),
                    Method::EndsWith => value.ends_with(text),
                    Method::Contains | Method::Matches => memchr::memmem::find(&value, text).is_some(),
                })
            }
            Node::Matches(path, regex) => Some(regex.is_match(&path.find(batch, row)?.text()?)),
        }
    }

    fn collect_paths<'e>(&'e self, paths: &mut Vec<&'e Path>) {
        match self {
            Node::Any(nodes) | Node::All(nodes) => nodes.iter().for_each(|node| node.collect_paths(paths)),
            Node::Not(node) => node.collect_paths(paths),
            Node::CompareFields(left, _, right) => paths.extend([left, right]),
            Node::Has(path) | Node::Truth(path) | Node::In(path, _) => paths.push(path),
            Node::Compare(path, ..) | Node::Call(path, ..) | Node::Matches(path, _) => paths.push(path),
            Node::Constant(_) => {}
        }
    }
}

/// `||` (`decisive` true) and `&&` (false): the first decisive side wins, else an error on any side is an error.
fn decide(nodes: &[Node], decisive: bool, batch: &Batch, row: &Row) -> Option<bool> {
    let mut result = Some(!decisive);
    for node in nodes {
        match node.eval(batch, row) {
            Some(truth) if truth == decisive => return Some(decisive),
            Some(_) => {}
            None => result = None,
        }
    }
    result
}

fn compare(value: &Value<'_>, order: Order, literal: &Literal) -> Option<bool> {
    // The usual case without a copy: text against text.
    if let (ValueKind::Text, Literal::Text(text)) = (value.kind, literal) {
        return Some(order.of(value.bytes.cmp(text)));
    }
    let value = scalar(*value);
    match literal {
        Literal::Severity(number) => Some(order.of(severity::of(&value)?.cmp(number))),
        Literal::Null => order.holds(&value, &Scalar::Null),
        Literal::Bool(truth) => order.holds(&value, &Scalar::Bool(*truth)),
        Literal::Int(number) => order.holds(&value, &Scalar::Int(*number)),
        Literal::Float(number) => order.holds(&value, &Scalar::Float(*number)),
        Literal::Text(text) => order.holds(&value, &Scalar::Text(Cow::Borrowed(text))),
    }
}

fn scalar(value: Value<'_>) -> Scalar<'_> {
    if let Some(text) = value.text() {
        return Scalar::Text(text);
    }
    match value.bytes {
        b"null" => Scalar::Null,
        b"true" => Scalar::Bool(true),
        b"false" => Scalar::Bool(false),
        [b'{' | b'[', ..] => Scalar::Nested,
        number => match std::str::from_utf8(number).map(|text| (text.parse::<i64>(), text.parse::<f64>())) {
            Ok((Ok(int), _)) => Scalar::Int(int),
            Ok((Err(_), Ok(float))) => Scalar::Float(float),
            _ => Scalar::Nested,
        },
    }
}

impl Order {
    pub(super) fn mirrored(self) -> Self {
        match self {
            Order::Less => Order::Greater,
            Order::LessOrEqual => Order::GreaterOrEqual,
            Order::Greater => Order::Less,
            Order::GreaterOrEqual => Order::LessOrEqual,
            same => same,
        }
    }

    fn of(self, ordering: Ordering) -> bool {
        match self {
            Order::Equal => ordering.is_eq(),
            Order::Unequal => ordering.is_ne(),
            Order::Less => ordering.is_lt(),
            Order::LessOrEqual => ordering.is_le(),
            Order::Greater => ordering.is_gt(),
            Order::GreaterOrEqual => ordering.is_ge(),
        }
    }

    /// Values of different types are unequal; an order between them is an error.
    fn holds(self, left: &Scalar<'_>, right: &Scalar<'_>) -> Option<bool> {
        let ordering = match (left, right) {
            (Scalar::Text(left), Scalar::Text(right)) => Some(left.cmp(right)),
            (Scalar::Int(left), Scalar::Int(right)) => Some(left.cmp(right)),
            (Scalar::Float(left), Scalar::Float(right)) => left.partial_cmp(right),
            (Scalar::Int(left), Scalar::Float(right)) => int_against_float(*left, *right),
            (Scalar::Float(left), Scalar::Int(right)) => int_against_float(*right, *left).map(Ordering::reverse),
            (Scalar::Bool(left), Scalar::Bool(right)) => Some(left.cmp(right)),
            (Scalar::Null, Scalar::Null) if matches!(self, Order::Equal | Order::Unequal) => Some(Ordering::Equal),
            _ => None,
        };
        match (ordering, self) {
            (Some(ordering), _) => Some(self.of(ordering)),
            (None, Order::Equal) => Some(false),
            (None, Order::Unequal) => Some(true),
            (None, _) => None,
        }
    }
}

/// Exact, also beyond 2^53.
fn int_against_float(int: i64, float: f64) -> Option<Ordering> {
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    if float.is_nan() {
        return None;
    }
    if float >= TWO_TO_63 {
        return Some(Ordering::Less);
    }
    if float < -TWO_TO_63 {
        return Some(Ordering::Greater);
    }
    let whole = float.trunc();
    let fraction = 0.0f64.partial_cmp(&(float - whole))?;
    Some(int.cmp(&(whole as i64)).then(fraction))
}
