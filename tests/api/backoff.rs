//! What ends a backoff or a `Retry-After`, and what doesn't.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tower_reauth::{RefreshError, Session, Token, refresh_fn, rt::Clock as _};

use crate::support::{
    Endpoint, clock, endpoint, expired, run_pending_tasks, spawn_refresh, spawn_token, token,
};

fn too_many_requests() -> RefreshError {
    RefreshError::transient("429").with_retry_after(Duration::from_secs(600))
}

#[tokio::test(start_paused = true)]
async fn p07_a_rejection_does_not_end_a_retry_after() {
    let clock = clock();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).clock(clock.clone()).build();
    let waiting = spawn_token(&session);
    endpoint.next_call().await.succeed("A2 R2 600");
    let a2 = waiting.await.unwrap().unwrap();
    let refresh = spawn_refresh(&session);
    endpoint.next_call().await.fail(too_many_requests());
    refresh.await.unwrap().unwrap_err();
    clock.step(Duration::from_secs(3));
    // Within the trial of A2.
    session.mark_rejected(&a2);
    clock.step(Duration::from_secs(3));
    let _waiting = spawn_token(&session);
    run_pending_tasks().await;
    assert_eq!(endpoint.call_count(), 2, "called after 6 s of 600; {:?}", session.status().retry_at());
}

#[tokio::test(start_paused = true)]
async fn p05_a_rejection_does_not_shorten_the_backoff_of_a_failure() {
    let clock = clock();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher)
        .clock(clock.clone())
        .backoff(Duration::from_secs(10), Duration::from_secs(120))
        .build();
    let waiting = spawn_token(&session);
    endpoint.next_call().await.succeed("A2 R2 600");
    let a2 = waiting.await.unwrap().unwrap();
    clock.step(Duration::from_secs(25));
    let refresh = spawn_refresh(&session);
    endpoint.next_call().await.fail(RefreshError::transient("503"));
    refresh.await.unwrap().unwrap_err();
    // Within the trial of A2, which is 30 s.
    session.mark_rejected(&a2);
    let _waiting = spawn_token(&session);
    run_pending_tasks().await;
    assert_eq!(endpoint.call_count(), 2, "called in the backoff of 10 s; {:?}", session.status());
}

#[tokio::test(start_paused = true)]
async fn p07_a_late_ineffective_token_does_not_end_a_retry_after() {
    let clock = clock();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).clock(clock.clone()).build();
    let _waiting = spawn_token(&session);
    let abandoned = endpoint.next_call().await;
    clock.step(Duration::from_secs(100));
    let waiting = spawn_token(&session);
    endpoint.next_call().await.fail(too_many_requests());
    waiting.await.unwrap().unwrap_err();
    // The same token, expired.
    abandoned.succeed("A1 R2 0");
    run_pending_tasks().await;
    clock.step(Duration::from_secs(10));
    let _waiting = spawn_token(&session);
    run_pending_tasks().await;
    assert_eq!(endpoint.call_count(), 2, "called after 10 s of 600");
}

#[tokio::test(start_paused = true)]
async fn p05_setting_an_expired_token_does_not_end_a_retry_after() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let waiting = spawn_token(&session);
    endpoint.next_call().await.fail(too_many_requests());
    waiting.await.unwrap().unwrap_err();
    // As a program does that watches a store and sets whatever it finds there.
    session.set_token(token("A0 - 0")).unwrap();
    let _waiting = spawn_token(&session);
    run_pending_tasks().await;
    assert_eq!(endpoint.call_count(), 1, "called after 0 s of 600");
}

/// How often a refresher that always returns such tokens is called within a minute of steady demand.
async fn calls_in_a_minute(respond: fn() -> Token) -> usize {
    let clock = clock();
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let refresher = refresh_fn(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok(respond()))
    });
    let session = Session::builder(refresher).jitter(false).clock(clock.clone()).build();
    for _ in 0..600 {
        let _ = session.token().await;
        run_pending_tasks().await;
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    calls.load(Ordering::SeqCst)
}

/// After 0, 1, 2.6, 5.2, 9.3, 15.8, 26.3 and 43.1 s.
const CALLS_IN_A_MINUTE: usize = 9;

fn stale_on_arrival(access_token: String) -> Token {
    let builder = Token::builder(access_token);
    builder.expires_in(Duration::from_secs(2)).refresh_in(Duration::ZERO).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn p05_the_same_token_stale_on_arrival_is_paced() {
    let calls = calls_in_a_minute(|| stale_on_arrival("A1".into())).await;
    assert!(calls <= CALLS_IN_A_MINUTE, "{calls} calls in 60 s");
}

#[tokio::test(start_paused = true)]
async fn p05_new_tokens_stale_on_arrival_are_paced() {
    let calls = calls_in_a_minute(|| {
        static N: AtomicUsize = AtomicUsize::new(0);
        stale_on_arrival(format!("A{}", N.fetch_add(1, Ordering::SeqCst)))
    })
    .await;
    assert!(calls <= CALLS_IN_A_MINUTE, "{calls} calls in 60 s");
}

#[tokio::test(start_paused = true)]
async fn p05_tokens_of_half_a_second_are_paced() {
    let calls = calls_in_a_minute(|| {
        static N: AtomicUsize = AtomicUsize::new(0);
        token(&format!("A{} - 0.5", N.fetch_add(1, Ordering::SeqCst)))
    })
    .await;
    assert!(calls <= CALLS_IN_A_MINUTE, "{calls} calls in 60 s");
}

/// A demand for a token; the refresh that it may start fails.
async fn demand(session: &Session, endpoint: &mut Endpoint, calls: &mut usize) {
    let waiting = spawn_token(session);
    run_pending_tasks().await;
    if endpoint.call_count() > *calls {
        *calls = endpoint.call_count();
        endpoint.next_call().await.fail(RefreshError::transient("503"));
    }
    run_pending_tasks().await;
    waiting.abort();
}

#[tokio::test(start_paused = true)]
async fn p05_setting_expired_tokens_does_not_end_the_backoff() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let mut calls = 0;
    for n in 0..20 {
        session.set_token(token(&format!("S{n} - 0"))).unwrap();
        demand(&session, &mut endpoint, &mut calls).await;
    }
    assert!(calls <= 2, "{calls} failed refreshes within 0 s");
}

