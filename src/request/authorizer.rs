//! One request's course, from its token to its answer, without tower's types.
//!
//! It begins with a token, or a wait for one; it is sent; its answer is judged; and if the token was refused it waits
//! for a newer one and is sent again, once.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, Request, Response};

use crate::{
    challenge::Challenges,
    error::{Error, ErrorKind},
    grpc_timeout,
    request::config::{PutOn, Traffic},
    request::rejection::{ResponseHead, Verdict},
    request::replay::Replay,
    request::report::AuthReport,
    rt::{self, Nanos},
    session::{Asked, Demand, Session, WaitLimits, Waiter},
    token::{AccessToken, Stamp},
};

/// What is asked of the session, and how.
pub(crate) struct Guide<'a, P> {
    pub(crate) session: &'a Session,
    pub(crate) traffic: &'a Traffic,
    pub(crate) replay: &'a P,
}

/// What there is to know of a request that is under way.
pub(crate) struct Course<K> {
    /// The token that it was sent with. None: its answer isn't judged.
    stamp: Option<Stamp>,
    /// When that token expires; known where the request waited.
    expires_at: Option<SystemTime>,
    /// What the second sending is made of.
    again: Option<Again<K>>,
    /// On the monotonic clock: when the whole call is to be over.
    deadline: Option<Nanos>,
    leave_stamp: bool,
    /// How often the token expired while the request waited for readiness.
    overtaken: u8,
    report: AuthReport,
}

/// What a request does that has its token and is about to be sent.
pub(crate) enum Look {
    Send,
    /// Its token expired while it waited for readiness.
    Wait(Waiter, WaitLimits),
    Fail(Error),
}

/// A request that can be sent again.
pub(crate) struct Again<K> {
    head: Request<()>,
    body: K,
}

/// Asks, in a request's extensions, for a [`Carried`] in its response's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaveStamp;

/// Which token a request carried, in its response's extensions.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "grpc"), expect(dead_code, reason = "read by the watcher of trailers"))]
pub(crate) struct Carried(pub(crate) Stamp);

/// What a request does first.
pub(crate) enum Begin<B, P: Replay<B>> {
    Send(Request<P::Body>, Course<P::Retained>),
    Wait(Waiting<B>),
    Fail(Error),
}

/// A request that waits for its first token.
pub(crate) struct Waiting<B> {
    pub(crate) waiter: Waiter,
    pub(crate) limits: WaitLimits,
    request: Request<B>,
    deadline: Option<Nanos>,
}

/// What becomes of an answer.
pub(crate) enum Judged<K> {
    /// It is the caller's.
    Deliver,
    /// It is held until there is a newer token.
    Hold(Waiter, WaitLimits),
    /// There is a newer token.
    Again(AccessToken, Again<K>),
}

// === impl Guide ===

impl<P> Clone for Guide<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Guide<'_, P> {}

