//! Sessions over one store: looks, seeds, the user's own hooks, and what can be observed.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::{advance, sleep};
use tower_reauth::{
    RefreshError, SessionBuilder, Token,
    event::EventKind,
    refresh::RefreshReason,
    store::{MemoryStore, StoreError},
};

use crate::{
    scripted::{NOW, ScriptedStore, builder, held, open, record, refreshed},
    support::{RecordedTokens, clock, run_pending_tasks, spawn_refresh, spawn_token, token},
};

/// The names of a session's events, but those of saves.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    fn listen(&self, builder: SessionBuilder) -> SessionBuilder {
        let events = self.clone();
        builder.on_event(move |event| {
            let name = format!("{:?}", event.kind);
            let name = name.split([' ', '{', '(']).next().unwrap_or_default().to_owned();
            if name != "Saved" {
                events.0.lock().unwrap().push(name);
            }
        })
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

// Looks.

#[tokio::test(start_paused = true)]
async fn b47_the_first_demand_reads_the_record() {
    let (clock, store) = (clock(), MemoryStore::new());
    let (first, _) = open(&clock, store.clone());
    first.sign_in(token("A1 R1 600")).await.unwrap();

    let events = Events::default();
    let (builder, endpoint) = builder(&clock);
    let second = events.listen(builder).build_shared(store);
    assert!(held(&second).is_none() && !second.session().status().has_token());
    assert_eq!(second.session().token().await.unwrap().secret(), "A1");
    assert_eq!(endpoint.call_count(), 0);
    let events = events.take();
    assert!(events.contains(&"TokenAdopted".to_owned()), "{events:?}");
    assert!(!events.contains(&"Refreshed".to_owned()), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn b47_load_reads_the_record_at_once() {
    let (clock, store) = (clock(), MemoryStore::new());
    let (first, _) = open(&clock, store.clone());
    first.sign_in(token("A1 R1 600")).await.unwrap();

    let (second, endpoint) = open(&clock, store.clone());
    let mut watch = second.session().watch();
    second.load().await.unwrap();
    watch.changed().await.unwrap();
    assert!(watch.status().is_fresh());
    assert_eq!(held(&second).as_deref(), Some("A1"));

    let _ = first.sign_out().await.unwrap();
    let (third, third_endpoint) = open(&clock, store);
    third.load().await.unwrap();
    let status = third.session().status();
    assert!(status.is_signed_out() && status.needs_sign_in());
    assert!(third.session().token().await.unwrap_err().is_signed_out());
    assert_eq!((endpoint.call_count(), third_endpoint.call_count()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn p19_who_is_refused_the_token_looks_before_it_asks() {
    let (clock, store) = (clock(), MemoryStore::new());
    let (first, mut first_endpoint) = open(&clock, store.clone());
    let (second, second_endpoint) = open(&clock, store);
    first.sign_in(token("A1 R1 600")).await.unwrap();
    let old = second.session().token().await.unwrap();
    sleep(Duration::from_secs(100)).await;
    refreshed(&first, &mut first_endpoint, "A2 R2 600").await;
    let new = second.session().token_after_rejection(&old).await.unwrap();
    assert_eq!((new.secret(), second_endpoint.call_count()), ("A2", 0));
}

/// Another process has set its refresh token since.
#[tokio::test(start_paused = true)]
async fn p19_a_rejected_token_is_not_taken_from_the_record_again() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 600)));
    let (shared, mut endpoint) = open(&clock, store.clone());
    let rejected = shared.session().token().await.unwrap();
    // A rejection right after it came would lead to a backoff.
    sleep(Duration::from_secs(100)).await;
    store.edit(|document| {
        document["by"] = json!(1001);
        document["token"]["refresh"] = json!("R2");
    });
    let session = shared.session().clone();
    let waiter = tokio::spawn(async move { session.token_after_rejection(&rejected).await });
    let call = endpoint.next_call().await;
    assert_eq!(call.cx.refresh_token(), Some("R2"));
    call.succeed("A3 R3 600");
    assert_eq!(waiter.await.unwrap().unwrap().secret(), "A3");
}

// Seeds.

#[tokio::test(start_paused = true)]
async fn p19_a_seed_is_written_if_there_is_no_record() {
    let (clock, store) = (clock(), ScriptedStore::default());
    let (builder, endpoint) = builder(&clock);
    let shared = builder.token(token("S1 SR1 600")).build_shared(store.clone());
    assert_eq!(shared.session().token().await.unwrap().secret(), "S1");
    let written = store.document();
    assert_eq!((&written["token"]["access"], &written["token"]["refresh"]), (&json!("S1"), &json!("SR1")));
    assert_eq!(written["token"]["expires_at"], json!(NOW + 600_000));
    assert_eq!(endpoint.call_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn p19_a_refresh_token_as_the_seed_is_presented_under_a_claim() {
    let (clock, store) = (clock(), ScriptedStore::default());
    let (builder, mut endpoint) = builder(&clock);
    let shared = builder.refresh_token("SR1").build_shared(store.clone());
    let waiter = spawn_token(shared.session());
    let call = endpoint.next_call().await;
    assert_eq!((call.cx.refresh_token(), call.cx.reason()), (Some("SR1"), RefreshReason::Initial));
    let written = store.document();
    assert_eq!((&written["token"]["refresh"], &written["claim"]["n"]), (&json!("SR1"), &json!(1000)));
    call.succeed("A2 R2 600");
    assert_eq!(waiter.await.unwrap().unwrap().secret(), "A2");
    assert_eq!(store.document()["token"]["refresh"], json!("R2"));
}

#[tokio::test(start_paused = true)]
async fn p19_a_seed_never_replaces_a_record() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 600)));
    let before = store.bytes();
    for seed in ["S1 SR1 600", "S1 SR1 0"] {
        let (builder, endpoint) = builder(&clock);
        let shared = builder.token(token(seed)).build_shared(store.clone());
        assert!(held(&shared).is_none());
        assert_eq!(shared.session().token().await.unwrap().secret(), "A1");
        assert_eq!((endpoint.call_count(), store.bytes()), (0, before.clone()));
    }
    store.edit(|document| document["token"]["expires_at"] = json!(NOW));
    let (builder, mut endpoint) = builder(&clock);
    let shared = builder.refresh_token("SR1").build_shared(store.clone());
    let waiter = spawn_token(shared.session());
    let call = endpoint.next_call().await;
    assert_eq!(call.cx.refresh_token(), Some("R1"));
    call.succeed("A2 R2 600");
    waiter.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn p19_a_seed_is_for_the_first_start_only() {
    let signed_out = json!({"v": 1, "w": "w", "epoch": 7, "signed_out": true});
    let (clock, store) = (clock(), ScriptedStore::new(&signed_out));
    let before = store.bytes();
    let (with_seed, endpoint) = builder(&clock);
    let shared = with_seed.token(token("S1 SR1 600")).build_shared(store.clone());
    assert!(shared.session().token().await.unwrap_err().is_signed_out());
    assert_eq!((endpoint.call_count(), store.bytes()), (0, before));

    // Who has known a record takes a missing one for a sign-out.
    let (with_seed, endpoint) = builder(&clock);
    store.write(record("A1", "R1", 600).to_string());
    let shared = with_seed.token(token("S1 SR1 600")).build_shared(store.clone());
    shared.load().await.unwrap();
    store.delete();
    assert!(shared.session().refresh().await.unwrap_err().is_signed_out());
    assert_eq!((endpoint.call_count(), store.bytes()), (0, None));
}