#[tokio::test(start_paused = true)]
async fn p05_setting_an_expired_token_and_then_one_that_is_rejected_does_not_end_the_backoff() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let mut calls = 0;
    for n in 0..20 {
        session.set_token(token(&format!("S{n} - 0"))).unwrap();
        session.set_token(token(&format!("T{n} - 600"))).unwrap();
        session.mark_rejected(&session.token().await.unwrap());
        demand(&session, &mut endpoint, &mut calls).await;
    }
    assert!(calls <= 2, "{calls} failed refreshes within 0 s");
}

#[tokio::test(start_paused = true)]
async fn p05_setting_tokens_that_are_rejected_does_not_end_the_backoff() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let mut calls = 0;
    for n in 0..20 {
        session.set_token(token(&format!("T{n} - 600"))).unwrap();
        session.mark_rejected(&session.token().await.unwrap());
        demand(&session, &mut endpoint, &mut calls).await;
    }
    assert!(calls <= 2, "{calls} failed refreshes within 0 s");
}

/// Clients that got the same `Retry-After` don't retry in step.
#[tokio::test(start_paused = true)]
async fn d23_up_to_a_tenth_of_a_retry_after_is_added_to_it() {
    let returns = async |jitter: bool| {
        let mut returns = Vec::new();
        for seed in 0..20 {
            let clock = clock();
            let (refresher, mut endpoint) = endpoint();
            let session = expired(refresher).clock(clock.clone()).jitter(jitter).random_seed(seed).build();
            let waiting = spawn_token(&session);
            endpoint.next_call().await.fail(too_many_requests());
            let error = waiting.await.unwrap().unwrap_err();
            let wait = error.retry_at().unwrap().duration_since(clock.now().wall()).unwrap();
            // It is permitted from then on, and no earlier.
            clock.step(wait - Duration::from_millis(1));
            session.token().await.unwrap_err();
            assert_eq!(endpoint.call_count(), 1);
            clock.step(Duration::from_millis(1));
            let _waiting = spawn_token(&session);
            let _second = endpoint.next_call().await;
            returns.push(wait.as_secs_f64());
        }
        returns.sort_by(f64::total_cmp);
        returns
    };
    let spread = returns(true).await;
    assert!(spread[0] >= 600.0 && spread[19] <= 660.0, "{spread:?}");
    assert!(spread[0] < 615.0 && spread[19] > 645.0, "{spread:?}");
    assert!(spread.windows(2).all(|pair| pair[0] < pair[1]), "{spread:?}");
    assert_eq!(returns(false).await, [600.0; 20]);
}

/// The token was set, so a server that is down hasn't issued it.
#[tokio::test(start_paused = true)]
async fn p07_the_end_of_a_trial_does_not_end_a_retry_after() {
    let clock = clock();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).clock(clock.clone()).build();
    let waiting = spawn_token(&session);
    endpoint.next_call().await.fail(too_many_requests());
    waiting.await.unwrap().unwrap_err();
    session.set_token(token("B1 S1 50")).unwrap();
    // Its trial is 5 s.
    clock.step(Duration::from_secs(6));
    let _waiting = spawn_refresh(&session);
    run_pending_tasks().await;
    assert_eq!(endpoint.call_count(), 1, "called after 6 s of 600");
    assert_eq!(session.status().consecutive_failures(), 0);
    clock.step(Duration::from_secs(594));
    let _waiting = spawn_refresh(&session);
    endpoint.next_call().await.succeed("B2 S2 600");
}

#[tokio::test(start_paused = true)]
async fn a_token_with_a_later_expiry_does_not_begin_another_trial() {
    let clock = clock();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).clock(clock.clone()).build();
    let waiting = spawn_token(&session);
    endpoint.next_call().await.fail(RefreshError::transient("503"));
    waiting.await.unwrap().unwrap_err();
    session.reset_backoff();
    for response in ["A2 R2 600", "A2 R3 900"] {
        let refresh = spawn_refresh(&session);
        endpoint.next_call().await.succeed(response);
        refresh.await.unwrap().unwrap();
        assert_eq!(session.status().consecutive_failures(), 1);
        clock.step(Duration::from_secs(20));
    }
    // The trial of A2 is 30 s.
    assert!(session.try_token().is_some());
    assert_eq!(session.status().consecutive_failures(), 0);
}
