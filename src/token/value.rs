//! [`Token`].

use std::{fmt, sync::Arc, time::SystemTime};

use http::HeaderValue;

use crate::rt::{self, LONGEST, Nanos, Timestamp};

use super::{
    access::{AccessToken, TokenId},
    builder::TokenBuilder,
    details::{self, Details},
    invalid::InvalidToken,
    secret::{Secret, after_scheme, header_value, scheme, shown_scheme},
    warning::Warning,
};

/// An access token and its metadata.
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
    pub(super) refresh_token: Option<Secret>,
    pub(super) expiry: Option<Expiry>,
    pub(super) received_at: Option<SystemTime>,
    /// Stands in for the time of receipt until a session sets that.
    pub(super) built_at: SystemTime,
    /// `None` if it has none.
    pub(super) details: Option<Arc<Details>>,
    /// Another process obtained it.
    pub(super) is_adopted: bool,
    /// It has no refresh token, and doesn't keep the one that was presented, which is of another grant.
    pub(super) stands_alone: bool,
}

/// When a token expires or is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// After its receipt.
    After(Nanos),
    At(SystemTime),
}

/// What was reported about a token's lifetime, relative to its receipt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReportedLifetime {
    pub(crate) received: Timestamp,
    /// `None`: unknown.
    pub(crate) reported: Option<Nanos>,
    /// The token's own time of refresh.
    pub(crate) refresh_at: Option<Nanos>,
    /// The receipt is unknown: `reported` is what was left when the session got the token.
    pub(crate) is_remaining: bool,
}

// === impl Token ===

impl Token {
    /// Creates a `Bearer` token without an expiry or refresh token.
    ///
    /// # Errors
    ///
    /// As [`TokenBuilder::build`].
    pub fn try_new(access_token: impl Into<String>) -> Result<Self, InvalidToken> {
        Self::builder(access_token).build()
    }

    /// Creates a builder for a token with an expiry, a refresh token and other metadata.
    pub fn builder(access_token: impl Into<String>) -> TokenBuilder {
        TokenBuilder::new(access_token.into())
    }

    /// Takes the token apart, to change a part of it and build it again. Everything else is kept: its expiry and
    /// receipt, refresh token, scopes, extras and warnings.
    ///
    /// # Examples
    ///
    /// Another member of the response as the access token:
    ///
    /// ```
    /// use tower_reauth::{Token, token::InvalidToken};
    ///
    /// fn with_id_token(token: Token) -> Result<Token, InvalidToken> {
    ///     let Some(id_token) = token.extra("id_token").map(str::to_owned) else { return Ok(token) };
    ///     token.into_builder().access_token(id_token).build()
    /// }
    ///
    /// let token = Token::builder("A1").refresh_token("R1").extra("id_token", "I1").build()?;
    /// let token = with_id_token(token)?;
    /// assert_eq!((token.access_token(), token.refresh_token()), ("I1", Some("R1")));
    /// # Ok::<(), InvalidToken>(())
    /// ```
    pub fn into_builder(self) -> TokenBuilder {
        self.into()
    }

    /// Keeps the refresh token of `previous` if this token has none (RFC 6749 §6).
    ///
    /// The session does this for each response; use it if you call a refresher yourself.
    pub fn or_refresh_token_of(mut self, previous: &Token) -> Self {
        self.inherit_refresh_token(previous.refresh_token.as_ref());
        self
    }

    /// Keeps `refresh_token` if this token has none, and its expiry if this token repeats it without one.
    ///
    /// One that stands alone doesn't. From then on it is a token as any other.
    pub(crate) fn inherit_refresh_token(&mut self, refresh_token: Option<&Secret>) {
        if std::mem::take(&mut self.stands_alone) {
            return;
        }
        let own = self.refresh_token.as_ref();
        if own.is_none() || own == refresh_token {
            let expiry = own.and_then(Secret::expires_at).or(self.details().refresh_token_expiry);
            self.refresh_token = refresh_token.map(|token| token.clone().with_expiry(expiry));
        }
    }

    /// The token of another grant than the refresh token that was presented.
    pub(crate) fn standing_alone(mut self) -> Self {
        self.stands_alone = self.refresh_token.is_none();
        self
    }

    pub(crate) fn stands_alone(&self) -> bool {
        self.stands_alone
    }

