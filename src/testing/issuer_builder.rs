//! [`IssuerBuilder`].

use std::{fmt, sync::Arc, time::Duration};

use super::{
    grants::{Reuse, Rules},
    issuer::Issuer,
};
use crate::rt::{Clock, SystemClock};

/// Builds an [`Issuer`]. Created by [`Issuer::builder`].
#[derive(Clone)]
#[must_use]
pub struct IssuerBuilder {
    rules: Rules,
    clock: Arc<dyn Clock>,
}

// === impl Issuer ===

impl Issuer {
    /// Creates an issuer that rotates refresh tokens, revokes the family of a reused one, and issues access
    /// tokens with a lifetime of one hour.
    #[expect(clippy::new_without_default, reason = "each call creates another issuer")]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Creates a builder.
    pub fn builder() -> IssuerBuilder {
        let rules = Rules {
            reuse: Reuse::default(),
            tolerance: Duration::ZERO,
            lifetime: Some(Duration::from_secs(3600)),
            rotates: true,
        };
        IssuerBuilder { rules, clock: Arc::new(SystemClock) }
    }
}

// === impl IssuerBuilder ===

impl IssuerBuilder {
    /// Sets what happens to a refresh token that was used before. Default: [`Reuse::RevokeFamily`].
    pub fn reuse(mut self, reuse: Reuse) -> Self {
        self.rules.reuse = reuse;
        self
    }

    /// Tolerates the reuse of a refresh token for a time after its first use: reuse then returns the same
    /// successor. After that time, [`reuse`](Self::reuse) applies. Default: zero.
    pub fn tolerate_reuse_for(mut self, time: Duration) -> Self {
        self.rules.tolerance = time;
        self
    }

    /// Sets the lifetime of access tokens. With `None`, no lifetime is reported, and they expire only by
    /// [`Issuer::expire_access_tokens`]. Default: one hour.
    pub fn lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.rules.lifetime = lifetime.into();
        self
    }

    /// Sets whether a refresh returns a new refresh token, which replaces the one presented. Default: `true`.
    pub fn rotate(mut self, rotate: bool) -> Self {
        self.rules.rotates = rotate;
        self
    }

    /// Sets the clock, such as the [`TestClock`](crate::rt::TestClock) of the session. Default:
    /// [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Builds the issuer.
    pub fn build(self) -> Issuer {
        Issuer::of(self.rules, self.clock)
    }
}

impl fmt::Debug for IssuerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rules { reuse, tolerance, lifetime, rotates } = &self.rules;
        f.debug_struct("IssuerBuilder")
            .field("reuse", reuse)
            .field("tolerance", tolerance)
            .field("lifetime", lifetime)
            .field("rotates", rotates)
            .finish_non_exhaustive()
    }
}
