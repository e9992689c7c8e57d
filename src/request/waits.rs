//! How long a request waits, and what its protocol must know.

use std::time::Duration;

use http::{Extensions, HeaderMap, Request};

use crate::{
    error::Error,
    rt::{self, Nanos, Timestamp},
    session::{Session, WaitLimits},
    token::TokenId,
};

use super::{
    attempt::Replayable,
    config::Config,
    options::{MinLifetime, WaitTimeout},
};

// === impl Config ===

impl Config {
    /// The deadline of the whole call, on the monotonic clock. Reads that clock only if there is one.
    #[inline]
    pub(super) fn deadline<B>(&self, request: &Request<B>, now: impl FnOnce() -> Timestamp) -> Option<Nanos> {
        let protocol = self.protocol.as_ref()?;
        let timeout = protocol.deadline(request.headers(), request.extensions())?;
        Some(now().monotonic.saturating_add(rt::nanos(timeout)))
    }

    #[inline]
    pub(super) fn set_token(&self, extensions: &mut Extensions, session: &Session, id: TokenId) {
        if let Some(protocol) = &self.protocol {
            protocol.set_token(extensions, session, id);
        }
    }

    pub(super) fn set_deadline(
        &self,
        headers: &mut HeaderMap,
        session: &Session,
        deadline: Option<Nanos>,
    ) -> Result<(), Error> {
        match (&self.protocol, deadline) {
            (Some(protocol), Some(deadline)) => {
                protocol.set_deadline(headers, time_left(session.now(), deadline))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn limits_of_retry<K>(&self, session: &Session, retry: &Replayable<K>) -> WaitLimits {
        match retry.head.extensions() {
            Some(extensions) => self.limits(session, extensions, retry.deadline),
            None => self.limits(session, &Extensions::new(), retry.deadline),
        }
    }

    pub(super) fn limits(
        &self,
        session: &Session,
        extensions: &Extensions,
        deadline: Option<Nanos>,
    ) -> WaitLimits {
        let mut limits = session.limits();
        if let Some(timeout) = self.wait_timeout(extensions) {
            limits.timeout = rt::nanos(timeout);
        }
        if let Some(lifetime) = extensions.get::<MinLifetime>() {
            limits.min_lifetime = rt::nanos(lifetime.get());
        }
        if let Some(deadline) = deadline {
            let left = rt::nanos(time_left(session.now(), deadline));
            if left <= limits.timeout {
                limits.timeout = left;
                limits.until_deadline = true;
            }
        }
        limits
    }

    /// The request's own wait timeout, or the layer's.
    pub(super) fn wait_timeout(&self, extensions: &Extensions) -> Option<Duration> {
        let own = extensions.get::<WaitTimeout>().map(|timeout| timeout.get());
        own.or(self.wait_timeout)
    }
}

fn time_left(now: Timestamp, deadline: Nanos) -> Duration {
    rt::duration(deadline.saturating_sub(now.monotonic))
}
