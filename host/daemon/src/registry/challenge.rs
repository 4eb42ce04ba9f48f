//! What a registry demands of who asks: the header `WWW-Authenticate`, read.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// What is demanded.
#[derive(Debug, PartialEq, Eq)]
pub enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token, which another server gives.
    Bearer {
        /// The address of that server.
        realm: String,
        /// What the registry is called there.
        service: Option<String>,
        /// What the token must be good for.
        scope: Option<String>,
    },
}

/// The demand that can be met, tokens before passwords; `None` where there is none that is known.
pub fn of(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let mut found: Vec<Challenge> = texts.filter_map(read).collect();
    found.sort_by_key(|challenge| *challenge == Challenge::Basic);
    found.into_iter().next()
}

fn read(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let parameters = parameters(rest);
    let get =
        |name: &str| parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    Some(Challenge::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") })
}

/// `name="value", name=value`; what is between quotes may hold commas.
fn parameters(mut rest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some((name, behind)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_owned();
        let quoted = behind.strip_prefix('"');
        let (value, behind) = match quoted {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => behind.split_once(',').unwrap_or((behind, "")),
        };
        found.push((name, value.trim().to_owned()));
        rest = behind;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demands_are_read_and_tokens_come_first() {
        let of = |texts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for text in texts {
                headers.append(WWW_AUTHENTICATE, text.parse().expect("a header"));
            }
            super::of(&headers)
        };
        let bearer = r#"Bearer realm="https://auth.example.com/token",service="registry.example.com",scope="repository:a/b:pull,push""#;
        let expected = Challenge::Bearer {
            realm: "https://auth.example.com/token".into(),
            service: Some("registry.example.com".into()),
            scope: Some("repository:a/b:pull,push".into()),
        };
        assert_eq!(of(&[r#"Basic realm="x""#, bearer]), Some(expected));
        assert_eq!(of(&["basic"]), Some(Challenge::Basic));
        let bare = of(&["bearer service=a, realm=https://x/"]);
        assert_eq!(
            bare,
            Some(Challenge::Bearer { realm: "https://x/".into(), service: Some("a".into()), scope: None })
        );
        for nothing in [&["Negotiate"][..], &["Bearer"], &["Bearer realm"], &[], &["Bearer service=\"a"]] {
            assert_eq!(of(nothing), None, "{nothing:?}");
        }
    }
}
