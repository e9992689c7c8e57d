//! [`EndpointError`].

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode, header};

use crate::{error::find_source, origin::Origin, refresh::RefreshError, token::InvalidToken};

/// A failed token request.
///
/// It is the source of the [`RefreshError`](crate::RefreshError) that a refresher returns, and so in the
/// source chain of every waiter's [`Error`](crate::Error): [`find`](Self::find) extracts it.
///
/// It contains nothing of the response except the error code or token type, the content type and a redirect's
/// origin: characters of a code (RFC 6749 §5.2), at most 64. None of these is shown if it has eight characters in
/// a row in common with a secret of the exchange, whether escaped, split or in another case. The transport's own
/// error, if any, is its source and is passed on as it is: a server may have put text into it, such as the debug
/// data of an HTTP/2 `GOAWAY`.
///
/// # Examples
///
/// ```
/// use tower_reauth::endpoint::EndpointError;
///
/// fn code<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a str> {
///     EndpointError::find(error)?.code()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct EndpointError {
    kind: EndpointErrorKind,
}

#[derive(Clone, Debug)]
pub(super) enum EndpointErrorKind {
    MissingRefreshToken,
    BuildRequest(SharedError),
    NotSent(SharedError),
    NoResponse(SharedError),
    Timeout { timeout: Duration, sent: bool },
    Refused { status: StatusCode, code: Option<String>, body: BodySummary },
    Redirected { status: StatusCode, target: Option<Origin> },
    ResponseTooLarge { limit: usize },
    UnexpectedBody { status: StatusCode, body: BodySummary },
    MissingAccessToken { status: StatusCode, field: String },
    UnsupportedTokenType(String),
    InvalidToken(InvalidToken),
    TokenWithSpaces,
}

type SharedError = Arc<dyn StdError + Send + Sync>;

/// What may be shown of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BodySummary {
    pub(super) content_type: Option<String>,
    pub(super) length: usize,
    pub(super) truncated: bool,
}

// === impl EndpointError ===

impl EndpointError {
    pub(super) fn new(kind: EndpointErrorKind) -> Self {
        Self { kind }
    }

    /// What a request needs couldn't be made.
    pub(crate) fn unprepared(error: RefreshError) -> Self {
        Self::new(EndpointErrorKind::BuildRequest(Arc::new(error)))
    }

    pub(crate) fn missing_refresh_token() -> Self {
        Self::new(EndpointErrorKind::MissingRefreshToken)
    }

    /// Looks for an `EndpointError` in `error` and its source chain.
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        find_source(error)
    }

    /// The endpoint's error code, such as `invalid_grant` (RFC 6749 §5.2); at most 64 characters, as
    /// written.
    pub fn code(&self) -> Option<&str> {
        match &self.kind {
            EndpointErrorKind::Refused { code, .. } => code.as_deref(),
            _ => None,
        }
    }

    /// The status of the endpoint's response, if there was one.
    pub fn status(&self) -> Option<StatusCode> {
        match &self.kind {
            EndpointErrorKind::Refused { status, .. }
            | EndpointErrorKind::Redirected { status, .. }
            | EndpointErrorKind::UnexpectedBody { status, .. }
            | EndpointErrorKind::MissingAccessToken { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The size limit that the response exceeded, in bytes.
    pub fn response_limit(&self) -> Option<usize> {
        match self.kind {
            EndpointErrorKind::ResponseTooLarge { limit } => Some(limit),
            _ => None,
        }
    }

    /// The target of a redirect that wasn't followed.
    pub fn redirect_target(&self) -> Option<&Origin> {
        match &self.kind {
            EndpointErrorKind::Redirected { target, .. } => target.as_ref(),
            _ => None,
        }
    }

    /// The token type of the response, if it isn't supported.
    pub fn token_type(&self) -> Option<&str> {
        match &self.kind {
            EndpointErrorKind::UnsupportedTokenType(name) => Some(name),
            _ => None,
        }
    }

    /// Whether the exchange timed out.
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind, EndpointErrorKind::Timeout { .. })
    }

    /// Whether there was no refresh token, so that no request was made.
    pub fn is_missing_refresh_token(&self) -> bool {
        matches!(self.kind, EndpointErrorKind::MissingRefreshToken)
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            EndpointErrorKind::MissingRefreshToken => f.write_str("no refresh token: sign in"),
            EndpointErrorKind::BuildRequest(_) => f.write_str("failed to build the token request"),
            EndpointErrorKind::NotSent(_) => f.write_str("failed to send the token request"),
            EndpointErrorKind::NoResponse(_) => f.write_str("no response to the token request"),
            EndpointErrorKind::Timeout { timeout, sent: false } => {
                write!(f, "token request not sent within {timeout:?}")
            }
            EndpointErrorKind::Timeout { timeout, sent: true } => {
                write!(f, "no response to the token request within {timeout:?}")
            }
            EndpointErrorKind::Refused { status, code: Some(code), .. } => {
                write!(f, "token endpoint returned {}: `{code}`", status.as_u16())
            }
            EndpointErrorKind::Refused { status, code: None, body } => {
                write!(f, "token endpoint returned {} without an error code ({body})", status.as_u16())
            }
            EndpointErrorKind::Redirected { status, target: Some(origin) } => {
                let status = status.as_u16();
                write!(f, "token endpoint redirects ({status}) to {origin}: configure that URL instead")
            }
            EndpointErrorKind::Redirected { status, target: None } => {
                write!(f, "token endpoint redirects ({}) without a valid location", status.as_u16())
            }
            EndpointErrorKind::ResponseTooLarge { limit } => {
                write!(f, "token response exceeds {limit} bytes: raise `max_response_size`")
            }
            EndpointErrorKind::UnexpectedBody { status, body } => {
                write!(f, "token endpoint returned {} with an unexpected body ({body})", status.as_u16())
            }
            EndpointErrorKind::MissingAccessToken { status, field } => {
                write!(f, "token endpoint returned {} without `{field}`", status.as_u16())
            }
            EndpointErrorKind::UnsupportedTokenType(name) => write!(f, "unsupported token type `{name}`"),
            EndpointErrorKind::InvalidToken(_) => {
                f.write_str("token endpoint returned a token that isn't a valid header value")
            }
            EndpointErrorKind::TokenWithSpaces => {
                f.write_str("token endpoint returned an access token with spaces, probably an error message")
            }
        }
    }
}

impl StdError for EndpointError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.kind {
            EndpointErrorKind::BuildRequest(error)
            | EndpointErrorKind::NotSent(error)
            | EndpointErrorKind::NoResponse(error) => Some(&**error),
            EndpointErrorKind::InvalidToken(error) => Some(error),
            _ => None,
        }
    }
}

// === impl BodySummary ===

impl BodySummary {
    /// `shown` is the part of a server's text that may be shown.
    pub(super) fn new(
        headers: &HeaderMap,
        length: usize,
        truncated: bool,
        shown: impl FnOnce(&str) -> Option<String>,
    ) -> Self {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Self { content_type: content_type.and_then(shown), length, truncated }
    }
}

impl fmt::Display for BodySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length == 0 {
            return f.write_str("empty body");
        }
        let content_type = self.content_type.as_deref().unwrap_or("unknown type");
        write!(f, "{} bytes of {content_type}", self.length)?;
        f.write_str(if self.truncated { ", truncated" } else { "" })
    }
}
