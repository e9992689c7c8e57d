//! [`RefresherExt`].

use std::time::Duration;

use super::{RefreshError, Refresher, confirm::ConfirmGrantEnded, map_err::MapErr, timeout::Timeout};

/// Combinators for [`Refresher`]s.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tower_reauth::{RefreshError, RefresherExt, Token, refresh_fn};
///
/// let refresher = refresh_fn(|_| async { Ok(Token::try_new("A1")?) })
///     .timeout(Duration::from_secs(5))
///     .map_err(|error| if error.is_grant_ended() { RefreshError::misconfigured(error) } else { error });
/// # let _ = tower_reauth::AuthLayer::new(refresher);
/// ```
pub trait RefresherExt: Refresher + Sized {
    /// Adds a timeout; when it elapses, the outcome is unknown.
    ///
    /// About ten seconds works well: the repeated exchange is then still tolerated by rotating servers. The
    /// built-in refreshers for token endpoints have their own timeout, and know whether the request was sent.
    fn timeout(self, timeout: Duration) -> Timeout<Self> {
        Timeout::new(self, timeout)
    }

    /// Maps errors.
    ///
    /// # Examples
    ///
    /// For servers that treat any reuse of a refresh token as theft: never repeat an exchange without a
    /// response, but let the user sign in.
    ///
    /// ```
    /// use tower_reauth::{RefreshError, Refresher, RefresherExt};
    ///
    /// fn never_repeated(refresher: impl Refresher) -> impl Refresher {
    ///     refresher.map_err(|error| match error.is_outcome_unknown() {
    ///         true => RefreshError::grant_ended(error),
    ///         false => error,
    ///     })
    /// }
    /// ```
    fn map_err<F>(self, map: F) -> MapErr<Self, F>
    where
        F: Fn(RefreshError) -> RefreshError + Send + Sync + 'static,
    {
        MapErr::new(self, map)
    }

    /// Repeats the exchange after a pause before reporting the grant as ended, for providers with spurious
    /// `invalid_grant` errors.
    ///
    /// The pause is capped at 30 s, so that both exchanges fit into the refresh timeout.
    fn confirm_grant_ended(self, pause: Duration) -> ConfirmGrantEnded<Self> {
        ConfirmGrantEnded::new(self, pause)
    }
}

impl<R: Refresher> RefresherExt for R {}
