//! Minimum lifetimes of requests and calls.

use std::time::Duration;

use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{AuthLayer, MinLifetime, RefreshError, Session, TokenOptions};

use crate::support::{BoxError, clock, endpoint, expired, get, run_pending_tasks, spawn_token, token};

/// Returns the header that it was sent with.
async fn echo(request: http::Request<()>) -> Result<http::Response<String>, BoxError> {
    let header = request.headers()[http::header::AUTHORIZATION].to_str()?.to_owned();
    Ok(http::Response::new(header))
}

fn lasting(lifetime: Duration) -> http::Request<()> {
    let mut request = get();
    request.extensions_mut().insert(MinLifetime::new(lifetime));
    request
}

#[tokio::test(start_paused = true)]
async fn d83_a_request_with_a_minimum_lifetime_waits_and_others_do_not() {
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).jitter(false).clock(clock()).build();
    let client = AuthLayer::from_session(session.clone()).layer(service_fn(echo));
    let call = |request| tokio::spawn(client.clone().oneshot(request));
    assert_eq!(call(lasting(Duration::from_secs(500))).await.unwrap().unwrap().body(), "Bearer A1");
    let job = call(lasting(Duration::from_secs(20 * 60)));
    let refresh = endpoint.next_call().await;
    assert_eq!(call(get()).await.unwrap().unwrap().body(), "Bearer A1");
    refresh.succeed("A2 R2 3600");
    assert_eq!(job.await.unwrap().unwrap().body(), "Bearer A2");
    // Two callers that see the same short token cause one exchange.
    assert_eq!(call(lasting(Duration::from_secs(20 * 60))).await.unwrap().unwrap().body(), "Bearer A2");
    assert_eq!(endpoint.call_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn d83_without_the_layer_options_set_a_minimum_lifetime() {
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).jitter(false).clock(clock()).build();
    let options = TokenOptions::new().min_lifetime(Duration::from_secs(20 * 60));
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.token_with(options.wait_timeout(Duration::from_secs(5))).await }
    });
    let call = endpoint.next_call().await;
    // At its timeout, the wait ends with the current token; the refresh continues.
    assert_eq!(waiting.await.unwrap().unwrap().secret(), "A1");
    call.succeed("A2 R2 3600");
    run_pending_tasks().await;
    assert_eq!(session.token_with(options).await.unwrap().secret(), "A2");
    assert_eq!(endpoint.call_count(), 1);
}

/// A refresh can't do better, so one is enough.
#[tokio::test(start_paused = true)]
async fn d83_a_minimum_lifetime_that_no_token_has_causes_no_storm() {
    let (refresher, mut endpoint) = endpoint();
    let clock = clock();
    let session =
        Session::builder(refresher).token(token("A1 R1 600")).jitter(false).clock(clock.clone()).build();
    let options = TokenOptions::new().min_lifetime(Duration::MAX);
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.token_with(options).await }
    });
    endpoint.next_call().await.succeed("A2 R2 600");
    assert_eq!(waiting.await.unwrap().unwrap().secret(), "A2");
    for _ in 0..40 {
        clock.step(Duration::from_secs(10));
        assert_eq!(session.token_with(options).await.unwrap().secret(), "A2");
    }
    assert_eq!(endpoint.call_count(), 1);
}

/// A wall clock that was set back, but not past the receipt.
#[tokio::test(start_paused = true)]
async fn p13_what_is_left_of_a_token_counts_by_the_clock_that_is_ahead() {
    let (refresher, mut endpoint) = endpoint();
    let clock = clock();
    let session =
        Session::builder(refresher).token(token("A1 R1 600")).jitter(false).clock(clock.clone()).build();
    assert_eq!(session.token().await.unwrap().secret(), "A1");
    tokio::time::advance(Duration::from_secs(300)).await;
    clock.step_back(Duration::from_secs(250));
    let options = TokenOptions::new().min_lifetime(Duration::from_secs(400));
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.token_with(options).await }
    });
    run_pending_tasks().await;
    assert_eq!(endpoint.call_count(), 1, "270 s are left");
    endpoint.next_call().await.succeed("A2 R2 3600");
    assert_eq!(waiting.await.unwrap().unwrap().secret(), "A2");
}

/// It has waited once; a refresh right after a token was set would be one too many.
#[tokio::test(start_paused = true)]
async fn d83_a_wait_through_a_backoff_ends_with_a_shorter_token_that_was_set() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).wait_through_backoff(true).build();
    let failing = spawn_token(&session);
    endpoint.next_call().await.fail(RefreshError::transient("503"));
    failing.await.unwrap().unwrap_err();
    let options = TokenOptions::new().min_lifetime(Duration::from_secs(20 * 60));
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.token_with(options).await }
    });
    run_pending_tasks().await;
    assert!(session.status().retry_at().is_some());
    session.reset_backoff();
    session.set_token(token("A2 R2 600")).unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().secret(), "A2");
    assert_eq!(endpoint.call_count(), 1);
}
