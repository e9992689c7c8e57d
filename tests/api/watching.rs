//! Watching a session.

use std::time::Duration;

use tokio_test::{assert_pending, assert_ready, task};
use tower_reauth::{RefreshError, Session};

use crate::support::{clock, endpoint, expired, run_pending_tasks, spawn_token, token};

#[tokio::test(start_paused = true)]
async fn p08_b78_each_watcher_is_notified_once_that_the_grant_ended() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let mut watches = [session.watch(), session.watch()];
    let waiting = spawn_token(&session);
    endpoint.next_call().await.fail(RefreshError::grant_ended("invalid_grant"));
    assert!(waiting.await.unwrap().unwrap_err().is_grant_ended());
    for watch in &mut watches {
        watch.changed().await.unwrap();
        assert!(watch.status().is_grant_ended());
        // Further demands change nothing.
        for _ in 0..3 {
            assert!(session.token().await.unwrap_err().is_grant_ended());
        }
        assert_pending!(task::spawn(watch.changed()).poll());
    }
    assert_eq!(endpoint.call_count(), 1);
    session.set_token(token("A2 R2 600")).unwrap();
    for watch in &mut watches {
        watch.changed().await.unwrap();
        assert!(!watch.status().is_grant_ended());
    }
}

/// Neither between `status()` and `changed()`, nor if the future of `changed()` is dropped.
#[tokio::test(start_paused = true)]
async fn a_watcher_misses_no_change() {
    let (refresher, _endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let mut watch = session.watch();
    assert_eq!(watch.status().generation(), 1);
    session.set_token(token("A2 R2 600")).unwrap();
    assert_ready!(task::spawn(watch.changed()).poll()).unwrap();
    assert_eq!(watch.status().generation(), 2);
    let mut changed = task::spawn(watch.changed());
    assert_pending!(changed.poll());
    let _ = session.sign_out();
    assert!(changed.is_woken());
    drop(changed);
    assert_ready!(task::spawn(watch.changed()).poll()).unwrap();
    assert!(watch.status().is_signed_out());
}

/// So a connection can authenticate again before the old token expires.
#[tokio::test(start_paused = true)]
async fn c105_a_watcher_is_notified_of_a_new_token() {
    let (refresher, mut endpoint) = endpoint();
    let clock = clock();
    let session =
        Session::builder(refresher).token(token("A1 R1 600")).jitter(false).clock(clock.clone()).build();
    let mut watch = session.watch();
    clock.step(Duration::from_secs(450));
    session.token().await.unwrap();
    watch.changed().await.unwrap();
    assert!(watch.status().is_refreshing());
    endpoint.next_call().await.succeed("A2 R2 600");
    run_pending_tasks().await;
    watch.changed().await.unwrap();
    assert_eq!(watch.status().generation(), 2);
}

#[tokio::test(start_paused = true)]
async fn p17_a_shutdown_notifies_watchers() {
    let (refresher, _endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let mut watch = session.watch();
    assert!(!watch.status().is_shut_down());
    session.shutdown(Duration::from_secs(1)).await.unwrap();
    let changed = tokio::time::timeout(Duration::from_secs(5), watch.changed()).await;
    assert!(changed.is_ok(), "{:?}", session.status());
}

#[tokio::test(start_paused = true)]
async fn p07_reset_backoff_notifies_watchers() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let waiting = spawn_token(&session);
    endpoint.next_call().await.fail(RefreshError::transient("503"));
    waiting.await.unwrap().unwrap_err();
    let mut watch = session.watch();
    assert!(watch.status().retry_at().is_some());
    session.reset_backoff();
    let changed = tokio::time::timeout(Duration::from_millis(100), watch.changed()).await;
    assert!(changed.is_ok(), "{:?}", session.status());
}

#[tokio::test(start_paused = true)]
async fn d34_a_change_is_returned_once() {
    let (refresher, _endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let mut watch = session.watch();
    session.set_token(token("A2 R2 600")).unwrap();
    session.set_token(token("A3 R3 600")).unwrap();
    assert_ready!(task::spawn(watch.changed()).poll()).unwrap();
    assert_pending!(task::spawn(watch.changed()).poll());
}

#[tokio::test(start_paused = true)]
async fn d34_a_watch_ends_with_its_session() {
    let (refresher, _endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let mut watch = session.watch();
    let mut changed = task::spawn(async move { (watch.changed().await, watch) });
    assert_pending!(changed.poll());
    drop(session);
    assert!(changed.is_woken());
    let (result, mut watch) = assert_ready!(changed.poll());
    result.unwrap_err();
    assert_eq!(watch.status().generation(), 1, "the last status that was seen");
}

#[tokio::test(start_paused = true)]
async fn p01_a_waiter_that_demands_again_is_counted_once() {
    use std::sync::{Arc, Mutex, OnceLock};

    let (refresher, mut endpoint) = crate::support::endpoint();
    let slot: Arc<OnceLock<tower_reauth::Session>> = Arc::default();
    let counts: Arc<Mutex<Vec<usize>>> = Arc::default();
    let (session_slot, seen) = (Arc::clone(&slot), Arc::clone(&counts));
    let session = crate::support::expired(refresher)
        .on_event(move |event| {
            if matches!(event.kind, tower_reauth::event::EventKind::RefreshStarted { .. }) {
                seen.lock().unwrap().push(session_slot.get().unwrap().status().waiters());
            }
        })
        .build();
    slot.set(session.clone()).unwrap();
    let _waiting = crate::support::spawn_token(&session);
    let call = endpoint.next_call().await;
    session.set_token(crate::support::token("A9 R9 0")).unwrap();
    call.fail(tower_reauth::RefreshError::grant_ended("invalid_grant"));
    let _second = endpoint.next_call().await;
    assert_eq!(*counts.lock().unwrap(), [1, 1]);
}
