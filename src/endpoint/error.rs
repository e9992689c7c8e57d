//! Why an exchange with a token endpoint failed.

use std::{error::Error as StdError, fmt, time::Duration};

use http::StatusCode;

use crate::error::BoxError;
use crate::{error::find_source, origin::Origin, token::InvalidToken};

/// An exchange with a token endpoint failed.
///
/// It is the source of the [`RefreshError`](crate::RefreshError) that a refresher returns, and so in the chain of
/// sources of each waiter's [`Error`](crate::Error): [`find`](Self::find) digs it out. Nothing of an answer's body is in
/// it but the error code or the token type, of which control characters were taken out; and no code into which a token
/// was written.
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
#[derive(Debug)]
pub struct EndpointError {
    kind: EndpointErrorKind,
}

#[derive(Debug)]
pub(super) enum EndpointErrorKind {
    /// There is nothing to present.
    NoRefreshToken,
    /// The request could not be made, or its parts not be had.
    Request(BoxError),
    Unsent(BoxError),
    Unanswered(BoxError),
    Timeout {
        limit: Duration,
        sent: bool,
    },
    Refused {
        status: StatusCode,
        code: Option<String>,
        what: Contents,
    },
    Redirected {
        status: StatusCode,
        target: Option<Origin>,
    },
    TooLong {
        limit: usize,
    },
    Unreadable {
        status: StatusCode,
        what: Contents,
    },
    NoAccessToken {
        status: StatusCode,
        member: String,
    },
    TokenType(String),
    InvalidToken(InvalidToken),
}

/// What came, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) content_type: Option<String>,
    pub(super) length: usize,
    pub(super) truncated: bool,
}

// === impl EndpointError ===

impl EndpointError {
    pub(super) fn new(kind: EndpointErrorKind) -> Self {
        Self { kind }
    }

    pub(crate) fn no_refresh_token() -> Self {
        Self::new(EndpointErrorKind::NoRefreshToken)
    }

    /// Looks for an `EndpointError` in `error` and its chain of sources.
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        find_source(error)
    }

    /// The error code that the endpoint gave, such as `invalid_grant` (RFC 6749 §5.2); at most 64 visible characters.
    pub fn code(&self) -> Option<&str> {
        match &self.kind {
            EndpointErrorKind::Refused { code, .. } => code.as_deref(),
            _ => None,
        }
    }

    /// The status of the endpoint's answer, if one came.
    pub fn status(&self) -> Option<StatusCode> {
        match &self.kind {
            EndpointErrorKind::Refused { status, .. }
            | EndpointErrorKind::Redirected { status, .. }
            | EndpointErrorKind::Unreadable { status, .. }
            | EndpointErrorKind::NoAccessToken { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The answer is longer than the limit on it, in bytes.
    pub fn response_limit(&self) -> Option<usize> {
        match self.kind {
            EndpointErrorKind::TooLong { limit } => Some(limit),
            _ => None,
        }
    }

    /// Where the endpoint redirects to: the refresh token was not sent there.
    pub fn redirect_target(&self) -> Option<&Origin> {
        match &self.kind {
            EndpointErrorKind::Redirected { target, .. } => target.as_ref(),
            _ => None,
        }
    }

    /// The token type of the answer, where it is one that this refresher can't use.
    pub fn token_type(&self) -> Option<&str> {
        match &self.kind {
            EndpointErrorKind::TokenType(name) => Some(name),
            _ => None,
        }
    }

    /// Whether the exchange took longer than its limit.
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind, EndpointErrorKind::Timeout { .. })
    }

    /// Whether there was no refresh token to present: nothing was sent.
    pub fn is_missing_refresh_token(&self) -> bool {
        matches!(self.kind, EndpointErrorKind::NoRefreshToken)
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            EndpointErrorKind::NoRefreshToken => f.write_str("there is no refresh token to present: sign in"),
            EndpointErrorKind::Request(_) => f.write_str("the token request could not be made"),
            EndpointErrorKind::Unsent(_) => f.write_str("the token request could not be sent"),
            EndpointErrorKind::Unanswered(_) => f.write_str("the token request was sent and not answered"),
            EndpointErrorKind::Timeout { limit, sent: false } => {
                write!(f, "the token request could not be sent within {limit:?}")
            }
            EndpointErrorKind::Timeout { limit, sent: true } => {
                write!(f, "the token request was not answered within {limit:?}")
            }
            EndpointErrorKind::Refused { status, code: Some(code), .. } => {
                write!(f, "the token endpoint answered {} with the code `{code}`", status.as_u16())
            }
            EndpointErrorKind::Refused { status, code: None, what } => {
                write!(f, "the token endpoint answered {}, without a code, {what}", status.as_u16())
            }
            EndpointErrorKind::Redirected { status, target: Some(origin) } => {
                write!(f, "the token endpoint redirects ({}) to {origin}, ", status.as_u16())?;
                f.write_str("which is not followed: set the URL that is meant")
            }
            EndpointErrorKind::Redirected { status, target: None } => {
                write!(f, "the token endpoint redirects ({}), which is not followed", status.as_u16())
            }
            EndpointErrorKind::TooLong { limit } => {
                write!(f, "the token endpoint's answer is longer than {limit} bytes: raise the answer limit")
            }
            EndpointErrorKind::Unreadable { status, what } => {
                write!(
                    f,
                    "the token endpoint answered {}, not as token endpoints do, {what}",
                    status.as_u16()
                )
            }
            EndpointErrorKind::NoAccessToken { status, member } => {
                let status = status.as_u16();
                write!(f, "the token endpoint answered {status} without an access token in `{member}`")
            }
            EndpointErrorKind::TokenType(name) => {
                write!(f, "the token endpoint gave a token of the type `{name}`, which can't be used")
            }
            EndpointErrorKind::InvalidToken(_) => {
                f.write_str("the token endpoint gave a token that can't be sent")
            }
        }
    }
}

impl StdError for EndpointError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.kind {
            EndpointErrorKind::Request(error)
            | EndpointErrorKind::Unsent(error)
            | EndpointErrorKind::Unanswered(error) => Some(&**error),
            EndpointErrorKind::InvalidToken(error) => Some(error),
            _ => None,
        }
    }
}

// === impl Contents ===

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length == 0 {
            return f.write_str("with an empty body");
        }
        let cut = if self.truncated { " that end in the middle" } else { "" };
        match &self.content_type {
            Some(content_type) => write!(f, "with {} bytes of {content_type}{cut}", self.length),
            None => write!(f, "with {} bytes of no named type{cut}", self.length),
        }
    }
}

/// What of a server's text may be shown: visible ASCII, and not much of it.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(LONGEST_SHOWN).collect()
}

const LONGEST_SHOWN: usize = 64;
