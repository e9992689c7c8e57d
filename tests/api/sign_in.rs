//! Signing in another user, and signing out, while requests are under way.

use std::time::Duration;

use http::Response;
use tokio::task::JoinHandle;
use tower::{Layer, Service, ServiceExt};
use tower_reauth::{AuthLayer, Error, RefreshError, Session};

use crate::{
    gated::Gated,
    support::{
        BoxError, Endpoint, clock, endpoint, expired, get, run_pending_tasks, spawn_refresh, spawn_token,
        token,
    },
};

/// A request under way.
type Request = JoinHandle<Result<Response<()>, BoxError>>;

/// A request that got A2 and waits for the inner service to become ready.
async fn waiting_with_a2(session: &Session, endpoint: &mut Endpoint, gated: &Gated) -> Request {
    let mut client = AuthLayer::from_session(session.clone()).layer(gated.clone());
    let request = tokio::spawn(client.ready().await.unwrap().call(get()));
    let call = endpoint.next_call().await;
    gated.close();
    call.succeed("A2 R2 600");
    run_pending_tasks().await;
    request
}

async fn is_signed_out(request: Request) -> bool {
    let error = request.await.unwrap().unwrap_err();
    Error::find(&*error).is_some_and(Error::is_signed_out)
}

#[tokio::test(start_paused = true)]
async fn p10_a_waiting_request_is_not_sent_with_another_users_token() {
    let gated = Gated::new();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let request = waiting_with_a2(&session, &mut endpoint, &gated).await;
    session.sign_in(token("B1 Q1 600"));
    gated.open();
    assert!(is_signed_out(request).await);
    assert!(gated.received().is_empty());
}

#[tokio::test(start_paused = true)]
async fn p10_a_retry_is_not_sent_with_another_users_token() {
    let gated = Gated::new();
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).jitter(false).clock(clock()).build();
    let request = waiting_with_a2(&session, &mut endpoint, &gated).await;
    session.sign_in(token("B1 Q1 600"));
    gated.open();
    assert!(is_signed_out(request).await);
    assert_eq!(gated.received(), ["Bearer A1"]);
}

#[tokio::test(start_paused = true)]
async fn p10_a_waiting_request_is_not_sent_after_a_sign_out() {
    let gated = Gated::new();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let request = waiting_with_a2(&session, &mut endpoint, &gated).await;
    let _ = session.sign_out();
    gated.open();
    assert!(is_signed_out(request).await);
    assert!(gated.received().is_empty());
}

#[tokio::test(start_paused = true)]
async fn p10_a_waiting_request_whose_token_expired_is_not_sent_with_another_users_token() {
    let gated = Gated::new();
    let clock = clock();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).clock(clock.clone()).build();
    let request = waiting_with_a2(&session, &mut endpoint, &gated).await;
    // Expired, so that the request demands a token of the new user's session.
    session.sign_in(token("B1 Q1 0"));
    clock.step(Duration::from_secs(700));
    gated.open();
    run_pending_tasks().await;
    if endpoint.call_count() == 2 {
        endpoint.next_call().await.succeed("B2 Q2 600");
    }
    assert!(is_signed_out(request).await);
    assert!(gated.received().is_empty());
}

#[tokio::test(start_paused = true)]
async fn p01_refresh_after_a_sign_in_presents_the_new_refresh_token() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let _waiting = spawn_token(&session);
    let old = endpoint.next_call().await;
    session.sign_in(token("B1 Q1 600"));
    let refresh = spawn_refresh(&session);
    run_pending_tasks().await;
    old.succeed("A2 R2 600");
    let call = endpoint.next_call().await;
    assert_eq!(call.cx.refresh_token(), Some("Q1"));
    call.succeed("B2 Q2 600");
    assert_eq!(refresh.await.unwrap().unwrap().secret(), "B2");
}

#[tokio::test(start_paused = true)]
async fn p01_refresh_after_set_token_with_another_refresh_token_presents_the_new_one() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let _waiting = spawn_token(&session);
    let old = endpoint.next_call().await;
    session.set_token(token("B1 Q1 600")).unwrap();
    let refresh = spawn_refresh(&session);
    run_pending_tasks().await;
    old.fail(RefreshError::transient("503"));
    let call = endpoint.next_call().await;
    assert_eq!(call.cx.refresh_token(), Some("Q1"));
    call.succeed("B2 Q2 600");
    assert_eq!(refresh.await.unwrap().unwrap().secret(), "B2");
}

/// The sign-in happens between the request's check and its demand.
#[tokio::test(start_paused = true)]
async fn p10_a_request_that_demands_again_during_a_sign_in_is_not_sent_with_another_users_token() {
    let gated = Gated::new();
    let clock = crate::hooked_clock::HookedClock::new(clock());
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).clock(clock.clone()).build();
    let request = waiting_with_a2(&session, &mut endpoint, &gated).await;
    clock.inner.step(Duration::from_secs(700));
    gated.open();
    let other = session.clone();
    // The first read looks for a current token, the second whether the request's own has expired.
    clock.on_nth_read(2, move || other.sign_in(token("B1 Q1 0")));
    run_pending_tasks().await;
    if endpoint.call_count() == 2 {
        endpoint.next_call().await.succeed("B2 Q2 600");
    }
    let is_signed_out = is_signed_out_or_sent(request).await;
    assert!(is_signed_out && gated.received().is_empty(), "{:?}", gated.received());
}

async fn is_signed_out_or_sent(request: Request) -> bool {
    request.await.unwrap().is_err_and(|error| Error::find(&*error).is_some_and(Error::is_signed_out))
}
