//! One token request.

use std::sync::Arc;

use futures_util::future::{Either, select};
use http::{HeaderMap, StatusCode, header};

use crate::{
    refresh::{FailureKind, RefreshContext, RefreshError},
    rt::{Clock, NoTimer},
    token::Token,
};

use super::{
    body::SentFlag,
    error::{BodySummary, EndpointError, EndpointErrorKind, printable},
    fields::Malformed,
    raw_response::{BodyEnd, RawResponse},
    response::{ParsedResponse, TokenFlaw},
    retry_after::retry_after,
    settings::Endpoint,
    transport::MakeRequest,
};

/// A request without a response.
struct SendFailure {
    kind: EndpointErrorKind,
    sent: bool,
}

// === impl Endpoint ===

impl Endpoint {
    /// Sends a request; returns a token or a classified error.
    pub(crate) async fn run(
        &self,
        cx: &RefreshContext,
        make: &MakeRequest<'_>,
    ) -> Result<Token, RefreshError> {
        match self.send(cx.clock(), make).await {
            Ok(response) => self.interpret(response, cx),
            Err(SendFailure { kind, sent }) => {
                let failure = match kind {
                    EndpointErrorKind::BuildRequest(_) => FailureKind::Misconfigured,
                    // A proxy's or a moved endpoint's: unlikely to be cured by a repeat.
                    EndpointErrorKind::Redirected { .. } => FailureKind::Unexplained,
                    _ if sent => FailureKind::OutcomeUnknown,
                    _ => FailureKind::Transient,
                };
                Err(failed(failure, kind))
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
        let mut response =
            self.send(clock, make).await.map_err(|failure| EndpointError::new(failure.kind))?;
        let status = response.status;
        if status.is_success() {
            return Ok(());
        }
        let body = summary(&response, false);
        let codes = match self.format.parse(status, &mut response.body) {
            ParsedResponse::Error(codes) => codes,
            _ => Vec::new(),
        };
        let code = self.errors.best_code(&codes);
        if self.errors.classify(status, code, false) == FailureKind::GrantEnded {
            return Ok(());
        }
        let code = code.and_then(|code| printable_unless_secret(code, [token]));
        Err(EndpointError::new(EndpointErrorKind::Refused { status, code, body }))
    }

    async fn send(&self, clock: &dyn Clock, make: &MakeRequest<'_>) -> Result<RawResponse, SendFailure> {
        let sent = SentFlag::default();
        let failure = |kind| SendFailure { kind, sent: sent.cancel() };
        let Ok(timeout) = clock.sleep(self.timeout) else {
            return Err(failure(EndpointErrorKind::BuildRequest(Arc::new(NoTimer))));
        };
        let make = |url: &_| make(url).map(|request| self.add_headers(request));
        let call = Box::pin(self.transport.send(&self.url, &make, self.max_response_size, &sent));
        match select(call, timeout).await {
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

    fn interpret(&self, mut response: RawResponse, cx: &RefreshContext) -> Result<Token, RefreshError> {
        let status = response.status;
        let is_success = status.is_success();
        match std::mem::replace(&mut response.end, BodyEnd::Complete) {
            BodyEnd::Complete => {}
            // For an error response the status suffices.
            _ if !is_success => response.body.clear(),
            // A token was issued and is lost, as if there had been no response.
            BodyEnd::Failed(error) => {
                return Err(failed(FailureKind::OutcomeUnknown, EndpointErrorKind::NoResponse(error.into())));
            }
            BodyEnd::TooLarge => {
                let kind = EndpointErrorKind::ResponseTooLarge { limit: self.max_response_size };
                return Err(failed(FailureKind::Misconfigured, kind));
            }
        }
        let body = summary(&response, false);
        match self.format.parse(status, &mut response.body) {
            ParsedResponse::Token(token) => Ok(token),
            ParsedResponse::Error(codes) => {
                Err(self.refusal(&response.headers, status, self.errors.best_code(&codes), body, cx))
            }
            ParsedResponse::Unusable(flaw, refresh_token) => {
                let error = self.unusable(status, flaw, cx);
                // The presented refresh token may be used up.
                Err(match refresh_token {
                    Some(refresh_token) => error.with_refresh_token(refresh_token.as_str()),
                    None => error,
                })
            }
            ParsedResponse::Malformed(Malformed::Truncated) => {
                let kind = EndpointErrorKind::UnexpectedBody { status, body: summary(&response, true) };
                Err(failed(FailureKind::OutcomeUnknown, kind))
            }
            ParsedResponse::Malformed(Malformed::Other) => {
                Err(failed(FailureKind::Unexplained, EndpointErrorKind::UnexpectedBody { status, body }))
            }
        }
    }

    fn refusal(
        &self,
        headers: &HeaderMap,
        status: StatusCode,
        code: Option<&str>,
        body: BodySummary,
        cx: &RefreshContext,
    ) -> RefreshError {
        let wait = retry_after(headers, cx.clock().now().wall());
        let kind = match self.errors.classify(status, code, wait.is_some()) {
            FailureKind::GrantEnded if self.has_no_grant => FailureKind::Misconfigured,
            kind => kind,
        };
        let code = code.and_then(|code| printable_unless_secret(code, secrets(cx)));
        failed(kind, EndpointErrorKind::Refused { status, code, body }).with_retry_after(wait)
    }

    fn unusable(&self, status: StatusCode, flaw: TokenFlaw, cx: &RefreshContext) -> RefreshError {
        match flaw {
            TokenFlaw::Missing => {
                let field = self.format.access_token.clone().into_owned();
                failed(FailureKind::Unexplained, EndpointErrorKind::MissingAccessToken { status, field })
            }
            TokenFlaw::UnsupportedType(name) => {
                let name = printable_unless_secret(&name, secrets(cx)).unwrap_or_default();
                failed(FailureKind::Misconfigured, EndpointErrorKind::UnsupportedTokenType(name))
            }
            TokenFlaw::Invalid(error) => {
                failed(FailureKind::Misconfigured, EndpointErrorKind::InvalidToken(error))
            }
        }
    }
}

fn failed(kind: FailureKind, reason: EndpointErrorKind) -> RefreshError {
    let error = EndpointError::new(reason);
    let message = error.to_string();
    RefreshError::new(kind, error.into()).with_log_message(message)
}

/// Secrets that must never be shown.
fn secrets(cx: &RefreshContext) -> impl Iterator<Item = &str> {
    [cx.refresh_token(), cx.token().map(Token::access_token)].into_iter().flatten()
}

/// The printable part of a code, unless it contains a secret.
fn printable_unless_secret<'a>(code: &str, secrets: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let has_secret = secrets.into_iter().any(|secret| !secret.is_empty() && code.contains(secret));
    (!has_secret).then(|| printable(code))
}

fn summary(response: &RawResponse, truncated: bool) -> BodySummary {
    let content_type = response.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.map(printable).filter(|name| !name.is_empty());
    BodySummary { content_type, length: response.body.len(), truncated }
}
