//! Credentials by the usual chain: environment, profile, single sign-on, web identity, container, instance. What it asks is not
//! the store, so its requests leave by a client of their own: metadata are asked directly, never through the sink's `proxy`, and
//! a public service is trusted as the machine trusts it, also where `tls.ca` names the one authority of the store.

use opendal::HttpTransporter;
use opendal_http_transport_reqwest::ReqwestTransport;
use reqsign_aws_v4::{Credential, DefaultCredentialProvider};
use reqsign_core::{Context, Error, ProvideCredential, ProvideCredentialChain};
use reqwest::{Certificate, NoProxy, Proxy};
use std::time::Duration;

/// How long a connection may take to come up. On a machine without metadata nobody refuses it.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// How long an answer may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Hosts that lie on the machine or its link: metadata of instances and containers. No proxy knows those of its client.
const NEAR: &str = "localhost,127.0.0.0/8,169.254.0.0/16,::1,fe80::/10,fd00:ec2::/32";
/// What is said where none of them has any.
pub(super) const NONE_FOUND: &str = "no credentials: neither the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, nor the profile \
     AWS_PROFILE (or `default`) of AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE, nor AWS_WEB_IDENTITY_TOKEN_FILE with \
     AWS_ROLE_ARN, nor the metadata of a container or an instance give any; give `credentials`, or one of these";

/// Whether a request was not even sent, because nobody gave credentials for it. The library has no kind for that, but words.
pub(super) fn are_missing(error: &opendal::Error) -> bool {
    std::error::Error::source(error)
        .is_some_and(|source| source.to_string().contains("failed to load signing credential"))
}

/// The chain, with its own client.
#[derive(Debug)]
struct UsualChain {
    chain: DefaultCredentialProvider,
    sender: HttpTransporter,
}

/// The chain. `authorities` are trusted beside those of the machine; `proxy` is the way to what is not near.
pub(super) fn usual(
    authorities: Vec<Certificate>,
    proxy: Option<Proxy>,
) -> Result<ProvideCredentialChain<Credential>, reqwest::Error> {
    let mut builder = reqwest::Client::builder().connect_timeout(CONNECT_TIME_MAX).read_timeout(SILENCE_MAX);
    if !authorities.is_empty() {
        builder = builder.tls_certs_merge(authorities);
    }
    if let Some(proxy) = proxy {
        builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(NEAR)));
    }
    let sender = HttpTransporter::new(ReqwestTransport::new(builder.build()?));
    // Programs that a profile names are not run.
    let chain = DefaultCredentialProvider::builder().no_process().build();
    Ok(ProvideCredentialChain::new().push(UsualChain { chain, sender }))
}

impl ProvideCredential for UsualChain {
    type Credential = Credential;

    async fn provide_credential(&self, context: &Context) -> Result<Option<Credential>, Error> {
        self.chain.provide_credential(&context.clone().with_http_send(self.sender.clone())).await
    }
}
