//! What can be put around a refresher.

use std::time::Duration;

use super::{RefreshError, Refresher, confirm::ConfirmGrantEnded, map_err::MapErr, timeout::Timeout};

/// What can be put around any [`Refresher`].
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
    /// Limits how long a refresh takes; over it the outcome is unknown.
    ///
    /// Ten seconds or so are good: the repeat then falls within the time in which servers tolerate one. The refreshers
    /// of this crate for token endpoints have a limit of their own, and know whether the request was sent.
    fn timeout(self, limit: Duration) -> Timeout<Self> {
        Timeout::new(self, limit)
    }

    /// Changes what a failure means.
    ///
    /// # Examples
    ///
    /// For a server that takes a second presentation of a refresh token for theft, however soon it comes: the session
    /// never repeats an exchange that was not answered, and the user signs in.
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

    /// Asks once more, after a pause, before it says that the grant has ended: for providers whose `invalid_grant`
    /// passes.
    ///
    /// A pause of more than 30 s is 30 s: both exchanges must end within the session's limit for a flight, or the grant
    /// never ends.
    fn confirm_grant_ended(self, pause: Duration) -> ConfirmGrantEnded<Self> {
        ConfirmGrantEnded::new(self, pause)
    }
}

impl<R: Refresher> RefresherExt for R {}
