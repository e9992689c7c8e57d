//! Tokens: what a refresher brings, and what a request carries.
//!
//! [`Token`] is the whole answer of a token endpoint: the access token, its scheme, its end, the refresh token.
//! [`AccessToken`] is the part that a request needs, and holds no refresh token.
//! Both wipe the memory that held a secret when its last user is gone, and neither shows one in its `Debug`.

use std::{collections::BTreeMap, fmt, sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::HeaderValue;
use zeroize::{Zeroize, Zeroizing};

use crate::clock::{self, LONGEST, Nanos, Timestamp};

mod builder;
mod credential;
mod invalid;
mod notice;

pub use builder::TokenBuilder;
pub use credential::Credential;
pub use invalid::InvalidToken;
pub use notice::Notice;

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
/// # Ok::<(), tower_reauth::InvalidToken>(())
/// ```
#[derive(Clone)]
pub struct Token {
    header: HeaderValue,
    scheme_len: usize,
    refresh_token: Option<Secret>,
    end: Option<When>,
    refresh_at: Option<When>,
    received_at: Option<SystemTime>,
    scopes: Option<Arc<[String]>>,
    extras: Arc<BTreeMap<String, Secret>>,
    notices: Arc<[Notice]>,
}

/// A valid access token, as a request carries it.
///
/// Cheap to clone. [`Session::token_after`](crate::Session::token_after) takes it back when a server refused it.
#[derive(Clone)]
pub struct AccessToken {
    issued: Arc<Issued>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    After(Nanos),
    At(SystemTime),
}

struct Issued {
    header: HeaderValue,
    scheme_len: usize,
    stamp: Stamp,
    expires_at: Option<SystemTime>,
}

/// Which token it was, and how much had happened when it was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) sign_in: u64,
    pub(crate) generation: u64,
    pub(crate) flights_ended: u64,
}

/// How long a token was said to live, counted from its receipt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) received: Timestamp,
    /// None: unknown.
    pub(crate) told: Option<Nanos>,
    /// When to refresh, as the token itself has it.
    pub(crate) refresh_at: Option<Nanos>,
    /// The receipt isn't known: `told` is what was left when the session took it.
    pub(crate) remainder: bool,
}

/// A text that is wiped when its last clone goes.
#[derive(Clone)]
pub(crate) struct Secret(Arc<Zeroizing<String>>);

struct WipedBuffer(Vec<u8>);

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
    pub fn carry_over(mut self, previous: &Token) -> Self {
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
        let origin = self.received_at.map_or(received.wall, clock::nanos_since_epoch);
        let fix = |when: When| match when {
            When::After(nanos) => When::At(clock::system_time(origin.saturating_add(nanos))),
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

    /// When it ends, as it was told. `None`: unknown, or told as a life that no session has counted yet.
    pub fn expires_at(&self) -> Option<SystemTime> {
        match self.end {
            Some(When::At(end)) => Some(end),
            _ => None,
        }
    }

    /// When it was received. Set by the session before a hook sees the token.
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
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// Its life, with `called` as the receipt where it doesn't bring one; `now` is when the session took it.
    ///
    /// `refreshed`: it came from a refresher.
    pub(crate) fn life(&self, called: Timestamp, refreshed: bool) -> Life {
        let mut received = called;
        if let Some(known) = self.received_at {
            // A receipt in the future is that of another clock: only its distance to the end can be trusted.
            let passed = called.wall.saturating_sub(clock::nanos_since_epoch(known)).clamp(0, LONGEST);
            received.wall -= passed;
            received.monotonic -= passed;
        }
        let origin = self.received_at.map_or(received.wall, clock::nanos_since_epoch);
        let count = |when| match when {
            When::After(nanos) => nanos,
            When::At(instant) => clock::nanos_since_epoch(instant).saturating_sub(origin).clamp(0, LONGEST),
        };
        let remainder = !refreshed && self.received_at.is_none() && matches!(self.end, Some(When::At(_)));
        Life { received, told: self.end.map(count), refresh_at: self.refresh_at.map(count), remainder }
    }

    pub(crate) fn issue(&self, stamp: Stamp, expires_at: Option<SystemTime>) -> AccessToken {
        AccessToken {
            issued: Arc::new(Issued {
                header: self.header.clone(),
                scheme_len: self.scheme_len,
                stamp,
                expires_at,
            }),
        }
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

// === impl AccessToken ===

impl AccessToken {
    /// The header's value, scheme included, marked sensitive. Cloning it copies no bytes.
    pub fn header_value(&self) -> &HeaderValue {
        &self.issued.header
    }

    /// The access token's text, without the scheme: for a client whose API adds the scheme itself.
    pub fn expose(&self) -> &str {
        text_after(&self.issued.header, self.issued.scheme_len)
    }

    /// Which token of its session this is. It goes up by one with each new token.
    pub fn generation(&self) -> u64 {
        self.issued.stamp.generation
    }

    /// When the session stops using it: the told end less a margin. `None`: unknown.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.issued.expires_at
    }

    pub(crate) fn stamp(&self) -> Stamp {
        self.issued.stamp
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("generation", &self.generation())
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}

// === impl Secret ===

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

// === impl WipedBuffer ===

impl AsRef<[u8]> for WipedBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for WipedBuffer {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
        #[cfg(test)]
        tests::report_wiped(&self.0);
    }
}

fn credential(scheme: &str, token: &str) -> HeaderValue {
    // Sized at once: a buffer that grows leaves unwiped copies behind.
    let mut buffer = Vec::with_capacity(scheme.len() + 1 + token.len());
    buffer.extend_from_slice(scheme.as_bytes());
    buffer.push(b' ');
    buffer.extend_from_slice(token.as_bytes());
    let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(WipedBuffer(buffer)))
        .expect("scheme and token were checked to be visible ASCII");
    header.set_sensitive(true);
    header
}

/// A copy of the value over a buffer of its own, wiped like the first.
pub(crate) fn private_copy(token: &AccessToken) -> AccessToken {
    let Issued { header, scheme_len, stamp, expires_at } = &*token.issued;
    let header = credential(scheme(header, *scheme_len), text_after(header, *scheme_len));
    AccessToken {
        issued: Arc::new(Issued { header, scheme_len: *scheme_len, stamp: *stamp, expires_at: *expires_at }),
    }
}

fn scheme(header: &HeaderValue, scheme_len: usize) -> &str {
    header.to_str().map_or("", |text| &text[..scheme_len])
}

fn text_after(header: &HeaderValue, scheme_len: usize) -> &str {
    header.to_str().map_or("", |text| &text[scheme_len + 1..])
}

#[cfg(test)]
mod tests;
