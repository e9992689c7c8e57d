//! [`Authorizer`].

use std::{mem, sync::Arc};

use http::{Request, Response};

use crate::{
    challenge::Challenges,
    error::{Error, ErrorKind},
    rt::{Clock, Nanos},
    session::{Demand, Demanded, Session, Waiter},
    token::{AccessToken, TokenId},
};

use super::{
    attempt::{Attempt, Payload, Pending, Replayable},
    config::Config,
    head::Head,
    inject::Injected,
    options::MinLifetime,
    replay::{NotReplayed, Replay},
    source::{ChooseSession, Chosen, Loading, RequestHead, Source},
};

/// Decides what happens to requests.
pub(crate) struct Authorizer<P> {
    source: Source,
    config: Arc<Config>,
    replay: Arc<P>,
}

/// What to do with a new request.
pub(crate) enum Begin {
    /// The token that it carries. `None`: not one of ours.
    Send(Option<TokenId>),
    Wait(Waiter, Option<Nanos>),
    /// For its session.
    Load(Loading, Option<Nanos>),
    Fail(Error),
}

/// What to do once the inner service is ready.
pub(crate) enum Recheck {
    Send(AccessToken),
    /// The token has expired in the meantime.
    Wait(Waiter),
}

/// What to do with a response.
pub(crate) enum AfterResponse {
    Deliver,
    /// Keep it until there is a newer token.
    WaitForToken(Waiter),
    /// There is a newer token.
    Retry(AccessToken),
}

/// How many times a request waits again for a token that expired while it waited for readiness.
const MAX_EXPIRED_WHILE_READYING: u8 = 3;

// === impl Authorizer ===

