//! The services that clients write by hand to attach a token that another task replaces.
#![allow(clippy::disallowed_methods, reason = "written without this crate")]

use std::{
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, header};
use tokio::sync::watch;
use tower::Service;

/// Attaches a formatted header from behind a lock while it hasn't expired.
#[derive(Clone, Debug)]
pub(crate) struct FromRwLock<S> {
    inner: S,
    token: Arc<RwLock<Formatted>>,
}

#[derive(Debug)]
struct Formatted {
    header: HeaderValue,
    expires_at: Instant,
}

/// Attaches the string that a channel has, and leaves the expiry to the channel's sender.
#[derive(Clone, Debug)]
pub(crate) struct FromWatch<S> {
    inner: S,
    token: watch::Receiver<String>,
}

fn header_value(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).expect("visible ASCII");
    value.set_sensitive(true);
    value
}

// === impl FromRwLock ===

impl<S> FromRwLock<S> {
    pub(crate) fn new(inner: S, token: &str) -> Self {
        let header = header_value(&format!("Bearer {token}"));
        let expires_at = Instant::now() + Duration::from_secs(3600);
        Self { inner, token: Arc::new(RwLock::new(Formatted { header, expires_at })) }
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for FromRwLock<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner);
        assert!(Instant::now() < token.expires_at, "no bench takes an hour");
        request.headers_mut().insert(header::AUTHORIZATION, token.header.clone());
        drop(token);
        self.inner.call(request)
    }
}

// === impl FromWatch ===

impl<S> FromWatch<S> {
    pub(crate) fn new(inner: S, token: &str) -> Self {
        Self { inner, token: watch::Sender::new(format!("Bearer {token}")).subscribe() }
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for FromWatch<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let value = header_value(&self.token.borrow());
        request.headers_mut().insert(header::AUTHORIZATION, value);
        self.inner.call(request)
    }
}
