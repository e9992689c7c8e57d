//! [`Health`], and a status as a line of text.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use super::{held::Phase, status::Status};

/// The state of a session, for a health check endpoint.
///
/// # Examples
///
/// ```
/// use tower_reauth::{Health, RefreshContext, Session, Token, refresh_fn};
///
/// # tokio_test::block_on(async {
/// # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A2")?) });
/// let session = Session::builder(refresher).name("github").token(Token::try_new("A1")?).build();
/// let status = session.status();
/// let code = match status.health() {
///     Health::SignedIn | Health::Idle | Health::Refreshing => 200,
///     _ => 503,
/// };
/// assert_eq!((code, &*status.to_string()), (200, "github: signed in; generation 1"));
/// # Ok::<(), tower_reauth::token::InvalidToken>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// There is a valid token.
    SignedIn,
    /// There is no valid token, and a refresh is in flight.
    Refreshing,
    /// There is no valid token and no refresh in flight. The next call starts a refresh.
    Idle,
    /// Refreshes fail or return ineffective tokens. The current token may still be valid: see
    /// [`Status::is_stale`].
    ///
    /// Setting a token ends this state: at once if it is fresh, otherwise when the backoff ends. The backoff
    /// itself isn't shortened.
    #[non_exhaustive]
    Failing {
        /// When the first refresh of the series failed.
        since: SystemTime,
        /// When the next refresh is permitted. `None`: now.
        retry_at: Option<SystemTime>,
    },
    /// The user has to sign in. The current token may still be valid.
    NeedsSignIn,
    /// The session was shut down. The current token may still be valid.
    ShutDown,
}

// === impl Status ===

impl Status {
    /// The status as a single state.
    ///
    /// If several apply, the first of: shut down, sign-in needed, fresh token, failing, stale token,
    /// refreshing, idle.
    pub fn health(&self) -> Health {
        if self.is_shut_down() {
            return Health::ShutDown;
        }
        if self.needs_sign_in() {
            return Health::NeedsSignIn;
        }
        match (self.phase, self.failing_since) {
            (Some(Phase::Fresh), _) | (Some(Phase::Stale), None) => Health::SignedIn,
            (_, Some(since)) => Health::Failing { since, retry_at: self.retry_at },
            _ if self.refreshing => Health::Refreshing,
            _ => Health::Idle,
        }
    }

    fn write_token(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.phase {
            None => return f.write_str("; no token"),
            Some(_) => write!(f, "; generation {}", self.generation)?,
        }
        match (self.phase, self.expires_at) {
            (Some(Phase::Expired), _) => f.write_str(", expired"),
            (Some(Phase::Rejected), _) => f.write_str(", rejected"),
            (_, Some(expires_at)) => write!(f, ", expires in {}", Seconds(self.until(expires_at))),
            (_, None) => Ok(()),
        }
    }

    fn until(&self, time: SystemTime) -> Duration {
        time.duration_since(self.taken_at).unwrap_or_default()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}: ")?;
        }
        match self.health() {
            Health::SignedIn => f.write_str("signed in")?,
            Health::Refreshing => write!(f, "refreshing, {} waiting", self.waiters)?,
            Health::Idle => f.write_str("idle, the next call gets a new token")?,
            Health::Failing { since, retry_at } => {
                let elapsed = self.taken_at.duration_since(since).unwrap_or_default();
                write!(f, "failing for {}", Seconds(elapsed))?;
                match retry_at.map(|retry_at| self.until(retry_at)).filter(|left| !left.is_zero()) {
                    _ if self.refreshing => f.write_str(", refreshing")?,
                    Some(left) => write!(f, ", next refresh in {}", Seconds(left))?,
                    None => f.write_str(", next refresh at the next call")?,
                }
            }
            Health::NeedsSignIn if self.signed_out => f.write_str("signed out")?,
            Health::NeedsSignIn => f.write_str("sign-in needed")?,
            Health::ShutDown => f.write_str("shut down")?,
        }
        if !self.signed_out {
            self.write_token(f)?;
        }
        if self.unsaved {
            f.write_str("; not saved")?;
        }
        Ok(())
    }
}

/// Displays a duration in whole seconds, rounded up.
struct Seconds(Duration);

// === impl Seconds ===

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0))
    }
}
