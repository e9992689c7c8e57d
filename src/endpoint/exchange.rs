//! One token request.

use std::{sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use http::StatusCode;

use super::{
    body::SentFlag,
    error::{BodySummary, EndpointError, EndpointErrorKind},
    fields::Malformed,
    raw_response::{BodyEnd, RawResponse},
    response::{Meaning, ParsedResponse, TokenFlaw},
    retry_after::retry_after,
    settings::Endpoint,
    shown::Secrets,
    transport::MakeRequest,
};
use crate::{
    refresh::{FailureKind, RefreshContext, RefreshError},
    rt::{Clock, NoTimer, Sleep},
    token::Token,
};

/// A request without a response.
struct SendFailure {
    kind: EndpointErrorKind,
    sent: bool,
}

// === impl Endpoint ===

impl Endpoint {
    /// Sends a request; returns a token or a classified error.
    ///
    /// A request that certainly wasn't sent, or got a transient response, is retried twice.
    pub(crate) async fn run(
        &self,
        cx: &RefreshContext,
        make: &MakeRequest<'_>,
    ) -> Result<Token, RefreshError> {
        let clock = cx.clock();
        let Ok(mut timer) = clock.sleep(self.timeout) else {
            return Err(self.no_response(SendFailure::no_timer(), &Secrets::default()));
        };
        let mut delays = RETRY_DELAYS.into_iter();
        loop {
            let secrets =
                Secrets::new([cx.refresh_token(), cx.token().map(Token::access_token)].into_iter().flatten());
            let error = match self.send(&mut timer, &secrets, make).await {
                Ok(response) => match self.interpret(response, &secrets, cx) {
                    Ok(token) => return Ok(token),
                    Err(error) => error,
                },
                Err(failure) if failure.is_timeout() => return Err(self.no_response(failure, &secrets)),
                Err(failure) => self.no_response(failure, &secrets),
            };
            // A successor isn't presented by this exchange: the session has to save it first.
            let may_retry = error.kind() == FailureKind::Transient && !error.has_successor();
            let wait = error.retry_after().unwrap_or_default();
            let may_retry = may_retry && wait <= LONGEST_RETRY_AFTER;
            let Some(delay) = delays.next().filter(|_| may_retry) else { return Err(error) };
            let delay = if cx.jitter() { jittered(delay) } else { delay };
            let Ok(pause) = clock.sleep(delay.max(wait)) else { return Err(error) };
            if let Either::Right(_) = select(pause, &mut timer).await {
                return Err(error);
            }
            if !cx.is_wanted() {
                return Err(error);
            }
        }
    }

    /// Sends a request; only the response's status matters (RFC 7009 §2.2). A dead grant isn't an error.
    pub(crate) async fn run_for_status(
        &self,
        clock: &dyn Clock,
        token: &str,
        make: &MakeRequest<'_>,
    ) -> Result<(), EndpointError> {
        let secrets = Secrets::new([token]);
        let sent = match clock.sleep(self.timeout) {
            Ok(mut timer) => self.send(&mut timer, &secrets, make).await,
            Err(NoTimer) => Err(SendFailure::no_timer()),
        };
        let mut response = sent.map_err(|failure| EndpointError::new(failure.shown(&secrets).kind))?;
        let status = response.status;
        if status.is_success() {
            return Ok(());
        }
        let body =
            BodySummary::new(&response.headers, response.body.len(), false, |text| secrets.shown(text, &[]));
        let now = clock.now().wall();
        let Meaning::Error(found) = self.format.parse(status, &mut response.body, &self.errors, now).meaning
        else {
            unreachable!("another status than success is an error")
        };
        if self.errors.classify(status, &found, false) == FailureKind::GrantEnded {
            return Ok(());
        }
        let code = self.errors.best_code(&found).and_then(|code| secrets.shown(code, &[]));
        Err(EndpointError::new(EndpointErrorKind::Refused { status, code, body }))
    }

    async fn send(
        &self,
        timer: &mut Sleep,
        secrets: &Secrets<'_>,
        make: &MakeRequest<'_>,
    ) -> Result<RawResponse, SendFailure> {
        let sent = SentFlag::default();
        let failure = |kind| SendFailure { kind, sent: sent.cancel() };
        let make = |url: &_| {
            let request = self.add_headers(make(url)?);
            secrets.sent(&request);
            Ok(request)
        };
        let call = Box::pin(self.transport.send(&self.url, &make, self.max_response_size, &sent));
        match select(call, timer).await {
            Either::Left((Ok(response), _)) => Ok(response),
            // The endpoint did nothing with what was sent.
            Either::Left((Err(kind @ EndpointErrorKind::Redirected { .. }), _)) => {
                Err(SendFailure { kind, sent: false })
            }
            Either::Left((Err(kind), _)) => Err(failure(kind)),
            Either::Right(_) => {
                let sent = sent.cancel();
                Err(SendFailure { kind: EndpointErrorKind::Timeout { timeout: self.timeout, sent }, sent })
            }
        }
    }

    fn interpret(
        &self,
        response: RawResponse,
        secrets: &Secrets<'_>,
        cx: &RefreshContext,
    ) -> Result<Token, RefreshError> {
        let RawResponse { status, headers, mut body, end } = response;
        let is_success = status.is_success();
        match end {
            BodyEnd::Complete => {}
            // For an error response the status suffices.
            _ if !is_success => body.clear(),
            // A token was issued and is lost, as if there had been no response.
            BodyEnd::Failed(error) => {
                return Err(failed(FailureKind::OutcomeUnknown, EndpointErrorKind::NoResponse(error.into())));
            }
            BodyEnd::TooLarge => {
                let kind = EndpointErrorKind::ResponseTooLarge { limit: self.max_response_size };
                return Err(failed(FailureKind::Misconfigured, kind));
            }
        }
        let now = cx.clock().now().wall();
        let retry_after = retry_after(&headers, now);
        let length = body.len();
        let ParsedResponse { access_token, refresh_token, meaning } =
            self.format.parse(status, &mut body, &self.errors, now);
        let received: Vec<_> =
            [&access_token, &refresh_token].into_iter().flatten().map(|token| &**token).collect();
        let shown = |text: &str| secrets.shown(text, &received);
        let summary = |truncated| BodySummary::new(&headers, length, truncated, shown);
        let error = match meaning {
            Meaning::Token(builder) => {
                // Before the header value is made, so that the body isn't held beside both of its copies.
                drop(body);
                return builder.build_or_refresh_token().map_err(|(error, refresh_token)| {
                    let error = failed(FailureKind::Misconfigured, EndpointErrorKind::InvalidToken(error));
                    match refresh_token {
                        Some(refresh_token) => error.with_refresh_token(refresh_token.expose()),
                        None => error,
                    }
                });
            }
            Meaning::Error(found) => {
                let kind = self.errors.classify(status, &found, retry_after.is_some());
                let kind = self.without_grant(kind);
                let code = self.errors.best_code(&found).and_then(shown);
                failed(kind, EndpointErrorKind::Refused { status, code, body: summary(false) })
                    .with_retry_after(retry_after)
            }
            Meaning::Unusable(TokenFlaw::Missing) => {
                let field = self.format.access_token.clone().into_owned();
                failed(self.unexplained(status), EndpointErrorKind::MissingAccessToken { status, field })
            }
            Meaning::Unusable(TokenFlaw::UnsupportedType(name)) => {
                let name = shown(&name).unwrap_or_default();
                failed(FailureKind::Misconfigured, EndpointErrorKind::UnsupportedTokenType(name))
            }
            Meaning::Unusable(TokenFlaw::HasSpaces) => {
                failed(FailureKind::Misconfigured, EndpointErrorKind::TokenWithSpaces)
            }
            Meaning::Malformed(Malformed::Truncated) => {
                let kind = EndpointErrorKind::UnexpectedBody { status, body: summary(true) };
                failed(FailureKind::OutcomeUnknown, kind)
            }
            Meaning::Malformed(Malformed::Other) => {
                let kind = EndpointErrorKind::UnexpectedBody { status, body: summary(false) };
                failed(self.unexplained(status), kind)
            }
        };
        // The presented refresh token may be used up. What a refusal repeats isn't a successor.
        let successor = refresh_token.filter(|token| is_success && Some(&**token) != cx.presentable());
        Err(match successor {
            Some(successor) => error.with_refresh_token(successor),
            None => error,
        })
    }

    fn no_response(&self, failure: SendFailure, secrets: &Secrets<'_>) -> RefreshError {
        let SendFailure { kind, sent } = failure.shown(secrets);
        let failure = match kind {
            EndpointErrorKind::BuildRequest(_) => FailureKind::Misconfigured,
            // A proxy's or a moved endpoint's: unlikely to be cured by a repeat.
            EndpointErrorKind::Redirected { status, .. } => self.unexplained(status),
            _ if sent => FailureKind::OutcomeUnknown,
            _ => FailureKind::Transient,
        };
        failed(failure, kind)
    }

    /// The kind of a response that says nothing else than its status.
    fn unexplained(&self, status: StatusCode) -> FailureKind {
        self.errors.status_kind(status).map_or(FailureKind::Unexplained, |kind| self.without_grant(kind))
    }

    fn without_grant(&self, kind: FailureKind) -> FailureKind {
        match kind {
            FailureKind::GrantEnded if self.has_no_grant => FailureKind::Misconfigured,
            kind => kind,
        }
    }
}

// === impl SendFailure ===

impl SendFailure {
    fn no_timer() -> Self {
        Self { kind: EndpointErrorKind::BuildRequest(Arc::new(NoTimer)), sent: false }
    }

    fn is_timeout(&self) -> bool {
        matches!(self.kind, EndpointErrorKind::Timeout { .. })
    }

    /// Without a redirect's target, if that contains a secret.
    fn shown(mut self, secrets: &Secrets<'_>) -> Self {
        if let EndpointErrorKind::Redirected { target, .. } = &mut self.kind {
            *target = target.take().filter(|target| secrets.shown(&target.to_string(), &[]).is_some());
        }
        self
    }
}

fn failed(kind: FailureKind, reason: EndpointErrorKind) -> RefreshError {
    let error = EndpointError::new(reason);
    let message = error.to_string();
    RefreshError::new(kind, error.into()).with_log_message(message)
}

/// Spread by a fifth, so that many processes don't retry at the same time.
fn jittered(delay: Duration) -> Duration {
    delay.mul_f64(0.8 + 0.4 * fastrand::f64())
}

/// Short enough for callers that wait. An outage that lasts longer is up to the session's backoff.
const RETRY_DELAYS: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(600)];

/// A server that asks for more gets it from the session's backoff.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(1);
