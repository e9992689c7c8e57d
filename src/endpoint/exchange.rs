//! One exchange with a token endpoint: sent, answered, judged.

use std::{fmt, time::Duration};

use futures_util::future::{Either, select};
use http::{HeaderMap, StatusCode, header};

use crate::{
    refresh::{FailureKind, RefreshContext, RefreshError},
    rt::Clock,
    token::Token,
};

use super::{
    classifier::{ErrorClassifier, Judged},
    error::{Contents, EndpointError, EndpointErrorKind, shown},
    fields::Malformed,
    response::{Answer, Flaw, Shape},
    retry_after::retry_after,
    transport::{End, MakeRequest, Reply, Sent, Transport},
    url::EndpointUrl,
};

/// A token endpoint, how it is spoken to, and how its answers are taken.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) url: EndpointUrl,
    pub(crate) transport: Transport,
    pub(crate) shape: Shape,
    pub(crate) verdicts: ErrorClassifier,
    /// There is no grant that could end: what says so is about the client.
    pub(crate) never_ends: bool,
    pub(crate) timeout: Duration,
    pub(crate) max_response_size: usize,
}

/// A request that brought no whole answer.
struct Failure {
    kind: EndpointErrorKind,
    sent: bool,
}

// === impl Exchange ===

impl Exchange {
    pub(crate) fn new(url: EndpointUrl, transport: Transport, shape: Shape) -> Self {
        Self {
            url,
            transport,
            shape,
            verdicts: ErrorClassifier::new(),
            never_ends: false,
            timeout: TIME_LIMIT,
            max_response_size: ANSWER_LIMIT,
        }
    }

    /// Sends a request, and makes of whatever comes back a token or a verdict.
    pub(crate) async fn run(
        &self,
        cx: &RefreshContext,
        make: &MakeRequest<'_>,
    ) -> Result<Token, RefreshError> {
        match self.send(cx.clock(), make).await {
            Ok(reply) => self.take(reply, cx),
            Err(Failure { kind: kind @ EndpointErrorKind::Request(_), .. }) => {
                Err(failed(FailureKind::Misconfigured, kind))
            }
            Err(Failure { kind, sent: true }) => Err(failed(FailureKind::OutcomeUnknown, kind)),
            Err(Failure { kind, sent: false }) => Err(failed(FailureKind::Transient, kind)),
        }
    }

    /// Sends a request whose answer is a status (RFC 7009 §2.2). That the grant has ended already is no failure.
    pub(crate) async fn run_for_status(
        &self,
        clock: &dyn Clock,
        token: &str,
        make: &MakeRequest<'_>,
    ) -> Result<(), EndpointError> {
        let mut reply = self.send(clock, make).await.map_err(|failure| EndpointError::new(failure.kind))?;
        if reply.status.is_success() {
            return Ok(());
        }
        let what = contents(&reply, false);
        let answer = self.shape.read(reply.status, &mut reply.body);
        let code = if let Answer::Error(codes) = &answer { self.verdicts.choose(codes) } else { None };
        if self.verdicts.judge(reply.status, code, false).kind == FailureKind::GrantEnded {
            return Ok(());
        }
        let code = code.and_then(|code| told(code, [token]));
        Err(EndpointError::new(EndpointErrorKind::Refused { status: reply.status, code, what }))
    }

    async fn send(&self, clock: &dyn Clock, make: &MakeRequest<'_>) -> Result<Reply, Failure> {
        let sent = Sent::default();
        let failure = |kind| Failure { kind, sent: sent.give_up() };
        let Ok(limit) = clock.sleep(self.timeout) else {
            return Err(failure(EndpointErrorKind::Request(crate::rt::NoTimer.into())));
        };
        let call = Box::pin(self.transport.send(&self.url, make, self.max_response_size, &sent));
        match select(call, limit).await {
            Either::Left((Ok(reply), _)) => Ok(reply),
            Either::Left((Err(kind @ EndpointErrorKind::Redirected { .. }), _)) => {
                Err(Failure { kind, sent: false })
            }
            Either::Left((Err(kind), _)) => Err(failure(kind)),
            Either::Right(_) => {
                let sent = sent.give_up();
                Err(Failure { kind: EndpointErrorKind::Timeout { limit: self.timeout, sent }, sent })
            }
        }
    }

