//! Errors of the client, sorted by what a caller can do about them.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// What an error means for the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Another producer with this transactional id has begun, or the broker ended the transaction: this producer is spent.
    Fenced,
    /// A person must mend something: rights, credentials, a topic, a setting.
    Refused,
    /// The message, or the batch that it went in, is larger than the topic takes.
    TooLarge,
    /// The message itself is refused, for whatever it holds.
    BadMessage,
    /// Nothing was done that would outlive this producer; try again later.
    Unavailable,
    /// Whether it took effect is not known.
    Unknown,
}

/// A call that failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{call}: {reason}")]
pub struct ClientError {
    /// What was called, in words.
    pub call: String,
    /// What it means.
    pub trouble: Trouble,
    /// The client's or broker's own words, with a remedy where there is one.
    pub reason: String,
}

impl ClientError {
    /// An error in our own words.
    pub fn new(call: impl Into<String>, trouble: Trouble, reason: impl Into<String>) -> Self {
        Self { call: call.into(), trouble, reason: reason.into() }
    }

    pub(crate) fn of(call: impl Into<String>, error: &KafkaError) -> Self {
        let trouble = code(error).map_or(Trouble::Unavailable, trouble);
        let fatal = matches!(error, KafkaError::Transaction(e) if e.is_fatal());
        let trouble = if fatal && trouble == Trouble::Unavailable { Trouble::Unknown } else { trouble };
        Self::new(call, trouble, words(error))
    }
}

/// The library leaves out the codes of administration.
fn code(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    }
}

fn trouble(code: Code) -> Trouble {
    match code {
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch | Code::TransactionCoordinatorFenced => {
            Trouble::Fenced
        }
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => Trouble::TooLarge,
        Code::InvalidRecord | Code::InvalidTimestamp | Code::InvalidMessageSize | Code::PolicyViolation => {
            Trouble::BadMessage
        }
        code if remedy(code).is_some() => Trouble::Refused,
        _ => Trouble::Unavailable,
    }
}

/// What a person can do about it.
fn remedy(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::InvalidTopic => {
            "create the topic, for example with `sawlog setup`, or mend its name"
        }
        Code::TopicAuthorizationFailed => "grant this user the rights that `sawlog validate` lists for the topic",
        Code::GroupAuthorizationFailed => "grant this user Read on the group",
        Code::ClusterAuthorizationFailed => "grant this user IdempotentWrite on the cluster",
        Code::TransactionalIdAuthorizationFailed => "grant this user Write and Describe on the transactional id",
        Code::SaslAuthenticationFailed | Code::Authentication | Code::UnsupportedSASLMechanism => {
            "check `sasl`: mechanism, user name and password"
        }
        Code::SSL => "check `tls`: authority, certificate and the brokers' host names",
        Code::InvalidTransactionTimeout => {
            "lower `transaction_timeout`: it is above the broker's transaction.max.timeout.ms"
        }
        Code::UnsupportedVersion | Code::UnsupportedFeature => "the broker is too old; Kafka 2.5 or newer is needed",
        Code::InvalidConfig | Code::InvalidReplicationFactor | Code::InvalidPartitions => {
            "change the setting that it names"
        }
        _ => return None,
    })
}

fn words(error: &KafkaError) -> String {
    let code = code(error);
    let own = match error {
        KafkaError::Transaction(error) => error.string(),
        error => code.map_or_else(|| error.to_string(), |code| code.to_string()),
    };
    match code.and_then(remedy) {
        Some(remedy) => format!("{own}; {remedy}"),
        None => own,
    }
}