    /// Takes over a field of an earlier response that this one lacks.
    pub(crate) fn inherit_extra(&mut self, name: &str, earlier: &Self) {
        if let Some(value) = earlier.extra_secret(name).filter(|_| self.extra_secret(name).is_none()) {
            self.change_details(|details| {
                let extras = Arc::make_mut(details.extras.get_or_insert_default());
                extras.insert(name.to_owned(), value.clone());
            });
        }
    }

    pub(crate) fn replace_refresh_token(&mut self, refresh_token: Option<Secret>) {
        self.refresh_token = refresh_token;
    }

    pub(crate) fn with_refresh_secret(&self, refresh_token: Option<Secret>) -> Self {
        Self { refresh_token, ..self.clone() }
    }

    /// Keeps the times with which this token was first reported.
    pub(crate) fn keep_times_of(&mut self, earlier: &Self) {
        (self.expiry, self.received_at) = (earlier.expiry, earlier.received_at);
        self.change_details(|details| details.refresh_at = earlier.details().refresh_at);
    }

    pub(crate) fn is_adopted(&self) -> bool {
        self.is_adopted
    }

    /// Marks it as obtained by another process.
    #[cfg(feature = "store")]
    pub(crate) fn adopted(self) -> Self {
        Self { is_adopted: true, ..self }
    }

    /// With the parts of a stored token that its builder doesn't take.
    #[cfg(feature = "store")]
    pub(crate) fn with_stored_parts(
        mut self,
        refresh_token: Option<Secret>,
        scopes: Option<Arc<[String]>>,
        extras: Arc<details::Extras>,
    ) -> Self {
        self.refresh_token = refresh_token;
        self.change_details(|details| {
            details.scopes = scopes;
            details.set_extras(extras);
        });
        self
    }

    #[cfg(feature = "store")]
    pub(crate) fn shared_scopes(&self) -> Option<Arc<[String]>> {
        self.details().scopes.clone()
    }

    #[cfg(feature = "store")]
    pub(crate) fn shared_extras(&self) -> Arc<details::Extras> {
        self.details().extras.clone().unwrap_or_default()
    }

    /// Whether storing this token instead of `other` would change nothing.
    pub(crate) fn is_same_record(&self, other: &Self) -> bool {
        self.header == other.header
            && self.refresh_token == other.refresh_token
            && self.refresh_token_expires_at() == other.refresh_token_expires_at()
            && self.expiry == other.expiry
            && self.details().refresh_at == other.details().refresh_at
            && self.details().scopes == other.details().scopes
            && self.details().extras == other.details().extras
    }

    /// Makes all times absolute, so that the token can be stored and restored.
    pub(crate) fn resolve_times(&mut self, received: Timestamp) {
        let origin = self.received_at.unwrap_or(received.wall());
        self.expiry = self.expiry.map(|expiry| Expiry::At(expiry.resolve(origin)));
        self.change_details(|details| {
            details.refresh_at = details.refresh_at.map(|refresh_at| Expiry::At(refresh_at.resolve(origin)));
        });
        self.received_at.get_or_insert(received.wall());
    }

    /// The access token, without the scheme.
    pub fn access_token(&self) -> &str {
        after_scheme(&self.header)
    }

    /// The scheme, as sent.
    pub fn scheme(&self) -> &str {
        scheme(&self.header)
    }

    /// The value of an `Authorization` header: the scheme and the access token.
    ///
    /// To send it in another header, see [`SessionBuilder::header`](crate::SessionBuilder::header).
    pub fn header_value(&self) -> HeaderValue {
        self.header.clone()
    }

    /// The access token alone as the value of a header.
    pub fn raw_header_value(&self) -> HeaderValue {
        header_value("", self.access_token())
    }

    /// The refresh token.
    pub fn refresh_token(&self) -> Option<&str> {
        self.refresh_token.as_ref().map(Secret::expose)
    }

    /// The reported expiry of the refresh token. `None`: unknown, or there is no refresh token.
    ///
    /// It belongs to the refresh token, and is kept with it by a response that states no other.
    pub fn refresh_token_expires_at(&self) -> Option<SystemTime> {
        self.refresh_token.as_ref()?.expires_at()
    }

    pub(crate) fn refresh_secret(&self) -> Option<&Secret> {
        self.refresh_token.as_ref()
    }

