//! From words to predicates. Knows nothing of rows.

use super::eval::{Literal, Method, Node, Operand, Order};
use super::lexer::{Token, tokens};
use super::{DEPTH_MAX, EXPRESSION_BYTES_MAX, ExprError, severity};
use crate::path::Path;
use regex::bytes::Regex;

/// Compiles `text`.
pub(super) fn parse(text: &str) -> Result<Node, ExprError> {
    if text.len() > EXPRESSION_BYTES_MAX {
        let reason = format!("longer than {EXPRESSION_BYTES_MAX} bytes, split it into several routes");
        return Err(ExprError { offset: EXPRESSION_BYTES_MAX, reason });
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let node = parser.or()?;
    match parser.peek() {
        Token::End => Ok(node),
        Token::Sign(sign @ ("+" | "-" | "?")) => {
            Err(parser.refuse(format!("`{sign}` is not supported here, compute in a plugin and compare its field")))
        }
        _ => Err(parser.refuse("expected `&&`, `||` or the end")),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
}

type Parsed<T> = Result<T, ExprError>;

impl Parser {
    fn or(&mut self) -> Parsed<Node> {
        let mut nodes = vec![self.and()?];
        while self.take("||") {
            nodes.push(self.and()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Any(nodes) })
    }

    fn and(&mut self) -> Parsed<Node> {
        let mut nodes = vec![self.unary()?];
        while self.take("&&") {
            nodes.push(self.unary()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::All(nodes) })
    }

    fn unary(&mut self) -> Parsed<Node> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.refuse(format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let node = if self.take("!") {
            Node::Not(Box::new(self.unary()?))
        } else if self.take("(") {
            let node = self.or()?;
            self.expect(")")?;
            node
        } else {
            self.relation()?
        };
        self.depth -= 1;
        Ok(node)
    }

    fn relation(&mut self) -> Parsed<Node> {
        let start = self.at;
        if *self.peek() == Token::Name("has".into()) && self.tokens[self.at + 1].1 == Token::Sign("(") {
            self.at += 2;
            let path = self.path()?;
            self.expect(")")?;
            return Ok(Node::Has(path));
        }
        let left = self.operand()?;
        if let Some(order) = self.order() {
            let right = self.operand()?;
            return self.compare(start, left, order, right);
        }
        match (left, self.peek()) {
            (Operand::Field(path), Token::Name(word)) if word == "in" => {
                self.at += 1;
                Ok(Node::In(path, self.list()?))
            }
            (Operand::Field(path), _) => self.method_or_truth(path),
            (Operand::Literal(Literal::Bool(value)), _) => Ok(Node::Constant(value)),
            (Operand::Literal(_), _) => {
                self.at = start;
                Err(self.refuse("a literal alone decides nothing, compare it with a field"))
            }
        }
    }

    fn compare(&mut self, start: usize, left: Operand, order: Order, right: Operand) -> Parsed<Node> {
        Ok(match (left, right) {
            (Operand::Field(path), Operand::Literal(literal)) => Node::Compare(path, order, literal),
            (Operand::Literal(literal), Operand::Field(path)) => Node::Compare(path, order.mirrored(), literal),
            (Operand::Field(left), Operand::Field(right)) => Node::CompareFields(left, order, right),
            (Operand::Literal(_), Operand::Literal(_)) => {
                self.at = start;
                return Err(self.refuse("two literals are compared, one side must be a field"));
            }
        })
    }

    fn order(&mut self) -> Option<Order> {
        let Token::Sign(sign) = self.peek() else { return None };
        let order = match *sign {
            "==" => Order::Equal,
            "!=" => Order::Unequal,
            "<" => Order::Less,
            "<=" => Order::LessOrEqual,
            ">" => Order::Greater,
            ">=" => Order::GreaterOrEqual,
            _ => return None,
        };
        self.at += 1;
        Some(order)
    }

    /// A field whose last name may be the name of a method, or a boolean field.
    fn method_or_truth(&mut self, path: Path) -> Parsed<Node> {
        if !self.take("(") {
            return Ok(Node::Truth(path));
        }
        let mut names = path.names().to_vec();
        let name = names.pop().unwrap_or_default();
        let method = match name.as_str() {
            "startsWith" => Method::StartsWith,
            "endsWith" => Method::EndsWith,
            "contains" => Method::Contains,
            "matches" => Method::Matches,
            _ => {
                self.at -= 2;
                let known = "known are startsWith, endsWith, contains, matches and has";
                return Err(self.refuse(format!("`{name}` is not supported, {known}")));
            }
        };
        if names.is_empty() {
            self.at -= 2;
            return Err(self.refuse(format!("write field.{name}(\"…\")")));
        }
        let Token::Text(text) = self.peek().clone() else { return Err(self.refuse("expected a string")) };
        let node = if method == Method::Matches {
            let regex =
                Regex::new(&text).map_err(|error| self.refuse(format!("invalid regular expression: {error}")))?;
            Node::Matches(Path::of(names), regex)
        } else {
            Node::Call(Path::of(names), method, text.into_bytes())
        };
        self.at += 1;
        self.expect(")")?;
        Ok(node)
    }

    fn list(&mut self) -> Parsed<Vec<Literal>> {
        if !self.take("[") {
            return Err(self.refuse("expected a list of literals, such as [\"a\", \"b\"]"));
        }
        let mut literals = Vec::new();
        while !self.take("]") {
            match self.operand()? {
                Operand::Literal(literal) => literals.push(literal),
                Operand::Field(_) => {
                    self.at -= 1;
                    return Err(self.refuse("a list holds literals only"));
                }
            }
            if !self.take(",") && *self.peek() != Token::Sign("]") {
                return Err(self.refuse("expected `,` or `]`"));
            }
        }
        Ok(literals)
    }

    fn operand(&mut self) -> Parsed<Operand> {
        let negative = self.take("-");
        let token = self.peek().clone();
        let literal = match token {
            Token::Number(text) => number(&if negative { format!("-{text}") } else { text }),
            _ if negative => return Err(self.refuse("expected a number after `-`")),
            Token::Text(text) => Some(Literal::Text(text.into_bytes())),
            Token::Name(name) => match name.as_str() {
                "true" => Some(Literal::Bool(true)),
                "false" => Some(Literal::Bool(false)),
                "null" => Some(Literal::Null),
                _ if self.tokens[self.at + 1].1 == Token::Sign(".") => return self.path().map(Operand::Field),
                _ => match severity::constant(&name) {
                    Some(number) => Some(Literal::Severity(number)),
                    None => return self.path().map(Operand::Field),
                },
            },
            _ => return Err(self.refuse("expected a field, a string, a number, true, false or null")),
        };
        let literal = literal.ok_or_else(|| self.refuse("the number is out of range"))?;
        self.at += 1;
        Ok(Operand::Literal(literal))
    }

    /// `a.b["c.d"]`.
    fn path(&mut self) -> Parsed<Path> {
        let mut names = Vec::new();
        loop {
            let Token::Name(name) = self.peek().clone() else {
                return Err(self.refuse("expected the name of a field"));
            };
            names.push(name);
            self.at += 1;
            while self.take("[") {
                let Token::Text(name) = self.peek().clone() else {
                    return Err(self.refuse("expected a name in quotes, such as resource[\"k8s.pod.name\"]"));
                };
                names.push(name);
                self.at += 1;
                self.expect("]")?;
            }
            if !self.take(".") {
                return Ok(Path::of(names));
            }
        }
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.at].1
    }

    fn take(&mut self, sign: &'static str) -> bool {
        let found = *self.peek() == Token::Sign(sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &'static str) -> Parsed<()> {
        if self.take(sign) { Ok(()) } else { Err(self.refuse(format!("expected `{sign}`"))) }
    }

    fn refuse(&self, reason: impl Into<String>) -> ExprError {
        ExprError { offset: self.tokens[self.at].0, reason: reason.into() }
    }
}

fn number(text: &str) -> Option<Literal> {
    match text.parse() {
        Ok(number) => Some(Literal::Int(number)),
        Err(_) => text.parse().ok().filter(|n: &f64| n.is_finite()).map(Literal::Float),
    }
}