impl<P> Guide<'_, P> {
    /// Begins a request's course: puts a token on, or says why not.
    #[inline]
    pub(crate) fn begin<B>(self, request: Request<B>) -> Begin<B, P>
    where
        P: Replay<B>,
    {
        let mut request = request;
        match self.traffic.concerns(&request) {
            Ok(true) => {}
            Ok(false) => return self.send_untouched(request),
            Err(error) => return Begin::Fail(error),
        }
        let mut stamp = None;
        let fast = || {
            self.session.fast(|token| {
                stamp = Some(token.stamp());
                token.header_value().clone()
            })
        };
        match self.traffic.put_on(request.headers_mut(), fast) {
            Ok(PutOn::Done) => {
                let deadline = self.deadline(&request);
                self.send(request, stamp, false, deadline)
            }
            Ok(PutOn::LeftAlone) => self.send_untouched(request),
            Ok(PutOn::NoCredential) => self.begin_slowly(request),
            Err(error) => Begin::Fail(error),
        }
    }

    #[cold]
    fn begin_slowly<B>(self, request: Request<B>) -> Begin<B, P>
    where
        P: Replay<B>,
    {
        let deadline = self.deadline(&request);
        let limits = self.limits(&request, deadline);
        match self.session.begin(Demand::New, limits) {
            Ok(Asked::Use(token)) => self.go_on(request, &token, false, deadline),
            Ok(Asked::Wait(waiter)) => Begin::Wait(Waiting { waiter, limits, request, deadline }),
            Err(error) if self.traffic.bare && (error.is_signed_out() || error.is_grant_ended()) => {
                self.send_untouched(request)
            }
            Err(error) => Begin::Fail(error),
        }
    }

    /// A request's wait for its first token has ended.
    pub(crate) fn end_wait<B>(self, waiting: Waiting<B>, token: Result<AccessToken, Error>) -> Begin<B, P>
    where
        P: Replay<B>,
    {
        let Waiting { request, limits, deadline, .. } = waiting;
        let token = match token {
            Ok(token) => token,
            Err(error) => return Begin::Fail(self.wait_failed(limits, error)),
        };
        self.go_on(request, &token, true, deadline)
    }

    /// Sends a request with the token that it asked for.
    fn go_on<B>(
        self,
        mut request: Request<B>,
        token: &AccessToken,
        waited: bool,
        deadline: Option<Nanos>,
    ) -> Begin<B, P>
    where
        P: Replay<B>,
    {
        // Judged before each sending.
        match self.traffic.concerns(&request) {
            Ok(true) => {}
            Ok(false) => return self.send_untouched(request),
            Err(error) => return Begin::Fail(error),
        }
        match self.traffic.put_on(request.headers_mut(), || Some(token.header_value().clone())) {
            Ok(_) => match self.send(request, Some(token.stamp()), waited, deadline) {
                Begin::Send(request, mut course) => {
                    course.take(token);
                    Begin::Send(request, course)
                }
                other => other,
            },
            Err(error) => Begin::Fail(error),
        }
    }

    #[inline]
    fn send<B>(
        self,
        request: Request<B>,
        stamp: Option<Stamp>,
        waited: bool,
        deadline: Option<Nanos>,
    ) -> Begin<B, P>
    where
        P: Replay<B>,
    {
        let leave_stamp = self.traffic.grpc && request.extensions().get::<LeaveStamp>().is_some();
        let (head, body) = request.into_parts();
        let (body, kept) = self.replay.split(body);
        // With the credential on: the second sending replaces it.
        let again = kept.map(|body| Again { head: Request::from_parts(head.clone(), ()), body });
        let report = AuthReport { attempts: 1, waited, error: None };
        Begin::Send(
            Request::from_parts(head, body),
            Course { stamp, expires_at: None, again, deadline, leave_stamp, overtaken: 0, report },
        )
    }

    fn send_untouched<B>(self, request: Request<B>) -> Begin<B, P>
    where
        P: Replay<B>,
    {
        let request = request.map(|body| self.replay.split(body).0);
        Begin::Send(request, Course::untouched())
    }

    /// Judges an answer, and asks for a newer token where it refuses the request's.
    #[inline]
    pub(crate) fn judge<B, R>(
        self,
        course: &mut Course<P::Retained>,
        response: &mut Response<R>,
    ) -> Judged<P::Retained>
    where
        P: Replay<B>,
    {
        let Some(stamp) = course.stamp else { return Judged::Deliver };
        if course.leave_stamp {
            response.extensions_mut().insert(Carried(stamp));
        }
        match self.traffic.rule.judge(&ResponseHead::new(response)) {
            Verdict::Reject(challenges) => {
                let judged = self.refused::<B>(course, stamp, challenges);
                if let Judged::Deliver = judged {
                    course.report.leave_in(response);
                }
                judged
            }
            Verdict::Accept => {
                if course.report.waited || course.report.attempts > 1 {
                    course.report.leave_in(response);
                }
                Judged::Deliver
            }
        }
    }

    #[cold]
    fn refused<B>(
        self,
        course: &mut Course<P::Retained>,
        stamp: Stamp,
        challenges: Challenges,
    ) -> Judged<P::Retained>
    where
        P: Replay<B>,
    {
        let again = course.again.take().and_then(|Again { head, body }| {
            let body = Replay::<B>::stop(self.replay, body)?;
            Some(Again { head, body })
        });
        let Some(again) = again else {
            self.session.mark(stamp, challenges);
            return Judged::Deliver;
        };
        let limits = self.limits(&again.head, course.deadline);
        match self.session.rejected(stamp, challenges, limits) {
            Ok(Asked::Use(token)) => Judged::Again(token, again),
            Ok(Asked::Wait(waiter)) => {
                course.again = Some(again);
                Judged::Hold(waiter, limits)
            }
            Err(error) => {
                course.report.error = Some(error);
                Judged::Deliver
            }
        }
    }

    /// Makes the second sending.
    pub(crate) fn send_again<B>(
        self,
        course: &mut Course<P::Retained>,
        again: Again<P::Retained>,
        token: &AccessToken,
    ) -> Result<Request<P::Body>, Error>
    where
        P: Replay<B>,
    {
        let Again { mut head, body } = again;
        // Judged before each sending. It was ours, and its head is the same.
        self.traffic.concerns(&head)?;
        self.traffic.replace(head.headers_mut(), token.header_value().clone())?;
        course.take(token);
        course.report.attempts += 1;
        Ok(head.map(|()| Replay::<B>::replay(self.replay, body)))
    }

    /// A request that waited for its token has waited for readiness since, perhaps for long: it goes out with what is
    /// current by now, and with what is left of its time.
    pub(crate) fn look_again<B2, K>(self, request: &mut Request<B2>, course: &mut Course<K>) -> Look {
        match self.look_at_token(request, course) {
            Look::Send => self
                .shrink_timeout(request.headers_mut(), course.deadline)
                .map_or_else(Look::Fail, |()| Look::Send),
            other => other,
        }
    }

    fn look_at_token<B2, K>(self, request: &mut Request<B2>, course: &mut Course<K>) -> Look {
        let Some(own) = course.stamp else { return Look::Send };
        if let Some((stamp, value)) = self.session.fast(|token| (token.stamp(), token.header_value().clone()))
        {
            // Another credential's token is never this request's.
            if stamp.sign_in != own.sign_in {
                return Look::Fail(Error::new(ErrorKind::SignedOut));
            }
            course.stamp = Some(stamp);
            return self
                .traffic
                .replace(request.headers_mut(), value)
                .map_or_else(Look::Fail, |()| Look::Send);
        }
        if !self.session.is_signed_in_as(own) {
            return Look::Fail(Error::new(ErrorKind::SignedOut));
        }
        let expired = course.expires_at.is_some_and(|end| self.session.now().wall() >= end);
        if !expired || course.overtaken == MOST_OVERTAKEN {
            return Look::Send;
        }
        course.overtaken += 1;
        let limits = self.limits(request, course.deadline);
        match self.session.begin(Demand::New, limits) {
            Ok(Asked::Use(token)) => match self.take_newer(request, course, &token) {
                Ok(()) => Look::Send,
                Err(error) => Look::Fail(error),
            },
            Ok(Asked::Wait(waiter)) => Look::Wait(waiter, limits),
            // The server's refusal is gone: let it be the judge once more.
            Err(_) if course.report.attempts > 1 => Look::Send,
            Err(error) => Look::Fail(error),
        }
    }

    /// Gives a request that wasn't sent yet a newer token than it had.
    pub(crate) fn take_newer<B2, K>(
        self,
        request: &mut Request<B2>,
        course: &mut Course<K>,
        token: &AccessToken,
    ) -> Result<(), Error> {
        if course.stamp.is_some_and(|own| own.sign_in != token.stamp().sign_in) {
            return Err(Error::new(ErrorKind::SignedOut));
        }
        course.take(token);
        self.traffic.replace(request.headers_mut(), token.header_value().clone())
    }

    /// A sending that comes after a wait carries what is left of the call's time.
    fn shrink_timeout(self, headers: &mut HeaderMap, deadline: Option<Nanos>) -> Result<(), Error> {
        match deadline {
            Some(deadline) => {
                grpc_timeout::set(headers, deadline.saturating_sub(self.session.now().monotonic))
            }
            None => Ok(()),
        }
    }

    /// The error of a wait, as its caller is to see it.
    ///
    /// Which limit it was is known from its begin: a clock that is read now may lag behind the timer that has ended.
    pub(crate) fn wait_failed(self, limits: WaitLimits, error: Error) -> Error {
        if limits.to_deadline && error.is_timeout() { Error::new(ErrorKind::Deadline) } else { error }
    }

    /// When the whole call is to be over, on the monotonic clock.
    #[inline]
    fn deadline<B>(self, request: &Request<B>) -> Option<Nanos> {
        if !self.traffic.grpc {
            return None;
        }
        let timeout = grpc_timeout::get(request.headers())?;
        Some(self.session.now().monotonic.saturating_add(rt::nanos(timeout)))
    }

    fn limits<B>(self, request: &Request<B>, deadline: Option<Nanos>) -> WaitLimits {
        let mut limits = self.traffic.limits(self.session, request);
        if let Some(deadline) = deadline {
            let left: Duration = rt::duration(deadline.saturating_sub(self.session.now().monotonic));
            if left <= limits.patience {
                limits.patience = left;
                limits.to_deadline = true;
            }
        }
        limits
    }
}

/// So often a request waits anew for a token that expired while it waited for readiness.
const MOST_OVERTAKEN: u8 = 3;

// === impl Course ===

impl<K> Course<K> {
    fn untouched() -> Self {
        let report = AuthReport::default();
        Self {
            stamp: None,
            expires_at: None,
            again: None,
            deadline: None,
            leave_stamp: false,
            overtaken: 0,
            report,
        }
    }

    /// It goes out with this token.
    fn take(&mut self, token: &AccessToken) {
        self.stamp = Some(token.stamp());
        self.expires_at = token.expires_at();
    }

    /// What the second sending is made of; the course's no more.
    pub(crate) fn take_again(&mut self) -> Option<Again<K>> {
        self.report.waited = true;
        self.again.take()
    }

    /// No newer token came: the answer goes to the caller, with the reason.
    pub(crate) fn give_up<R>(&mut self, error: Error, response: &mut Response<R>) {
        self.report.waited = true;
        self.report.error = Some(error);
        self.report.leave_in(response);
    }
}
