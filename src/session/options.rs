//! [`TokenOptions`].

use std::time::Duration;

use crate::rt::nanos;

use super::machine::WaitLimits;

/// Options of [`Session::token_with`](crate::Session::token_with).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct TokenOptions {
    min_lifetime: Duration,
    wait_timeout: Option<Duration>,
}

// === impl TokenOptions ===

impl TokenOptions {
    /// The session's settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long the token must stay valid, if possible; see [`MinLifetime`](crate::MinLifetime).
    /// Default: zero.
    pub fn min_lifetime(mut self, lifetime: Duration) -> Self {
        self.min_lifetime = lifetime;
        self
    }

    /// Sets how long the call waits for a refresh. Default: the session's wait timeout.
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.wait_timeout = Some(timeout);
        self
    }

    pub(super) fn limits(self, session: WaitLimits) -> WaitLimits {
        WaitLimits {
            timeout: self.wait_timeout.map_or(session.timeout, nanos),
            min_lifetime: nanos(self.min_lifetime),
            ..session
        }
    }
}
