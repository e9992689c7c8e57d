//! What is particular to reqwest-middleware.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Extensions, StatusCode};
use reqwest::{Request, Response};
use reqwest_middleware::{ClientBuilder, Middleware, Next};
use reqwest_retry::{
    DefaultRetryableStrategy, RetryTransientMiddleware, Retryable, RetryableStrategy,
    policies::ExponentialBackoff,
};
use tower_reauth::{AuthLayer, Error, RefreshError, Session, SkipAuth, Token, refresh_fn};

use crate::{
    loopback::{Reply, Server, status},
    session::{failing, session},
};

use super::client as reqwest_client;

/// Counts the requests that pass, here and in their extensions.
#[derive(Clone, Default)]
struct Counter(Arc<Mutex<Vec<u32>>>);

#[derive(Clone, Copy)]
struct Passed(u32);

#[async_trait::async_trait]
impl Middleware for Counter {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let Passed(before) = extensions.get().copied().unwrap_or(Passed(0));
        extensions.insert(Passed(before + 1));
        self.0.lock().unwrap().push(before);
        next.run(request, extensions).await
    }
}

#[tokio::test]
async fn an_inner_middleware_sees_each_attempt_with_the_same_extensions() {
    let server = Server::accepting_a2().await;
    let (outer, inner) = (Counter::default(), Counter::default());
    let auth = session().0.layer().for_reqwest();
    let client =
        ClientBuilder::new(reqwest_client()).with(outer.clone()).with(auth).with(inner.clone()).build();
    let response = client.post(server.url("/")).body("body").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!((&*outer.0.lock().unwrap(), &*inner.0.lock().unwrap()), (&vec![0], &vec![1, 2]));
}

#[tokio::test]
async fn the_error_of_an_inner_middleware_is_not_changed() {
    struct Failing;

    #[async_trait::async_trait]
    impl Middleware for Failing {
        async fn handle(
            &self,
            _: Request,
            _: &mut Extensions,
            _: Next<'_>,
        ) -> reqwest_middleware::Result<Response> {
            Err(reqwest_middleware::Error::middleware(std::fmt::Error))
        }
    }

    let auth = session().0.layer().for_reqwest();
    let client = ClientBuilder::new(reqwest_client()).with(auth).with(Failing).build();
    let error = client.get("https://api.example.com/").send().await.unwrap_err();
    let reqwest_middleware::Error::Middleware(error) = error else { panic!("{error:?}") };
    assert!(error.is::<std::fmt::Error>());
}

#[tokio::test]
async fn options_are_extensions_of_the_middlewares_request() {
    let server = Server::accepting_a2().await;
    let client = ClientBuilder::new(reqwest_client()).with(session().0.layer().for_reqwest()).build();
    client.get(server.url("/")).with_extension(SkipAuth).send().await.unwrap();
    assert_eq!(server.tokens(), ["-"]);
}

/// As in the docs.
struct Strategy;

impl RetryableStrategy for Strategy {
    fn handle(&self, result: &reqwest_middleware::Result<Response>) -> Option<Retryable> {
        match result.as_ref().err().and_then(|error| Error::find(error)) {
            Some(error) if error.is_retryable() => Some(Retryable::Transient),
            Some(_) => Some(Retryable::Fatal),
            None => DefaultRetryableStrategy.handle(result),
        }
    }
}

fn retries() -> RetryTransientMiddleware<ExponentialBackoff, Strategy> {
    let at_once = ExponentialBackoff::builder().retry_bounds(Duration::ZERO, Duration::ZERO);
    RetryTransientMiddleware::new_with_policy_and_strategy(at_once.build_with_max_retries(3), Strategy)
}

#[tokio::test]
async fn reqwest_retry_repeats_a_call_whose_refresh_failed_temporarily() {
    let server = Server::accepting_a2().await;
    let refreshes = Arc::new(AtomicUsize::new(0));
    let refresher = refresh_fn(move |_| {
        let is_first = refreshes.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if is_first { Err(RefreshError::transient("down")) } else { Ok(Token::try_new("A2")?) } }
    });
    let session = Session::builder(refresher).backoff(Duration::ZERO, Duration::ZERO).build();
    let client =
        ClientBuilder::new(reqwest_client()).with(retries()).with(session.layer().for_reqwest()).build();
    assert_eq!(client.get(server.url("/")).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(server.tokens(), ["A2"]);
}

/// A failure of the server is still reqwest-retry's.
#[tokio::test]
async fn reqwest_retry_repeats_a_call_that_failed_at_the_server() {
    let calls = Arc::new(AtomicUsize::new(0));
    let server = Server::start(move |_| {
        let is_first = calls.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if is_first { status(503) } else { Reply::default() } }
    })
    .await;
    let client =
        ClientBuilder::new(reqwest_client()).with(retries()).with(session().0.layer().for_reqwest()).build();
    assert_eq!(client.get(server.url("/")).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(server.tokens(), ["A1", "A1"]);
}

#[tokio::test]
async fn reqwest_retry_does_not_repeat_a_call_whose_grant_has_ended() {
    let calls = Counter::default();
    let auth = failing(|| RefreshError::grant_ended("gone")).layer().for_reqwest();
    let client = ClientBuilder::new(reqwest_client()).with(retries()).with(calls.clone()).with(auth).build();
    let error = client.get("https://api.example.com/").send().await.unwrap_err();
    assert!(Error::find(&error).is_some_and(Error::is_grant_ended), "{error:?}");
    assert_eq!(calls.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn p20_the_session_of_a_request_is_in_its_extensions() {
    let server = Server::accepting_a2().await;
    let client = ClientBuilder::new(reqwest_client()).with(AuthLayer::per_request().for_reqwest()).build();
    let get = || client.get(server.url("/"));
    let response = get().with_extension(session().0).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let error = get().send().await.unwrap_err();
    assert!(Error::find(&error).unwrap().is_missing_session(), "{error:?}");
}
