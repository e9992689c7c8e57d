//! What the record says after each end of an exchange, and writes that are late or lost.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use tower_reauth::{
    RefreshError,
    refresh::RefreshReason,
    store::{SharedStore, StoreError},
};

use crate::{
    scripted::{NOW, ScriptedStore, claimed, held, open, record, seconds, secret},
    support::{clock, run_pending_tasks, sources, spawn_refresh, spawn_token, token},
};

/// The record after an exchange under a claim of this process has failed.
async fn after(document: &Value, error: RefreshError) -> Value {
    let (clock, store) = (clock(), ScriptedStore::new(document));
    let (shared, mut endpoint) = open(&clock, store.clone());
    let waiter = spawn_refresh(shared.session());
    endpoint.next_call().await.fail(error);
    waiter.await.unwrap().unwrap_err();
    assert_eq!(endpoint.call_count(), 1);
    store.document()
}

#[tokio::test(start_paused = true)]
async fn p19_a_failure_that_presented_nothing_new_leaves_only_the_number_of_its_claim() {
    let before = record("A1", "R1", 0);
    let after = after(&before, RefreshError::transient("503")).await;
    let mut expected = before;
    expected["claims"] = json!(2000);
    // Each write has its own mark.
    expected["w"] = after["w"].clone();
    assert_eq!(after, expected);
}

/// Its expiry isn't that of the one before.
#[tokio::test(start_paused = true)]
async fn p19_a_successor_beside_a_failure_replaces_the_refresh_token_of_the_record() {
    let mut before = record("A1", "R1", 0);
    before["token"]["refresh_expires_at"] = json!(NOW + 1_000_000);
    let after = after(&before, RefreshError::transient("partial").with_refresh_token("R2")).await;
    let token = &after["token"];
    assert_eq!((&token["access"], &token["refresh"]), (&json!("A1"), &json!("R2")));
    assert_eq!(token["refresh_expires_at"], Value::Null);
    assert_eq!((&after["by"], &after["claim"]), (&json!(2000), &Value::Null));
}

/// What the refresher repeats isn't a successor.
#[tokio::test(start_paused = true)]
async fn p19_the_presented_refresh_token_beside_a_failure_is_no_successor() {
    let after = after(&record("A1", "R1", 0), RefreshError::transient("503").with_refresh_token("R1")).await;
    assert_eq!((&after["by"], &after["claim"]), (&json!(1000), &Value::Null));
}

/// Only a refusal for lack of a refresh token does that.
#[tokio::test(start_paused = true)]
async fn p19_a_misconfigured_client_without_a_record_signs_nobody_out() {
    let (clock, store) = (clock(), ScriptedStore::default());
    let (shared, mut endpoint) = open(&clock, store);
    let waiter = spawn_token(shared.session());
    endpoint.next_call().await.fail(RefreshError::misconfigured("invalid_client"));
    let error = waiter.await.unwrap().unwrap_err();
    assert!(error.is_misconfigured() && !shared.session().status().is_signed_out(), "{error:?}");
}

/// The refusal came after another process had taken the claim over, with the same refresh token.
#[tokio::test(start_paused = true)]
async fn p19_a_grant_that_has_ended_is_recorded_beside_the_claim_of_another_process() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let (shared, mut endpoint) = open(&clock, store.clone());
    let waiter = spawn_token(shared.session());
    let call = endpoint.next_call().await;
    let other = json!({"n": 3000, "id": "other", "for": 10_000, "at": NOW, "who": "other, pid 7"});
    store.edit(|document| {
        document["claims"] = json!(3000);
        document["claim"] = other.clone();
    });
    call.fail(RefreshError::grant_ended("invalid_grant"));
    assert!(waiter.await.unwrap().unwrap_err().is_grant_ended());
    let document = store.document();
    assert_eq!((&document["claim"], &document["ended"]["by"]), (&other, &json!(1000)));
}

/// The first half of its time had passed, and the rest may not suffice.
#[tokio::test(start_paused = true)]
async fn p19_a_claim_whose_write_took_too_long_is_replaced_by_the_next() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let (shared, mut endpoint) = open(&clock, SharedStore::new(store.clone()).exchange_timeout(seconds(4)));
    store.delay_swap(Duration::from_millis(2500));
    let waiter = spawn_token(shared.session());
    let call = endpoint.next_call().await;
    assert_eq!((&store.document()["claim"]["n"], store.swap_count()), (&json!(3000), 2));
    assert_ne!(call.cx.reason(), RefreshReason::Repeated);
    call.succeed("A2 R2 600");
    assert_eq!(secret(waiter).await, "A2");
}

/// It was written between the read and the write of this process.
#[tokio::test(start_paused = true)]
async fn p19_the_claim_of_another_process_is_not_overwritten() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let (shared, endpoint) = open(&clock, store.clone());
    store.delay_swap(seconds(1));
    let _waiter = spawn_token(shared.session());
    run_pending_tasks().await;
    assert_eq!(store.swap_count(), 1);
    store.write(claimed("A1", "R1", 0).to_string());
    sleep(seconds(2)).await;
    assert_eq!((&store.document()["claim"]["id"], endpoint.call_count()), (&json!("other"), 0));
}

