//! Shared by the benches and the tests of allocations: the innermost service, a request, a counting
//! allocator, counted instructions, two threads, a table.
#![allow(dead_code, reason = "each binary uses a part of it")]

pub(crate) mod callgrind;
pub(crate) mod counting;
pub(crate) mod hand_written;
pub(crate) mod table;
pub(crate) mod threads;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::Empty;
use tower::Service;
use tower_reauth::{RefreshContext, RefreshError, Session, SessionBuilder, Token, refresh_fn};

pub(crate) type Body = Empty<Bytes>;

/// Drops each request, as a client does once it is sent, and returns a response at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noop;

impl<B> Service<Request<B>> for Noop {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        drop(black_box(request));
        ready(Ok(Response::new(Body::new())))
    }
}

/// An access token of 800 bytes.
pub(crate) fn token_text() -> String {
    "eyJhbGciOiJSUzI1NiIs".repeat(40)
}

/// A request as clients make them: two header values are constants, two were built.
pub(crate) fn request() -> Request<Body> {
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("bench/1.0 (linux; x86_64)"));
    let built = |text: &str| HeaderValue::from_str(text).expect("visible ASCII");
    headers.insert("x-request-id", built("6b1ff0a5-2d5c-4b0e-9d4e-5b2f5d0f3c11"));
    headers.insert(header::IF_NONE_MATCH, built("\"33a64df551425fcc55e4d42a148795d9f25f89d4\""));
    let mut request = Request::new(Body::new());
    *request.uri_mut() = http::Uri::from_static("https://api.example.com/v1/items?page=2");
    *request.headers_mut() = headers;
    request
}

/// A session with a token that is valid for an hour.
pub(crate) fn fresh_session() -> Session {
    never_refreshed().token(fresh_token()).build()
}

pub(crate) fn fresh_token() -> Token {
    let token = Token::builder(token_text()).expires_in(Duration::from_secs(3600)).build();
    token.expect("visible ASCII")
}

/// A shared session that has read its token from the store.
#[cfg(feature = "store")]
pub(crate) fn shared_session(store: &tower_reauth::store::MemoryStore, token: Token) -> Session {
    let session = never_refreshed().token(token).build_shared(store.clone()).session().clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime can be built").block_on(session.token()).expect("the store has a token");
    session
}

/// A builder whose refresher is never called.
pub(crate) fn never_refreshed() -> SessionBuilder {
    Session::builder(refresh_fn(|_: RefreshContext| async {
        Err(RefreshError::grant_ended("a fresh token needs no refresh"))
    }))
}

/// Sends one request: readiness, then the call, then its future.
#[inline]
pub(crate) fn send<S>(service: &mut S, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut cx) else { panic!("always ready") };
    match pin!(service.call(request)).poll(&mut cx) {
        Poll::Ready(Ok(response)) => response,
        _ => panic!("a response at once"),
    }
}
