//! [`Endpoint`].

use std::{fmt, time::Duration};

use http::{HeaderMap, Request, Response, header};
use http_body::Body;
use tower_service::Service;

use super::{
    body::RequestBody,
    classifier::ErrorClassifier,
    lifetime::Lifetime,
    response::ResponseFormat,
    transport::Transport,
    url::{EndpointUrl, InvalidEndpoint},
};
use crate::error::BoxError;

/// A token endpoint: its URL and transport, and how to interpret its responses.
///
/// `oauth2::Client` and `json::JsonEndpoint` are built from one. They have the same settings, so an endpoint of
/// its own is needed only to share them.
///
/// # Examples
///
/// ```
/// # #[cfg(all(feature = "oauth2", feature = "json"))]
/// # fn example(
/// #     transport: hyper_util::client::legacy::Client<
/// #         hyper_util::client::legacy::connect::HttpConnector,
/// #         tower_reauth::endpoint::RequestBody,
/// #     >,
/// # ) -> Result<(), tower_reauth::endpoint::InvalidEndpoint> {
/// use tower_reauth::{
///     endpoint::{Endpoint, ErrorClassifier, FailureKind},
///     json::JsonEndpoint,
///     oauth2,
/// };
///
/// let endpoint = Endpoint::try_with_transport("http://localhost/token", transport)?
///     .error_code_path("/errors/0/code")
///     .error_classifier(ErrorClassifier::new().code("expired", FailureKind::GrantEnded));
/// let client = oauth2::Client::new(endpoint.clone(), "web");
/// let json = JsonEndpoint::new(endpoint);
/// # let _ = (client, json);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Endpoint {
    pub(crate) url: EndpointUrl,
    pub(super) transport: Transport,
    pub(crate) timeout: Duration,
    pub(crate) max_response_size: usize,
    /// They replace the request's own.
    pub(crate) headers: HeaderMap,
    pub(crate) format: ResponseFormat,
    pub(crate) errors: ErrorClassifier,
    /// No grant exists, so "ended" means misconfiguration.
    pub(crate) has_no_grant: bool,
}

/// Adds the settings of an [`Endpoint`] to a type with a method `endpoint_mut`.
///
/// As inherent methods, because a trait's `timeout` would be ambiguous beside `RefresherExt`'s.
macro_rules! endpoint_settings {
    ($owner:ty) => {
        impl $owner {
            /// Sets the timeout of an exchange.
            ///
            /// Default: 10 s, so that a repeated exchange is still tolerated by rotating servers.
            pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
                self.endpoint_mut().timeout = timeout;
                self
            }

            /// Sets the maximum response size in bytes.
            ///
            /// Default: 256 KiB.
            pub fn max_response_size(mut self, bytes: usize) -> Self {
                self.endpoint_mut().max_response_size = bytes;
                self
            }

            /// Adds a header to each request. It is treated as a secret.
            ///
            /// It replaces a header that the request would have, except `Content-Type`.
            pub fn header(mut self, name: http::HeaderName, mut value: http::HeaderValue) -> Self {
                value.set_sensitive(true);
                self.endpoint_mut().headers.append(name, value);
                self
            }

            /// Sets the field with the access token.
            ///
            /// Default: `access_token`.
            ///
            /// A leading slash makes it a JSON pointer, which can index into lists: `/data/tokens/0/jwt`.
            pub fn access_token_path(mut self, path: impl Into<std::borrow::Cow<'static, str>>) -> Self {
                self.endpoint_mut().format.access_token = path.into();
                self
            }

            /// Sets the field with the new refresh token.
            ///
            /// Default: `refresh_token`. If missing, the current one is kept.
            ///
            /// A leading slash makes it a JSON pointer.
            pub fn new_refresh_token_path(mut self, path: impl Into<std::borrow::Cow<'static, str>>) -> Self {
                self.endpoint_mut().format.refresh_token = path.into();
                self
            }

            /// Sets where a response states the token's lifetime.
            ///
            /// Default: `expires_in`, in seconds (RFC 6749 §5.1).
            pub fn lifetime(mut self, lifetime: crate::endpoint::Lifetime) -> Self {
                self.endpoint_mut().format.lifetime = lifetime;
                self
            }

            /// Sets where a response states the refresh token's own lifetime. 0 means unlimited.
            ///
            /// Default: `refresh_expires_in`, `refresh_token_expires_in` or `x_refresh_token_expires_in`, in
            /// seconds.
            pub fn refresh_token_lifetime(mut self, lifetime: crate::endpoint::Lifetime) -> Self {
                self.endpoint_mut().format.refresh_token_lifetime = Some(lifetime);
                self
            }

            /// Sets the scheme of the tokens, whatever their `token_type`.
            ///
            /// Default: `Bearer`. For OAuth, another `token_type` is then an error.
            pub fn scheme(mut self, scheme: impl Into<std::borrow::Cow<'static, str>>) -> Self {
                self.endpoint_mut().format.scheme = Some(scheme.into());
                self
            }

            /// Sets the field with the error code. It is read whatever the status, before `error`.
            ///
            /// Default: `error`, `code` and `/errors/0/errorType`; the first known code is used, including your
            /// own. Beside a token an unknown `code` is ignored.
            ///
            /// A code that means success is none, see
            /// [`success_code`](crate::endpoint::ErrorClassifier::success_code).
            ///
            /// A leading slash makes it a JSON pointer, which can index into lists: `/errors/0/code`.
            pub fn error_code_path(mut self, path: impl Into<std::borrow::Cow<'static, str>>) -> Self {
                self.endpoint_mut().format.code = Some(path.into());
                self
            }

            /// Adds provider-specific error codes and statuses.
            ///
            /// By default, unknown 4xx errors are retried slowly and never end the grant.
            pub fn error_classifier(mut self, errors: crate::endpoint::ErrorClassifier) -> Self {
                self.endpoint_mut().errors.add(errors);
                self
            }
        }
    };
}
pub(crate) use endpoint_settings;