/// The response to each write is lost, and none has taken effect.
#[tokio::test(start_paused = true)]
async fn p19_a_write_is_attempted_twice() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let (shared, endpoint) = open(&clock, store.clone());
    store.lose_swaps();
    let error = spawn_token(shared.session()).await.unwrap().unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(StoreError::find(&error).is_some_and(StoreError::is_unknown));
    assert_eq!((store.swap_count(), endpoint.call_count()), (2, 0));
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn p19_a_claim_names_its_host_and_boot() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let (shared, mut endpoint) = open(&clock, store.clone());
    let _waiter = spawn_token(shared.session());
    let _call = endpoint.next_call().await;
    let read = |path| std::fs::read_to_string(path).unwrap().trim().to_owned();
    let host = format!("{} {}", read("/proc/sys/kernel/hostname"), read("/proc/sys/kernel/random/boot_id"));
    assert_eq!(store.document()["claim"]["host"], json!(host));
}

/// The follower had looked while the refresh was in flight, which could take the token itself.
#[tokio::test(start_paused = true)]
async fn p19_a_follower_looks_again_as_soon_as_a_refresh_has_ended() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 600)));
    let (shared, mut endpoint) = open(&clock, store.clone());
    shared.load().await.unwrap();
    let refresh = spawn_refresh(shared.session());
    let call = endpoint.next_call().await;
    store.edit(|document| {
        document["by"] = json!(9000);
        document["claims"] = json!(9000);
        document["token"]["access"] = json!("A2");
        document.as_object_mut().unwrap().remove("claim");
    });
    let follower = tokio::spawn(shared.follow());
    run_pending_tasks().await;
    assert_eq!(held(&shared).as_deref(), Some("A1"));
    call.fail(RefreshError::transient("503"));
    run_pending_tasks().await;
    assert_eq!(held(&shared).as_deref(), Some("A2"));
    refresh.await.unwrap().unwrap_err();
    follower.abort();
}

#[tokio::test(start_paused = true)]
async fn p19_a_follower_reads_about_every_5_s() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 36_000)));
    let (shared, _endpoint) = open(&clock, store.clone());
    let follower = tokio::spawn(shared.follow());
    sleep(seconds(600)).await;
    follower.abort();
    let loads = store.loads();
    let pauses: Vec<_> = loads.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    assert!(pauses.len() > 80 && pauses.iter().all(|pause| (3.99..6.01).contains(pause)), "{pauses:?}");
    assert!(pauses.iter().any(|pause| *pause < 4.8) && pauses.iter().any(|pause| *pause > 5.2));
}

/// The store was unavailable when it was set, and the next attempt to save it isn't due.
#[tokio::test(start_paused = true)]
async fn p19_what_the_user_has_set_is_written_before_a_refresh() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 600)));
    let (shared, mut endpoint) = open(&clock, store.clone());
    shared.load().await.unwrap();
    store.set_down(true);
    shared.session().set_token(token("A2 R2 600")).unwrap();
    run_pending_tasks().await;
    assert!(shared.session().status().is_unsaved());
    store.set_down(false);
    let waiter = spawn_refresh(shared.session());
    let call = endpoint.next_call().await;
    assert_eq!(call.cx.refresh_token(), Some("R2"));
    call.succeed("A3 R3 600");
    assert_eq!(secret(waiter).await, "A3");
}

/// Others would wait for it.
#[tokio::test(start_paused = true)]
async fn p19_an_unused_claim_is_removed_when_there_is_nothing_to_present() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let (shared, endpoint) = open(&clock, SharedStore::new(store.clone()).exchange_timeout(seconds(4)));
    store.delay_swap(Duration::from_millis(2500));
    let waiter = spawn_token(shared.session());
    run_pending_tasks().await;
    store.delay_swap(seconds(2));
    sleep(seconds(3)).await;
    // The first claim was written too late, and the next one is being written.
    assert_eq!((&store.document()["claim"]["n"], store.swap_count()), (&json!(2000), 2));
    store.edit(|document| {
        document["by"] = json!(9000);
        document["claims"] = json!(9000);
        document["token"]["access"] = json!("A2");
        document["token"]["expires_at"] = json!(NOW + 600_000);
    });
    assert_eq!(secret(waiter).await, "A2");
    assert_eq!((&store.document()["claim"], endpoint.call_count()), (&Value::Null, 0));
}

/// The claim is looked up, and then used as one of this process.
#[tokio::test(start_paused = true)]
async fn p19_a_repeat_is_declared_although_the_write_of_its_claim_had_no_response() {
    for unknown in [true, false] {
        let mut document = record("A1", "R1", 0);
        if unknown {
            document["unknown"] = json!(true);
        }
        let (clock, store) = (clock(), ScriptedStore::new(&document));
        let (shared, mut endpoint) = open(&clock, store.clone());
        store.lose_response();
        let waiter = spawn_token(shared.session());
        let call = endpoint.next_call().await;
        assert_eq!((call.cx.reason() == RefreshReason::Repeated, store.swap_count()), (unknown, 1));
        call.succeed("A2 R2 600");
        assert_eq!(secret(waiter).await, "A2");
    }
}

#[tokio::test(start_paused = true)]
async fn p19_a_grant_that_another_process_found_ended_is_reported_with_its_code() {
    for (code, shown) in [
        ("invalid_grant", "the grant has ended (invalid_grant): sign in again"),
        ("", "the grant has ended: sign in again"),
    ] {
        let mut document = record("A1", "R1", 0);
        document["ended"] = json!({"by": 1000, "code": code});
        let (clock, store) = (clock(), ScriptedStore::new(&document));
        let (shared, endpoint) = open(&clock, store);
        let error = shared.session().token().await.unwrap_err();
        let reasons: Vec<_> = sources(&error).map(ToString::to_string).collect();
        assert!(reasons.iter().any(|reason| reason.ends_with(shown)), "{reasons:?}");
        assert!(error.is_grant_ended() && endpoint.call_count() == 0);
    }
}
