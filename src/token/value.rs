//! [`Token`].

use std::{collections::BTreeMap, fmt, sync::Arc, time::SystemTime};

use http::HeaderValue;

use crate::rt::{self, LONGEST, Nanos, Timestamp};

use super::{
    access::{AccessToken, Stamp},
    builder::TokenBuilder,
    invalid::InvalidToken,
    secret::{Secret, scheme, text_after},
    warning::Warning,
};

/// An access token with what was told about it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_reauth::Token;
///
/// let token = Token::builder("2YotnFZFEjr1zCsicMWpAA")
///     .expires_in(Duration::from_secs(3600))
///     .refresh_token("tGzv3JOkF0XG5Qx2TlKWIA")
///     .build()?;
/// assert_eq!(token.access_token(), "2YotnFZFEjr1zCsicMWpAA");
/// assert!(!format!("{token:?}").contains("2YotnFZF"));
/// # Ok::<(), tower_reauth::token::InvalidToken>(())
/// ```
#[derive(Clone)]
pub struct Token {
    pub(super) header: HeaderValue,
    pub(super) scheme_len: usize,
    pub(super) refresh_token: Option<Secret>,
    pub(super) end: Option<Expiry>,
    pub(super) refresh_at: Option<Expiry>,
    pub(super) received_at: Option<SystemTime>,
    pub(super) scopes: Option<Arc<[String]>>,
    pub(super) extras: Arc<BTreeMap<String, Secret>>,
    pub(super) warnings: Arc<[Warning]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    After(Nanos),
    At(SystemTime),
}

/// How long a token was said to live, counted from its receipt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReportedLifetime {
    pub(crate) received: Timestamp,
    /// None: unknown.
    pub(crate) told: Option<Nanos>,
    /// Expiry to refresh, as the token itself has it.
    pub(crate) refresh_at: Option<Nanos>,
    /// The receipt isn't known: `told` is what was left when the session took it.
    pub(crate) remainder: bool,
}

// === impl Token ===

impl Token {
    /// Takes an access token of which nothing else is known, to be sent with the scheme `Bearer`.
    ///
    /// # Errors
    ///
    /// As [`TokenBuilder::build`].
    pub fn try_new(access_token: impl Into<String>) -> Result<Self, InvalidToken> {
        Self::builder(access_token).build()
    }

    /// Starts from an access token; what else was told about it is added to the builder.
    pub fn builder(access_token: impl Into<String>) -> TokenBuilder {
        TokenBuilder::new(access_token.into())
    }

    /// Takes over the refresh token of `previous` if this one brought none (RFC 6749 §6).
    ///
    /// The session does so with each answer before a hook sees it; a store that calls a refresher itself does it with
    /// this function.
    pub fn or_refresh_token_of(mut self, previous: &Token) -> Self {
        self.inherit(previous.refresh_token.as_ref());
        self
    }

    pub(crate) fn inherit(&mut self, refresh_token: Option<&Secret>) {
        if self.refresh_token.is_none() {
            self.refresh_token = refresh_token.cloned();
        }
    }

    pub(crate) fn replace_refresh_token(&mut self, refresh_token: Option<Secret>) {
        self.refresh_token = refresh_token;
    }

    /// Writes down when it was received and when it ends, so that it can be stored and restored.
    pub(crate) fn fix(&mut self, received: Timestamp) {
        let origin = self.received_at.map_or(received.wall, rt::nanos_since_epoch);
        let fix = |when: Expiry| match when {
            Expiry::After(nanos) => Expiry::At(rt::system_time(origin.saturating_add(nanos))),
            at => at,
        };
        self.end = self.end.map(fix);
        self.refresh_at = self.refresh_at.map(fix);
        self.received_at.get_or_insert(received.wall());
    }

    /// The access token's text, without the scheme.
    pub fn access_token(&self) -> &str {
        text_after(&self.header, self.scheme_len)
    }

    /// The scheme, spelt as it is sent.
    pub fn scheme(&self) -> &str {
        scheme(&self.header, self.scheme_len)
    }

    /// The refresh token's text.
    pub fn refresh_token(&self) -> Option<&str> {
        self.refresh_token.as_ref().map(Secret::expose)
    }

    pub(crate) fn refresh_secret(&self) -> Option<&Secret> {
        self.refresh_token.as_ref()
    }

    /// Expiry it ends, as it was told. `None`: unknown, or told as a life that no session has counted yet.
    pub fn expires_at(&self) -> Option<SystemTime> {
        match self.end {
            Some(Expiry::At(end)) => Some(end),
            _ => None,
        }
    }

    /// Expiry it was received. Set by the session before a hook sees the token.
    pub fn received_at(&self) -> Option<SystemTime> {
        self.received_at
    }

    /// The scopes that the server named.
    pub fn scopes(&self) -> Option<&[String]> {
        self.scopes.as_deref()
    }

    /// A further member of the answer.
    pub fn extra(&self, name: &str) -> Option<&str> {
        self.extras.get(name).map(Secret::expose)
    }

    /// What was odd about the answer that brought it.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Its life, with `called` as the receipt where it doesn't bring one; `now` is when the session took it.
    ///
    /// `refreshed`: it came from a refresher.
    pub(crate) fn life(&self, called: Timestamp, refreshed: bool) -> ReportedLifetime {
        let mut received = called;
        if let Some(known) = self.received_at {
            // A receipt in the future is that of another clock: only its distance to the end can be trusted.
            let passed = called.wall.saturating_sub(rt::nanos_since_epoch(known)).clamp(0, LONGEST);
            received.wall -= passed;
            received.monotonic -= passed;
        }
        let origin = self.received_at.map_or(received.wall, rt::nanos_since_epoch);
        let count = |when| match when {
            Expiry::After(nanos) => nanos,
            Expiry::At(instant) => rt::nanos_since_epoch(instant).saturating_sub(origin).clamp(0, LONGEST),
        };
        let remainder = !refreshed && self.received_at.is_none() && matches!(self.end, Some(Expiry::At(_)));
        ReportedLifetime {
            received,
            told: self.end.map(count),
            refresh_at: self.refresh_at.map(count),
            remainder,
        }
    }

    pub(crate) fn issue(&self, stamp: Stamp, expires_at: Option<SystemTime>) -> AccessToken {
        AccessToken::issue(self.header.clone(), self.scheme_len, stamp, expires_at)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("scheme", &self.scheme())
            .field("end", &self.end)
            .field("refresh_at", &self.refresh_at)
            .field("received_at", &self.received_at)
            .field("has_refresh_token", &self.refresh_token.is_some())
            .field("scopes", &self.scopes)
            .field("extras", &self.extras.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
