//! Who may send, and what they are called in the scope of idempotency keys. Tokens are compared in constant time and never shown.

use super::config::HttpAuth;
use sawlog_record::id::hash;

/// The tokens that are let in, as hashes.
#[derive(Debug)]
pub struct Access {
    tokens: Vec<(blake3::Hash, String)>,
}

impl Access {
    /// What `auth` says. Each token is a principal of its own, so that clients don't meet each other's keys.
    pub fn new(auth: &HttpAuth) -> Self {
        let one = |token: &str| (blake3::hash(token.as_bytes()), named("token", token.as_bytes()));
        Self { tokens: auth.tokens.iter().map(|token| one(token.expose())).collect() }
    }

    /// The principal of a request with this `Authorization` header on a connection of `certified`; `None`: not let in.
    pub fn principal(&self, authorization: Option<&[u8]>, certified: Option<&str>) -> Option<String> {
        if self.tokens.is_empty() {
            return Some(certified.unwrap_or_default().to_owned());
        }
        let given = blake3::hash(authorization.and_then(bearer).unwrap_or_default());
        // All are compared, and `blake3::Hash` compares in constant time: how long it takes says nothing about a token.
        let known =
            |found, (token, name): &(blake3::Hash, String)| if given == *token { Some(name.clone()) } else { found };
        self.tokens.iter().fold(None, known)
    }
}

/// What a client is called by its certificate (DER).
pub fn certified(certificate: &[u8]) -> String {
    named("certificate", certificate)
}

fn named(kind: &str, secret: &[u8]) -> String {
    let digest = hash("sawlog.principal", &[kind.as_bytes(), secret]);
    digest[..16].iter().fold(format!("{kind}-"), |name, byte| format!("{name}{byte:02x}"))
}

fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sawlog_settings::Secret;

    #[test]
    fn only_listed_tokens_come_in_and_are_told_apart() {
        let access = Access::new(&HttpAuth { tokens: vec![Secret::clear("one"), Secret::clear("two")] });
        let one = access.principal(Some(b"Bearer one"), None);
        assert!(one.is_some());
        assert_ne!(one, access.principal(Some(b"bearer two"), None));
        for wrong in
            [None, Some(&b"Bearer three"[..]), Some(b"Bearer "), Some(b"Basic one"), Some(b"one"), Some(b"Bearer onet")]
        {
            assert_eq!(access.principal(wrong, Some("certificate-x")), None);
        }
        assert!(!one.unwrap_or_default().contains("one"));
    }

    #[test]
    fn without_tokens_everybody_comes_in_under_the_name_of_their_certificate() {
        let access = Access::new(&HttpAuth::default());
        assert_eq!(access.principal(None, None).as_deref(), Some(""));
        assert_eq!(access.principal(None, Some("certificate-x")).as_deref(), Some("certificate-x"));
    }
}
