//! Timeouts of calls, of attempts, and of waits for a token.
//!
//! Time is paused only while nothing but a timer can happen.

use std::{future::pending, time::Duration};

use http::{StatusCode, Version};
use tokio::{sync::mpsc, task::JoinHandle, time};
use tower_reauth::{AuthLayer, Error, Session, WaitTimeout};

use crate::{
    client::{Client, LONG, Response, Settings, get, with_option},
    loopback::{Reply, Server, status},
    session::{session, until_waiting},
    support::{BoxError, Endpoint, endpoint, token},
};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

type Call = JoinHandle<Result<Response, BoxError>>;

/// A session without a token, whose own timeouts are longer than those of the tests.
pub(crate) fn slow_session() -> (Session, Endpoint) {
    let (refresher, endpoint) = endpoint();
    let session = Session::builder(refresher).wait_timeout(4 * HOUR).refresh_timeout(4 * HOUR).build();
    (session, endpoint)
}

/// Starts a call, and waits until it waits for a token.
async fn start_waiting<C: Client>(layer: AuthLayer, server: &Server, timeout: Option<Duration>) -> Call {
    let session = layer.session().unwrap().clone();
    let (client, request) = (C::new(layer, Version::HTTP_11), get(server.url("/")));
    let call = tokio::spawn(async move { client.send_within(request, timeout).await });
    until_waiting(&session, 1).await;
    call
}

async fn error(call: Call) -> BoxError {
    time::timeout(LONG, call).await.expect("no hang").unwrap().unwrap_err()
}

/// Lets the timers of a current-thread runtime elapse.
pub(crate) async fn advance(by: Duration) {
    time::pause();
    time::advance(by).await;
    time::resume();
}

async fn a_wait_timeout_bounds_the_wait_for_a_token<C: Client>() {
    let server = Server::accepting_a2().await;
    let (session, _endpoint) = slow_session();
    let call = start_waiting::<C>(session.layer().wait_timeout(HOUR), &server, None).await;
    advance(HOUR).await;
    let error = error(call).await;
    assert!(Error::find(&*error).is_some_and(Error::is_timeout), "{error:?}");
    assert!(server.received().is_empty());
}

async fn a_request_can_have_its_own_wait_timeout<C: Client>() {
    let server = Server::accepting_a2().await;
    let (session, _endpoint) = slow_session();
    let request = with_option(get(server.url("/")), WaitTimeout::new(Duration::ZERO));
    let error = C::new(session.layer(), Version::HTTP_11).send(request).await.unwrap_err();
    assert!(Error::find(&*error).is_some_and(Error::is_timeout), "{error:?}");
    assert!(server.received().is_empty());
}

async fn p03_a_call_that_times_out_waiting_for_a_token_leaves_the_refresh_running<C: Client>() {
    let server = Server::accepting_a2().await;
    let (session, mut endpoint) = slow_session();
    let call = start_waiting::<C>(session.layer(), &server, Some(HOUR)).await;
    advance(HOUR).await;
    let error = error(call).await;
    assert!(C::is_call_timeout(&error), "{error:?}");
    assert!(server.received().is_empty());
    endpoint.next_call().await.succeed("A2 R2 600");
    session.idle().await;
    assert_eq!(session.try_token().unwrap().secret(), "A2");
}

/// The call is over then, whatever the server responded.
async fn a_calls_timeout_bounds_the_wait_after_a_rejection<C: Client>() {
    let server = Server::accepting_a2().await;
    let (session, _endpoint) = slow_session();
    session.set_token(token("A1 R1 600")).unwrap();
    let call = start_waiting::<C>(session.layer(), &server, Some(HOUR)).await;
    advance(HOUR).await;
    let error = error(call).await;
    assert!(C::is_call_timeout(&error), "{error:?}");
    assert_eq!(server.tokens(), ["A1"]);
}

/// The wait takes half of it, and the second attempt gets no response.
async fn a_calls_timeout_bounds_the_wait_and_both_attempts<C: Client>() {
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let server = Server::start(move |request| {
        let arrived = arrived.clone();
        async move {
            if request.token() == "A1" {
                return status(401);
            }
            arrived.send(()).unwrap();
            pending().await
        }
    })
    .await;
    let (session, mut endpoint) = slow_session();
    session.set_token(token("A1 R1 600")).unwrap();
    let call = start_waiting::<C>(session.layer(), &server, Some(HOUR)).await;
    let refresh = endpoint.next_call().await;
    advance(HOUR / 2).await;
    refresh.succeed("A2 R2 600");
    arrivals.recv().await.unwrap();
    advance(HOUR / 2).await;
    let error = error(call).await;
    assert!(C::is_call_timeout(&error) || C::is_attempt_timeout(&error), "{error:?}");
    assert_eq!(server.tokens(), ["A1", "A2"]);
}

async fn an_attempts_timeout_does_not_include_the_wait<C: Client>() {
    let server = Server::accepting_a2().await;
    let (session, mut endpoint) = slow_session();
    let settings = Settings { attempt_timeout: Some(HOUR), ..Version::HTTP_11.into() };
    let (client, request) = (C::new(session.layer(), settings), get(server.url("/")));
    let call = tokio::spawn(async move { client.send(request).await });
    let refresh = endpoint.next_call().await;
    advance(2 * HOUR).await;
    refresh.succeed("A2 R2 600");
    assert_eq!(call.await.unwrap().unwrap().status(), StatusCode::OK);
}

async fn an_attempts_timeout_is_the_clients_own_error<C: Client>() {
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let server = Server::start(move |_| {
        arrived.send(()).unwrap();
        pending::<Reply>()
    })
    .await;
    let settings = Settings { attempt_timeout: Some(HOUR), ..Version::HTTP_11.into() };
    let (client, request) = (C::new(session().0.layer(), settings), get(server.url("/")));
    let call = tokio::spawn(async move { client.send(request).await });
    arrivals.recv().await.unwrap();
    advance(HOUR).await;
    let error = error(call).await;
    assert!(C::is_attempt_timeout(&error) && Error::find(&*error).is_none(), "{error:?}");
    assert_eq!(server.tokens(), ["A1"]);
}

on_each_client!(
    #[tokio::test]
    a_wait_timeout_bounds_the_wait_for_a_token,
    a_request_can_have_its_own_wait_timeout,
    p03_a_call_that_times_out_waiting_for_a_token_leaves_the_refresh_running,
    a_calls_timeout_bounds_the_wait_after_a_rejection,
    a_calls_timeout_bounds_the_wait_and_both_attempts,
    an_attempts_timeout_does_not_include_the_wait,
    an_attempts_timeout_is_the_clients_own_error,
);
