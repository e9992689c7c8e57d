//! What a failed or interrupted step leaves behind: claims, seeds, locks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tokio::{runtime, sync::Notify, time::Instant};
use tower_reauth::{
    RefreshContext, RefreshError, Session, Token, refresh_fn,
    rt::TestClock,
    store::{SharedStore, StoreError},
};

use crate::scripted::{Scripted, after_rejection, record, shared, shared_over, token};

/// A token that another process sets. Its access token has expired.
fn set_by_another(document: &mut Value) {
    (document["by"], document["claims"]) = (json!(2000), json!(2000));
    document["token"] = json!({"access": "A9", "refresh": "R9", "received_at": 0, "expires_at": 1});
}

/// Leaves a claim in the record of which the session only knows that it may be there.
async fn leave_claim(store: &Scripted, session: &Session) {
    store.at_next_swap(|store, record| {
        store.set_down(true);
        store.lose_response(record)
    });
    let held = session.token().await.unwrap();
    let error = session.token_after_rejection(&held).await.unwrap_err();
    assert!(StoreError::find(&error).is_some_and(StoreError::is_unknown), "{error:?}");
    assert!(store.document()["claim"].is_object());
    store.set_down(false);
    session.reset_backoff();
}

#[tokio::test(start_paused = true)]
async fn p19_a_claim_goes_with_a_refusal_that_does_not_count() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, presented) = shared(&store, |store, cx| match cx.refresh_token() {
        Some("R1") => {
            store.edit(set_by_another);
            Err(RefreshError::grant_ended("invalid_grant"))
        }
        _ => token("A3", "R3"),
    });
    let start = Instant::now();
    assert_eq!(after_rejection(&shared).await, "A3");
    assert_eq!(*presented.lock().unwrap(), ["R1", "R9"]);
    // It waited for no claim of its own.
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn p19_a_claim_from_before_a_token_was_set_is_not_used_for_that_token() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, presented) = shared(&store, |store, _| {
        // Otherwise others would take the token for one that wasn't presented.
        let document = store.document();
        assert!(document["claim"]["n"].as_u64() > document["by"].as_u64(), "{document}");
        token("A3", "R3")
    });
    leave_claim(&store, shared.session()).await;
    store.edit(set_by_another);
    assert_eq!(shared.session().refresh().await.unwrap().secret(), "A3");
    assert_eq!(*presented.lock().unwrap(), ["R9"]);
    assert_eq!(store.document()["claim"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn p19_an_unused_claim_is_removed_later_if_that_fails_at_first() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, presented) = shared(&store, |_, _| token("none", "none"));
    leave_claim(&store, shared.session()).await;
    store.edit(|document| {
        document["by"] = json!(2000);
        document["token"] = json!({"access": "A9", "refresh": "R9", "received_at": 0});
    });
    store.at_next_swap(|store, _| {
        store.set_down(true);
        Err(StoreError::unavailable("down"))
    });
    shared.session().refresh().await.unwrap_err();
    store.set_down(false);
    shared.session().reset_backoff();
    assert_eq!(shared.session().refresh().await.unwrap().secret(), "A9");
    assert!(presented.lock().unwrap().is_empty());
    assert_eq!(store.document()["claim"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn p19_the_builders_token_is_written_to_a_record_without_a_token() {
    let store = Scripted::default();
    let refresher = refresh_fn(async |cx: RefreshContext| match cx.refresh_token() {
        Some("R1") => token("A2", "R2"),
        _ => Err(RefreshError::grant_ended("there is no refresh token")),
    });
    let shared = Session::builder(refresher).refresh_token("R1").build_shared(store.clone());
    // A process without a token of its own makes the record first, then asks the endpoint in vain.
    store.at_next_swap(|store, _| {
        store.write(&json!({"v": 1, "w": "w", "epoch": 9, "was": [], "by": 0, "claims": 1000}));
        Ok(())
    });
    assert_eq!(shared.session().token().await.unwrap().secret(), "A2");
    assert_eq!(store.document()["token"]["refresh"], json!("R2"));
}

#[tokio::test(start_paused = true)]
async fn b148_a_record_that_is_deleted_during_the_first_exchange_signs_nobody_out() {
    let store = Scripted::default();
    let is_first = AtomicBool::new(true);
    let (shared, _) = shared(&store, move |store, _| {
        if !is_first.swap(false, Ordering::SeqCst) {
            return Ok(Token::try_new("A2")?);
        }
        store.delete();
        Err(RefreshError::transient("503"))
    });
    let error = shared.session().token().await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    shared.session().reset_backoff();
    assert_eq!(shared.session().token().await.unwrap().secret(), "A2");
}

#[tokio::test(start_paused = true)]
async fn p19_p10_no_waiter_gets_the_token_of_a_user_who_was_replaced_meanwhile() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, _) = shared(&store, |store, _| {
        store.edit(|document| {
            (document["epoch"], document["was"]) = (json!(8), json!([7]));
            (document["by"], document["claims"]) = (json!(2000), json!(2000));
            document["token"] = json!({"access": "U2", "refresh": "UR2", "received_at": 0});
            document["claim"] = Value::Null;
        });
        // The save meets the other sign-in. Then the store is down.
        store.set_down_after_loads(1);
        token("A2", "R2")
    });
    let held = shared.session().token().await.unwrap();
    let error = shared.session().token_after_rejection(&held).await.unwrap_err();
    assert!(error.is_signed_out(), "{error:?}");
    assert_eq!(shared.session().token().await.unwrap().secret(), "U2");
}

#[tokio::test(start_paused = true)]
async fn p19_a_runtime_that_stands_still_in_a_save_stops_no_other() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, _) = shared(&store, |_, _| token("none", "none"));
    shared.session().token().await.unwrap();
    store.set_hanging(true);
    // Its runtime isn't driven any more, and isn't dropped either.
    let (session, (resume, resumed)) = (shared.session().clone(), mpsc::channel::<()>());
    let (started, is_started) = tokio::sync::oneshot::channel();
    let thread = std::thread::spawn(move || {
        let runtime =
            runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            session.sign_in(token("U2", "UR2").unwrap());
            tokio::task::yield_now().await;
        });
        started.send(()).unwrap();
        resumed.recv().unwrap();
    });
    is_started.await.unwrap();
    store.set_hanging(false);
    shared.load().await.unwrap();
    assert_eq!(store.document()["token"]["access"], json!("U2"));
    shared.set_token(token("U3", "UR3").unwrap()).await.unwrap();
    assert_eq!(store.document()["token"]["access"], json!("U3"));
    resume.send(()).unwrap();
    thread.join().unwrap();
}

