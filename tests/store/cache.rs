//! Tokens that are only cached: nothing that rotates can be spent twice.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower_reauth::{
    RefreshError, Session,
    rt::TestClock,
    store::{MemoryStore, SharedSession, SharedStore, StoreError},
};

use crate::{
    scripted::{NOW, ScriptedStore, claimed, open, record},
    support::{
        Endpoint, RecordedTokens, clock, endpoint, run_pending_tasks, spawn_refresh, spawn_token, token,
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// A record with an access token only.
fn cached(access: &str, expires_in: i64) -> Value {
    without_refresh_token(record(access, "", expires_in))
}

fn without_refresh_token(mut document: Value) -> Value {
    document["token"].as_object_mut().unwrap().remove("refresh");
    document
}

async fn obtained(shared: &SharedSession, endpoint: &mut Endpoint, spec: &str) {
    let waiter = spawn_refresh(shared.session());
    endpoint.next_call().await.succeed(spec);
    waiter.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn p19_fifty_that_start_at_once_make_one_call() {
    let (clock, store) = (clock(), MemoryStore::new());
    let mut sessions: Vec<_> = (0..50).map(|_| open(&clock, store.clone())).collect();
    let waiters: Vec<_> = sessions.iter().map(|(shared, _)| spawn_token(shared.session())).collect();
    sleep(SECOND).await;
    let mut calls = Vec::new();
    for (_, endpoint) in &mut sessions {
        if endpoint.call_count() > 0 {
            calls.push(endpoint.next_call().await);
        }
    }
    assert_eq!(calls.len(), 1);
    let call = calls.remove(0);
    assert_eq!(call.cx.refresh_token(), None);
    call.succeed("A1 - 600");
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap().unwrap().secret(), "A1");
    }
    assert_eq!(sessions.iter().map(|(_, endpoint)| endpoint.call_count()).sum::<usize>(), 1);
}

#[tokio::test(start_paused = true)]
async fn p19_a_cached_token_is_taken_by_the_next_that_starts() {
    let (clock, store) = (clock(), ScriptedStore::default());
    let (first, mut endpoint) = open(&clock, store.clone());
    obtained(&first, &mut endpoint, "A1 - 600").await;
    let document = store.document();
    assert_eq!(document["token"]["access"], json!("A1"));
    assert_ne!(document["epoch"], json!(0));
    let (second, second_endpoint) = open(&clock, store);
    assert_eq!(second.session().token().await.unwrap().secret(), "A1");
    assert_eq!(second_endpoint.call_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn p19_a_lapsed_claim_is_not_an_unknown_outcome_if_nothing_rotates() {
    let (clock, store) = (clock(), ScriptedStore::new(&without_refresh_token(claimed("A1", "", 0))));
    // There is nothing that `never_repeat` could forbid.
    let (shared, mut endpoint) = open(&clock, SharedStore::new(store.clone()).never_repeat());
    let start = Instant::now();
    let waiter = spawn_token(shared.session());
    let call = endpoint.next_call().await;
    assert!(start.elapsed() >= Duration::from_secs(14));
    assert_eq!(call.cx.reason(), tower_reauth::refresh::RefreshReason::Initial);
    assert_eq!(store.document()["unknown"], Value::Null);
    call.succeed("A2 - 600");
    assert_eq!(waiter.await.unwrap().unwrap().secret(), "A2");
}

#[tokio::test(start_paused = true)]
async fn b90_fifty_without_their_store_call_by_themselves() {
    let (clock, store) = (clock(), ScriptedStore::default());
    store.set_down(true);
    let mut sessions: Vec<_> = (0..50).map(|_| open(&clock, store.clone())).collect();
    let waiters: Vec<_> = sessions.iter().map(|(shared, _)| spawn_token(shared.session())).collect();
    for (_, endpoint) in &mut sessions {
        let call = tokio::time::timeout(SECOND, endpoint.next_call()).await.expect("a call");
        assert_eq!(call.cx.refresh_token(), None);
        call.succeed("A1 - 600");
    }
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap().unwrap().secret(), "A1");
    }
    for (shared, endpoint) in &sessions {
        assert_eq!(endpoint.call_count(), 1);
        assert!(!shared.session().status().needs_sign_in());
    }
}

#[tokio::test(start_paused = true)]
async fn b90_a_cached_token_is_replaced_while_the_store_is_down() {
    let (clock, store) = (clock(), ScriptedStore::default());
    let (shared, mut endpoint) = open(&clock, store.clone());
    obtained(&shared, &mut endpoint, "A1 - 600").await;
    store.set_down(true);
    for spec in ["A2 - 600", "A3 - 600"] {
        sleep(Duration::from_secs(600)).await;
        let waiter = spawn_token(shared.session());
        endpoint.next_call().await.succeed(spec);
        assert_eq!(waiter.await.unwrap().unwrap().secret(), &spec[..2]);
    }
    // When the store is back, the next response is saved.
    store.set_down(false);
    sleep(Duration::from_secs(600)).await;
    let waiter = spawn_token(shared.session());
    endpoint.next_call().await.succeed("A4 - 600");
    assert_eq!(waiter.await.unwrap().unwrap().secret(), "A4");
    assert_eq!(store.document()["token"]["access"], json!("A4"));
}

#[tokio::test(start_paused = true)]
async fn b90_a_refresh_token_is_not_presented_without_the_store() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 600)));
    let (held, held_endpoint) = open(&clock, store.clone());
    held.load().await.unwrap();
    let (refresher, seeded_endpoint) = endpoint();
    let seeded = Session::builder(refresher).clock(clock).refresh_token("R1").build_shared(store.clone());
    store.set_down(true);
    sleep(Duration::from_secs(600)).await;
    for shared in [&held, &seeded] {
        let error = shared.session().token().await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        assert!(StoreError::find(&error).is_some_and(StoreError::is_unavailable), "{error:?}");
    }
    assert_eq!((held_endpoint.call_count(), seeded_endpoint.call_count()), (0, 0));
}

