//! One request's course, from its token to its answer, without tower's types.

use http::Request;

use crate::{
    error::Error,
    session::{Asked, Demand, Session, WaitLimits, Waiter},
    token::AccessToken,
    traffic::{PutOn, Traffic},
};

/// What a request does next.
pub(crate) enum Step {
    Send,
    Wait(Waiter, WaitLimits),
    Fail(Error),
}

/// Begins a request's course: puts a token on, or says why not.
#[inline]
pub(crate) fn begin<B>(session: &Session, traffic: &Traffic, request: &mut Request<B>) -> Step {
    match traffic.concerns(request) {
        Ok(true) => {}
        Ok(false) => return Step::Send,
        Err(error) => return Step::Fail(error),
    }
    let fast = || session.fast(|token| token.header_value().clone());
    match traffic.put_on(request.headers_mut(), fast) {
        Ok(PutOn::Done | PutOn::LeftAlone) => Step::Send,
        Ok(PutOn::NoCredential) => begin_slowly(session, traffic, request),
        Err(error) => Step::Fail(error),
    }
}

#[cold]
fn begin_slowly<B>(session: &Session, traffic: &Traffic, request: &mut Request<B>) -> Step {
    let limits = traffic.limits(session, request);
    match session.begin(Demand::New, limits) {
        Ok(Asked::Use(token)) => go_on(traffic, request, &token),
        Ok(Asked::Wait(waiter)) => Step::Wait(waiter, limits),
        Err(error) if traffic.bare && (error.is_signed_out() || error.is_ended()) => Step::Send,
        Err(error) => Step::Fail(error),
    }
}

/// Puts the token on that a request waited for.
pub(crate) fn go_on<B>(traffic: &Traffic, request: &mut Request<B>, token: &AccessToken) -> Step {
    // Anew before each sending: where it goes may have been judged long ago.
    match traffic.concerns(request) {
        Ok(true) => {}
        Ok(false) => return Step::Send,
        Err(error) => return Step::Fail(error),
    }
    match traffic.put_on(request.headers_mut(), || Some(token.header_value().clone())) {
        Ok(_) => Step::Send,
        Err(error) => Step::Fail(error),
    }
}