#[tokio::test(start_paused = true)]
async fn p19_a_spent_seed_ends_the_grant_once() {
    let (clock, store) = (clock(), ScriptedStore::default());
    // The record was lost, and the configuration has the refresh token of the first start.
    let (with_seed, mut endpoint) = builder(&clock);
    let shared = with_seed.refresh_token("SR1").build_shared(store.clone());
    let waiter = spawn_token(shared.session());
    endpoint.next_call().await.fail(RefreshError::grant_ended("invalid_grant"));
    assert!(waiter.await.unwrap().unwrap_err().is_grant_ended());
    assert_eq!(store.document()["ended"]["by"], store.document()["by"]);

    // With a new seed the record stays.
    let (with_seed, endpoint) = builder(&clock);
    let shared = with_seed.refresh_token("SR2").build_shared(store.clone());
    assert!(shared.session().token().await.unwrap_err().is_grant_ended());
    assert_eq!((endpoint.call_count(), &store.document()["token"]["refresh"]), (0, &json!("SR1")));
}

// The user's own hooks, and what can be observed.

#[tokio::test(start_paused = true)]
async fn p17_the_users_own_hook_gets_every_change() {
    let (clock, store) = (clock(), MemoryStore::new());
    let saved = RecordedTokens::default();
    let (with_hook, mut endpoint) = builder(&clock);
    let shared = with_hook.save_with(saved.hook()).build_shared(store.clone());
    let (other, mut other_endpoint) = open(&clock, store);
    let mut expected = Vec::new();
    let mut assert_saved = async |entry: &str| {
        shared.load().await.unwrap();
        shared.session().idle().await;
        expected.push(entry.to_owned());
        assert_eq!(saved.all(), expected);
    };
    shared.sign_in(token("A1 R1 600")).await.unwrap();
    assert_saved("A1 R1").await;
    refreshed(&shared, &mut endpoint, "A2 R2 600").await;
    assert_saved("A2 R2").await;
    refreshed(&other, &mut other_endpoint, "A3 R3 600").await;
    assert_saved("A3 R3").await;
    other.set_token(token("A4 - 600")).await.unwrap();
    assert_saved("A4 R3").await;
    shared.set_token(token("A5 - 600")).await.unwrap();
    assert_saved("A5 R3").await;
    shared.session().set_token(token("A6 R6 600")).unwrap();
    assert_saved("A6 R6").await;
    other.sign_in(token("A7 R7 600")).await.unwrap();
    assert_saved("A7 R7").await;
    let _ = other.sign_out().await.unwrap();
    assert_saved("-").await;
    shared.session().sign_in(token("A8 R8 600"));
    assert_saved("A8 R8").await;
    let _ = shared.sign_out().await.unwrap();
    assert_saved("-").await;
}