    /// Interprets a response.
    fn take(&self, mut reply: Reply, cx: &RefreshContext) -> Result<Token, RefreshError> {
        let status = reply.status;
        let is_success = status.is_success();
        match std::mem::replace(&mut reply.end, End::Whole) {
            End::Whole => {}
            // Of a refusal the status is enough.
            _ if !is_success => reply.body.clear(),
            // The token was given, and is lost: as if no answer had come.
            End::Broken(error) => {
                return Err(failed(FailureKind::OutcomeUnknown, EndpointErrorKind::Unanswered(error)));
            }
            End::TooLong => {
                let kind = EndpointErrorKind::TooLong { limit: self.max_response_size };
                return Err(failed(FailureKind::Misconfigured, kind));
            }
        }
        let what = contents(&reply, false);
        match self.shape.read(status, &mut reply.body) {
            Answer::Token(token) => Ok(token),
            Answer::Error(codes) => {
                Err(self.refuse(&reply.headers, status, self.verdicts.choose(&codes), what, cx))
            }
            Answer::Unusable(flaw, refresh_token) => {
                let error = match flaw {
                    Flaw::Missing => {
                        let member = self.shape.access_token.clone().into_owned();
                        failed(FailureKind::Transient, EndpointErrorKind::NoAccessToken { status, member })
                    }
                    Flaw::OfAnotherType(name) => {
                        let name = told(&name, secrets(cx)).unwrap_or_default();
                        failed(FailureKind::Misconfigured, EndpointErrorKind::TokenType(name))
                    }
                    Flaw::Invalid(error) => {
                        failed(FailureKind::Misconfigured, EndpointErrorKind::InvalidToken(error))
                    }
                };
                // What was presented may be spent by it.
                Err(match refresh_token {
                    Some(refresh_token) => error.with_refresh_token(refresh_token.as_str()),
                    None => error,
                })
            }
            Answer::Unreadable(Malformed::Truncated) => {
                let kind = EndpointErrorKind::Unreadable { status, what: contents(&reply, true) };
                Err(failed(FailureKind::OutcomeUnknown, kind))
            }
            Answer::Unreadable(Malformed::Other) => {
                Err(failed(FailureKind::Transient, EndpointErrorKind::Unreadable { status, what }))
            }
        }
    }

    fn refuse(
        &self,
        headers: &HeaderMap,
        status: StatusCode,
        code: Option<&str>,
        what: Contents,
        cx: &RefreshContext,
    ) -> RefreshError {
        let wait = retry_after(headers, cx.clock().now().wall());
        let Judged { kind, unclear } = match self.verdicts.judge(status, code, wait.is_some()) {
            judged if self.never_ends => judged.without_a_grant(),
            judged => judged,
        };
        let code = code.and_then(|code| told(code, secrets(cx)));
        let error = failed(kind, EndpointErrorKind::Refused { status, code, what }).with_retry_after(wait);
        if unclear { error.unexplained() } else { error }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("url", &self.url)
            .field("timeout", &self.timeout)
            .field("max_response_size", &self.max_response_size)
            .finish_non_exhaustive()
    }
}

fn failed(kind: FailureKind, why: EndpointErrorKind) -> RefreshError {
    let error = EndpointError::new(why);
    let text = error.to_string();
    RefreshError::new(kind, error.into()).with_log_message(text)
}

/// What must not be shown, whatever an answer says.
fn secrets(cx: &RefreshContext) -> impl Iterator<Item = &str> {
    [cx.refresh_token(), cx.token().map(Token::access_token)].into_iter().flatten()
}

/// What of a code may be shown: nothing, if a token was written into it.
fn told<'a>(code: &str, secrets: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let echoes = secrets.into_iter().any(|secret| !secret.is_empty() && code.contains(secret));
    (!echoes).then(|| shown(code))
}

fn contents(reply: &Reply, truncated: bool) -> Contents {
    let content_type = reply.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.map(shown).filter(|name| !name.is_empty());
    Contents { content_type, length: reply.body.len(), truncated }
}

/// Within which a server that tolerates the repeat of a lost exchange does so.
const TIME_LIMIT: Duration = Duration::from_secs(10);

const ANSWER_LIMIT: usize = 256 * 1024;