    /// The reported expiry. `None`: unknown.
    ///
    /// A lifetime counts from [`received_at`](Self::received_at).
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expiry.map(|expiry| expiry.resolve(self.received_at.unwrap_or(self.built_at)))
    }

    /// When to refresh it early. `None`: the session's window decides.
    pub fn refresh_at(&self) -> Option<SystemTime> {
        let refresh_at = self.details().refresh_at?;
        Some(refresh_at.resolve(self.received_at.unwrap_or(self.built_at)))
    }

    /// When it was received. `None`: unknown.
    ///
    /// Set by the session before a hook sees the token. Until then, a token with a lifetime has the time at
    /// which it was built, so that it can be stored as it is.
    pub fn received_at(&self) -> Option<SystemTime> {
        let is_relative = |time| matches!(time, Some(Expiry::After(_)));
        let is_counted = !is_relative(self.expiry) && !is_relative(self.details().refresh_at);
        self.received_at.or(if is_counted { None } else { Some(self.built_at) })
    }

    /// The granted scopes. `None`: the response didn't list them.
    pub fn scopes(&self) -> Option<&[String]> {
        self.details().scopes.as_deref()
    }

    /// Another field of the response, such as `id_token`.
    pub fn extra(&self, name: &str) -> Option<&str> {
        self.extra_secret(name).map(Secret::expose)
    }

    /// Warnings about the response.
    pub fn warnings(&self) -> &[Warning] {
        &self.details().warnings
    }

    fn extra_secret(&self, name: &str) -> Option<&Secret> {
        self.details().extras.as_ref()?.get(name)
    }

    fn details(&self) -> &Details {
        self.details.as_deref().unwrap_or(&details::NONE)
    }

    pub(super) fn change_details(&mut self, change: impl FnOnce(&mut Details)) {
        let mut details = self.details().clone();
        change(&mut details);
        self.details = details.into_shared();
    }

    /// When it was received: at `called` if that is unknown.
    pub(crate) fn receipt(&self, called: Timestamp) -> Timestamp {
        let Some(known) = self.received_at else { return called };
        // A receipt in the future was read from another clock: only its distance to the expiry can be trusted.
        let passed = called.wall.saturating_sub(rt::nanos_since_epoch(known)).clamp(0, LONGEST);
        Timestamp { wall: called.wall - passed, monotonic: called.monotonic - passed }
    }

    /// What was reported about its lifetime, with `called` as the receipt if the token has none.
    ///
    /// `refreshed`: it comes from a refresher.
    pub(crate) fn reported_lifetime(&self, called: Timestamp, refreshed: bool) -> ReportedLifetime {
        let received = self.receipt(called);
        let origin = self.received_at.map_or(received.wall, rt::nanos_since_epoch);
        let from_receipt = |expiry| match expiry {
            Expiry::After(nanos) => nanos,
            Expiry::At(instant) => rt::nanos_since_epoch(instant).saturating_sub(origin).clamp(0, LONGEST),
        };
        let is_remaining =
            !refreshed && self.received_at.is_none() && matches!(self.expiry, Some(Expiry::At(_)));
        ReportedLifetime {
            received,
            reported: self.expiry.map(from_receipt),
            refresh_at: self.details().refresh_at.map(from_receipt),
            is_remaining,
        }
    }

    pub(crate) fn to_access_token(&self, id: TokenId, expires_at: Option<SystemTime>) -> AccessToken {
        AccessToken::new(self.header.clone(), self.details().headers.clone(), id, expires_at)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("scheme", &shown_scheme(self.scheme()))
            .field("expiry", &self.expiry)
            .field("refresh_at", &self.details().refresh_at)
            .field("received_at", &self.received_at)
            .field("has_refresh_token", &self.refresh_token.is_some())
            .field("refresh_token_expires_at", &self.refresh_token_expires_at())
            // Counted, as a server chooses their names.
            .field("scopes", &self.scopes().map(<[_]>::len))
            .field("extras", &self.details().extras.as_ref().map_or(0, |extras| extras.len()))
            .finish_non_exhaustive()
    }
}

// === impl Expiry ===

impl Expiry {
    pub(super) fn resolve(self, received: SystemTime) -> SystemTime {
        match self {
            Self::After(nanos) => rt::system_time(rt::nanos_since_epoch(received).saturating_add(nanos)),
            Self::At(instant) => instant,
        }
    }
}
