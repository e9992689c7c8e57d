//! One exchange with a token endpoint: sent, answered, judged.

use std::{
    fmt,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use futures_util::future::{Either, select};
use http::{HeaderMap, StatusCode, header};

use crate::{
    clock::Clock,
    refresh::{RefreshContext, RefreshError, RefreshErrorKind},
    token::Token,
};

use super::{
    answer::{Answer, Flaw, Shape},
    error::{Contents, EndpointError, Kind, shown},
    members::Malformed,
    retry_after::retry_after,
    transport::{End, MakeRequest, Reply, Sent, Transport},
    url::EndpointUrl,
    verdict::{Judged, Verdicts},
};

/// A token endpoint, how it is spoken to, and how its answers are taken. A clone is for another session.
pub(crate) struct Exchange {
    pub(crate) url: EndpointUrl,
    pub(crate) transport: Transport,
    pub(crate) shape: Shape,
    pub(crate) verdicts: Verdicts,
    /// There is no grant that could end: what says so is about the client.
    pub(crate) never_ends: bool,
    pub(crate) time_limit: Duration,
    pub(crate) answer_limit: usize,
    /// Refusals in a row of which nothing is known.
    unclear: AtomicU32,
}

/// A request that brought no whole answer.
struct Failure {
    kind: Kind,
    sent: bool,
}

// === impl Exchange ===

impl Exchange {
    pub(crate) fn new(url: EndpointUrl, transport: Transport, shape: Shape) -> Self {
        Self {
            url,
            transport,
            shape,
            verdicts: Verdicts::new(),
            never_ends: false,
            time_limit: TIME_LIMIT,
            answer_limit: ANSWER_LIMIT,
            unclear: AtomicU32::new(0),
        }
    }

    /// Sends a request, and makes of whatever comes back a token or a verdict.
    pub(crate) async fn run(
        &self,
        cx: &RefreshContext,
        make: &MakeRequest<'_>,
    ) -> Result<Token, RefreshError> {
        let result = match self.send(cx.clock(), make).await {
            Ok(reply) => self.take(reply, cx),
            Err(Failure { kind: kind @ Kind::Request(_), .. }) => {
                Err(failed(RefreshErrorKind::Configuration, kind))
            }
            Err(Failure { kind, sent: true }) => Err(failed(RefreshErrorKind::Unknown, kind)),
            Err(Failure { kind, sent: false }) => Err(failed(RefreshErrorKind::Transient, kind)),
        };
        result.map_err(|(error, unclear)| self.pace(error, unclear, cx.failures())).inspect(|_| self.clear())
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
        if self.verdicts.judge(reply.status, code, false).kind == RefreshErrorKind::Ended {
            return Ok(());
        }
        let code = code.and_then(|code| told(code, [token]));
        Err(EndpointError::new(Kind::Refused { status: reply.status, code, what }))
    }

    async fn send(&self, clock: &dyn Clock, make: &MakeRequest<'_>) -> Result<Reply, Failure> {
        let sent = Sent::default();
        let failure = |kind| Failure { kind, sent: sent.give_up() };
        let Ok(limit) = clock.sleep(self.time_limit) else {
            return Err(failure(Kind::Request(crate::clock::NoTimer.into())));
        };
        let call = Box::pin(self.transport.send(&self.url, make, self.answer_limit, &sent));
        match select(call, limit).await {
            Either::Left((Ok(reply), _)) => Ok(reply),
            Either::Left((Err(kind @ Kind::Redirected { .. }), _)) => Err(Failure { kind, sent: false }),
            Either::Left((Err(kind), _)) => Err(failure(kind)),
            Either::Right(_) => {
                let sent = sent.give_up();
                Err(Failure { kind: Kind::TimeLimit { limit: self.time_limit, sent }, sent })
            }
        }
    }

    /// What an answer means; and whether nothing is known of it.
    fn take(&self, mut reply: Reply, cx: &RefreshContext) -> Result<Token, (RefreshError, bool)> {
        let status = reply.status;
        let is_success = status.is_success();
        match std::mem::replace(&mut reply.end, End::Whole) {
            End::Whole => {}
            // Of a refusal the status is enough.
            _ if !is_success => reply.body.clear(),
            // The token was given, and is lost: as if no answer had come.
            End::Broken(error) => return Err(failed(RefreshErrorKind::Unknown, Kind::Unanswered(error))),
            End::TooLong => {
                let kind = Kind::TooLong { limit: self.answer_limit };
                return Err(failed(RefreshErrorKind::Configuration, kind));
            }
        }
        let what = contents(&reply, false);
        match self.shape.read(status, &mut reply.body) {
            Answer::Token(token) => Ok(token),
            Answer::Error(codes) => {
                Err(self.refuse(&reply.headers, status, self.verdicts.choose(&codes), what, cx))
            }
            Answer::Unusable(flaw, refresh_token) => {
                let (error, unclear) = match flaw {
                    Flaw::Missing => {
                        let member = self.shape.access_token.clone().into_owned();
                        failed(RefreshErrorKind::Transient, Kind::NoAccessToken { status, member })
                    }
                    Flaw::OfAnotherType(name) => {
                        let name = told(&name, secrets(cx)).unwrap_or_default();
                        failed(RefreshErrorKind::Configuration, Kind::TokenType(name))
                    }
                    Flaw::Invalid(error) => {
                        failed(RefreshErrorKind::Configuration, Kind::InvalidToken(error))
                    }
                };
                // What was presented may be spent by it.
                let error = match refresh_token {
                    Some(refresh_token) => error.brought_refresh_token(refresh_token.as_str()),
                    None => error,
                };
                Err((error, unclear))
            }
            Answer::Unreadable(Malformed::Truncated) => {
                let kind = Kind::Unreadable { status, what: contents(&reply, true) };
                Err(failed(RefreshErrorKind::Unknown, kind))
            }
            Answer::Unreadable(Malformed::Other) => {
                Err(failed(RefreshErrorKind::Transient, Kind::Unreadable { status, what }))
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
    ) -> (RefreshError, bool) {
        let wait = retry_after(headers, cx.clock().now().wall());
        let Judged { kind, unclear } = match self.verdicts.judge(status, code, wait.is_some()) {
            judged if self.never_ends => judged.without_a_grant(),
            judged => judged,
        };
        let code = code.and_then(|code| told(code, secrets(cx)));
        let (error, _) = failed(kind, Kind::Refused { status, code, what });
        (error.retry_after(wait), unclear)
    }

    /// Refusals of which nothing is known are tried thrice at the pace of the backoff, and then at leisure.
    fn pace(&self, error: RefreshError, unclear: bool, failures: u32) -> RefreshError {
        if !unclear {
            self.clear();
            return error;
        }
        let before = self.unclear.fetch_add(1, Ordering::Relaxed).min(failures);
        if before < MOST_UNCLEAR { error } else { error.pause(LEISURE) }
    }

    fn clear(&self) {
        self.unclear.store(0, Ordering::Relaxed);
    }
}

impl Clone for Exchange {
    fn clone(&self) -> Self {
        Self {
            url: self.url.clone(),
            transport: self.transport.clone(),
            shape: self.shape.clone(),
            verdicts: self.verdicts.clone(),
            never_ends: self.never_ends,
            time_limit: self.time_limit,
            answer_limit: self.answer_limit,
            // It counts for itself.
            unclear: AtomicU32::new(0),
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("url", &self.url)
            .field("time_limit", &self.time_limit)
            .field("answer_limit", &self.answer_limit)
            .finish_non_exhaustive()
    }
}

fn failed(kind: RefreshErrorKind, why: Kind) -> (RefreshError, bool) {
    let error = EndpointError::new(why);
    let text = error.to_string();
    (RefreshError::new(kind, error.into()).log_as(text), false)
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

const MOST_UNCLEAR: u32 = 3;

const LEISURE: Duration = Duration::from_secs(600);
