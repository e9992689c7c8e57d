//! [`RefresherExt`].

use std::time::Duration;

use super::{
    RefreshError, Refresher, confirm::ConfirmGrantEnded, keep_extras::KeepExtras, map_err::MapErr,
    map_token::MapToken, or_else::OrElse, retry::Retry, timeout::Timeout,
};
use crate::token::Token;

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
    /// A new refresh token that came with the failure is kept, whatever `map` returns. If `map` panics, the error
    /// stays as it was.
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

    /// Maps tokens: another member of the response becomes the access token, or a response is checked.
    ///
    /// If `map` fails or panics, or its token has no refresh token, the session still gets the response's, as the
    /// one that was presented may be used up. [`Token::into_builder`] changes a part of a token and keeps the
    /// rest, also its lifetime.
    ///
    /// # Examples
    ///
    /// The ID token as the bearer:
    ///
    /// ```
    /// use tower_reauth::{RefreshError, Refresher, RefresherExt};
    ///
    /// fn with_id_token(refresher: impl Refresher) -> impl Refresher {
    ///     refresher.map_token(|token| {
    ///         let id_token = token.extra("id_token").map(str::to_owned);
    ///         let id_token = id_token.ok_or_else(|| RefreshError::misconfigured("no id_token"))?;
    ///         Ok(token.into_builder().access_token(id_token).build()?)
    ///     })
    /// }
    /// # let refresher = tower_reauth::refresh_fn(|_| async {
    /// #     Ok(tower_reauth::Token::builder("A1").extra("id_token", "I1").build()?)
    /// # });
    /// # let token = tokio_test::block_on(with_id_token(refresher).refresh(Default::default()));
    /// # assert_eq!(token.unwrap().access_token(), "I1");
    /// ```
    fn map_token<F>(self, map: F) -> MapToken<Self, F>
    where
        F: Fn(Token) -> Result<Token, RefreshError> + Send + Sync + 'static,
    {
        MapToken::new(self, map)
    }

    /// Keeps these extras of the current token if a response lacks them, such as an `instance_url` that only the
    /// sign-in returned.
    ///
    /// The save hook gets them, too, and [`Session::extra`](crate::Session::extra) reads them. Call it before
    /// [`or_else`](Self::or_else): another user may sign in there.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_reauth::{RefreshContext, RefresherExt, Session, Token, refresh_fn};
    ///
    /// # tokio_test::block_on(async {
    /// let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A2")?) });
    /// let stored = Token::builder("A1").extra("instance_url", "https://eu7.example.com").build()?;
    /// let session = Session::builder(refresher.keep_extras(["instance_url"])).token(stored).build();
    ///
    /// session.refresh().await?;
    /// assert_eq!(session.extra("instance_url").as_deref(), Some("https://eu7.example.com"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    fn keep_extras<I>(self, names: I) -> KeepExtras<Self>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        KeepExtras::new(self, names.into_iter().map(Into::into).collect())
    }

    /// Repeats the refresh after [transient](RefreshError::transient) failures, once after each delay, so that
    /// one of them fails no caller.
    ///
    /// Never repeated are an unknown outcome, as the refresh token may be used up, an
    /// [unexplained](RefreshError::unexplained) failure, and one with a new refresh token. The retries end, and
    /// the session's backoff begins, with a `Retry-After` that exceeds the next delay, if a delay doesn't fit
    /// into the refresh timeout, and once the session no longer wants the token.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_reauth::{Refresher, RefresherExt};
    ///
    /// fn retried(refresher: impl Refresher) -> impl Refresher {
    ///     refresher.retry([Duration::from_millis(200), Duration::from_millis(600)])
    /// }
    /// ```
    fn retry(self, delays: impl IntoIterator<Item = Duration>) -> Retry<Self> {
        Retry::new(self, delays.into_iter().collect())
    }

    /// Calls `fallback` when the grant has ended, or if there is no refresh token: to log in again.
    ///
    /// The callers of the session wait for the same refresh, so the user is prompted once for any number of them.
    /// `fallback` gets a context without the refresh token, which was refused. If its token has no refresh token,
    /// the session has none either. Its error becomes that of the refresh: if the user declines, return
    /// [`grant_ended`](RefreshError::grant_ended), and nobody is prompted until a token is set.
    ///
    /// # Timeouts
    ///
    /// A prompt takes longer than the defaults allow. Raise the session's
    /// [`refresh_timeout`](crate::SessionBuilder::refresh_timeout) (60 s) to what the user may take, and the
    /// [`wait_timeout`](crate::SessionBuilder::wait_timeout) (30 s), or a layer's or a request's own, for the
    /// callers that should wait for it. A caller whose wait times out fails; the prompt stays, and its token is
    /// kept.
    ///
    /// After the refresh timeout `fallback` is dropped, and should close its prompt. Nobody is prompted again until
    /// the next call that needs a token. The same holds if `fallback` has an unknown outcome, such as its own
    /// [`timeout`](Self::timeout): that counts as a transient failure, since the session would repeat it at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_reauth::{RefreshContext, RefreshError, RefresherExt, Session, Token, refresh_fn};
    ///
    /// # async fn ask_for_password() -> Option<String> { Some("p".to_owned()) }
    /// # async fn log_in(_: String) -> Result<Token, RefreshError> { Ok(Token::try_new("A9")?) }
    /// # tokio_test::block_on(async {
    /// let log_in_again = refresh_fn(|_: RefreshContext| async {
    ///     let password = ask_for_password().await;
    ///     log_in(password.ok_or_else(|| RefreshError::grant_ended("declined"))?).await
    /// });
    /// # let refresher = refresh_fn(|_: RefreshContext| async { Err(RefreshError::grant_ended("expired")) });
    /// let session = Session::builder(refresher.or_else(log_in_again))
    ///     .refresh_timeout(Duration::from_secs(300))
    ///     .wait_timeout(Duration::from_secs(300))
    ///     .build();
    /// assert_eq!(session.token().await?.secret(), "A9");
    /// # Ok::<(), tower_reauth::Error>(())
    /// # }).unwrap();
    /// ```
    fn or_else<F: Refresher>(self, fallback: F) -> OrElse<Self, F> {
        OrElse::new(self, fallback)
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
