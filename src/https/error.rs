//! [`TlsError`] and [`ConnectError`].

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use http::Uri;

use crate::{error::find_source, rt::NoTimer};

/// Something that TLS needs is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsError {
    missing: Missing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Provider,
    Roots,
}

/// Connecting failed, so no request was sent.
///
/// It is in the source chain of the client's error, and so of every waiter's [`Error`](crate::Error) after a
/// refresh that failed because of it: [`find`](Self::find) extracts it.
#[derive(Clone, Debug)]
pub struct ConnectError {
    kind: ConnectErrorKind,
    /// The proxy's host.
    proxy: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) enum ConnectErrorKind {
    NoTimer(NoTimer),
    Timeout(Duration),
    UnsupportedProxy,
    Failed(Arc<dyn StdError + Send + Sync>),
}

// === impl TlsError ===

impl TlsError {
    pub(super) const MISSING_PROVIDER: Self = Self { missing: Missing::Provider };
    pub(crate) const MISSING_ROOTS: Self = Self { missing: Missing::Roots };

    /// Whether there is no crypto provider, or the installed one has no cipher suite for TLS 1.2 or 1.3.
    ///
    /// See the [module docs](super#crypto-providers).
    pub fn is_missing_crypto_provider(&self) -> bool {
        self.missing == Missing::Provider
    }

    /// Whether no root certificates were found.
    ///
    /// Install them (package `ca-certificates`), or use your own client.
    pub fn is_missing_root_certificates(&self) -> bool {
        self.missing == Missing::Roots
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.missing {
            Missing::Provider => {
                "no usable crypto provider: install one by rustls's `CryptoProvider::install_default`, or \
                 enable feature `https-ring` or `https-aws-lc` of tower-reauth"
            }
            Missing::Roots => "no root certificates found: install them, or use your own transport",
        })
    }
}

impl StdError for TlsError {}

// === impl ConnectError ===

impl ConnectError {
    pub(super) fn new(kind: ConnectErrorKind, proxy: Option<&Uri>) -> Self {
        // Not the whole URL, as it may contain a password.
        Self { kind, proxy: proxy.and_then(Uri::host).map(str::to_owned) }
    }

    /// Looks for a `ConnectError` in `error` and its source chain.
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        find_source(error)
    }

    /// Whether the [connect timeout](super::HttpsConnector::connect_timeout) passed.
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind, ConnectErrorKind::Timeout(_))
    }

    /// The host of the proxy, if the connection was to go through one.
    pub fn proxy(&self) -> Option<&str> {
        self.proxy.as_deref()
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ConnectErrorKind::UnsupportedProxy => f.write_str(
                "unsupported kind of proxy: use an HTTP proxy, or set \
                 `HttpsConnector::proxy_from_env` to `false`",
            )?,
            ConnectErrorKind::NoTimer(_) | ConnectErrorKind::Failed(_) => f.write_str("failed to connect")?,
            ConnectErrorKind::Timeout(timeout) => write!(f, "failed to connect within {timeout:?}")?,
        }
        match &self.proxy {
            Some(proxy) => write!(f, " (proxy `{proxy}`)"),
            None => Ok(()),
        }
    }
}

impl StdError for ConnectError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.kind {
            ConnectErrorKind::NoTimer(error) => Some(error),
            ConnectErrorKind::Failed(error) => Some(&**error),
            ConnectErrorKind::Timeout(_) | ConnectErrorKind::UnsupportedProxy => None,
        }
    }
}

impl From<NoTimer> for ConnectErrorKind {
    fn from(error: NoTimer) -> Self {
        Self::NoTimer(error)
    }
}