// === impl Endpoint ===

impl Endpoint {
    /// Creates an endpoint with the built-in HTTPS client, see the module [`https`](crate::https).
    ///
    /// # Errors
    ///
    /// [`InvalidEndpoint`] if the URL is invalid, or plain `http` to a host that isn't loopback, or if there is no
    /// crypto provider or no root certificate, see [`tls_error`](InvalidEndpoint::tls_error).
    #[cfg(feature = "https")]
    #[cfg_attr(docsrs, doc(cfg(feature = "https")))]
    pub fn try_new<U>(url: U) -> Result<Self, InvalidEndpoint>
    where
        U: TryInto<EndpointUrl>,
        U::Error: Into<InvalidEndpoint>,
    {
        let url = url.try_into().map_err(Into::into)?;
        let transport = Transport::built_in(&url)?;
        Ok(Self::with(url, transport))
    }

    /// Creates an endpoint; a tower service sends its requests.
    ///
    /// Don't pass a service that carries the layer itself.
    ///
    /// # Errors
    ///
    /// [`InvalidEndpoint`] if the URL is invalid, or plain `http` to a host that isn't loopback.
    pub fn try_with_transport<U, S, B>(url: U, transport: S) -> Result<Self, InvalidEndpoint>
    where
        U: TryInto<EndpointUrl>,
        U::Error: Into<InvalidEndpoint>,
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let url = url.try_into().map_err(Into::into)?;
        Ok(Self::with(url, Transport::new(transport)))
    }

    fn with(url: EndpointUrl, transport: Transport) -> Self {
        Self {
            url,
            transport,
            timeout: DEFAULT_TIMEOUT,
            max_response_size: DEFAULT_MAX_RESPONSE_SIZE,
            headers: HeaderMap::new(),
            format: ResponseFormat {
                access_token: "access_token".into(),
                refresh_token: "refresh_token".into(),
                lifetime: Lifetime::seconds("expires_in"),
                refresh_token_lifetime: None,
                scheme: None,
                code: None,
                scopes: Vec::new(),
            },
            errors: ErrorClassifier::new(),
            has_no_grant: false,
        }
    }

    fn endpoint_mut(&mut self) -> &mut Self {
        self
    }

    /// Adds the configured headers to a request.
    pub(super) fn add_headers<B>(&self, mut request: Request<B>) -> Request<B> {
        // The type of the body is ours.
        for name in self.headers.keys().filter(|name| *name != header::CONTENT_TYPE) {
            request.headers_mut().remove(name);
            for value in self.headers.get_all(name) {
                request.headers_mut().append(name, value.clone());
            }
        }
        request
    }
}

endpoint_settings!(Endpoint);

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.url)
            .field("timeout", &self.timeout)
            .field("max_response_size", &self.max_response_size)
            .finish_non_exhaustive()
    }
}

/// Short enough that rotating servers still tolerate a repeat.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

const DEFAULT_MAX_RESPONSE_SIZE: usize = 256 * 1024;
