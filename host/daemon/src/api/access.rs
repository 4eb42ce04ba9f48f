//! Who may ask what over the network: with a token, whoever has it; without one, whoever reaches the address may look, and nobody
//! may change anything. The socket in the data directory has the file system's rights and does not come here.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Refusal;
use crate::config::sections::Api;
use crate::run::Handle;

/// What a request is held against.
pub struct Access {
    /// Hash of the token: comparing hashes tells nothing of it by its time.
    token: Option<[u8; 32]>,
    /// Whether every client has shown a certificate.
    certified: bool,
}

impl Access {
    /// What the options ask for.
    fn new(options: &Api) -> Self {
        let token = options.token.as_ref().map(|token| digest(token.expose().as_bytes()));
        Self { token, certified: is_certified(options) }
    }

    fn judge(&self, method: &Method, authorization: Option<&[u8]>) -> Result<(), Refusal> {
        let given = authorization.and_then(bearer).map(digest);
        match &self.token {
            Some(token) if given.as_ref() != Some(token) => Err(Refusal(
                StatusCode::UNAUTHORIZED,
                "`api.token` is needed: send `authorization: Bearer TOKEN`".to_owned(),
            )),
            None if !self.certified && !matches!(*method, Method::GET | Method::HEAD) => Err(Refusal(
                StatusCode::FORBIDDEN,
                "nothing is changed here without a token; give `api.token`, or ask through the socket in `data_dir`"
                    .to_owned(),
            )),
            _ => Ok(()),
        }
    }
}

/// Whether every client has to show a certificate.
pub fn is_certified(options: &Api) -> bool {
    options.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())
}

fn digest(token: &[u8]) -> [u8; 32] {
    sawlog_record::id::hash("sawlog.api.token", &[token])
}

fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Lets a request through, or answers it with what is missing. The token is that of the present configuration; who has to show a
/// certificate is as it was when the agent began to listen.
pub async fn check(State((handle, certified)): State<(Arc<Handle>, bool)>, request: Request, next: Next) -> Response {
    let access = Access { certified, ..Access::new(&handle.config().sections.api) };
    let authorization = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    match access.judge(request.method(), authorization) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sawlog_settings::Secret;

    fn status(access: &Access, method: Method, authorization: Option<&str>) -> u16 {
        access.judge(&method, authorization.map(str::as_bytes)).map_or_else(|refusal| refusal.0.as_u16(), |()| 200)
    }

    #[test]
    fn a_token_opens_and_nothing_changes_without_one() {
        let open = Access::new(&Api::default());
        assert_eq!(status(&open, Method::GET, None), 200);
        assert_eq!(status(&open, Method::POST, None), 403);
        let guarded = Access::new(&Api { token: Some(Secret::clear("one")), ..Api::default() });
        for wrong in [None, Some("Bearer two"), Some("one"), Some("Basic one"), Some("Bearer "), Some("Bearer onet")] {
            assert_eq!(status(&guarded, Method::GET, wrong), 401, "{wrong:?}");
        }
        assert_eq!(status(&guarded, Method::GET, Some("bearer one")), 200);
        assert_eq!(status(&guarded, Method::POST, Some("Bearer one")), 200);
    }
}
