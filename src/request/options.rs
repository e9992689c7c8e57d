//! Extensions of requests.

use std::time::Duration;

/// Request extension: send this request without a token and don't check its response.
///
/// For requests made by the refresher, public resources and pre-signed URLs.
///
/// If an outer layer follows redirects, the extension is lost when a redirect leaves the origin, unless the
/// redirect policy has `FilterCredentials::new().allow_extension::<SkipAuth>()`; see [layer
/// order](crate::docs::layer_order#redirects).
///
/// # Examples
///
/// ```
/// use tower_reauth::SkipAuth;
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(SkipAuth);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SkipAuth;

/// Request extension: how long this request waits for a token.
///
/// Takes precedence over the layer's and the session's setting.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_reauth::WaitTimeout;
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(WaitTimeout::new(Duration::from_secs(1)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeout {
    timeout: Duration,
}

/// Request extension: the token must stay valid for at least this long, if possible.
///
/// For a long upload, a job that passes the token on, or a stream that the server closes when the token
/// expires. A token with less time left is refreshed first, and the request waits for that. If the refresh
/// fails, is in a backoff, or returns a token that doesn't last that long either, the request is sent with
/// the current token, if that is still valid. No refresh starts within the trial of a token that has just been
/// refreshed (a tenth of its lifetime, at most 30 s), or if the last refresh returned it with less time left
/// than that. Time left is measured to
/// [`AccessToken::expires_at`](crate::AccessToken::expires_at).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_reauth::MinLifetime;
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(MinLifetime::new(Duration::from_secs(20 * 60)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinLifetime {
    lifetime: Duration,
}

/// Response extension: the response came from another origin than the request was sent to, after a redirect.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "reqwest"), allow(dead_code, reason = "inserted by reqwest's service"))]
pub(crate) struct FromOtherOrigin;

// === impl WaitTimeout ===

impl WaitTimeout {
    /// Waits for at most `timeout`.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout }
    }

    pub(super) fn get(self) -> Duration {
        self.timeout
    }
}

impl From<Duration> for WaitTimeout {
    fn from(timeout: Duration) -> Self {
        Self::new(timeout)
    }
}

// === impl MinLifetime ===

impl MinLifetime {
    /// Requires a token that stays valid for `lifetime`, if possible.
    pub fn new(lifetime: Duration) -> Self {
        Self { lifetime }
    }

    pub(super) fn get(self) -> Duration {
        self.lifetime
    }
}

impl From<Duration> for MinLifetime {
    fn from(lifetime: Duration) -> Self {
        Self::new(lifetime)
    }
}
