//! What is made for each call of a client: secrets and headers.

use http::{HeaderName, HeaderValue};

use super::{client::Client, client_auth::ClientAuth};
use crate::{
    endpoint::PerCall,
    refresh::{RefreshContext, RefreshError},
    token::{Secret, Token},
};

/// A client secret that is obtained for each call, and how it is sent.
#[derive(Clone, Debug)]
pub(super) struct SecretPerCall {
    secret: PerCall<Secret>,
    auth: fn(Secret) -> ClientAuth,
}

// === impl Client ===

impl Client {
    /// Obtains the client secret for each call, as from a file that is rotated, and sends it as
    /// [`client_secret_basic`](Self::client_secret_basic) does.
    ///
    /// Takes precedence over a fixed secret. Surrounding whitespace is trimmed. If the closure fails, no request is
    /// sent, and its error is that of the refresh.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_reauth::{RefreshContext, RefreshError, oauth2::Client};
    ///
    /// fn with_secret_file(client: Client) -> Client {
    ///     client.client_secret_basic_with(|_: RefreshContext| async {
    ///         std::fs::read_to_string("/run/secrets/client").map_err(RefreshError::misconfigured)
    ///     })
    /// }
    /// ```
    pub fn client_secret_basic_with<F, Fut>(self, secret: F) -> Self
    where
        F: Fn(RefreshContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, RefreshError>> + Send + 'static,
    {
        self.secret_with(secret, ClientAuth::SecretBasic)
    }

    /// Obtains the client secret for each call, as
    /// [`client_secret_basic_with`](Self::client_secret_basic_with), and sends it as
    /// [`client_secret_post`](Self::client_secret_post) does.
    pub fn client_secret_post_with<F, Fut>(self, secret: F) -> Self
    where
        F: Fn(RefreshContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, RefreshError>> + Send + 'static,
    {
        self.secret_with(secret, ClientAuth::SecretPost)
    }

    fn secret_with<F, Fut>(mut self, secret: F, auth: fn(Secret) -> ClientAuth) -> Self
    where
        F: Fn(RefreshContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, RefreshError>> + Send + 'static,
    {
        self.secret_per_call = Some(SecretPerCall { secret: PerCall::new(secret, Secret::trimmed), auth });
        self
    }

    /// Adds a header whose value a closure makes for each call. It is treated as a secret.
    ///
    /// If the closure fails, no request is sent, and its error is that of the refresh.
    ///
    /// # Examples
    ///
    /// ```
    /// use http::{HeaderName, HeaderValue};
    /// use tower_reauth::{RefreshContext, RefreshError, oauth2::Client};
    ///
    /// fn with_request_id(client: Client) -> Client {
    ///     client.header_with(HeaderName::from_static("x-request-id"), |cx: RefreshContext| async move {
    ///         let id = format!("refresh-{}", cx.consecutive_failures());
    ///         HeaderValue::try_from(id).map_err(RefreshError::misconfigured)
    ///     })
    /// }
    /// ```
    pub fn header_with<F, Fut>(mut self, name: HeaderName, value: F) -> Self
    where
        F: Fn(RefreshContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HeaderValue, RefreshError>> + Send + 'static,
    {
        self.headers_per_call.add(name, value);
        self
    }

    /// Sends one token request with a grant's parameters, then the client's own.
    pub(super) async fn run(
        &self,
        cx: &RefreshContext,
        grant: &[(&str, &str)],
    ) -> Result<Token, RefreshError> {
        let client = self.prepared(cx).await?;
        client.endpoint.run(cx, &|url| client.token_request(url, grant, cx)).await
    }

    /// A client with the secret and the headers of one call.
    pub(super) async fn prepared(&self, cx: &RefreshContext) -> Result<Self, RefreshError> {
        let mut client = self.clone();
        if let Some(SecretPerCall { secret, auth }) = &self.secret_per_call {
            client.auth = auth(secret.make(cx).await?);
        }
        self.headers_per_call.make(cx, &mut client.endpoint.headers).await?;
        Ok(client)
    }
}