#[tokio::test(start_paused = true)]
async fn p19_an_own_claim_is_not_used_while_another_process_has_the_hold() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, presented) = shared(&store, |_, _| token("A2", "R2"));
    leave_claim(&store, shared.session()).await;
    store.set_holder("pid 4711");
    let error = shared.session().refresh().await.unwrap_err();
    assert!(StoreError::find(&error).is_some_and(StoreError::is_busy), "{error:?}");
    assert!(presented.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn p19_an_unused_claim_is_remembered_if_the_next_one_fails() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let over = SharedStore::new(store.clone()).never_repeat();
    let (shared, presented) = shared_over(&store, over, |_, _| token("A2", "R2"));
    leave_claim(&store, shared.session()).await;
    // Too late to present anything under it.
    tokio::time::sleep(Duration::from_secs(6)).await;
    store.at_next_swap(|store, _| {
        store.set_down(true);
        Err(StoreError::unavailable("down"))
    });
    shared.session().refresh().await.unwrap_err();
    store.set_down(false);
    shared.session().reset_backoff();
    let start = Instant::now();
    assert_eq!(shared.session().refresh().await.unwrap().secret(), "A2");
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(*presented.lock().unwrap(), ["R1"]);
}

#[tokio::test(start_paused = true)]
async fn p19_a_lost_response_says_nothing_of_a_token_that_was_set_meanwhile() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let over = SharedStore::new(store.clone()).never_repeat();
    let (shared, presented) = shared_over(&store, over, |store, cx| match cx.refresh_token() {
        Some("R1") => {
            store.edit(set_by_another);
            Err(RefreshError::outcome_unknown("the connection was lost"))
        }
        _ => token("A3", "R3"),
    });
    assert_eq!(after_rejection(&shared).await, "A3");
    assert_eq!(*presented.lock().unwrap(), ["R1", "R9"]);
}

#[tokio::test(start_paused = true)]
async fn p19_p10_a_write_that_takes_too_long_does_not_undo_a_later_one() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, _) = shared(&store, |_, _| token("none", "none"));
    shared.session().token().await.unwrap();
    // The write of the sign-out is not over when that of the sign-in is made.
    let _never = store.hold_before_swap();
    let second_attempt = store.hold_before_swap();
    drop(shared.session().sign_out());
    tokio::time::sleep(Duration::from_millis(500)).await;
    shared.session().sign_in(token("U2", "UR2").unwrap());
    shared.load().await.unwrap();
    assert_eq!(store.document()["token"]["access"], json!("U2"));
    second_attempt.send(()).unwrap();
    let mut watch = shared.session().watch();
    while watch.status().is_unsaved() {
        watch.changed().await.unwrap();
    }
    assert_eq!(store.document()["token"]["access"], json!("U2"));
    assert_eq!(shared.session().token().await.unwrap().secret(), "U2");
}

/// The write of a change takes effect unnoticed: its runtime ends before the response comes.
fn write_unnoticed(store: &Scripted, change: impl FnOnce() + Send + 'static) {
    let before = store.document();
    let _open = store.hold_after_swap();
    let written = store.clone();
    let thread = std::thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            change();
            while written.document() == before {
                tokio::task::yield_now().await;
            }
        });
    });
    thread.join().unwrap();
}

