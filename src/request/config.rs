//! The settings of a layer.

use std::{fmt, sync::Arc, time::Duration};

use http::{Extensions, HeaderMap, Request, Response, StatusCode, Uri, uri::Scheme};

use crate::{
    challenge::Challenges,
    error::{BoxError, Error},
    origin::{Destination, Destinations},
    session::Session,
    token::TokenId,
};

use super::{
    options::SkipAuth,
    rejection::{RejectionRule, ResponseHead, StatusUnauthorized, Verdict},
    replay::NotReplayed,
};

#[derive(Clone, Default)]
pub(crate) struct Config {
    /// Replace a header that the request already has.
    pub(crate) override_existing: bool,
    pub(crate) wait_timeout: Option<Duration>,
    /// Send a request without a token if there is no credential.
    pub(crate) allow_unauthenticated: bool,
    pub(crate) destinations: Destinations,
    /// `None`: [`StatusUnauthorized`], which is checked inline.
    pub(crate) rule: Option<Arc<dyn RejectionRule>>,
    /// `None`: plain HTTP.
    pub(crate) protocol: Option<Arc<dyn Protocol>>,
}

/// What a protocol on top of HTTP does differently.
pub(crate) trait Protocol: Send + Sync + 'static {
    /// The time left until the caller's deadline for the whole call.
    fn deadline(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<Duration>;

    /// Sets the time that is left, for the server.
    ///
    /// # Errors
    ///
    /// No time is left.
    fn set_deadline(&self, headers: &mut HeaderMap, left: Duration) -> Result<(), Error>;

    /// Leaves the id of the token that a request carries in its extensions, and the token's session, if the inner
    /// service needs them.
    fn set_token(&self, _extensions: &mut Extensions, _session: &Session, _id: TokenId) {}

    /// Reports that a rejected request couldn't be replayed, to callers that don't see the response's
    /// extensions.
    fn report_not_replayed(&self, headers: &mut HeaderMap, reason: NotReplayed);

    /// The error as its callers expect it.
    fn error(&self, error: Error) -> BoxError;
}

// === impl Config ===

impl Config {
    /// Whether a request gets a token.
    #[inline]
    pub(super) fn applies_to<B>(&self, request: &Request<B>) -> Result<bool, Error> {
        if !request.extensions().is_empty() && request.extensions().get::<SkipAuth>().is_some() {
            return Ok(false);
        }
        let uri = request.uri();
        let is_plain = self.destinations.allowed.is_empty()
            && uri.scheme() == Some(&Scheme::HTTPS)
            && uri.authority().is_some();
        if is_plain { Ok(true) } else { self.trusts(uri) }
    }

    /// Whether a token may be sent to `uri`.
    #[inline(never)]
    pub(crate) fn trusts(&self, uri: &Uri) -> Result<bool, Error> {
        Ok(self.destinations.check(uri)? == Destination::Allowed)
    }

    /// The challenges of a response that rejects the request's token.
    #[inline]
    pub(super) fn judge<R>(&self, response: &Response<R>) -> Option<Challenges> {
        if self.rule.is_none() && response.status() != StatusCode::UNAUTHORIZED {
            return None;
        }
        self.judge_by_rule(&ResponseHead::new(response))
    }

    #[inline(never)]
    fn judge_by_rule(&self, head: &ResponseHead<'_>) -> Option<Challenges> {
        let verdict = match &self.rule {
            Some(rule) => rule.judge(head),
            None => StatusUnauthorized.judge(head),
        };
        match verdict {
            Verdict::Reject(challenges) => Some(challenges),
            Verdict::Accept => None,
        }
    }

    /// What rejects a token, for the metrics.
    pub(super) fn cause_of_retry(&self) -> &'static str {
        match (&self.rule, &self.protocol) {
            (_, Some(_)) => "grpc",
            (Some(_), None) => "rule",
            (None, None) => "status",
        }
    }

    /// The error as the caller gets it.
    pub(crate) fn error(&self, error: Error) -> BoxError {
        match &self.protocol {
            Some(protocol) => protocol.error(error),
            None => error.into(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("override_existing", &self.override_existing)
            .field("wait_timeout", &self.wait_timeout)
            .field("destinations", &self.destinations)
            .finish_non_exhaustive()
    }
}
