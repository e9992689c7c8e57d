//! [`AuthReport`].

use crate::error::Error;

use super::replay::NotReplayed;

/// How a response was obtained; present if the request was retried or finally rejected.
///
/// It is in the response's extensions, for a retry layer that counts attempts, and to find out why a 401 was
/// passed on.
///
/// # Examples
///
/// ```
/// # fn example<B>(response: &http::Response<B>) {
/// if let Some(report) = response.extensions().get::<tower_reauth::future::AuthReport>() {
///     println!("{} attempts", report.attempts());
///     if let Some(error) = report.error() {
///         println!("rejected, and no newer token: {error}");
///     }
///     if let Some(reason) = report.not_replayed() {
///         println!("rejected, and not retried: {reason}");
///     }
/// }
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct AuthReport {
    pub(crate) attempts: u8,
    pub(crate) waited: bool,
    pub(crate) error: Option<Error>,
    pub(crate) not_replayed: Option<NotReplayed>,
}

// === impl AuthReport ===

impl AuthReport {
    /// How many times the request was sent.
    pub fn attempts(&self) -> u8 {
        self.attempts
    }

    /// Whether the request waited for a token.
    pub fn waited(&self) -> bool {
        self.waited
    }

    /// Why the rejection was passed on instead of a retry: the error that prevented a newer token.
    ///
    /// `None` if there was a newer token, and the server rejected it, too: then [`attempts`](Self::attempts) is 2.
    /// [`Status::retry_at`](crate::Status::retry_at) is when the next refresh is allowed.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// Why the request wasn't retried after a rejection, if its body couldn't be replayed.
    ///
    /// The token is marked as rejected, so the same request, made again, waits for a newer one.
    pub fn not_replayed(&self) -> Option<NotReplayed> {
        self.not_replayed
    }
}
