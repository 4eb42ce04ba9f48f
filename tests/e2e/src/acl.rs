//! Grants rights on the real broker, as an operator would with `kafka-acls.sh`: by Kafka's own request `CreateAcls`, version 1.

use anyhow::{Context, Result, bail, ensure};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

const CREATE_ACLS: i16 = 30;
const VERSION: i16 = 1;
const ALLOW: i8 = 3;
/// By Kafka's numbers.
const OPERATIONS: [(&str, i8); 6] =
    [("Read", 3), ("Write", 4), ("Create", 5), ("Describe", 8), ("DescribeConfigs", 10), ("IdempotentWrite", 12)];

/// Operations on a resource.
#[derive(Debug, Clone)]
pub struct Right {
    operations: Vec<i8>,
    /// By Kafka's number.
    kind: i8,
    /// What the resource is called, or what its name begins with.
    pub name: String,
    prefixed: bool,
}

impl Right {
    /// A right as `sawlog validate` prints it.
    pub fn parse(line: &str) -> Result<Self> {
        let (operations, on) = line.split_once(" on ").with_context(|| format!("no right: {line}"))?;
        let (on, create) = match on.split_once(" (Create where") {
            Some((on, _)) => (on, Some("Create")),
            None => (on, None),
        };
        let numbers = operations.split(", ").chain(create);
        let number = |word: &str| OPERATIONS.iter().find(|(known, _)| *known == word).map(|(_, number)| *number);
        let operations = numbers.map(|word| number(word).with_context(|| format!("what is {word} in {line}?")));
        let (kind, name, prefixed) = match on.split_once(" with the prefix ").or(on.split_once(" that begin with ")) {
            Some(("topics", prefix)) => (2, prefix, true),
            Some(("groups", prefix)) => (3, prefix, true),
            Some(("transactional ids", prefix)) => (5, prefix, true),
            None if on == "the cluster" => (4, "kafka-cluster", false),
            _ => match on.split_once(' ') {
                Some(("topic", name)) => (2, name, false),
                Some(("group", name)) => (3, name, false),
                _ => bail!("what is {on} in {line}?"),
            },
        };
        let name = name.trim_matches('`').to_owned();
        Ok(Self { operations: operations.collect::<Result<_>>()?, kind, name, prefixed })
    }

    /// Gives `user` the right. Who asks must come without a name.
    pub fn grant(&self, brokers: &str, user: &str) -> Result<()> {
        let mut request = Vec::new();
        request.extend(CREATE_ACLS.to_be_bytes());
        request.extend(VERSION.to_be_bytes());
        request.extend(1_i32.to_be_bytes());
        text(&mut request, "e2e");
        request.extend(i32::try_from(self.operations.len())?.to_be_bytes());
        for operation in &self.operations {
            request.extend(self.kind.to_be_bytes());
            text(&mut request, &self.name);
            request.extend((if self.prefixed { 4_i8 } else { 3 }).to_be_bytes());
            text(&mut request, &format!("User:{user}"));
            text(&mut request, "*");
            request.extend(operation.to_be_bytes());
            request.extend(ALLOW.to_be_bytes());
        }
        let mut broker = TcpStream::connect(brokers)?;
        broker.write_all(&i32::try_from(request.len())?.to_be_bytes())?;
        broker.write_all(&request)?;
        let mut size = [0; 4];
        broker.read_exact(&mut size)?;
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(size))?];
        broker.read_exact(&mut answer)?;
        // Behind correlation, throttling and count: a code of 2 bytes and a text for each.
        let mut rest = &answer[12..];
        for _ in &self.operations {
            let code = i16::from_be_bytes([rest[0], rest[1]]);
            let length = usize::try_from(i16::from_be_bytes([rest[2], rest[3]])).unwrap_or(0);
            ensure!(code == 0, "error {code}: {}", String::from_utf8_lossy(&rest[4..4 + length]));
            rest = &rest[4 + length..];
        }
        Ok(())
    }
}

fn text(into: &mut Vec<u8>, text: &str) {
    // Names of tests are short.
    into.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    into.extend(text.as_bytes());
}