impl<P> Authorizer<P> {
    pub(crate) fn new(source: Source, config: Arc<Config>, replay: Arc<P>) -> Self {
        Self { source, config, replay }
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Attaches a token to a request, or returns what to do instead. `chosen` is set to the session of this request, if
    /// it has its own.
    #[inline]
    pub(crate) fn begin<B>(&self, request: &mut Request<B>, chosen: &mut Option<Session>) -> Begin {
        match self.config.applies_to(request) {
            Ok(true) => {}
            Ok(false) => return Begin::Send(None),
            Err(error) => return Begin::Fail(error),
        }
        match &self.source {
            Source::One(session) => self.begin_with(session, request),
            Source::Many(choose) => self.begin_choosing(&**choose, request, chosen),
        }
    }

    #[inline(never)]
    fn begin_choosing<B>(
        &self,
        choose: &dyn ChooseSession,
        request: &mut Request<B>,
        chosen: &mut Option<Session>,
    ) -> Begin {
        match choose.choose(RequestHead::new(request)) {
            Chosen::Session(session) => self.begin_with(chosen.insert(session), request),
            Chosen::Loading(loading) => {
                let deadline = self.config.deadline(request, || loading.clock.now());
                let timeout = self.config.wait_timeout(request.extensions());
                Begin::Load(loading.within(timeout, deadline), deadline)
            }
            Chosen::Failed(error) => Begin::Fail(error),
        }
    }

    // A call costs a tenth of the whole.
    #[inline(always)]
    fn begin_with<B>(&self, session: &Session, request: &mut Request<B>) -> Begin {
        if request.extensions().get::<MinLifetime>().is_some() {
            return self.begin_slow(session, request);
        }
        let headers = request.headers_mut();
        match session.with_published(|token| self.config.inject(headers, token)) {
            Some(injected) => injected.into(),
            None => self.begin_slow(session, request),
        }
    }

    #[cold]
    fn begin_slow<B>(&self, session: &Session, request: &mut Request<B>) -> Begin {
        let deadline = self.config.deadline(request, || session.now());
        match self.demand(session, request, deadline) {
            Ok(Some(Demanded::Use(token))) => self.config.inject(request.headers_mut(), &token).into(),
            Ok(Some(Demanded::Wait(waiter))) => Begin::Wait(waiter, deadline),
            Ok(None) => Begin::Send(None),
            Err(error) => Begin::Fail(error),
        }
    }

    /// Demands a token for a request that waited for its session. `None`: send it as it is.
    pub(crate) fn begin_loaded<B>(
        &self,
        attempt: &mut Attempt<B, P::Retained>,
        session: Session,
        clock: &dyn Clock,
    ) -> Result<Option<Demanded>, Error>
    where
        P: Replay<B>,
    {
        let session = attempt.session.insert(session);
        match &mut attempt.payload {
            Payload::Pending(pending) => {
                // From the map's clock to the session's.
                let left = |deadline: Nanos| deadline.saturating_sub(clock.now().monotonic);
                let on_sessions = |left: Nanos| session.now().monotonic.saturating_add(left);
                pending.deadline = pending.deadline.map(left).map(on_sessions);
                self.demand(session, &pending.request, pending.deadline)
            }
            Payload::Replayable(_) | Payload::Nothing => Ok(None),
        }
    }

    fn demand<B>(
        &self,
        session: &Session,
        request: &Request<B>,
        deadline: Option<Nanos>,
    ) -> Result<Option<Demanded>, Error> {
        if self.config.keeps_existing(request.headers(), session.header_names()) {
            return Ok(None);
        }
        match session.demand_new(self.config.limits(session, request.extensions(), deadline)) {
            Ok(demanded) => Ok(Some(demanded)),
            Err(error)
                if self.config.allow_unauthenticated && (error.is_signed_out() || error.is_grant_ended()) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Splits a request that has its token into the one to send and what a retry needs.
    // A call would copy the request again.
    #[inline(always)]
    pub(crate) fn split<B>(
        &self,
        request: Request<B>,
        token: Option<TokenId>,
        attempt: &mut Attempt<B, P::Retained>,
    ) -> Request<P::Body>
    where
        P: Replay<B>,
    {
        let mut retained = None;
        let mut request = self.replay.split_request(request, &mut retained);
        let Some(id) = token else { return request };
        attempt.token = token;
        if let Some(body) = retained {
            let session = self.session(attempt);
            let deadline = self.config.deadline(&request, || session.now());
            let head = Head::pack(&request, session.header_names());
            attempt.payload = Payload::Replayable(Box::new(Replayable { head, body, deadline }));
        }
        self.config.set_token(request.extensions_mut(), self.session(attempt), id);
        request
    }

    /// Checks the token after acquiring readiness, which may have taken long: uses the current one.
    pub(crate) fn recheck<B>(
        &self,
        attempt: &mut Attempt<B, P::Retained>,
        token: &AccessToken,
    ) -> Result<Recheck, Error>
    where
        P: Replay<B>,
    {
        let epoch = token.id().epoch;
        let session = self.session(attempt);
        if let Some(current) = session.current() {
            // A token of another sign-in is never this request's.
            return match current.id().epoch.is_same_sign_in(epoch) {
                true => Ok(Recheck::Send(current)),
                false => Err(Error::new(ErrorKind::SignedOut)),
            };
        }
        session.check(epoch)?;
        if !session.has_expired(token) || attempt.expired_while_readying == MAX_EXPIRED_WHILE_READYING {
            return Ok(Recheck::Send(token.clone()));
        }
        let (limits, is_retry) = match &attempt.payload {
            Payload::Pending(pending) => {
                (self.config.limits(session, pending.request.extensions(), pending.deadline), false)
            }
            Payload::Replayable(retry) => (self.config.limits_of_retry(session, retry), true),
            Payload::Nothing => (session.limits(), false),
        };
        let demanded = session.demand(Demand::New, limits, None);
        attempt.expired_while_readying += 1;
        match demanded {
            Ok(Demanded::Use(token)) if token.id().epoch.is_same_sign_in(epoch) => Ok(Recheck::Send(token)),
            Ok(Demanded::Wait(waiter)) if waiter.is_of_sign_in(epoch) => Ok(Recheck::Wait(waiter)),
            // Another sign-in came between the check and the demand.
            Ok(_) => Err(Error::new(ErrorKind::SignedOut)),
            // The rejected response has been dropped, so let the server decide again.
            Err(_) if is_retry => Ok(Recheck::Send(token.clone())),
            Err(error) => Err(error),
        }
    }

    /// Creates the request of an attempt that waited for its session and needs no token.
    pub(crate) fn send_as_is<B>(
        &self,
        attempt: &mut Attempt<B, P::Retained>,
    ) -> Result<Request<P::Body>, Error>
    where
        P: Replay<B>,
    {
        match mem::replace(&mut attempt.payload, Payload::Nothing) {
            Payload::Pending(pending) => {
                let Pending { mut request, deadline } = *pending;
                self.config.set_deadline(request.headers_mut(), self.session(attempt), deadline)?;
                Ok(self.split(request, None, attempt))
            }
            Payload::Replayable(_) | Payload::Nothing => unreachable!("it wasn't sent yet"),
        }
    }

    /// Creates the request of an attempt that waited, or of a retry.
    pub(crate) fn send_with<B>(
        &self,
        attempt: &mut Attempt<B, P::Retained>,
        token: &AccessToken,
    ) -> Result<Request<P::Body>, Error>
    where
        P: Replay<B>,
    {
        match mem::replace(&mut attempt.payload, Payload::Nothing) {
            Payload::Pending(pending) => {
                // Moved first, then changed: copying what was just written stalls the processor.
                let Pending { mut request, deadline } = *pending;
                self.config.trusts(request.uri())?;
                self.config.set_deadline(request.headers_mut(), self.session(attempt), deadline)?;
                let id = match self.config.inject(request.headers_mut(), token) {
                    Injected::Ours(id) => Some(id),
                    Injected::Theirs => None,
                    Injected::HeadersFull => return Err(Error::new(ErrorKind::TooManyHeaders)),
                };
                let request = self.split(request, id, attempt);
                if let Payload::Replayable(retry) = &mut attempt.payload {
                    // The exact deadline: the header's value is rounded up.
                    retry.deadline = deadline;
                }
                Ok(request)
            }
            Payload::Replayable(retry) => {
                let Replayable { head, body, deadline } = *retry;
                let mut request = head.unpack();
                self.config.trusts(request.uri())?;
                Config::replace(request.headers_mut(), self.session(attempt).header_names(), token)?;
                self.config.set_deadline(request.headers_mut(), self.session(attempt), deadline)?;
                self.config.set_token(request.extensions_mut(), self.session(attempt), token.id());
                attempt.token = Some(token.id());
                attempt.attempts += 1;
                self.session(attempt).record_retry(self.config.cause_of_retry());
                Ok(request.map(|()| Replay::<B>::replay(&*self.replay, body)))
            }
            Payload::Nothing => unreachable!("an attempt that waits has something to send"),
        }
    }

    /// Checks a response, and demands a newer token if it rejects the request's.
    #[inline]
    pub(crate) fn judge<B, R>(
        &self,
        attempt: &mut Attempt<B, P::Retained>,
        response: &mut Response<R>,
    ) -> AfterResponse
    where
        P: Replay<B>,
    {
        let Some(id) = attempt.token else { return AfterResponse::Deliver };
        if let Some(challenges) = self.config.judge(response) {
            return self.rejected(attempt, id, challenges, response);
        }
        if attempt.attempts > 1 {
            attempt.report(response, None);
        }
        AfterResponse::Deliver
    }

    #[cold]
    fn rejected<B, R>(
        &self,
        attempt: &mut Attempt<B, P::Retained>,
        id: TokenId,
        challenges: Challenges,
        response: &mut Response<R>,
    ) -> AfterResponse
    where
        P: Replay<B>,
    {
        let retry = match mem::replace(&mut attempt.payload, Payload::Nothing) {
            Payload::Replayable(retry) => {
                let Replayable { head, body, deadline } = *retry;
                let body = Replay::<B>::stop(&*self.replay, body, response.version());
                body.map(|body| Box::new(Replayable { head, body, deadline }))
            }
            Payload::Pending(_) | Payload::Nothing => Err(NotReplayed::SingleUse),
        };
        let retry = match retry {
            Ok(retry) => retry,
            Err(reason) => {
                self.session(attempt).note_rejection(id, challenges);
                match attempt.attempts {
                    1 => self.report_not_replayed(attempt, reason, response),
                    _ => attempt.report(response, None),
                }
                return AfterResponse::Deliver;
            }
        };
        let session = self.session(attempt);
        let limits = self.config.limits_of_retry(session, &retry);
        match session.demand(Demand::Rejected(id), limits, Some(challenges)) {
            Ok(demanded) => {
                attempt.payload = Payload::Replayable(retry);
                match demanded {
                    Demanded::Use(token) => AfterResponse::Retry(token),
                    Demanded::Wait(waiter) => AfterResponse::WaitForToken(waiter),
                }
            }
            Err(error) => {
                attempt.report(response, Some(error));
                AfterResponse::Deliver
            }
        }
    }

    fn report_not_replayed<B, R>(
        &self,
        attempt: &Attempt<B, P::Retained>,
        reason: NotReplayed,
        response: &mut Response<R>,
    ) where
        P: Replay<B>,
    {
        attempt.report_not_replayed(response, reason);
        if let Some(protocol) = &self.config.protocol {
            protocol.report_not_replayed(response.headers_mut(), reason);
        }
    }

    /// The session that the request of this attempt uses.
    #[inline]
    fn session<'a, B, K>(&'a self, attempt: &'a Attempt<B, K>) -> &'a Session {
        let session = attempt.session.as_ref().or_else(|| self.source.one());
        session.expect("a request that has or awaits a token has a session")
    }
}

// === impl Begin ===

impl From<Injected> for Begin {
    #[inline]
    fn from(injected: Injected) -> Self {
        match injected {
            Injected::Ours(id) => Self::Send(Some(id)),
            Injected::Theirs => Self::Send(None),
            Injected::HeadersFull => Self::Fail(Error::new(ErrorKind::TooManyHeaders)),
        }
    }
}
