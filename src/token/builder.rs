//! [`TokenBuilder`].

use std::{
    borrow::Cow,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use zeroize::Zeroizing;

use super::{
    InvalidToken, Secret, Token, Warning,
    details::{Details, Extras},
    invalid::{InvalidTokenKind, Part},
    secret::{header_value, shown_scheme},
    value::Expiry,
};
use crate::rt::{self, Clock, SystemClock};

/// Builds a [`Token`]. Created by [`Token::builder`].
///
/// # Examples
///
/// A stored token, some of whose parts may be missing:
///
/// ```
/// use std::time::SystemTime;
/// use tower_reauth::{Token, token::InvalidToken};
///
/// struct Stored {
///     access_token: String,
///     refresh_token: Option<String>,
///     expires_at: Option<SystemTime>,
///     received_at: Option<SystemTime>,
/// }
///
/// fn restore(stored: Stored) -> Result<Token, InvalidToken> {
///     Token::builder(stored.access_token)
///         .refresh_token(stored.refresh_token)
///         .expires_at(stored.expires_at)
///         .received_at(stored.received_at)
///         .build()
/// }
/// # let stored =
/// #     Stored { access_token: "A1".to_owned(), refresh_token: None, expires_at: None, received_at: None };
/// # assert_eq!(restore(stored)?.access_token(), "A1");
/// # Ok::<(), InvalidToken>(())
/// ```
#[must_use]
pub struct TokenBuilder {
    access_token: Zeroizing<String>,
    scheme: Option<String>,
    refresh_token: Option<Secret>,
    refresh_token_expiry: Option<Expiry>,
    expiry: Option<Expiry>,
    refresh_at: Option<Expiry>,
    received_at: Option<SystemTime>,
    /// Of the token that it was made from.
    built_at: Option<SystemTime>,
    scopes: Option<Arc<[String]>>,
    extras: Extras,
    warnings: Vec<Warning>,
    stands_alone: bool,
}

/// A string, or an `Option` of one: `&str`, `String`, `Option<String>` ..
///
/// This trait is sealed.
#[diagnostic::on_unimplemented(message = "`{Self}` is neither a string nor an `Option` of one")]
pub trait OptionalString: sealed::Sealed {
    #[doc(hidden)]
    fn into_option(self) -> Option<String>;
}

mod sealed {
    pub trait Sealed {}
}

// === impl TokenBuilder ===

impl TokenBuilder {
    pub(super) fn new(access_token: String) -> Self {
        Self {
            access_token: Zeroizing::new(access_token),
            scheme: None,
            refresh_token: None,
            refresh_token_expiry: None,
            expiry: None,
            refresh_at: None,
            received_at: None,
            built_at: None,
            scopes: None,
            extras: Extras::new(),
            warnings: Vec::new(),
            stands_alone: false,
        }
    }

    /// Replaces the access token, for a builder made by [`Token::into_builder`].
    pub fn access_token(mut self, access_token: impl Into<String>) -> Self {
        self.access_token = Zeroizing::new(access_token.into());
        self
    }

    /// Sets the authentication scheme: the `token_type` of RFC 6749 §5.1. Default: `Bearer`.
    ///
    /// Well-known schemes are normalised to their registered spelling (`bearer` is sent as `Bearer`).
    pub fn scheme(mut self, scheme: impl OptionalString) -> Self {
        self.scheme = scheme.into_option();
        self
    }

    /// Sets the lifetime. Capped at 100 years.
    ///
    /// The session counts it from its call to the refresher, or from when it is given the token. Until then the
    /// token's [`expires_at`](Token::expires_at) counts it from [`build`](Self::build).
    pub fn expires_in(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.expiry = after(lifetime.into());
        self
    }

    /// Sets the expiry time.
    pub fn expires_at(mut self, instant: impl Into<Option<SystemTime>>) -> Self {
        self.expiry = instant.into().map(Expiry::At);
        self
    }

    /// Sets when to refresh early, measured as in [`expires_in`](Self::expires_in).
    ///
    /// Takes precedence over the session's window.
    pub fn refresh_in(mut self, delay: impl Into<Option<Duration>>) -> Self {
        self.refresh_at = after(delay.into());
        self
    }

    /// Sets the time at which to refresh early.
    ///
    /// Takes precedence over the session's window.
    pub fn refresh_at(mut self, instant: impl Into<Option<SystemTime>>) -> Self {
        self.refresh_at = instant.into().map(Expiry::At);
        self
    }

    /// Sets when the token was received, for restoring a stored token.
    ///
    /// Without it only the remaining lifetime is known, and the token is refreshed in its second half.
    pub fn received_at(mut self, instant: impl Into<Option<SystemTime>>) -> Self {
        self.received_at = instant.into();
        self
    }

    /// Sets the refresh token. An empty or blank one counts as none.
    pub fn refresh_token(mut self, refresh_token: impl OptionalString) -> Self {
        self.refresh_token = refresh_token.into_option().and_then(Secret::refresh_token);
        self
    }

    /// Sets the lifetime of the refresh token, counted from [`build`](Self::build).
    ///
    /// Without a refresh token it applies to the one that is kept.
    pub fn refresh_token_expires_in(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.refresh_token_expiry = after(lifetime.into());
        self
    }

    /// Sets the expiry time of the refresh token.
    ///
    /// Without a refresh token it applies to the one that is kept.
    pub fn refresh_token_expires_at(mut self, instant: impl Into<Option<SystemTime>>) -> Self {
        self.refresh_token_expiry = instant.into().map(Expiry::At);
        self
    }

    /// Sets the granted scopes.
    pub fn scopes<I>(mut self, scopes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.scopes = Some(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// Adds another field of the response, such as `id_token`. Treated as a secret.
    pub fn extra(mut self, name: impl Into<String>, value: impl OptionalString) -> Self {
        if let Some(value) = value.into_option() {
            self.extras.insert(name.into(), Secret::new(value));
        }
        self
    }

    /// Adds a warning, which the session reports as an event.
    pub fn warning(mut self, warning: Warning) -> Self {
        self.warnings.push(warning);
        self
    }

    /// Validates and builds the token.
    ///
    /// Whitespace around the access token is trimmed (a token read from a file ends with a newline).
    ///
    /// # Errors
    ///
    /// [`InvalidToken`] if the access token is empty or not a valid header value, or if the scheme isn't a
    /// token (RFC 9110 §5.6.2). It converts into a [`RefreshError`](crate::RefreshError), so a refresher can
    /// use `?`.
    pub fn build(self) -> Result<Token, InvalidToken> {
        let access_token = self.access_token.trim_ascii();
        check_access_token(access_token).map_err(|kind| InvalidToken { part: Part::AccessToken, kind })?;
        let scheme = self.scheme.as_deref().unwrap_or(KNOWN_SCHEMES[0]);
        check_scheme(scheme).map_err(|kind| InvalidToken { part: Part::Scheme, kind })?;
        let known = KNOWN_SCHEMES.iter().find(|known| known.eq_ignore_ascii_case(scheme));
        let scheme = known.copied().unwrap_or(scheme);
        let built_at = self.built_at.unwrap_or_else(|| SystemClock.now().wall());
        let refresh_token_expiry = self.refresh_token_expiry.map(|expiry| expiry.resolve(built_at));
        let mut details = Details {
            refresh_token_expiry,
            refresh_at: self.refresh_at,
            scopes: self.scopes,
            extras: None,
            warnings: self.warnings,
            headers: None,
        };
        details.set_extras(Arc::new(self.extras));
        Ok(Token {
            header: header_value(scheme, access_token),
            refresh_token: self.refresh_token.map(|token| token.with_expiry(refresh_token_expiry)),
            expiry: self.expiry,
            received_at: self.received_at,
            built_at,
            details: details.into_shared(),
            stands_alone: self.stands_alone,
            is_adopted: false,
        })
    }
}

impl From<Token> for TokenBuilder {
    fn from(token: Token) -> Self {
        let access_token = Zeroizing::new(token.access_token().to_owned());
        let scheme = Some(token.scheme().to_owned());
        // Every field is named, so that none can be forgotten.
        let Token {
            header: _,
            refresh_token,
            expiry,
            received_at,
            built_at,
            details,
            stands_alone,
            // A token that the user builds is the user's.
            is_adopted: _,
        } = token;
        let Details { refresh_token_expiry, refresh_at, scopes, extras, warnings, headers: _ } =
            details.map(Arc::unwrap_or_clone).unwrap_or_default();
        Self {
            access_token,
            scheme,
            refresh_token,
            refresh_token_expiry: refresh_token_expiry.map(Expiry::At),
            expiry,
            refresh_at,
            received_at,
            built_at: Some(built_at),
            scopes,
            extras: extras.map(Arc::unwrap_or_clone).unwrap_or_default(),
            warnings,
            stands_alone,
        }
    }
}

#[cfg(feature = "__endpoint")]
impl TokenBuilder {
    /// As [`build`](Self::build). The error comes with the refresh token, which is valid anyway.
    pub(crate) fn build_or_refresh_token(self) -> Result<Token, (InvalidToken, Option<Secret>)> {
        let refresh_token = self.refresh_token.clone();
        self.build().map_err(|error| (error, refresh_token))
    }
}

impl fmt::Debug for TokenBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme.as_deref().map(shown_scheme);
        f.debug_struct("TokenBuilder").field("scheme", &scheme).finish_non_exhaustive()
    }
}

// === impl OptionalString ===

macro_rules! optional_string {
    ($($string:ty),*) => {$(
        impl sealed::Sealed for $string {}

        impl OptionalString for $string {
            fn into_option(self) -> Option<String> {
                Some(self.into())
            }
        }
    )*};
}

optional_string!(&str, String, &String, Box<str>, Cow<'_, str>);

impl<T: OptionalString> sealed::Sealed for Option<T> {}

impl<T: OptionalString> OptionalString for Option<T> {
    fn into_option(self) -> Option<String> {
        self.and_then(T::into_option)
    }
}

const KNOWN_SCHEMES: [&str; 6] = ["Bearer", "DPoP", "Basic", "MAC", "GNAP", "PoP"];

fn after(duration: Option<Duration>) -> Option<Expiry> {
    duration.map(|duration| Expiry::After(rt::nanos(duration)))
}

fn check_access_token(access_token: &str) -> Result<(), InvalidTokenKind> {
    if access_token.is_empty() {
        return Err(InvalidTokenKind::Empty);
    }
    let invalid = |(position, byte): (usize, u8)| match byte {
        byte if byte.is_ascii_control() => Some(InvalidTokenKind::Control(position)),
        byte if !byte.is_ascii() => Some(InvalidTokenKind::NotAscii(position)),
        _ => None,
    };
    access_token.bytes().enumerate().find_map(invalid).map_or(Ok(()), Err)
}

fn check_scheme(scheme: &str) -> Result<(), InvalidTokenKind> {
    if scheme.is_empty() {
        return Err(InvalidTokenKind::Empty);
    }
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    match scheme.bytes().position(|b| !is_tchar(b)) {
        Some(position) => Err(InvalidTokenKind::NotTokenChar(position)),
        None => Ok(()),
    }
}