/// A process that has just started doesn't know whether the record has a refresh token. Its refresher says that it
/// needs one.
#[tokio::test(start_paused = true)]
async fn b90_a_store_that_is_down_signs_nobody_out() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    store.set_down(true);
    let (shared, mut endpoint) = open(&clock, store.clone());
    for _ in 0..3 {
        let waiter = spawn_token(shared.session());
        let call = endpoint.next_call().await;
        assert_eq!(call.cx.refresh_token(), None);
        call.fail(RefreshError::grant_ended("no refresh token"));
        let error = waiter.await.unwrap().unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        assert!(StoreError::find(&error).is_some_and(StoreError::is_unavailable), "{error:?}");
        assert!(!shared.session().status().needs_sign_in());
        shared.session().reset_backoff();
    }
    store.set_down(false);
    let waiter = spawn_token(shared.session());
    let call = endpoint.next_call().await;
    assert_eq!(call.cx.refresh_token(), Some("R1"));
    call.succeed("A2 R2 600");
    assert_eq!(waiter.await.unwrap().unwrap().secret(), "A2");
}

#[tokio::test(start_paused = true)]
async fn b90_who_was_signed_out_elsewhere_stays_so_without_the_store() {
    for is_deleted in [false, true] {
        let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 600)));
        let (shared, endpoint) = open(&clock, store.clone());
        shared.load().await.unwrap();
        match is_deleted {
            true => store.delete(),
            false => store.write(json!({"v": 1, "w": "w", "epoch": 8, "signed_out": true}).to_string()),
        }
        shared.load().await.unwrap();
        store.set_down(true);
        for _ in 0..5 {
            sleep(Duration::from_secs(130)).await;
            shared.session().token().await.unwrap_err();
        }
        assert_eq!(endpoint.call_count(), 0);
        assert!(shared.session().status().needs_sign_in());
    }
}

#[tokio::test(start_paused = true)]
async fn p19_an_exchange_is_made_when_the_wait_is_over_if_nothing_rotates() {
    let (clock, store) = (clock(), ScriptedStore::new(&without_refresh_token(claimed("A1", "", 0))));
    // It lapses after the wait.
    store.edit(|document| document["claim"]["for"] = json!(15_000));
    let before = store.bytes();
    let (shared, mut endpoint) = open(&clock, store.clone());
    let start = Instant::now();
    let waiter = spawn_token(shared.session());
    let call = tokio::select! {
        call = endpoint.next_call() => call,
        () = sleep(Duration::from_secs(18)) => panic!("no call within 18 s"),
    };
    assert!(start.elapsed() >= Duration::from_secs(15), "{:?}", start.elapsed());
    // The other's claim still stands.
    assert_eq!(store.bytes(), before);
    call.succeed("A2 - 600");
    assert_eq!(waiter.await.unwrap().unwrap().secret(), "A2");
    assert_eq!(store.document()["claim"]["id"], json!("other"));
}