#[tokio::test(start_paused = true)]
async fn p17_the_record_is_written_before_the_users_own_hook_is_called() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let seen = Arc::<Mutex<Vec<Value>>>::default();
    let (with_hook, mut endpoint) = builder(&clock);
    let save = {
        let (store, seen) = (store.clone(), Arc::clone(&seen));
        move |_: Option<Token>| {
            seen.lock().unwrap().push(store.document()["token"]["access"].clone());
            async { Ok::<_, tower_reauth::RefreshError>(()) }
        }
    };
    let shared = with_hook.save_with(save).build_shared(store);
    refreshed(&shared, &mut endpoint, "A2 R2 600").await;
    shared.session().sign_in(token("A3 R3 600"));
    shared.session().idle().await;
    assert_eq!(*seen.lock().unwrap(), [json!("A2"), json!("A3")]);
}

#[tokio::test(start_paused = true)]
async fn p19_events_say_what_other_processes_did() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 600)));
    let events = Events::default();
    let (with_events, _) = builder(&clock);
    let shared = events.listen(with_events).build_shared(store.clone());
    let (other, mut other_endpoint) = open(&clock, store.clone());
    let assert_events = async |expected: &[&str]| {
        let _ = shared.load().await;
        run_pending_tasks().await;
        assert_eq!(events.take(), expected);
    };
    assert_events(&["TokenAdopted"]).await;
    assert_events(&[]).await;
    refreshed(&other, &mut other_endpoint, "A2 R2 600").await;
    assert_events(&["TokenAdopted"]).await;
    store.set_down(true);
    assert_events(&["StoreFailed"]).await;
    store.set_down(false);
    let _ = other.sign_out().await.unwrap();
    assert_events(&["SignedOut"]).await;
    assert_events(&[]).await;
    other.sign_in(token("A3 R3 600")).await.unwrap();
    assert_events(&["SignedIn"]).await;
}

