//! What is told about an access token, gathered and checked.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use zeroize::Zeroizing;

use super::{
    InvalidToken, Secret, Token, Warning,
    invalid::{InvalidTokenKind, Part},
    secret::credential,
    value::Expiry,
};
use crate::rt;

/// Builds a [`Token`].
#[must_use]
pub struct TokenBuilder {
    access_token: Zeroizing<String>,
    scheme: Option<String>,
    refresh_token: Option<Secret>,
    end: Option<Expiry>,
    refresh_at: Option<Expiry>,
    received_at: Option<SystemTime>,
    scopes: Option<Arc<[String]>>,
    extras: BTreeMap<String, Secret>,
    warnings: Vec<Warning>,
}

// === impl TokenBuilder ===

impl TokenBuilder {
    pub(super) fn new(access_token: String) -> Self {
        Self {
            access_token: Zeroizing::new(access_token),
            scheme: None,
            refresh_token: None,
            end: None,
            refresh_at: None,
            received_at: None,
            scopes: None,
            extras: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }

    /// Sets the scheme that goes before the token in the header: the `token_type` of RFC 6749 §5.1. Default: `Bearer`.
    ///
    /// The schemes in wide use are spelt as registered, however the server spelt them (`bearer` is sent as `Bearer`).
    pub fn scheme(mut self, scheme: impl Into<String>) -> Self {
        self.scheme = Some(scheme.into());
        self
    }

    /// Sets how long it lives, counted from when the session called the refresher (from now, if it is handed to
    /// a session by other ways). Lives of more than a hundred years are cut to that.
    pub fn expires_in(mut self, life: Duration) -> Self {
        self.end = Some(Expiry::After(rt::nanos(life)));
        self
    }

    /// Sets how long it lives in seconds; zero and less is a token that has expired.
    pub fn expires_in_seconds(self, seconds: i64) -> Self {
        self.expires_in(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }

    /// Sets when it ends on the wall clock.
    pub fn expires_at(mut self, end: SystemTime) -> Self {
        self.end = Some(Expiry::At(end));
        self
    }

    /// Sets how long to wait before it is refreshed early; counted as in [`expires_in`](Self::expires_in).
    ///
    /// It goes before the session's own window.
    pub fn refresh_in(mut self, wait: Duration) -> Self {
        self.refresh_at = Some(Expiry::After(rt::nanos(wait)));
        self
    }

    /// Sets when to refresh it early on the wall clock.
    pub fn refresh_at(mut self, instant: SystemTime) -> Self {
        self.refresh_at = Some(Expiry::At(instant));
        self
    }

    /// Sets when it was received: for a token that is restored from where it was stored.
    ///
    /// Without it only what is left of the token's life is known, and a session takes half of that as the time in
    /// which it refreshes early.
    pub fn received_at(mut self, instant: SystemTime) -> Self {
        self.received_at = Some(instant);
        self
    }

    /// Sets the refresh token.
    pub fn refresh_token(mut self, refresh_token: impl Into<String>) -> Self {
        self.refresh_token = Some(Secret::new(refresh_token.into()));
        self
    }

    /// Sets the scopes that the server granted.
    pub fn scopes<I>(mut self, scopes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.scopes = Some(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// Adds a further member of the answer, such as an `id_token`. It is kept and wiped like a secret.
    pub fn extra(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extras.insert(name.into(), Secret::new(value.into()));
        self
    }

    /// Adds something odd about the answer, which the session tells as an event.
    pub fn warning(mut self, warning: Warning) -> Self {
        self.warnings.push(warning);
        self
    }

    /// Checks it all.
    ///
    /// White space around the access token is cut off (one that is read from a file ends with a line feed).
    ///
    /// # Errors
    ///
    /// [`InvalidToken`] if nothing is left of the access token, if no header can carry it, or if the scheme is no
    /// token as RFC 9110 §5.6.2 has it. It converts into a [`RefreshError`](crate::RefreshError), so that a refresher
    /// can use `?`.
    pub fn build(self) -> Result<Token, InvalidToken> {
        let text = self.access_token.trim_ascii();
        check_access_token(text).map_err(|flaw| InvalidToken { part: Part::AccessToken, flaw })?;
        let scheme = self.scheme.as_deref().unwrap_or(KNOWN_SCHEMES[0]);
        check_scheme(scheme).map_err(|flaw| InvalidToken { part: Part::Scheme, flaw })?;
        let known = KNOWN_SCHEMES.iter().find(|known| known.eq_ignore_ascii_case(scheme));
        let scheme = known.copied().unwrap_or(scheme);
        Ok(Token {
            header: credential(scheme, text),
            scheme_len: scheme.len(),
            refresh_token: self.refresh_token,
            end: self.end,
            refresh_at: self.refresh_at,
            received_at: self.received_at,
            scopes: self.scopes,
            extras: Arc::new(self.extras),
            warnings: self.warnings.into(),
        })
    }
}

impl fmt::Debug for TokenBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenBuilder").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

const KNOWN_SCHEMES: [&str; 6] = ["Bearer", "DPoP", "Basic", "MAC", "GNAP", "PoP"];

fn check_access_token(text: &str) -> Result<(), InvalidTokenKind> {
    if text.is_empty() {
        return Err(InvalidTokenKind::Empty);
    }
    let flaw = |(position, byte): (usize, u8)| match byte {
        byte if byte.is_ascii_control() => Some(InvalidTokenKind::Control(position)),
        byte if !byte.is_ascii() => Some(InvalidTokenKind::NotAscii(position)),
        _ => None,
    };
    text.bytes().enumerate().find_map(flaw).map_or(Ok(()), Err)
}

fn check_scheme(scheme: &str) -> Result<(), InvalidTokenKind> {
    if scheme.is_empty() {
        return Err(InvalidTokenKind::Empty);
    }
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    match scheme.bytes().position(|b| !is_tchar(b)) {
        Some(position) => Err(InvalidTokenKind::NotATokenCharacter(position)),
        None => Ok(()),
    }
}