#[tokio::test(start_paused = true)]
async fn b148_a_deleted_record_of_a_cached_token_signs_nobody_out() {
    let (clock, store) = (clock(), ScriptedStore::default());
    let saved = RecordedTokens::default();
    let (refresher, mut endpoint) = endpoint();
    let shared = Session::builder(refresher)
        .jitter(false)
        .clock(clock.clone())
        .save_with(saved.hook())
        .build_shared(store.clone());
    obtained(&shared, &mut endpoint, "A1 - 600").await;
    store.delete();
    shared.load().await.unwrap();
    assert_eq!(shared.session().token().await.unwrap().secret(), "A1");
    assert!(!shared.session().status().needs_sign_in());
    assert_eq!(saved.all(), ["A1 -"]);
}

#[tokio::test(start_paused = true)]
async fn b148_after_a_deletion_the_cache_is_filled_again() {
    let (clock, store) = (clock(), ScriptedStore::default());
    let (shared, mut endpoint) = open(&clock, store.clone());
    obtained(&shared, &mut endpoint, "A1 - 600").await;
    let (other, other_endpoint) = open(&clock, store.clone());
    other.load().await.unwrap();
    store.delete();
    sleep(Duration::from_secs(600)).await;
    let (waiter, other_waiter) = (spawn_token(shared.session()), spawn_token(other.session()));
    endpoint.next_call().await.succeed("A2 - 600");
    let (token, other_token) = (waiter.await.unwrap(), other_waiter.await.unwrap());
    assert_eq!(token.unwrap().secret(), "A2");
    assert_eq!(other_token.unwrap().secret(), "A2");
    assert_eq!(other_endpoint.call_count(), 0);
    assert_eq!(store.document()["token"]["access"], json!("A2"));
    for shared in [&shared, &other] {
        assert!(!shared.session().status().needs_sign_in());
    }
}

/// A session whose refresher has said that it needs a refresh token.
async fn refused(clock: &TestClock, store: &ScriptedStore) -> (SharedSession, Endpoint) {
    let (shared, mut endpoint) = open(clock, store.clone());
    let waiter = spawn_token(shared.session());
    endpoint.next_call().await.fail(RefreshError::grant_ended("no refresh token"));
    assert!(waiter.await.unwrap().unwrap_err().is_signed_out());
    let status = shared.session().status();
    assert!(status.needs_sign_in() && status.is_signed_out());
    for _ in 0..20 {
        sleep(Duration::from_secs(60)).await;
        assert!(shared.session().token().await.unwrap_err().is_signed_out());
    }
    assert_eq!(endpoint.call_count(), 1);
    (shared, endpoint)
}

#[tokio::test(start_paused = true)]
async fn p19_who_needs_a_refresh_token_and_finds_none_is_signed_out() {
    let (clock, store) = (clock(), ScriptedStore::default());
    let (shared, endpoint) = refused(&clock, &store).await;
    let (other, _) = open(&clock, store);
    other.sign_in(token("A3 R3 36000")).await.unwrap();
    sleep(Duration::from_secs(130)).await;
    if shared.session().token().await.is_err() {
        // The demand that finds another sign-in fails, and the next is served.
        run_pending_tasks().await;
    }
    assert_eq!(shared.session().token().await.unwrap().secret(), "A3");
    assert_eq!(endpoint.call_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn p19_who_needs_a_refresh_token_presents_the_one_that_comes() {
    let (clock, store) = (clock(), ScriptedStore::default());
    let (shared, mut endpoint) = refused(&clock, &store).await;
    // Another process, which has a seed, writes it.
    store.edit(|document| document["token"] = json!({"refresh": "R1", "received_at": NOW}));
    sleep(Duration::from_secs(130)).await;
    let waiter = spawn_token(shared.session());
    let call = endpoint.next_call().await;
    assert_eq!(call.cx.refresh_token(), Some("R1"));
    call.succeed("A2 R2 600");
    assert_eq!(waiter.await.unwrap().unwrap().secret(), "A2");
}

#[tokio::test(start_paused = true)]
async fn p19_a_cached_token_without_a_refresh_token_is_not_ended_for_the_others() {
    let (clock, store) = (clock(), ScriptedStore::new(&cached("A1", 0)));
    // One process is misconfigured; the others aren't.
    let (first, mut endpoint) = open(&clock, store.clone());
    let waiter = spawn_token(first.session());
    endpoint.next_call().await.fail(RefreshError::misconfigured("invalid_client"));
    assert!(waiter.await.unwrap().unwrap_err().is_misconfigured());
    assert_eq!((&store.document()["ended"], &store.document()["claim"]), (&Value::Null, &Value::Null));
    let (second, mut endpoint) = open(&clock, store);
    obtained(&second, &mut endpoint, "A2 - 600").await;
    first.load().await.unwrap();
    assert_eq!(first.session().token().await.unwrap().secret(), "A2");
}
