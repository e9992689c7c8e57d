//! Settings and out-of-range values.

use std::time::Duration;

use tower_reauth::{RefreshContext, Refresher, Session, Token, refresh::RefreshReason, refresh_fn};

use crate::support::{clock, endpoint, run_pending_tasks, spawn_refresh, token};

/// Neither building a session nor using its fresh token needs a runtime.
#[test]
fn a_session_is_built_without_a_runtime() {
    let (refresher, _endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).build();
    assert_eq!(session.try_token().unwrap().secret(), "A1");
    assert_eq!(futures::executor::block_on(session.token()).unwrap().secret(), "A1");
    let _ = session.sign_out();
    assert!(session.try_token().is_none());
}

#[tokio::test(start_paused = true)]
async fn b40_out_of_range_settings_are_clamped() {
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher)
        .token(token("A1 R1 600"))
        .clock(clock())
        .refresh_window(Duration::MAX)
        .expiry_margin(Duration::MAX)
        .backoff(Duration::MAX, Duration::ZERO)
        .wait_timeout(Duration::MAX)
        .rejection_wait(Duration::MAX)
        .refresh_timeout(Duration::ZERO)
        .save_timeout(Duration::ZERO)
        .max_waiters(usize::MAX)
        .build();
    assert!(session.status().is_fresh());
    // The shortest refresh timeout is a millisecond.
    let refresh = spawn_refresh(&session);
    let call = endpoint.next_call().await;
    assert!(refresh.await.unwrap().unwrap_err().is_outcome_unknown());
    run_pending_tasks().await;
    assert!(call.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn b96_a_wait_timeout_of_zero_fails_at_once() {
    let (refresher, endpoint) = endpoint();
    let session = crate::support::expired(refresher).wait_timeout(Duration::ZERO).build();
    assert!(session.token().await.unwrap_err().is_timeout());
    run_pending_tasks().await;
    assert_eq!(endpoint.call_count(), 1);
    assert!(session.status().is_refreshing());
}

/// Tests of a refresher can build its context.
#[tokio::test]
async fn a_refresher_can_be_tested_alone() {
    let refresher = refresh_fn(|cx: RefreshContext| async move {
        assert_eq!(cx.reason(), RefreshReason::Stale);
        assert_eq!(cx.token().unwrap().access_token(), "A1");
        Ok(Token::try_new(cx.refresh_token().unwrap())?)
    });
    let cx = RefreshContext::builder().token(token("A1 R1 600")).reason(RefreshReason::Stale).build();
    assert_eq!(refresher.refresh(cx).await.unwrap().access_token(), "R1");
}

#[tokio::test(start_paused = true)]
async fn d18_without_a_stored_token_the_status_asks_for_a_sign_in_at_once() {
    let (refresher, endpoint) = endpoint();
    let session = Session::builder(refresher).token_or_signed_out(None).build();
    assert!(session.status().needs_sign_in());
    assert!(session.token().await.unwrap_err().is_signed_out());
    assert_eq!(endpoint.call_count(), 0);
    let (refresher, _endpoint) = crate::support::endpoint();
    let session = Session::builder(refresher).token_or_signed_out(Some(token("A1 R1 600"))).build();
    assert!(!session.status().needs_sign_in());
    assert_eq!(session.token().await.unwrap().secret(), "A1");
}
