//! `SharedSession::follow`, with notifications and without.

use std::time::Duration;

use serde_json::json;
use tokio::{task::JoinHandle, time::sleep};
use tower_reauth::{
    Health, RefreshError,
    store::{MemoryStore, SharedSession, SharedStore, TokenStore},
};

use crate::{
    scripted::{ScriptedStore, held, open, record, refreshed},
    support::{clock, run_pending_tasks, spawn_refresh, token},
};

const HOUR: Duration = Duration::from_secs(3600);

fn follow(shared: &SharedSession) -> JoinHandle<()> {
    tokio::spawn(shared.follow())
}

/// Three followers get a new token, a sign-in and a sign-out, each within this time and without a call.
async fn assert_followed<S: TokenStore + Clone>(store: impl Fn() -> SharedStore<S>, within: Duration) {
    let clock = clock();
    let (writer, mut endpoint) = open(&clock, store());
    writer.sign_in(token("A1 R1 36000")).await.unwrap();
    let followers: Vec<_> = (0..3).map(|_| open(&clock, store())).collect();
    let tasks: Vec<_> = followers.iter().map(|(shared, _)| follow(shared)).collect();
    let assert_held = async |expected: Option<&str>| {
        sleep(within).await;
        for (shared, endpoint) in &followers {
            assert_eq!(held(shared).as_deref(), expected);
            assert_eq!(endpoint.call_count(), 0);
        }
    };
    assert_held(Some("A1")).await;
    refreshed(&writer, &mut endpoint, "A2 R2 36000").await;
    assert_held(Some("A2")).await;
    writer.sign_in(token("A3 R3 36000")).await.unwrap();
    assert_held(Some("A3")).await;
    writer.set_token(token("A4 R4 36000")).await.unwrap();
    assert_held(Some("A4")).await;
    let _ = writer.sign_out().await.unwrap();
    assert_held(None).await;
    assert!(followers.iter().all(|(shared, _)| shared.session().status().is_signed_out()));
    writer.sign_in(token("A5 R5 36000")).await.unwrap();
    assert_held(Some("A5")).await;

    drop(followers);
    for task in tasks {
        // The timeout only ends a test that would hang.
        tokio::time::timeout(HOUR, task).await.expect("it ends with the session").unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn p19_followers_are_notified() {
    let store = MemoryStore::new();
    let slow = Duration::from_secs(1_000_000);
    let over = || SharedStore::new(store.with_name("one")).test_times(Duration::from_secs(4), slow);
    assert_followed(over, Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn p19_followers_over_clones_of_a_memory_store_are_notified() {
    let store = MemoryStore::new();
    let slow = Duration::from_secs(1_000_000);
    let over = || SharedStore::new(store.clone()).test_times(Duration::from_secs(4), slow);
    assert_followed(over, Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn p19_followers_poll() {
    let store = ScriptedStore::default();
    assert_followed(|| SharedStore::new(store.clone()), Duration::from_secs(6)).await;
}

#[tokio::test(start_paused = true)]
async fn p19_a_change_of_one_record_does_not_wake_the_follower_of_another() {
    let (clock, store) = (clock(), MemoryStore::new());
    let slow = Duration::from_secs(1_000_000);
    let over = |name| SharedStore::new(store.with_name(name)).test_times(Duration::from_secs(4), slow);
    let (one, _) = open(&clock, over("one"));
    let (two, _) = open(&clock, over("two"));
    one.sign_in(token("A1 R1 36000")).await.unwrap();
    let task = follow(&one);
    run_pending_tasks().await;
    let mut watch = one.session().watch();
    two.sign_in(token("B1 S1 36000")).await.unwrap();
    let changed = tokio::time::timeout(Duration::from_secs(100), watch.changed()).await;
    assert!(changed.is_err() && held(&one).as_deref() == Some("A1"));
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn p19_a_follower_goes_on_when_the_store_is_back() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 36_000)));
    let (shared, endpoint) = open(&clock, store.clone());
    let task = follow(&shared);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(held(&shared).as_deref(), Some("A1"));
    store.set_down(true);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(held(&shared).as_deref(), Some("A1"));
    store.edit(|document| {
        document["by"] = json!(2000);
        document["token"]["access"] = json!("A2");
    });
    store.set_down(false);
    sleep(Duration::from_secs(6)).await;
    assert_eq!((held(&shared).as_deref(), endpoint.call_count()), (Some("A2"), 0));
    task.abort();
}

/// A token of another process ends this session's failures, as one of its own would.
#[tokio::test(start_paused = true)]
async fn a_follower_that_failed_is_well_once_it_has_another_processs_token() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 36_000)));
    let (shared, mut endpoint) = open(&clock, store.clone());
    shared.load().await.unwrap();
    let refresh = spawn_refresh(shared.session());
    endpoint.next_call().await.fail(RefreshError::transient("down"));
    refresh.await.unwrap().unwrap_err();
    let task = follow(&shared);
    run_pending_tasks().await;
    store.edit(|document| {
        document["by"] = json!(2000);
        document["token"]["access"] = json!("A2");
    });
    sleep(Duration::from_secs(6)).await;
    assert_eq!(held(&shared).as_deref(), Some("A2"));
    assert!(shared.session().status().last_error().is_none());
    // Once the new token is due, nothing has failed.
    task.abort();
    sleep(Duration::from_secs(35_960)).await;
    assert!(!shared.session().status().is_fresh());
    assert!(!matches!(shared.session().status().health(), Health::Failing { .. }));
}