#[tokio::test(start_paused = true)]
async fn p19_p02_a_set_refresh_token_is_not_written_again_after_its_runtime_has_ended() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, presented) = shared(&store, |_, _| token("A9", "R9"));
    shared.session().token().await.unwrap();
    let session = shared.session().clone();
    write_unnoticed(&store, move || session.set_token(token("A5", "R5").unwrap()).unwrap());
    rotate(&store, "A6", "R6");
    shared.load().await.unwrap();
    assert_eq!(store.document()["token"]["refresh"], json!("R6"));
    assert_eq!(shared.session().refresh().await.unwrap().secret(), "A6");
    assert!(presented.lock().unwrap().is_empty());
}

/// Another process exchanges the record's refresh token.
fn rotate(store: &Scripted, access: &str, refresh: &str) {
    store.edit(|document| {
        (document["by"], document["claims"]) = (json!(9000), json!(9000));
        document["token"] = json!({"access": access, "refresh": refresh, "received_at": 0});
        document["w"] = json!("another write");
    });
}

#[tokio::test(start_paused = true)]
async fn p19_p02_an_access_token_that_is_set_later_does_not_write_a_refresh_token_again() {
    for signs_in in [false, true] {
        let store = Scripted::new(&record("A1", "R1", 0, 0));
        let (shared, presented) = shared(&store, |_, _| token("A9", "R9"));
        let session = shared.session();
        session.token().await.unwrap();
        // It is written, but neither the response nor the look-up arrives.
        store.at_next_swap(|store, record| {
            store.set_down(true);
            store.lose_response(record)
        });
        match signs_in {
            true => session.sign_in(token("A5", "R5").unwrap()),
            false => session.set_token(token("A5", "R5").unwrap()).unwrap(),
        }
        let mut watch = session.watch();
        while !store.is_down() {
            watch.changed().await.unwrap();
        }
        session.set_token(Token::try_new("A7").unwrap()).unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        rotate(&store, "A6", "R6");
        store.set_down(false);
        shared.load().await.unwrap();
        assert_eq!(store.document()["token"]["refresh"], json!("R6"), "{signs_in}");
        assert_eq!(session.refresh().await.unwrap().secret(), "A6", "{signs_in}");
        assert!(presented.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn p19_p02_a_refresh_token_is_not_set_again_if_it_may_have_been_used_since() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let (shared, _) = shared(&store, |_, _| token("none", "none"));
    shared.session().token().await.unwrap();
    store.at_next_swap(|store, record| {
        let lost = store.lose_response(record);
        rotate(store, "A6", "R6");
        lost
    });
    let error = shared.set_token(token("A5", "R5").unwrap()).await.unwrap_err();
    assert!(StoreError::find(&error).is_some_and(StoreError::is_unknown), "{error:?}");
    assert_eq!(store.document()["token"]["refresh"], json!("R6"));
    shared.load().await.unwrap();
    assert_eq!(shared.session().token().await.unwrap().secret(), "A6");
}

#[tokio::test(start_paused = true)]
async fn p19_p02_a_new_refresh_token_is_kept_if_a_set_token_is_being_written_meanwhile() {
    let store = Scripted::new(&record("A1", "R1", 0, 0));
    let respond = Arc::new(Notify::new());
    let responds = Arc::clone(&respond);
    let refresher = refresh_fn(move |_| {
        let respond = Arc::clone(&responds);
        async move {
            respond.notified().await;
            token("A2", "R2")
        }
    });
    let clock = TestClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
    let shared = Session::builder(refresher).clock(clock).jitter(false).build_shared(store.clone());
    shared.session().token().await.unwrap();
    let refresh = tokio::spawn({
        let session = shared.session().clone();
        async move { session.refresh().await }
    });
    while store.document()["claim"].is_null() {
        tokio::task::yield_now().await;
    }
    // The token is set in the record, and its response comes after the exchange's save has failed.
    let response = store.hold_after_swap();
    let set = tokio::spawn({
        let shared = shared.clone();
        async move { shared.set_token(Token::try_new("A7").unwrap()).await }
    });
    while store.document()["token"]["access"] != "A7" {
        tokio::task::yield_now().await;
    }
    store.set_down(true);
    respond.notify_one();
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
    response.send(()).unwrap();
    set.await.unwrap().unwrap();
    refresh.await.unwrap().unwrap();
    store.set_down(false);
    let mut watch = shared.session().watch();
    while watch.status().is_unsaved() {
        watch.changed().await.unwrap();
    }
    assert_eq!(store.document()["token"]["refresh"], json!("R2"));
}

#[tokio::test(start_paused = true)]
async fn b148_a_cache_is_refreshed_after_its_record_was_deleted() {
    let store = Scripted::default();
    let calls = AtomicUsize::new(0);
    let (shared, _) =
        shared(&store, move |_, _| Ok(Token::try_new(format!("A{}", calls.fetch_add(1, Ordering::SeqCst)))?));
    let session = shared.session();
    assert_eq!(session.token().await.unwrap().secret(), "A0");
    store.delete();
    for expected in ["A1", "A2", "A3"] {
        session.reset_backoff();
        assert_eq!(session.refresh().await.unwrap().secret(), expected);
        assert_eq!(store.document()["token"]["access"], json!(expected));
    }
}
