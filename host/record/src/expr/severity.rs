//! Severities as numbers of OpenTelemetry (1–24), from the many spellings that logs have.

use super::eval::Scalar;

/// The number of a severity constant of expressions.
pub(super) fn constant(name: &str) -> Option<u8> {
    Some(match name {
        "TRACE" => 1,
        "DEBUG" => 5,
        "INFO" => 9,
        "WARN" => 13,
        "ERROR" => 17,
        "FATAL" => 21,
        _ => return None,
    })
}

/// The severity that a value tells, if it tells one.
pub(super) fn of(value: &Scalar<'_>) -> Option<u8> {
    match value {
        Scalar::Int(number) => u8::try_from(*number).ok().filter(|n| (1..=24).contains(n)),
        Scalar::Text(text) => spelled(text),
        _ => None,
    }
}

fn spelled(text: &[u8]) -> Option<u8> {
    const SPELLINGS: [(&str, u8); 27] = [
        ("info", 9),
        ("warn", 13),
        ("error", 17),
        ("debug", 5),
        ("trace", 1),
        ("fatal", 21),
        ("warning", 13),
        ("notice", 10),
        ("err", 17),
        ("critical", 18),
        ("crit", 18),
        ("alert", 19),
        ("emerg", 21),
        ("emergency", 21),
        ("panic", 21),
        ("information", 9),
        ("informational", 9),
        ("verbose", 1),
        ("severe", 17),
        ("fine", 5),
        ("finest", 1),
        ("i", 9),
        ("w", 13),
        ("e", 17),
        ("d", 5),
        ("t", 1),
        ("f", 21),
    ];
    let known = |(name, _): &&(&str, u8)| text.len() == name.len() && text.eq_ignore_ascii_case(name.as_bytes());
    SPELLINGS.iter().find(known).map(|(_, number)| *number)
}
