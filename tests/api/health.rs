//! A session's status as a single state, and as a line of text.

use std::time::{Duration, SystemTime};

use tokio::time::advance;
use tower_reauth::{Health, RefreshError, Session};

use crate::support::{clock, endpoint, expired, run_pending_tasks, spawn_refresh, spawn_token, token};

/// The state, and the line.
fn health(session: &Session) -> (Health, String) {
    let status = session.status();
    (status.health(), status.to_string())
}

#[tokio::test(start_paused = true)]
async fn each_state_of_a_session_has_a_line() {
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).name("github").jitter(false).clock(clock()).build();
    let line = "github: idle, the next call gets a new token; no token";
    assert_eq!(health(&session), (Health::Idle, line.to_owned()));

    let waiting = [spawn_token(&session), spawn_token(&session)];
    let call = endpoint.next_call().await;
    run_pending_tasks().await;
    let line = "github: refreshing, 2 waiting; no token";
    assert_eq!(health(&session), (Health::Refreshing, line.to_owned()));

    call.succeed("A1 R1 600");
    for waiting in waiting {
        waiting.await.unwrap().unwrap();
    }
    let line = "github: signed in; generation 1, expires in 570 s";
    assert_eq!(health(&session), (Health::SignedIn, line.to_owned()));

    session.mark_rejected(&session.try_token().unwrap());
    session.reset_backoff();
    // Within the token's trial, a rejection counts as a failure.
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    assert!(matches!(health(&session).0, Health::Failing { since: s, retry_at: None, .. } if s == since));
    assert_eq!(
        health(&session).1,
        "github: failing for 0 s, next refresh at the next call; generation 1, rejected"
    );

    session.set_token(token("A2 R2 600")).unwrap();
    let refresh = spawn_refresh(&session);
    endpoint.next_call().await.fail(RefreshError::grant_ended("revoked"));
    refresh.await.unwrap().unwrap_err();
    let line = "github: sign-in needed; generation 2, expires in 570 s";
    assert_eq!(health(&session), (Health::NeedsSignIn, line.to_owned()));

    session.sign_in(token("B1 Q1 600"));
    let _ = session.sign_out();
    assert_eq!(health(&session), (Health::NeedsSignIn, "github: signed out".to_owned()));

    session.sign_in(token("C1 S1 600"));
    session.shutdown(Duration::from_secs(5)).await.unwrap();
    let line = "github: shut down; generation 4, expires in 570 s";
    assert_eq!(health(&session), (Health::ShutDown, line.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_session_fails_from_its_first_failure_until_it_has_a_fresh_token() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let mut fail = async |wait| {
        session.reset_backoff();
        let refresh = spawn_refresh(&session);
        let error = RefreshError::transient("down").with_retry_after(Duration::from_secs(wait));
        endpoint.next_call().await.fail(error);
        refresh.await.unwrap().unwrap_err();
    };
    fail(30).await;
    advance(Duration::from_secs(10)).await;
    fail(30).await;
    let Health::Failing { since, retry_at, .. } = session.status().health() else { panic!() };
    assert_eq!(since, start);
    assert_eq!(retry_at, Some(start + Duration::from_secs(40)));
    let line = "failing for 10 s, next refresh in 30 s; generation 1, expired";
    assert_eq!(session.status().to_string(), line);

    // With a fresh token, the failures are over; they don't come back once it is due.
    session.set_token(token("A2 R2 600")).unwrap();
    assert_eq!(session.status().health(), Health::SignedIn);
    advance(Duration::from_secs(560)).await;
    assert!(session.status().is_stale());
    assert_eq!(session.status().health(), Health::SignedIn);

    // The next failure begins a new series.
    fail(5).await;
    let Health::Failing { since, .. } = session.status().health() else { panic!() };
    assert_eq!(since, start + Duration::from_secs(570));

    // It ends with a token from a refresh, too.
    session.reset_backoff();
    let refresh = spawn_refresh(&session);
    endpoint.next_call().await.succeed("A3 R3 600");
    refresh.await.unwrap().unwrap();
    advance(Duration::from_secs(560)).await;
    assert!(session.status().is_stale());
    assert_eq!(session.status().health(), Health::SignedIn);
}

/// The failed refresh wasn't needed yet.
#[tokio::test(start_paused = true)]
async fn a_fresh_token_counts_more_than_a_failed_refresh() {
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let refresh = spawn_refresh(&session);
    endpoint.next_call().await.fail(RefreshError::transient("down"));
    refresh.await.unwrap().unwrap_err();
    assert_eq!(session.status().health(), Health::SignedIn);
    advance(Duration::from_secs(560)).await;
    assert!(session.status().is_stale());
    assert!(matches!(session.status().health(), Health::Failing { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_stale_token_in_use_is_no_failure() {
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    advance(Duration::from_secs(560)).await;
    session.token().await.unwrap();
    let call = endpoint.next_call().await;
    assert!(session.status().is_refreshing());
    assert_eq!(session.status().health(), Health::SignedIn);
    call.fail(RefreshError::transient("down"));
    run_pending_tasks().await;
    assert!(session.status().is_stale());
    assert!(matches!(session.status().health(), Health::Failing { .. }));
}

#[tokio::test(start_paused = true)]
async fn what_a_hook_has_not_saved_is_in_the_line() {
    let (refresher, _endpoint) = endpoint();
    let session =
        Session::builder(refresher).clock(clock()).save_with(|_| async { Err("disk full") }).build();
    session.sign_in(token("A1 R1 -"));
    run_pending_tasks().await;
    assert_eq!(session.status().to_string(), "signed in; generation 1; not saved");
}

/// A token that was set ends the failures only once it works: no refresh is allowed before the end of the backoff.
#[tokio::test(start_paused = true)]
async fn a_set_token_that_is_rejected_during_a_backoff_leaves_the_session_failing() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let refresh = spawn_refresh(&session);
    let error = RefreshError::transient("down").with_retry_after(Duration::from_secs(100));
    endpoint.next_call().await.fail(error);
    refresh.await.unwrap().unwrap_err();
    session.set_token(token("B1 Q1 600")).unwrap();
    assert_eq!(session.status().health(), Health::SignedIn);
    session.mark_rejected(&session.try_token().unwrap());
    let line = "failing for 0 s, next refresh in 100 s; generation 2, rejected";
    assert_eq!(session.status().to_string(), line);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_after_failures_is_in_the_line() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let refresh = spawn_refresh(&session);
    endpoint.next_call().await.fail(RefreshError::transient("down"));
    refresh.await.unwrap().unwrap_err();
    session.reset_backoff();
    let refresh = spawn_refresh(&session);
    let call = endpoint.next_call().await;
    assert_eq!(session.status().to_string(), "failing for 0 s, refreshing; generation 1, expired");
    call.succeed("A2 R2 600");
    refresh.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_discarded_response_does_not_end_a_backoff_or_its_state() {
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).jitter(false).clock(clock()).build();
    let refresh = spawn_refresh(&session);
    endpoint.next_call().await.succeed("A2 R2 600");
    refresh.await.unwrap().unwrap();
    let refresh = spawn_refresh(&session);
    let call = endpoint.next_call().await;
    // In its trial, so this counts as a failure.
    session.mark_rejected(&session.try_token().unwrap());
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let retry_at = session.status().retry_at();
    assert!(retry_at.is_some());
    session.set_token(token("B1 R2 -")).unwrap();
    call.succeed("A3 R3 600");
    refresh.await.unwrap().unwrap();
    session.mark_rejected(&session.try_token().unwrap());
    let status = session.status();
    assert_eq!(status.retry_at(), retry_at);
    assert!(matches!(status.health(), Health::Failing { since: s, .. } if s == since), "{status:?}");
    assert!(status.last_error().is_none(), "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn the_status_has_one_phase_of_the_token() {
    let (refresher, _endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).jitter(false).clock(clock()).build();
    let phases = |session: &Session| {
        let status = session.status();
        [status.has_token(), status.is_fresh(), status.is_stale(), status.is_rejected(), status.is_expired()]
    };
    assert_eq!(phases(&session), [true, true, false, false, false]);
    advance(Duration::from_secs(500)).await;
    assert_eq!(phases(&session), [true, false, true, false, false]);
    session.mark_rejected(&session.try_token().unwrap());
    assert_eq!(phases(&session), [true, false, false, true, false]);
    advance(Duration::from_secs(500)).await;
    assert_eq!(phases(&session), [true, false, false, false, true]);
    let (refresher, _endpoint) = endpoint();
    let session = Session::builder(refresher).refresh_token("R1").clock(clock()).build();
    assert_eq!(phases(&session), [false; 5]);
}