#[tokio::test(start_paused = true)]
async fn p19_a_failure_of_the_store_is_in_its_event() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 600)));
    let errors = Arc::<Mutex<Vec<_>>>::default();
    let (with_events, _) = builder(&clock);
    let listener = Arc::clone(&errors);
    let with_events = with_events.on_event(move |event| {
        if let EventKind::StoreFailed { error, .. } = &event.kind {
            listener.lock().unwrap().push(error.clone());
        }
    });
    let shared = with_events.build_shared(store.clone());
    store.set_down(true);
    shared.load().await.unwrap_err();
    store.set_down(false);
    store.write("torn");
    shared.load().await.unwrap_err();
    let errors = errors.lock().unwrap();
    let [down, torn] = &errors[..] else { panic!("{errors:?}") };
    assert!(down.is_transient() && StoreError::find(down).is_some_and(StoreError::is_unavailable));
    assert!(torn.is_misconfigured() && StoreError::find(torn).is_some_and(StoreError::is_unreadable));
}

#[tokio::test(start_paused = true)]
async fn p19_a_watch_sees_what_other_processes_did() {
    let (clock, store) = (clock(), MemoryStore::new());
    let (shared, _) = open(&clock, store.clone());
    let (other, mut endpoint) = open(&clock, store);
    let task = tokio::spawn(shared.follow());
    run_pending_tasks().await;
    let mut watch = shared.session().watch();
    other.sign_in(token("A1 R1 600")).await.unwrap();
    watch.changed().await.unwrap();
    let status = watch.status();
    assert!(status.is_fresh() && !status.needs_sign_in() && status.last_error().is_none());
    let generation = status.generation();
    refreshed(&other, &mut endpoint, "A2 R2 600").await;
    watch.changed().await.unwrap();
    assert!(watch.status().generation() > generation);
    advance(Duration::from_secs(580)).await;
    assert!(watch.status().is_expired());
    let _ = other.sign_out().await.unwrap();
    while !watch.status().needs_sign_in() {
        watch.changed().await.unwrap();
    }
    drop(shared);
    while watch.changed().await.is_ok() {}
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn p19_waiters_of_one_process_share_a_look() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let (shared, mut endpoint) = open(&clock, store);
    let waiters: Vec<_> = (0..50).map(|_| spawn_refresh(shared.session())).collect();
    endpoint.next_call().await.succeed("A2 R2 600");
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap().unwrap().secret(), "A2");
    }
    assert_eq!(endpoint.call_count(), 1);
}

/// It is due for a refresh, which is no failure of this process.
#[tokio::test(start_paused = true)]
async fn p19_a_stale_token_of_another_process_leads_to_no_backoff() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let (shared, mut endpoint) = open(&clock, store.clone());
    shared.load().await.unwrap();
    store.edit(|document| {
        document["by"] = json!(2000);
        document["token"]["access"] = json!("A2");
        document["token"]["received_at"] = json!(NOW - 600_000);
        document["token"]["expires_at"] = json!(NOW + 60_000);
    });
    assert_eq!(shared.session().token().await.unwrap().secret(), "A2");
    let status = shared.session().status();
    assert!(status.is_stale() && status.retry_at().is_none(), "{status:?}");
    assert_eq!(shared.session().token().await.unwrap().secret(), "A2");
    endpoint.next_call().await.succeed("A3 R3 600");
    run_pending_tasks().await;
    assert_eq!(held(&shared).as_deref(), Some("A3"));
}

/// Each look after that finds the same.
#[tokio::test(start_paused = true)]
async fn p08_a_grant_that_has_ended_is_one_event_however_often_the_store_is_read() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let events = Events::default();
    let (with_events, mut endpoint) = builder(&clock);
    let shared = events.listen(with_events).build_shared(store);
    let waiting = spawn_token(shared.session());
    endpoint.next_call().await.fail(RefreshError::grant_ended("invalid_grant"));
    waiting.await.unwrap().unwrap_err();
    let count = |events: Vec<String>| events.iter().filter(|name| *name == "GrantEnded").count();
    assert_eq!(count(events.take()), 1);
    for _ in 0..3 {
        advance(Duration::from_secs(3600)).await;
        assert!(shared.session().token().await.unwrap_err().is_grant_ended());
    }
    assert_eq!((count(events.take()), endpoint.call_count()), (0, 1));
}
